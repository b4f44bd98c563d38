//! `--authorization-server` and `--server-metadata`: used in place of what the MCP server names, and not without a word.

use serde_json::{Value, json};

use crate::fake::Fake;
use crate::remedies::{RESOURCE, Transcript, file, metadata, page};
use crate::support::Desk;

fn finding(desk: &Desk, url: &str, issuer: &str) -> Value {
    let (_, answer) = desk.json(&["doctor", url, "--authorization-server", issuer]);
    let findings = answer["findings"].as_array().expect("findings");
    let found = findings.iter().find(|found| found["rule"] == "DISC-20");
    found.expect("a finding").clone()
}

/// DISC-20, ISO-09: the message comes before the browser opens.
#[test]
fn disc_20_a_server_in_place_of_those_that_are_named_is_told() {
    let (mcp, other, desk) = (Fake::start(), Fake::start(), Desk::new());
    let (url, issuer) = (mcp.url(), other.issuer());
    mcp.state().trusts = Some(other.share());
    let document = file(&desk, "metadata.json", &metadata(&issuer, &json!({})));
    for options in [
        ["--authorization-server", &issuer],
        ["--server-metadata", &document],
    ] {
        let login = [&["login", &url][..], &options].concat();
        let (status, said) = Transcript::new(&desk, &[]).run(&login);
        assert_eq!(status, Some(0), "{said}");
        let told = format!(
            "names the authorization server {}, and not {issuer}",
            mcp.issuer()
        );
        let (at, opens) = (said.find(&told), said.find("Open this URL"));
        assert!(at.is_some() && at < opens, "{said}");
        assert!(desk.run(&["logout", &url]).status.success());
    }
    let found = finding(&desk, &url, &issuer);
    assert_eq!(found["mark"], "warning", "{found}");

    // The server that is named, with a slash more; and an MCP server that names none.
    let own = format!("{}/", mcp.issuer());
    let found = finding(&desk, &url, &own);
    assert_eq!(found["mark"], "note", "{found}");
    let (_, said) =
        Transcript::new(&desk, &[]).run(&["login", &url, "--authorization-server", &mcp.issuer()]);
    assert!(!said.contains("and not"), "{said}");
    assert!(desk.run(&["logout", &url]).status.success());
    mcp.state().hook = Some(Box::new(|request, _| {
        request
            .path
            .starts_with(RESOURCE.trim_end_matches("/mcp"))
            .then(|| page(404))
    }));
    let (status, said) =
        Transcript::new(&desk, &[]).run(&["login", &url, "--authorization-server", &issuer]);
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains("and not"), "{said}");
    let found = finding(&desk, &url, &issuer);
    assert!(
        found["words"]
            .as_str()
            .expect("words")
            .contains("names none"),
        "{found}"
    );
}
