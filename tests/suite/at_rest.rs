//! A token that is read from a stored account without a machine is exactly the one that a machine would offer.

use std::sync::Arc;
use std::time::Duration;

use mcp_auth_machine::action::Action;
use mcp_auth_machine::config::{ConfigBuilder, PreRegistered, Strictness};
use mcp_auth_machine::slot::{Revision, SlotContents, Stored};
use mcp_auth_machine::wire::words::AuthMethod;
use mcp_auth_machine::{Config, Moment};
use proptest::prelude::*;

use crate::support::{
    AS, Host, META, PRM, REDIRECT, REGISTER, START, TOKEN, announcing, at_rest, config,
    metadata_with, offered, prm, renewable, state_of, token_answer,
};

/// An account as the machine writes it.
struct Written {
    config: Arc<Config>,
    principal: &'static str,
    stored: Stored,
}

impl Written {
    /// Signs in.
    fn by(principal: &'static str, config: ConfigBuilder, metadata: &str, answer: &str) -> Self {
        let config = Arc::new(config.build().unwrap());
        let mut host = Host::for_user(Arc::clone(&config), Default::default(), principal);
        host.challenged(401, &[&announcing()]);
        host.need_user();
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, metadata);
        let next = host.actions.front();
        if matches!(next, Some(Action::SendRequest(send)) if *send.request().uri() == *REGISTER) {
            host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        }
        let redirect = host.redirect();
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, answer);
        host.ready();
        Self {
            stored: host.store.of_kind("account")[0].clone(),
            config,
            principal,
        }
    }

    fn json(&self) -> &str {
        let contents = self.stored.contents.expose();
        &contents[contents.find('{').unwrap()..]
    }
}

/// Every member of a server snapshot.
fn all_members() -> String {
    let more = format!(
        r#","revocation_endpoint":"{AS}/revoke","introspection_endpoint":"{AS}/i",
        "authorization_response_iss_parameter_supported":true,"scopes_supported":["offline_access"],
        "client_id_metadata_document_supported":true,"grant_types_supported":["authorization_code","refresh_token"],
        "revocation_endpoint_auth_methods_supported":["none"],"dpop_signing_alg_values_supported":["ES256"],
        "token_endpoint_auth_signing_alg_values_supported":["ES256"],
        "authorization_grant_profiles_supported":["urn:ietf:params:oauth:grant-profile:id-jag"]"#
    );
    // Without `iss` in the callback.
    metadata_with(&more.replace(
        "iss_parameter_supported\":true",
        "iss_parameter_supported\":false",
    ))
}

fn client(method: AuthMethod) -> PreRegistered {
    PreRegistered::new("own").secret("s-1").method(method)
}

fn accounts() -> Vec<Written> {
    let basic = all_members().replace("[\"none\"]", "[\"client_secret_basic\"]");
    let post = metadata_with("").replace("[\"none\"]", "[\"client_secret_post\"]");
    let scoped =
        r#"{"access_token":"at-3","token_type":"Bearer","refresh_token":"rt-3","scope":"a b"}"#;
    let by = Written::by;
    vec![
        by("alice", config(), &metadata_with(""), &token_answer("at-1")),
        by(
            "bürgerin 2",
            config(),
            &all_members(),
            &renewable("at-2", "rt-2"),
        ),
        by(
            "alice",
            config().pre_registered(AS, client(AuthMethod::ClientSecretBasic)),
            &basic,
            scoped,
        ),
        by(
            "alice",
            config().pre_registered(AS, client(AuthMethod::ClientSecretPost)),
            &post,
            &renewable("at-4", "rt-4"),
        ),
    ]
}

/// Configurations under which an account may be read.
fn configs(own: &Arc<Config>) -> Vec<Arc<Config>> {
    let others = [
        config().strictness(Strictness::Strict),
        config().pre_registered(AS, PreRegistered::new("another")),
        config().pre_registered(format!("{AS}/"), PreRegistered::new("another")),
        config().pre_registered("https://other.example", PreRegistered::new("another")),
        config().pre_registered_unbound(PreRegistered::new("dyn-1")),
        config().client_metadata_url("https://app.example/client.json"),
        config().issuer("https://other.example"),
        Config::builder("https://mcp.example/other", REDIRECT).client_name("Test client"),
        Config::builder("http://127.0.0.1:1/mcp", REDIRECT).client_name("Test client"),
    ];
    let others = others.map(|config| Arc::new(config.build().unwrap()));
    std::iter::once(Arc::clone(own)).chain(others).collect()
}

/// Times before and after the receipt and the expiry of the tokens.
fn times() -> [Moment; 7] {
    let set_back = |millis: u64| {
        let mut moment = START;
        moment.wall.0 -= millis;
        moment
    };
    let after = |seconds| START.plus(Duration::from_secs(seconds));
    [
        set_back(61_000),
        set_back(59_000),
        START,
        after(3_550),
        after(3_599),
        after(3_600),
        after(1 << 40),
    ]
}

/// Contents of this version with a checksum that holds.
fn sealed(version: &str, json: &str) -> Stored {
    let revision = Revision::of(json.as_bytes());
    let contents = SlotContents::new(format!("{version}.{revision}.{json}"));
    Stored { contents, revision }
}

/// The places of the values in a record: of each string with its quotes, each number and each flag.
fn values(json: &str) -> Vec<std::ops::Range<usize>> {
    let begins = json.match_indices("\":").map(|(at, _)| at + 2);
    begins
        .filter(|begin| !json[*begin..].starts_with('{'))
        .filter_map(|begin| {
            let rest = &json[begin..];
            let length = match rest.strip_prefix('"') {
                Some(text) => text.find('"')? + 2,
                None => rest.find([',', '}'])?,
            };
            Some(begin..begin + length)
        })
        .collect()
}

/// Values in the place of others.
const OTHERS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "00",
    "01",
    "1",
    "1.0",
    "1e3",
    "-1",
    "60",
    "65535",
    "65536",
    "1700000000000",
    "18446744073709551615",
    "18446744073709551616",
    "[]",
    "{}",
    "[1]",
    r#""""#,
    r#""x""#,
    r#""a b""#,
    r#""a\u0020b""#,
    r#""a\"b""#,
    r#""ü""#,
    "\"\u{7f}\"",
    "\"\u{1}\"",
    "\"a\nb\"",
    "\"a",
    r#""none""#,
    r#""unnamed""#,
    r#""bearer""#,
    r#""dpop""#,
    r#""alice""#,
    r#""another""#,
    r#""dyn-1""#,
    r#""metadata""#,
    r#""legacy_defaults""#,
    r#""metadata_document""#,
    r#""pre_registered""#,
    r#""client_credentials""#,
    r#""no_callback""#,
    r#""form""#,
    r#""raw""#,
    r#""https://mcp.example/mcp""#,
    r#""https://mcp.example""#,
    r#""https://mcp.example/mc""#,
    r#""https://mcp.example/mcp/x""#,
    r#""https://as.example""#,
    r#""https://as.example/""#,
    r#""https://as.example/a/../b""#,
    r#""https://as.example:444/y""#,
    r#""https://as.example?q""#,
    r#""https://as.example.evil.example/y""#,
    r#""https://other.example/token""#,
    r#""http://other.example/token""#,
    r#""http://127.0.0.1/token""#,
    r#""https://10.0.0.1/token""#,
    r#""https://AS.example/token""#,
    r#""https://user@as.example/token""#,
    r#""https://as.example/token#f""#,
    r#"{"none":null}"#,
    r#"{"basic":{"secret":"s","encoding":"raw"}}"#,
    r#"{"basic":{"encoding":"raw","secret":"s"}}"#,
    r#"{"basic":{"secret":"s","encoding":"other"}}"#,
    r#"{"post":{"secret":"s"}}"#,
    r#"{"post":{"secret":"s","more":1}}"#,
    r#"{"static_assertion":{"assertion":"s"}}"#,
];

/// Text between two members.
const INSERTED: &[&str] = &[
    " ",
    r#","more":1"#,
    r#","l":5"#,
    r#","l":1700000000000"#,
    r#","au":0"#,
    r#","au":7"#,
    r#","se":9"#,
    r#","rp":true"#,
    r#","rp":false"#,
    r#","sc":true"#,
    r#","rt":1"#,
    r#","gp":65536"#,
    r#","pe":"https://as.example/par""#,
    r#","pe":"http://as.example/par""#,
    r#","ve":null"#,
    r#","resource_sent":false"#,
    r#","resource_sent":true"#,
    r#","names_scopes":true"#,
    r#","left_for":"https://other.example""#,
    r#","left_for":"no""#,
    r#","lt":60"#,
    r#","f":"rt""#,
    r#","dpop":{"thumbprint":"t","algorithm":"ES256","required":true}"#,
    "}",
    "{",
];

/// A record with one edit. The numbers choose it.
fn edited(json: &str, kind: usize, at: usize, put: usize) -> String {
    let values = values(json);
    let value = values[at % values.len()].clone();
    let (before, after) = (&json[..value.start], &json[value.end..]);
    match kind % 4 {
        0 => format!("{before}{}{after}", OTHERS[put % OTHERS.len()]),
        1 => format!(
            "{}{}{after}",
            &json[..value.end],
            INSERTED[put % INSERTED.len()]
        ),
        // Without the member.
        2 => {
            let start = before.rfind(['{', ',']).unwrap();
            let first = before[start..].starts_with('{');
            let lead = if first {
                &before[..=start]
            } else {
                &before[..start]
            };
            let after = if first {
                after.strip_prefix(',').unwrap_or(after)
            } else {
                after
            };
            format!("{lead}{after}")
        }
        // Behind its neighbour.
        _ => {
            let start = before.rfind(['{', ',']).unwrap() + 1;
            let member = &json[start..value.end];
            match after
                .strip_prefix(',')
                .and_then(|next| next.find(',').map(|end| next.split_at(end)))
            {
                Some((next, rest)) if !next.contains(['{', '}']) => {
                    format!("{}{next},{member}{rest}", &json[..start])
                }
                _ => json.to_owned(),
            }
        }
    }
}

#[derive(Default)]
struct Seen {
    both: usize,
    machine_alone: usize,
    none: usize,
}

impl Seen {
    /// Compares the two readers; each token at rest is that of a machine.
    fn compare(&mut self, config: &Arc<Config>, principal: &str, stored: &Stored, now: Moment) {
        let found = at_rest(config, principal, stored, now);
        match (found, offered(config, principal, stored, now)) {
            (Some(_), _) => self.both += 1,
            (None, Some(_)) => self.machine_alone += 1,
            (None, None) => self.none += 1,
        }
    }
}

/// Every account is read at rest as it was written, whatever the configuration and the time: no record that a machine
/// would use is left to it.
#[test]
fn sec_35_tok_17_an_account_as_it_is_written_has_its_token_at_rest() {
    let mut seen = Seen::default();
    for written in accounts() {
        for config in configs(&written.config) {
            for now in times() {
                seen.compare(&config, written.principal, &written.stored, now);
            }
            for stranger in ["", "bob"] {
                assert!(at_rest(&config, stranger, &written.stored, START).is_none());
            }
        }
        let found = at_rest(&written.config, written.principal, &written.stored, START);
        assert!(found.is_some(), "{}", written.json());
        // Only a principal with a name has an account, whatever is stored.
        let named = format!("\"p\":\"{}\"", written.principal);
        let nameless = sealed("v3", &written.json().replacen(&named, "\"p\":\"\"", 1));
        assert!(at_rest(&written.config, "", &nameless, START).is_none());
    }
    assert_eq!(seen.machine_alone, 0);
    assert!(seen.both > 30 && seen.none > 30);
}

#[test]
fn d21_d24_a_damaged_or_newer_account_has_no_token_at_rest() {
    for written in accounts() {
        let text = written.stored.contents.expose();
        let revision = written.stored.revision;
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            let end = at + text[at..].chars().next().unwrap().len_utf8();
            let put = if &text[at..end] == "x" { "y" } else { "x" };
            let altered = [&text[..at], put, &text[end..]].concat();
            for text in [altered, text[..at].to_owned()] {
                let contents = SlotContents::new(text);
                let stored = Stored { contents, revision };
                let found = at_rest(&written.config, written.principal, &stored, START);
                assert!(found.is_none(), "byte {at}");
            }
        }
        let json = written.json();
        for (version, reads) in [
            ("v1", true),
            ("v2", true),
            ("v3", true),
            ("v4", false),
            ("v0", false),
            ("3", false),
        ] {
            let found = at_rest(
                &written.config,
                written.principal,
                &sealed(version, json),
                START,
            );
            assert_eq!(found.is_some(), reads, "{version}");
        }
        // Another account's revision beside the contents.
        let contents = written.stored.contents.clone();
        let other = Stored {
            contents,
            revision: Revision::of(b"other"),
        };
        assert!(at_rest(&written.config, written.principal, &other, START).is_none());
    }
}

#[test]
fn d21_d23_tok_17_an_edited_account_has_the_token_that_a_machine_offers() {
    let mut seen = Seen::default();
    for written in accounts() {
        let json = written.json();
        for at in 0..values(json).len() {
            for (kind, count) in [OTHERS.len(), INSERTED.len(), 1, 1].into_iter().enumerate() {
                for put in 0..count {
                    let stored = sealed("v3", &edited(json, kind, at, put));
                    seen.compare(&written.config, written.principal, &stored, START);
                }
            }
        }
    }
    let Seen {
        both,
        machine_alone,
        none,
    } = seen;
    println!("{both} {machine_alone} {none}");
    assert!(both > 500 && machine_alone > 100 && none > 2_000);
}

proptest! {
    #[test]
    fn d21_d23_tok_17_several_edits_change_nothing_about_that(
        account in 0..4_usize,
        edits in prop::collection::vec((0..4_usize, 0..60_usize, 0..100_usize), 1..4),
        under in 0..10_usize,
        time in 0..7_usize,
    ) {
        thread_local!(static ACCOUNTS: Vec<Written> = accounts());
        ACCOUNTS.with(|accounts| {
            let written = &accounts[account];
            let mut json = written.json().to_owned();
            for (kind, at, put) in edits {
                json = edited(&json, kind, at, put);
                // Only a record without escapes is taken apart here.
                if json.contains('\\') || values(&json).is_empty() {
                    break;
                }
            }
            let config = &configs(&written.config)[under];
            at_rest(config, written.principal, &sealed("v3", &json), times()[time]);
        });
    }
}
