//! The bodies of the fuzz targets. `cargo test` runs the corpora under `fuzz/corpus` through the same functions. A
//! panic is a finding.

use http::{HeaderMap, HeaderValue};
use mcp_auth_machine::wire::challenge;
use mcp_auth_machine::wire::form;
use mcp_auth_machine::wire::registration::RegistrationDocument;
use mcp_auth_machine::wire::resource::{ResourceDocument, covers};
use mcp_auth_machine::wire::server::ServerDocument;
use mcp_auth_machine::wire::token::{MissingType, TokenAnswer, read};
use mcp_auth_machine::wire::url::UrlPolicy;
use mcp_auth_machine::wire::words::GrantType;
use mcp_auth_machine::{Action, Event};

use super::reference;
use super::world::scanner::alarming;
use super::world::{Client, Setup, World};
use super::{Host, MCP, REDIRECT, START, Store, StoreMode, config, state_of};

/// One target: its name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("challenge", challenge),
    ("resource_metadata", resource_metadata),
    ("server_metadata", server_metadata),
    ("registration", registration),
    ("token", token),
    ("callback", callback),
    ("url", url),
    ("record", record),
    ("history", history),
    ("host_history", host_history),
];

/// Text of a peer that people may read has no control or bidirectional formatting character (S28).
fn plain(text: &str) {
    assert!(!text.contains(alarming), "S28: {text:?}");
}

/// Lines of a header, one after the other.
pub fn challenge(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("www-authenticate", value);
        }
    }
    let parsed = challenge::parse(&headers);
    assert!(parsed.challenges().len() <= challenge::MAX_CHALLENGES);
    for found in parsed.challenges() {
        assert!(found.parameters.len() <= challenge::MAX_PARAMETERS);
    }
    for status in [400, 401, 403] {
        if let Some(chosen) = parsed.select(status, &|place| place.starts_with("https://")) {
            plain(&format!("{:?}", chosen.error_description));
            let scopes = chosen.scope.unwrap_or_default();
            assert!(scopes.iter().all(|scope| !scope.contains(['"', ' ', '\\'])));
        }
    }
    let lines: Vec<_> = headers.get_all("www-authenticate").iter().collect();
    if let [line] = lines.as_slice()
        && line.len() <= challenge::MAX_HEADER_BYTES
        && let Ok(text) = line.to_str()
        && let Some(expected) = reference::challenges(text)
    {
        assert_eq!(
            parsed.challenges(),
            expected,
            "beside the grammar, letter by letter"
        );
    }
}

pub fn resource_metadata(data: &[u8]) {
    let Ok(document) = ResourceDocument::parse(data) else {
        return;
    };
    let (policy, mcp) = UrlPolicy::for_mcp_url(MCP).unwrap();
    assert!(document.authorization_servers().count() <= data.len());
    let _scopes = document.scopes_supported();
    if let Some(resource) = document.resource()
        && covers(resource, &mcp, &policy) == Ok(true)
    {
        let lower = resource.to_ascii_lowercase();
        assert!(lower.starts_with("https://mcp.example"), "S11: {resource}");
    }
}

/// A document that is accepted leads nowhere but to the origin that it was fetched for, or says `iss`.
pub fn server_metadata(data: &[u8]) {
    let _parsed = ServerDocument::parse(data);
    let mut host = Host::new(config());
    host.discover_prm_only();
    let send = host.request();
    host.handle(send.response(super::response(200, &[], &String::from_utf8_lossy(data))));
    while let Some(action) = host.actions.pop_front() {
        match action {
            Action::SendRequest(send) => host.handle(send.never_sent()),
            Action::Error(failure) => plain(&failure.to_string()),
            _ => {}
        }
    }
}

/// The placeholder of secrets in the corpora.
const SENTINEL: &str = "sentinel";

/// The displayed text of a response contains none of its secrets (S27). The check is skipped when the placeholder
/// also occurs in a public member.
fn discreet(data: &[u8], secrets: &[&str], shown: &str) {
    let Ok(mut said) = serde_json::from_slice::<serde_json::Map<_, _>>(data) else {
        return;
    };
    said.retain(|name, _| !secrets.contains(&name.as_str()));
    let is_secret = !serde_json::Value::Object(said)
        .to_string()
        .contains(SENTINEL);
    assert!(!is_secret || !shown.contains(SENTINEL), "S27: {shown}");
}

pub fn registration(data: &[u8]) {
    if let Ok(document) = RegistrationDocument::parse(data) {
        for success in [true, false] {
            let answer = document.answer(success, GrantType::AuthorizationCode, Some(REDIRECT));
            let shown = format!("{document:?}{answer:?}");
            discreet(data, &["client_secret"], &shown);
        }
    }
}

pub fn token(data: &[u8]) {
    for status in [200, 201, 202, 400, 401, 500] {
        for missing in [MissingType::Assume, MissingType::Refuse] {
            match read(status, data, missing) {
                TokenAnswer::Granted(granted) => {
                    assert!(matches!(status, 200 | 201));
                    let shown = format!("{granted:?}");
                    discreet(data, &["access_token", "refresh_token"], &shown);
                }
                TokenAnswer::Refused {
                    code, description, ..
                } => {
                    plain(&format!("{code:?}{description:?}"));
                }
                TokenAnswer::Unusable(tokens) => {
                    assert!(matches!(status, 200 | 201));
                    let shown = format!("{tokens:?}");
                    discreet(data, &["access_token", "refresh_token"], &shown);
                }
                TokenAnswer::Unexpected(_) => {}
            }
        }
    }
}

/// The query of a callback, with `STATE` as the placeholder of the issued state. Without it the callback is ignored;
/// with it and another `iss` no code is sent (S07, S08, S09).
pub fn callback(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else {
        return;
    };
    let fast: Result<Vec<_>, _> = form::pairs(query).collect();
    let slow = reference::pairs(query);
    match (fast, slow) {
        (Ok(fast), Some(slow)) => {
            let slow: Vec<_> = slow
                .into_iter()
                .map(|(n, v)| (n.into(), v.into()))
                .collect();
            assert_eq!(fast, slow);
        }
        (Err(_), None) => {}
        (fast, slow) => panic!("{fast:?} and {slow:?} for {query:?}"),
    }
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    let state = state_of(&redirect);
    let query = query.replace("STATE", &state);
    host.handle(Event::CallbackParams(
        mcp_auth_machine::wire::callback::Callback::from_query(query.clone()),
    ));
    let sent = host
        .actions
        .iter()
        .any(|action| matches!(action, Action::SendRequest(_)));
    if let Some(pairs) = reference::pairs(&query) {
        let of = |name: &str| -> Vec<&str> {
            let named = pairs.iter().filter(|(n, _)| n == name);
            named.map(|(_, value)| value.as_str()).collect()
        };
        let own = of("state") == [state.as_str()];
        let iss = of("iss");
        let believed = own && (iss.is_empty() || iss == [super::AS]) && of("code").len() == 1;
        assert!(!sent || believed, "{query:?} was believed");
    } else {
        assert!(!sent && host.actions.is_empty());
    }
    for action in &host.actions {
        if let Action::Error(failure) = action {
            plain(&failure.to_string());
        }
    }
}

/// A URL that the policy accepts is plain and means the same to every parser.
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (policy, _) = UrlPolicy::for_mcp_url(MCP).unwrap();
    let Ok(checked) = policy.check(text) else {
        return;
    };
    let again = policy.check(checked.as_str()).expect("what was accepted");
    assert_eq!(again.as_str(), checked.as_str());
    let parsed = url::Url::parse(text).expect("a URL");
    assert_eq!(parsed.as_str(), checked.as_str(), "{text}");
    assert_eq!(parsed.scheme(), "https", "S13: {checked:?}");
    assert!(parsed.username().is_empty() && parsed.password().is_none());
    assert_eq!(parsed.fragment(), None);
    assert_eq!(parsed.origin().ascii_serialization(), checked.origin());
}

/// The account slot as an attacker left it: the text of a record under a checksum that holds (S26).
pub fn record(data: &[u8]) {
    let stored = super::sealed(&String::from_utf8_lossy(data));
    let mut store = Store {
        mode: StoreMode::Works,
        ..Store::default()
    };
    let slot = mcp_auth_machine::slot::Slot::account("alice", MCP);
    let config = std::sync::Arc::new(config().build().unwrap());
    super::at_rest(&config, "alice", &stored, START);
    store.slots.insert(slot.to_string(), stored);
    let mut host = Host::on(config, store);
    let _token = host.token();
    host.wanted("x");
    host.challenged(401, &["Bearer"]);
    for action in &host.actions {
        if let Action::SendRequest(send) = action {
            let to = send.request().uri().to_string();
            assert!(to.starts_with("https://"), "S13: {to}");
        }
    }
}

/// A history of the world, two bytes a move; the first two choose the client and the number of processes.
pub fn history(data: &[u8]) {
    let Some(([client, instances], moves)) = data.split_first_chunk::<2>() else {
        return;
    };
    let client = Client::ALL[usize::from(*client) % Client::ALL.len()];
    let instances = usize::from(*instances % 3) + 1;
    let mut world = World::new(Setup::new(client, instances));
    for step in moves.chunks_exact(2).take(300) {
        let number = u16::from_be_bytes([step[0], step[1]]);
        let next = world.choose(
            number.is_multiple_of(2),
            u32::from(number >> 1).wrapping_mul(0x9E37_79B1) >> 4,
        );
        world.apply(next);
    }
    world.heal();
}

/// A history of the kit for hosts, on the machine alone.
pub fn host_history(data: &[u8]) {
    crate::histories::fuzz(data, |config, now| {
        mcp_auth_machine::AuthMachine::new(config, "alice", now)
    });
}
