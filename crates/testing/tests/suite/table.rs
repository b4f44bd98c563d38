//! The table of deviations in `docs/testing.md`, and that it has those that rules and settings speak of.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use mcp_auth_testing::servers::Deviation;

/// Rules that no switch is about, with the reason.
const OTHER_RULES: [(&str, &str); 7] = [
    ("QUIRK-09", "what a client must not send"),
    (
        "QUIRK-17",
        "loopback URIs that the built-in server takes as RFC 8252 says",
    ),
    ("QUIRK-18", "the built-in server detects reuse anyway"),
    ("QUIRK-19", "what a client must not do to an identifier"),
    (
        "QUIRK-34",
        "scripted where it is tested: the methods that the built-in server lists are those of its clients",
    ),
    (
        "QUIRK-35",
        "what a client must ask for: no driver here decompresses",
    ),
    (
        "QUIRK-36",
        "transient for the machine, as each 5xx: what differs is the command, where it is tested",
    ),
];

/// Settings of one authorization server that no switch is about, with the reason.
const OTHER_SETTINGS: [(&str, &str); 3] = [
    ("issuer", "the name of the server that the settings are for"),
    (
        "jwt_bearer",
        "the built-in server has no grant of assertions",
    ),
    (
        "assertion_audience",
        "the built-in server has no grant of assertions",
    ),
];

fn page(name: &str) -> Option<String> {
    // The published package has no pages beside it.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let read = std::fs::read_to_string(root.join(name));
    read.ok()
}

#[test]
fn the_page_has_every_deviation() {
    let Some(page) = page("testing.md") else {
        return;
    };
    let mut table =
        "| Deviation | At | Rules and `settings` | What the server does |\n|---|---|---|---|\n"
            .to_owned();
    for deviation in Deviation::ALL {
        let (place, rules, about) = (deviation.place(), deviation.rules(), deviation.about());
        writeln!(table, "| `{deviation:?}` | {place:?} | {rules} | {about} |").unwrap();
    }
    if std::env::var_os("UPDATE_TABLES").is_some() {
        let start = page.find("| Deviation |").unwrap();
        let end = start + page[start..].find("\n\n").unwrap() + 1;
        let page = format!("{}{table}{}", &page[..start], &page[end..]);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/testing.md");
        std::fs::write(root, page).unwrap();
        return;
    }
    assert!(
        page.contains(&table),
        "docs/testing.md is stale: UPDATE_TABLES=1 cargo test -p mcp-auth-testing --all-features --test suite table"
    );
}

#[test]
fn deviations_name_rules_and_settings_that_exist() {
    let (Some(rules), Some(design)) = (page("requirements.md"), page("design.md")) else {
        return;
    };
    for deviation in Deviation::ALL {
        for named in deviation.rules().split(", ") {
            let exists = match named
                .strip_prefix('`')
                .and_then(|name| name.strip_suffix('`'))
            {
                Some(setting) => design.contains(setting),
                None => rules.contains(&format!("**{named}**")),
            };
            assert!(exists, "{deviation:?}: {named}");
        }
    }
}

#[test]
fn every_quirk_and_every_setting_of_a_server_has_a_deviation() {
    let (Some(rules), Some(design)) = (page("requirements.md"), page("design.md")) else {
        return;
    };
    let named: BTreeSet<&str> = Deviation::ALL
        .iter()
        .flat_map(|deviation| deviation.rules().split(", "))
        .map(|name| name.trim_matches('`'))
        .chain(OTHER_RULES.iter().map(|(rule, _)| *rule))
        .chain(OTHER_SETTINGS.iter().map(|(setting, _)| *setting))
        .collect();
    let quirks = rules.lines().filter_map(|line| {
        let (rule, _) = line.strip_prefix("- **")?.split_once("**")?;
        rule.starts_with("QUIRK-").then_some(rule)
    });
    let start = design
        .find("issuer_settings  [{")
        .expect("the settings of a server");
    let (settings, _) = design[start..].split_once("}]").expect("their end");
    let settings = settings
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|name| settings.contains(&format!("\"{name}\":")) && *name != "exactly");
    let known: Vec<&str> = quirks.chain(settings).collect();
    assert!(known.len() > 40, "{known:?}");
    let missing: Vec<&&str> = known
        .iter()
        .filter(|name| !named.contains(**name))
        .collect();
    assert!(missing.is_empty(), "no deviation is about {missing:?}");
}
