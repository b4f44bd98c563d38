//! The corpora of the fuzz targets, run through once.

use std::fs;
use std::path::Path;

use mcp_auth_testing::server_tests::TARGETS;

#[test]
fn each_input_of_the_corpora_is_as_it_should_be() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    for (name, run) in TARGETS {
        let target = root.join(format!("fuzz_targets/{name}.rs"));
        let text = fs::read_to_string(target).unwrap();
        assert!(text.contains(&format!("server::{name}(")), "{name}");
        let mut inputs = 0;
        for entry in fs::read_dir(root.join("corpus").join(name)).unwrap() {
            run(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
}
