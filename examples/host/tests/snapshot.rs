//! The conversation that the host's configuration leads to.

use mcp_auth_machine::Config;
use mcp_auth_testing::{TestHost, documents};

#[test]
fn a_sign_in_and_a_refresh() {
    let config = Config::builder(documents::MCP, documents::REDIRECT)
        .client_name("Example host")
        .scopes("files:read");
    let mut host = TestHost::new(config);
    let playbook = host.playbook().clone();
    host.sign_in(&documents::renewable("at-1", "rt-1", 60));
    host.accepted();
    host.pass(std::time::Duration::from_secs(61));
    host.wanted();
    host.serve(
        documents::TOKEN,
        200,
        &documents::renewable("at-2", "rt-2", 3600),
    );
    host.ready();
    assert_eq!(host.bearer().unwrap(), "Bearer at-2");
    host.finish();
    insta::assert_snapshot!(playbook);
}
