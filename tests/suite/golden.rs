//! Records of every version that was ever written are read for ever.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use mcp_auth_machine::slot::{Slot, SlotContents, Stored};
use mcp_auth_machine::wire::words::{
    AuthMethod, ChallengeMethod, GrantProfile, GrantType, KnownScope, ResponseType,
    SigningAlgorithm, Word,
};

use crate::support::*;
use crate::without_user::{machine_metadata, service, to_token};

const ACCOUNT_1: &str = include_str!("../golden/account.v1.txt");
const LEFT_1: &str = include_str!("../golden/account_left.v1.txt");
const PENDING_1: &str = include_str!("../golden/pending.v1.txt");
const REGISTRATION_1: &str = include_str!("../golden/registration.v1.txt");
const REGISTERED_1: &str = include_str!("../golden/registration_registered.v1.txt");
const NAMED_1: &str = include_str!("../golden/registration_named.v1.txt");
const LEFT_OUT_1: &str = include_str!("../golden/registration_left_out.v1.txt");

const ACCOUNT_2: &str = include_str!("../golden/account.v2.txt");
const LEFT_2: &str = include_str!("../golden/account_left.v2.txt");
const NAMES_SCOPES_2: &str = include_str!("../golden/account_names_scopes.v2.txt");
const WITHOUT_USER_2: &str = include_str!("../golden/account_without_user.v2.txt");
const PENDING_2: &str = include_str!("../golden/pending.v2.txt");
const REGISTRATION_2: &str = include_str!("../golden/registration.v2.txt");
const NAMED_2: &str = include_str!("../golden/registration_named.v2.txt");

const ACCOUNT: &str = include_str!("../golden/account.v3.txt");
/// Written before accounts said when the user had authorized them.
const UNTIMED: &str = include_str!("../golden/account_untimed.v3.txt");
const LEFT: &str = include_str!("../golden/account_left.v3.txt");
const NAMES_SCOPES: &str = include_str!("../golden/account_names_scopes.v3.txt");
const WITHOUT_USER: &str = include_str!("../golden/account_without_user.v3.txt");
const PENDING: &str = include_str!("../golden/pending.v3.txt");
const REGISTRATION: &str = include_str!("../golden/registration.v3.txt");
const NAMED: &str = include_str!("../golden/registration_named.v3.txt");

fn stored(golden: &str) -> Stored {
    let text = golden.trim_end();
    let sealed = text.split('.').nth(1).unwrap();
    let revision = sealed.split('~').next().unwrap().parse().unwrap();
    let contents = SlotContents::new(text);
    Stored { contents, revision }
}

fn only(store: &Store, kind: &str) -> String {
    store.of_kind(kind)[0].contents.expose().to_owned()
}

/// The record that the current version writes in the same flow.
fn written(kind: &str) -> String {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    if kind == "account" {
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &token_answer("at-1"));
    }
    only(&host.store, kind)
}

#[test]
fn v3_is_what_is_written() {
    assert_eq!(written("account"), ACCOUNT.trim_end());
    assert_eq!(written("pending"), PENDING.trim_end());
    assert_eq!(written("registration"), REGISTRATION.trim_end());
}

/// Without entropy of the host the key is missing: the revision is a digest that every process can make.
#[test]
fn v3_a_client_without_a_user_writes_its_account_under_a_digest() {
    let client = config().pre_registered(AS, service()).client_credentials();
    let methods = r#""client_secret_basic""#;
    let mut host = to_token(client, &machine_metadata(AS, methods, ""));
    host.serve(TOKEN, 200, &token_answer("at-1"));
    let text = only(&host.store, "account");
    assert_eq!(text, WITHOUT_USER.trim_end());
    let (_, rest) = text.split_once('.').unwrap();
    let (revision, json) = rest.split_once('.').unwrap();
    assert_eq!(revision, short(json.as_bytes()));
}

/// An account whose issuer the resource no longer lists has one member more.
#[test]
fn v1_to_v3_an_account_that_was_left_is_written_and_read() {
    let mut host = Host::signed_in(config(), &token_answer("at-1"));
    host.refused("Bearer");
    host.serve(PRM, 200, &prm().replace(AS, "https://b.example"));
    host.need_user();
    assert_eq!(only(&host.store, "account"), LEFT.trim_end());
    let on = |record: Stored| {
        let mut store = Store::default();
        let key = Slot::account("alice", MCP).to_string();
        store.slots.insert(key, record);
        Host::on(Arc::new(config().build().unwrap()), store)
    };
    for golden in [LEFT_1, LEFT_2, LEFT] {
        let mut host = on(stored(golden));
        host.ready();
        assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
        // A version that does not know the member reads no account there, and refreshes nothing.
        let unknown = golden.replacen("left_for", "left_4or", 1);
        let json = unknown.trim_end().splitn(3, '.').nth(2).unwrap();
        assert_eq!(on(sealed(json)).token(), None);
    }
}

/// An account whose server refused a refresh without scopes has one member more.
#[test]
fn v2_and_v3_an_account_whose_refreshes_name_scopes_is_written_and_read() {
    let challenge = format!("Bearer scope=\"a b\", resource_metadata=\"{PRM}\"");
    let short = renewable_for("at-1", "rt-1", "60");
    let mut host = Host::signed_in_by(config(), &challenge, &short);
    host.pass(60_000);
    host.wanted("x");
    host.serve(TOKEN, 400, r#"{"error":"invalid_scope"}"#);
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    host.ready();
    assert_eq!(only(&host.store, "account"), NAMES_SCOPES.trim_end());
    for golden in [NAMES_SCOPES_2, NAMES_SCOPES] {
        let mut store = Store::default();
        let key = Slot::account("alice", MCP).to_string();
        store.slots.insert(key, stored(golden));
        let config = Arc::new(config().build().unwrap());
        let mut later = Host::resumed(config, store, host.now, 40);
        later.ready();
        assert_eq!(later.token().as_deref(), Some("Bearer at-2"));
        later.pass(3_600_000);
        later.wanted("x");
        later.serve(META, 200, &metadata());
        let form = body(&later.serve(TOKEN, 200, &renewable("at-3", "rt-3")));
        assert_eq!(get(&form, "scope").as_deref(), Some("a b"));
        later.ready();
    }
}

#[test]
fn v1_to_v3_accounts_are_read() {
    for golden in [ACCOUNT_1, ACCOUNT_2, UNTIMED, ACCOUNT] {
        let mut store = Store::default();
        let key = Slot::account("alice", MCP).to_string();
        store.slots.insert(key, stored(golden));
        let mut host = Host::on(Arc::new(config().build().unwrap()), store);
        host.ready();
        assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    }
}

/// The table of short names is what tools read records with: spelled out, a record of version 3 has the names of version 2, and
/// a place of a list for each spelling.
#[test]
fn v3_spelled_out_is_v2_but_for_lists() {
    let goldens = [
        (ACCOUNT, ACCOUNT_2),
        (LEFT, LEFT_2),
        (NAMES_SCOPES, NAMES_SCOPES_2),
        (WITHOUT_USER, WITHOUT_USER_2),
        (PENDING, PENDING_2),
        (REGISTRATION, REGISTRATION_2),
        (NAMED, NAMED_2),
    ];
    for (new, old) in goldens {
        let mut old = spelled_out(old.trim_end());
        for (list, number) in [
            (r#""response_types":["code"]"#, r#""response_types":1"#),
            (
                r#""challenge_methods":["S256"]"#,
                r#""challenge_methods":1"#,
            ),
            (r#""auth_methods":["none"]"#, r#""auth_methods":1"#),
            (
                r#""auth_methods":["client_secret_basic"]"#,
                r#""auth_methods":4"#,
            ),
        ] {
            old = old.replace(list, number);
        }
        // Version 2 did not name the authorization, nor its time.
        let mut new = spelled_out(new.trim_end());
        for member in [r#","authorization":"#, r#","authorized":"#] {
            if let Some((before, after)) = new.split_once(member) {
                new = format!("{before},{}", after.split_once(',').unwrap().1);
            }
        }
        assert_eq!(new, old);
    }
}

/// The position of a value in `ALL` is part of the record format: new values are appended.
#[test]
fn v3_the_places_of_registered_values() {
    fn places<W: Word>() -> String {
        let spellings = W::ALL.iter().map(|(spelling, _)| *spelling);
        spellings.collect::<Vec<_>>().join(" ")
    }
    assert_eq!(places::<ResponseType>(), "code");
    assert_eq!(places::<ChallengeMethod>(), "S256");
    assert_eq!(places::<KnownScope>(), "offline_access");
    let methods = "none private_key_jwt client_secret_basic client_secret_post";
    assert_eq!(places::<AuthMethod>(), methods);
    let grants = "authorization_code refresh_token client_credentials \
        urn:ietf:params:oauth:grant-type:jwt-bearer urn:ietf:params:oauth:grant-type:token-exchange \
        urn:ietf:params:oauth:grant-type:device_code";
    assert_eq!(places::<GrantType>(), grants);
    assert_eq!(
        places::<SigningAlgorithm>(),
        "ES256 EdDSA Ed25519 PS256 RS256"
    );
    let profile = "urn:ietf:params:oauth:grant-profile:id-jag";
    assert_eq!(places::<GrantProfile>(), profile);
}

fn short(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..16])
}

/// The name of the slot in which the record of this `state` lies, made by hand: other versions look there.
fn pending_slot(state: &str) -> String {
    let mut parts = 5_u64.to_le_bytes().to_vec();
    parts.extend(b"alice");
    parts.extend(&Sha256::digest(state)[..16]);
    format!("pending/{}", short(&parts))
}

#[test]
fn v1_to_v3_pending_and_registration_records_are_read() {
    let goldens = [
        (PENDING_1, REGISTRATION_1),
        (PENDING_1, REGISTERED_1),
        (PENDING_2, REGISTRATION_2),
        (PENDING, REGISTRATION),
    ];
    for (pending, registration) in goldens {
        let json = spelled_out(pending);
        let (_, state) = json.split_once(r#""state":""#).unwrap();
        let state = &state[..22];
        let mut reference = Host::new(config());
        reference.to_redirect();
        let mut store = Store::default();
        store.slots.insert(pending_slot(state), stored(pending));
        for key in reference.store.slots.keys() {
            if key.starts_with("registration") {
                store.slots.insert(key.clone(), stored(registration));
            }
        }
        let mut host = Host::on(Arc::new(config().build().unwrap()), store);
        host.callback(&format!("code=c&state={state}"));
        host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
        host.error();
        host.seeds = 9;
        host.discover(&prm(), &metadata());
        assert_eq!(&*host.redirect().client_id, "dyn-1");
    }
}

#[test]
fn v1_to_v3_a_registration_for_less_than_was_asked_is_written_and_read() {
    let listed = prm().replace('}', r#","scopes_supported":["a","b"]}"#);
    let mut host = Host::new(config());
    host.discover(&listed, &metadata());
    let register = format!("{AS}/register");
    host.serve(&register, 201, r#"{"client_id":"dyn-1","scope":"a"}"#);
    host.redirect();
    let written = &host.store.of_kind("registration")[0];
    assert_eq!(written.contents.expose(), NAMED.trim_end());
    for golden in [LEFT_OUT_1, NAMED_1, NAMED_2, NAMED] {
        let mut store = Store::default();
        for key in host.store.slots.keys() {
            if key.starts_with("registration") {
                store.slots.insert(key.clone(), stored(golden));
            }
        }
        let mut later = Host::on(Arc::new(config().build().unwrap()), store);
        later.seeds = 9;
        later.discover(&listed, &metadata());
        assert_eq!(later.redirect().scopes.as_str(), "a");
    }
}

/// Two users sign in at the same time, and the servers answer both with the same texts.
#[test]
fn server_chosen_contents_do_not_determine_a_revision() {
    let records = |seeds: u8| {
        let mut host = Host::new(config());
        host.seeds = seeds;
        host.sign_in();
        host.store
    };
    let (one, other) = (records(0), records(100));
    for kind in ["account", "registration"] {
        let (one, other) = (only(&one, kind), only(&other, kind));
        // All but the name of the authorization, which the host's entropy determines.
        let json = |text: &str| {
            let mut json: serde_json::Value = serde_json::from_str(&spelled_out(text)).unwrap();
            json.as_object_mut().unwrap().remove("authorization");
            json
        };
        assert_eq!(json(&one), json(&other));
        assert_ne!(stored(&one).revision, stored(&other).revision);
    }
}

/// A key stands in the records that were sealed with it. That of a public record is not that of a secret one.
#[test]
fn a_key_of_one_kind_of_record_is_none_of_another() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    let key = |text: &str| {
        let frame = text.split('{').next().unwrap();
        frame
            .split('~')
            .nth(1)
            .unwrap()
            .trim_end_matches('.')
            .to_owned()
    };
    let mut all: BTreeSet<String> = ["registration", "pending"]
        .map(|kind| key(&only(&host.store, kind)))
        .into();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    host.serve(TOKEN, 200, &renewable("at-1", "rt-1"));
    host.ready();
    // A renewal keeps what it reads.
    host.pass(3_600_000);
    host.wanted("x");
    host.serve(META, 200, &metadata());
    for kind in ["metadata", "account"] {
        all.insert(key(&only(&host.store, kind)));
    }
    assert_eq!(all.len(), 4);
}
