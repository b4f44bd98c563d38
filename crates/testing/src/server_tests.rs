//! The fuzz targets of `mcp-auth-server`: each takes a piece of input, and a panic is a finding. The corpora
//! under `fuzz/corpus` are run through the same functions by `cargo test`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{
    AccessToken, AuthorizationServer, DpopAlgorithms, DpopUse, Guard, McpMessages, NonceKey,
    ProtectedResource, RedirectRules, RedirectTarget, RequiredScopes, ScopePolicy, TokenError,
};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use url::Url;

/// One target: its name, and its function.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("redirect_uri", redirect_uri),
    ("needed_scopes", needed_scopes),
    ("guard", guard),
];

const ISSUER: &str = "https://as.example";
const RESOURCE: &str = "https://mcp.example/mcp";

/// Two lines: a redirect URI that is registered, and one that is sent.
pub fn redirect_uri(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (registered, sent) = text.split_once('\n').unwrap_or((&text, &text));
    let rules = [
        RedirectRules::default(),
        RedirectRules::default().ignore_localhost_port(),
        RedirectRules::default().scheme("cursor").unwrap(),
    ];
    let server = AuthorizationServer::new(ISSUER).unwrap();
    for rules in rules {
        let Ok(uri) = rules.parse(registered) else {
            continue;
        };
        let url = Url::parse(registered).unwrap();
        assert!(matches!(url.scheme(), "https" | "http" | "cursor") || url.scheme().contains('.'));
        assert!(url.scheme() != "http" || uri.is_loopback());
        assert!(url.fragment().is_none() && url.username().is_empty());
        let Some(target) = RedirectTarget::find([&uri], sent) else {
            assert_ne!(registered, sent);
            continue;
        };
        let mut theirs = Url::parse(target.as_str()).unwrap();
        if url.scheme() == "http" {
            theirs.set_port(url.port()).unwrap();
        }
        assert_eq!(theirs, url, "{sent}");
        let response = server.respond(target).state("s").code("c");
        let location = response.location().unwrap().to_owned();
        assert!(HeaderValue::from_str(&location).is_ok());
        assert_eq!(server.complete(&location).unwrap(), location);
    }
    if let Ok(complete) = server.complete(&text) {
        assert_eq!(server.complete(&complete).unwrap(), complete);
    }
}

fn policy() -> ScopePolicy {
    let needs = |scopes| RequiredScopes::parse(scopes).unwrap();
    ScopePolicy::new(needs("base"))
        .open_tool("read")
        .tool("write", needs("write"))
        .named("resources/read", "file:///secret", needs("secret"))
}

/// The members of one object as they stand, repeated ones included; their values unread.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// A body that was read has one reading: the first and the last of the members with a name, in whatever case,
/// are the same one. Members of other values decide nothing, and may have names that this parser refuses.
fn one_reading(data: &[u8]) {
    fn check(object: &RawValue, names: &[&str]) {
        let Pairs(pairs) = serde_json::from_str(object.get()).unwrap();
        for name in names {
            let same = |known: &str| known.trim().eq_ignore_ascii_case(name);
            let mut found = pairs.iter().filter(|(known, _)| same(known));
            let first = found.next();
            assert!(first.is_none_or(|(known, _)| known == name), "{name}");
            assert!(found.next().is_none(), "{name} comes twice");
            if *name == "params"
                && let Some((_, parameters)) = first
                && parameters.get() != "null"
            {
                check(parameters, &["name", "uri"]);
            }
        }
    }
    let names = ["method", "params", "id", "result", "error", "jsonrpc"];
    let whole: &RawValue = serde_json::from_slice(data).unwrap();
    if whole.get().starts_with('[') {
        let all: Vec<&RawValue> = serde_json::from_slice(data).unwrap();
        all.iter().for_each(|one| check(one, &names));
    } else {
        check(whole, &names);
    }
}

/// A requirement, and the body of a request.
pub fn needed_scopes(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(needed) = RequiredScopes::parse(text)
    {
        assert_eq!(needed.preferred().iter().count(), {
            let words: std::collections::BTreeSet<_> = text.split(' ').collect();
            words.len()
        });
        assert!(!needed.is_met_by(&Scopes::default(), |_, _| true));
    }
    let Ok(messages) = McpMessages::read(data) else {
        return;
    };
    one_reading(data);
    let Ok(needed) = policy().needed(&messages) else {
        return;
    };
    let needed = needed.unwrap();
    assert!(needed.alternatives().all(|all| all.contains("base")));
    let read: Value = match serde_json::from_slice(data) {
        Ok(read) => read,
        // Valid JSON, in values that decide nothing: a number too large for this reference parser, half of a
        // surrogate pair (what JavaScript writes for such a string).
        Err(error) => {
            let refused = [
                "number out of range",
                "lone leading surrogate",
                "unexpected end of hex escape",
            ];
            let error = error.to_string();
            assert!(
                refused.iter().any(|known| error.starts_with(known)),
                "{error}"
            );
            return;
        }
    };
    let all = read.as_array().cloned().unwrap_or_else(|| vec![read]);
    for message in all {
        let (method, parameters) = (&message["method"], &message["params"]);
        for (known, name, value, scope) in [
            ("tools/call", "name", "write", "write"),
            ("resources/read", "uri", "file:///secret", "secret"),
        ] {
            if *method == *known && parameters[name] == *value {
                assert!(needed.alternatives().all(|all| all.contains(scope)));
            }
        }
        if *method == *"tools/call" {
            assert!(parameters["name"] == *"read" || parameters["name"] == *"write");
        }
    }
}

/// Header fields, one a line, and after an empty line the body.
pub fn guard(data: &[u8]) {
    let algorithms = DpopAlgorithms::new(["ES256"]).unwrap();
    let resource = ProtectedResource::new(RESOURCE, ISSUER).unwrap();
    let resource = resource.scopes("base").unwrap();
    let resource = resource.dpop(algorithms, DpopUse::Supported);
    let guard = Guard::new(resource, policy()).unwrap();
    let guard = guard.nonces(NonceKey::new(&[1; 32]));
    let mut headers = HeaderMap::new();
    let mut lines = data.split(|byte| *byte == b'\n');
    for line in lines.by_ref() {
        if line.is_empty() {
            break;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let body = lines.collect::<Vec<_>>().join(&b'\n');
    if let Ok(origin) = guard.check_origin(&headers, None) {
        let hosts: Vec<_> = headers.get_all("host").iter().collect();
        assert_eq!(hosts.len(), 1);
        assert!(hosts[0].as_bytes().eq_ignore_ascii_case(b"mcp.example"));
        assert_eq!(origin.is_some(), headers.contains_key("origin"));
    }
    let Ok(presented) = guard.present(&headers) else {
        return;
    };
    assert_eq!(headers.get_all("authorization").iter().count(), 1);
    let now = Duration::from_secs(1_800_000_000);
    for (claims, bound) in [
        (Map::new(), false),
        (
            Map::from_iter([("cnf".to_owned(), json!({ "jkt": "x" }))]),
            true,
        ),
    ] {
        let token = AccessToken::new(ISSUER, Scopes::parse("base"), claims);
        let authorized = guard.bind(&presented, Ok(token), &Method::POST, now);
        let Ok(authorized) = authorized else {
            continue;
        };
        assert!(!bound, "a proof was invented");
        assert!(authorized.proof().is_none());
        let authorized = guard.spend(authorized, Ok(())).unwrap();
        if let Ok(token) = guard.permit(authorized, &headers, Some(&body)) {
            assert!(token.scopes().contains("base"));
            let messages = McpMessages::read(&body).unwrap();
            for message in messages.iter() {
                assert!(message.method() != Some("tools/call") || message.target() == Some("read"));
            }
        }
    }
    let refused = guard.bind(&presented, Err(TokenError::Unavailable), &Method::POST, now);
    let http = refused.unwrap_err().into_http();
    assert_eq!(http.headers()["cache-control"], "no-store");
}
