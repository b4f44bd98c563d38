//! `--authorization-server` and `--server-metadata`: used in place of what the MCP server names, and not without a word.

use serde_json::{Value, json};

use crate::fake::{Fake, object};
use crate::remedies::{RESOURCE, Transcript, file, metadata, page};
use crate::support::{Desk, check_options};

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

/// An option stands in the place of the document that lists the scopes, and the user reads which they are.
#[test]
fn scopes_that_are_listed_and_not_asked_for_are_told() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let (url, issuer) = (fake.url(), fake.issuer());
    fake.state().hook = Some(Box::new(|request, issuer| {
        let document = json!({
            "resource": format!("{issuer}/mcp"), "authorization_servers": [issuer],
            "scopes_supported": ["files:read", "files:write"],
        });
        (request.path == RESOURCE).then(|| object(200, &document))
    }));
    let given = ["login", &url, "--authorization-server", &issuer];
    let told = "lists the scopes `files:read files:write`";
    let (status, said) = Transcript::new(&desk, &[]).run(&given);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(told), "{said}");
    check_options("login", &said);
    let with = [&given[..], &["--scope", "files:read"]].concat();
    let (status, said) = Transcript::new(&desk, &[]).run(&with);
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains(told), "{said}");
}
