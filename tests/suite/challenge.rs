//! `WWW-Authenticate` (CHAL), by the worked table and rule by rule.

use http::{HeaderMap, HeaderValue};
use mcp_auth_machine::Action;
use mcp_auth_machine::error::{Cause, Misconfiguration, Refusal};
use mcp_auth_machine::wire::challenge::{
    MAX_CHALLENGES, MAX_HEADER_BYTES, MAX_PARAMETERS, MAX_VALUE_BYTES, Scheme, Selected, parse,
};
use proptest::prelude::*;

use crate::support::*;

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
        headers.append("www-authenticate", value);
    }
    headers
}

fn select(status: u16, lines: &[&str]) -> Option<Selected<'static>> {
    let headers = Box::leak(Box::new(headers(lines)));
    parse(headers).select(status, &|text| text.starts_with("https://"))
}

fn scopes(selected: &Option<Selected<'_>>) -> Vec<String> {
    let scope = selected.as_ref().and_then(|s| s.scope.as_ref());
    scope.map_or(Vec::new(), |s| s.iter().map(str::to_owned).collect())
}

fn places(selected: &Option<Selected<'_>>) -> Vec<String> {
    selected.as_ref().map_or(Vec::new(), |s| {
        let places = s.resource_metadata().iter();
        places.map(|place| place.as_ref().to_owned()).collect()
    })
}

#[test]
fn chal_01_to_chal_12_worked_table() {
    type Row = (
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
    );
    let rows: &[Row] = &[
        (
            &[
                r#"Bearer resource_metadata="https://h/.well-known/oauth-protected-resource/mcp", scope="files:read files:write""#,
            ],
            &["https://h/.well-known/oauth-protected-resource/mcp"],
            &["files:read", "files:write"],
        ),
        (
            &[r#"bEaReR Resource_Metadata = "https://h/p""#],
            &["https://h/p"],
            &[],
        ),
        (&["Bearer"], &[], &[]),
        (&["Negotiate YII=", r#"Bearer scope="a""#], &[], &["a"]),
        (
            &[r#"Basic realm="x", Bearer realm="y", scope="a b""#],
            &[],
            &["a", "b"],
        ),
        (
            &[r#"Bearer realm="gw", Bearer resource_metadata="https://h/p", scope="s""#],
            &["https://h/p"],
            &["s"],
        ),
        (
            &[
                r#"Bearer error="invalid_token", error_description="use \"scope=admin\", scope=root", scope="a""#,
            ],
            &[],
            &["a"],
        ),
        (&[r#"Bearer scope="a\"b c""#], &[], &["c"]),
        (&[r#"Bearer resource_metadata="https://h/x"#], &[], &[]),
        (
            &[r#"DPoP algs="ES256 PS256", resource_metadata="https://h/p""#],
            &["https://h/p"],
            &[],
        ),
        (&[r#"Bearer, DPoP algs="ES256""#], &[], &[]),
        (
            &["Bearer resource_metadata=https://h/p, scope=a"],
            &["https://h/p"],
            &["a"],
        ),
        (
            &[
                r#"Bearer resource_metadata="https://h/p1", error="invalid_token", resource_metadata="https://h/p2""#,
            ],
            &["https://h/p1", "https://h/p2"],
            &[],
        ),
        (&[r#"Bearer ,, scope="a" , "#], &[], &["a"]),
    ];
    for (lines, wanted_places, wanted_scopes) in rows {
        let selected = select(401, lines);
        assert_eq!(places(&selected), *wanted_places, "{lines:?}");
        assert_eq!(scopes(&selected), *wanted_scopes, "{lines:?}");
    }
}

#[test]
fn chal_02_chal_04_descriptions_are_text() {
    let line = r#"Bearer error="invalid_token", error_description="use \"scope=admin\", scope=root", scope="a""#;
    let selected = select(401, &[line]).unwrap();
    let description = selected.error_description.unwrap();
    assert_eq!(description.as_plain(), r#"use "scope=admin", scope=root"#);
    assert_eq!(selected.error.as_deref(), Some("invalid_token"));
}

#[test]
fn chal_04_an_unterminated_string_drops_its_challenge_and_keeps_those_before() {
    for broken in [r#"Bearer scope="b"#, r#"Bearer scope="b\"#] {
        let line = format!(r#"Bearer scope="a", {broken}"#);
        assert_eq!(scopes(&select(401, &[&line])), ["a"], "{line}");
        assert_eq!(select(401, &[broken]), None);
    }
}

#[test]
fn chal_06_chal_10_token68_bare_schemes_and_unknown_parameters() {
    let lines = [r#"Negotiate YII==, Custom, Bearer realm="r", what="ever", scope="a""#];
    let all = headers(&lines);
    let parsed = parse(&all);
    assert_eq!(parsed.challenges().len(), 3);
    assert_eq!(parsed.challenges()[0].token68.as_deref(), Some("YII=="));
    assert_eq!(scopes(&select(401, &lines)), ["a"]);
    assert_eq!(select(401, &["Negotiate YII=="]), None);
}

#[test]
fn chal_07_dpop_22_one_challenge_is_selected() {
    // (a) on 403 the one that asks for scopes; its places are not mixed with another's.
    let lines =
        [r#"Bearer resource_metadata="https://h/p", Bearer error="insufficient_scope", scope="w""#];
    let selected = select(403, &lines).unwrap();
    assert_eq!(selected.scope.as_ref().unwrap().as_str(), "w");
    assert!(selected.resource_metadata().is_empty());
    // (b) on 401 the one with a usable place; (c) else the first.
    assert_eq!(places(&select(401, &lines)), ["https://h/p"]);
    let unusable = [r#"Bearer scope="a", Bearer resource_metadata="ftp://x", scope="b""#];
    assert_eq!(scopes(&select(401, &unusable)), ["a"]);
    // A place under another scheme is a hint, and nothing else of it counts.
    let foreign = [r#"Custom resource_metadata="https://h/hint", scope="evil", Bearer scope="a""#];
    let selected = select(401, &foreign);
    assert_eq!(places(&selected), ["https://h/hint"]);
    assert_eq!(scopes(&selected), ["a"]);
    let own =
        [r#"Custom resource_metadata="https://h/hint", Bearer resource_metadata="https://h/own""#];
    assert_eq!(places(&select(401, &own)), ["https://h/own"]);
    let dpop = select(401, &[r#"DPoP resource_metadata="https://h/p", scope="s""#]).unwrap();
    assert_eq!(dpop.scheme, Some(Scheme::DPoP));
    assert_eq!(dpop.scope.unwrap().as_str(), "s");
}

#[test]
fn chal_08_e05_repetitions() {
    let selected = select(
        401,
        &[r#"Bearer scope="a", scope="b", error="x", error="x""#],
    )
    .unwrap();
    assert_eq!(selected.scope, None);
    assert_eq!(selected.dropped, ["scope"]);
    assert_eq!(selected.error.as_deref(), Some("x"));
    let mut host = Host::new(config());
    host.challenged(401, &[r#"Bearer scope="a", scope="b""#]);
    assert_eq!(host.reported("challenge_parameters_dropped"), 1);
}

#[test]
fn chal_09_quirk_29_deviations_are_tolerated() {
    let selected = select(
        401,
        &["Bearer resource_metadata='https://h/p', scope='a b'"],
    );
    assert_eq!(places(&selected), ["https://h/p"]);
    assert_eq!(scopes(&selected), ["a", "b"]);
}

#[test]
fn chal_03_chal_05_case_and_white_space() {
    let selected = select(401, &["BEARER\tSCOPE \t=\t\"A a\" ,\t, ERROR=\"E\""]);
    assert_eq!(scopes(&selected), ["A", "a"]);
    assert_eq!(selected.unwrap().error.as_deref(), Some("E"));
}

#[test]
fn a_line_that_is_not_utf_8_is_read_like_any_other() {
    let mut all = headers(&["Basic realm=\"first\""]);
    let line = b"Negotiate YII==, Bearer realm=\"caf\xe9\", scope=\"a b\", resource_metadata=\"https://h/p\"";
    all.append("www-authenticate", HeaderValue::from_bytes(line).unwrap());
    let parsed = parse(&all);
    let schemes: Vec<&str> = parsed.challenges().iter().map(|one| &*one.scheme).collect();
    assert_eq!(schemes, ["Basic", "Negotiate", "Bearer"]);
    assert_eq!(parsed.challenges()[1].token68.as_deref(), Some("YII=="));
    let selected = parsed.select(401, &|_| true);
    assert_eq!(places(&selected), ["https://h/p"]);
    assert_eq!(scopes(&selected), ["a", "b"]);
}

#[test]
fn chal_11_g04_limits() {
    let many = vec!["Bearer"; MAX_CHALLENGES + 8].join(", ");
    assert_eq!(parse(&headers(&[&many])).challenges().len(), MAX_CHALLENGES);
    let long = format!(
        r#"Bearer scope="a", Bearer realm="{}""#,
        "x".repeat(MAX_HEADER_BYTES)
    );
    let all = headers(&[&long]);
    assert_eq!(parse(&all).challenges().len(), 1);
    let value = format!(r#"Bearer scope="{}""#, "x".repeat(MAX_VALUE_BYTES + 1));
    assert_eq!(select(401, &[&value]), None);
    let parameters: String = (0..MAX_PARAMETERS).map(|n| format!("p{n}=x, ")).collect();
    let full = format!("Bearer {parameters}scope=\"late\", Bearer scope=\"a\"");
    let all = headers(&[&full]);
    assert_eq!(parse(&all).challenges()[0].parameters.len(), MAX_PARAMETERS);
    assert!(scopes(&select(401, &[&full])).is_empty());
}

#[test]
fn chal_12_scopes_are_cleaned() {
    assert_eq!(
        scopes(&select(401, &["Bearer scope=\"b  a b \u{e9} c\\\\d e\""])),
        ["b", "a", "e"]
    );
}

/// The URL of the first request after this challenge and the user's consent.
fn first_request(challenge: &str) -> String {
    let mut host = Host::new(config());
    host.ask(challenge);
    host.request().request().uri().to_string()
}

#[test]
fn chal_13_chal_15_unusable_places_count_as_absent() {
    for place in [
        "javascript:alert(1)",
        "http://mcp.example/p",
        "https://user@mcp.example/p",
        "https://mcp.example/p#f",
        "https://127.0.0.1/p",
        "//evil.example/x",
        "",
    ] {
        let challenge = format!("Bearer resource_metadata=\"{place}\"");
        assert_eq!(first_request(&challenge), PRM, "{place}");
    }
    assert_eq!(
        first_request(r#"Bearer resource_metadata="/meta""#),
        "https://mcp.example/meta"
    );
}

#[test]
fn chal_15_a_401_without_a_usable_challenge_still_starts() {
    for lines in [&[][..], &["Basic realm=\"x\""], &["\"garbage"], &[",,,"]] {
        let mut host = Host::new(config());
        host.challenged(401, lines);
        host.need_user();
        host.authorize();
        assert_eq!(host.request().request().uri().to_string(), PRM);
    }
}

#[test]
fn use_12_quirk_23_other_answers_start_nothing() {
    let mut host = Host::new(config());
    for status in [200, 302, 404, 405, 500, 503] {
        host.challenged(status, &[r#"Bearer scope="a""#]);
        host.quiet();
    }
    assert_eq!(host.reported("answer_ignored"), 6);
    host.challenged(403, &[]);
    assert_eq!(
        host.error().cause,
        Cause::Refused(Refusal::Forbidden { description: None })
    );
    host.challenged(400, &[r#"Bearer error="invalid_request""#]);
    assert_eq!(
        host.error().cause,
        Cause::Refused(Refusal::InvalidRequest { description: None })
    );
    host.challenged(400, &[]);
    host.quiet();
}

#[test]
fn a_challenge_that_binds_tokens_to_a_key_alone_is_refused_with_a_reason() {
    let mut host = Host::new(config());
    host.challenged(401, &[r#"DPoP algs="ES256""#]);
    let wanted = Cause::Misconfigured(Misconfiguration::DpopRequired);
    assert_eq!(host.error().cause, wanted);
    host.challenged(401, &[r#"Bearer, DPoP algs="ES256""#]);
    host.need_user();
}

proptest! {
    #[test]
    fn chal_02_sec_17_any_bytes_are_read_without_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut all = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            all.append("www-authenticate", value);
        }
        let parsed = parse(&all);
        let _selected = parsed.select(403, &|_| true);
        prop_assert!(parsed.challenges().len() <= MAX_CHALLENGES);
    }

    #[test]
    fn chal_04_a_quoted_string_is_read_back(values in prop::collection::vec("[ -~]{0,20}", 1..5)) {
        let quote = |text: &String| text.replace('\\', "\\\\").replace('"', "\\\"");
        let parameters: Vec<String> =
            values.iter().enumerate().map(|(n, v)| format!("p{n}=\"{}\"", quote(v))).collect();
        let line = format!("Other token68==, Bearer {}", parameters.join(", "));
        let all = headers(&[&line]);
        let parsed = parse(&all);
        let found: Vec<String> =
            parsed.challenges()[1].parameters.iter().map(|(_, v)| v.to_string()).collect();
        prop_assert_eq!(found, values);
    }
}

#[test]
fn authz_a_challenge_that_leaves_something_out_erases_nothing() {
    let mut host = Host::new(config());
    host.challenged(
        401,
        &[&format!("Bearer resource_metadata=\"{PRM}x\", scope=\"a\"")],
    );
    host.need_user();
    host.ask("Bearer");
    host.serve(&format!("{PRM}x"), 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    assert_eq!(host.redirect().scopes.as_str(), "a");
    assert!(!matches!(host.actions.front(), Some(Action::Error(_))));
}
