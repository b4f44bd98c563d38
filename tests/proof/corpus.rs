//! The committed corpora of the fuzz targets, through the same functions.

use std::fs;
use std::path::Path;

use crate::support::fuzzed::TARGETS;

#[test]
fn every_input_that_fuzzing_kept_is_harmless() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    // The fuzz targets are a package of their own, and not in the published one.
    if !fuzz.is_dir() {
        return;
    }
    let corpora = fuzz.join("corpus");
    for (name, target) in TARGETS {
        let folder = corpora.join(name);
        let inputs = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let mut count = 0;
        for input in inputs {
            let path = input.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count >= 5, "{name}: {count} inputs");
    }
}
