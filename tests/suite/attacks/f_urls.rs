//! URLs that must not be contacted or opened, in every place where a server can put one (1.F).

use proptest::prelude::*;

use mcp_auth_machine::config::Config;
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::wire::url::{UrlFlaw, UrlPolicy};
use mcp_auth_machine::{Failure, IssuerId, MetadataFlaw};

use super::*;

const PRIVATE: [&str; 18] = [
    "https://127.0.0.1",
    "https://10.1.2.3",
    "https://172.16.0.1",
    "https://192.168.0.1",
    "https://169.254.169.254",
    "https://[::1]",
    "https://[fc00::1]",
    "https://[fe80::1]",
    "https://metadata.google.internal",
    "https://0x7f.1",
    "https://017700000001",
    "https://2130706433",
    "https://[::ffff:10.0.0.1]",
    "https://[::ffff:a00:1]",
    "https://[64:ff9b::a00:1]",
    "https://localhost.",
    "https://a.localhost",
    "https://0.0.0.0",
];

/// Metadata in which this endpoint is elsewhere; how discovery ends.
fn endpoint(member: &str, url: &str) -> Result<Host, Failure> {
    let own = match member {
        "authorization_endpoint" => "https://as.example/authorize",
        "token_endpoint" => TOKEN,
        _ => REGISTER,
    };
    let document = metadata_with(ADVERTISED).replace(own, url);
    assert_ne!(document, metadata_with(ADVERTISED));
    let mut host = Host::new(config());
    host.discover(&prm(), &document);
    let openid = "https://as.example/.well-known/openid-configuration";
    let again = host.actions.front().is_some_and(
        |action| matches!(action, Action::SendRequest(send) if *send.request().uri() == openid),
    );
    if again {
        host.serve(openid, 404, "");
        return Err(host.error());
    }
    Ok(host)
}

#[track_caller]
fn refused(member: &str, url: &str) -> UrlFlaw {
    match endpoint(member, url).err().map(|failure| failure.cause) {
        Some(Cause::Violation(Violation::Metadata(MetadataFlaw::Endpoint { flaw, .. }))) => flaw,
        other => panic!("{member} {url}: {other:?}"),
    }
}

#[test]
fn f01_a_browser_opens_https_and_nothing_else() {
    for url in [
        "javascript:alert(1)",
        "javascript://as.example/%0aalert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "ms-msdt:/id",
        "ms-settings://x",
        "http://as.example/authorize",
        "blob:https://as.example/x",
        "view-source:https://as.example/",
    ] {
        let flaw = refused("authorization_endpoint", url);
        assert!(
            matches!(flaw, UrlFlaw::Scheme | UrlFlaw::NotAbsolute),
            "{url}: {flaw:?}"
        );
    }
}

#[test]
fn f02_the_opened_url_has_no_shell_metacharacter() {
    for url in [
        "https://as.example/`calc`",
        r#"https://as.example/\"&calc&\""#,
        "https://as.example/a^b",
        "https://as.example/a|calc",
        "https://as.example/%USERPROFILE%",
        "https://as.example/%PATH%",
        "https://as.example/a<b>",
        "-https://as.example/",
        "https://as.example/{a}",
    ] {
        assert!(endpoint("authorization_endpoint", url).is_err(), "{url}");
    }
    let odd = "https://as.example/$(calc)/'a'/!b;c?d=$HOME&e=(f)";
    let mut host = endpoint("authorization_endpoint", odd).unwrap();
    host.serve(REGISTER, 201, r#"{"client_id":"$(id)`id`'|\"<>^ -x"}"#);
    let redirect = host.redirect();
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-._~%:/?#@!*,;=&+".contains(c);
    let url = redirect.url.as_str();
    assert!(url.chars().all(harmless), "{url}");
    assert!(url.starts_with("https://as.example/%24%28calc%29/%27a%27/!b;c?d=%24HOME&e=%28f%29&"));
}

#[test]
fn f03_f04_no_place_inside_is_contacted_whoever_names_it() {
    for place in PRIVATE {
        let mut host = Host::new(config());
        host.challenged(401, &[&format!("Bearer resource_metadata=\"{place}/x\"")]);
        assert_eq!(host.reported("place_refused"), 1, "{place}");
        host.need_user();
        host.authorize();
        host.serve_with(PRM, 302, &[("location", &format!("{place}/x"))], "");
        let root = "https://mcp.example/.well-known/oauth-protected-resource";
        host.serve(root, 200, &prm_of(place));
        let cause = host.error().cause;
        assert_eq!(
            cause,
            Cause::Violation(Violation::NoAuthorizationServer),
            "{place}"
        );
        host.quiet();
        for member in [
            "authorization_endpoint",
            "token_endpoint",
            "registration_endpoint",
        ] {
            let flaw = refused(member, &format!("{place}/x"));
            assert!(matches!(flaw, UrlFlaw::Address(_)), "{place}: {flaw:?}");
        }
    }
    for (place, flaw) in [
        (
            "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/x",
            UrlFlaw::Character,
        ),
        ("https://127%2e0.0.1/x", UrlFlaw::Character),
        (
            "https://127\u{3002}0\u{3002}0\u{3002}1/x",
            UrlFlaw::Character,
        ),
    ] {
        assert_eq!(refused("token_endpoint", place), flaw, "{place}");
    }
}

#[test]
fn f07_f08_an_issuer_is_spelled_as_it_is_sent() {
    for entry in [
        "https://good@as.example",
        "https://as.example#a",
        "https://as.example?a",
        "https://as.example/a/../b",
        "https://as.example/./a",
        "https://as.example/%2e%2e/a",
        "https://as.example\\\\a",
        "https:\\\\\\\\as.example",
        "https://as.example/a\\tb",
        "https://as.example/a\\nb",
        " https://as.example",
        "https:///as.example",
        "https://as.example:443",
        "HTTPS://as.example",
        "https://as.example:0",
        "https://as.example:99999",
    ] {
        let mut host = Host::new(config());
        asked(&mut host);
        host.serve(PRM, 200, &prm_of(entry));
        let cause = host.error().cause;
        assert_eq!(
            cause,
            Cause::Violation(Violation::NoAuthorizationServer),
            "{entry}"
        );
        host.quiet();
    }
    // An empty segment is a place of its own, and no other.
    let mut host = Host::new(config());
    asked(&mut host);
    host.serve(PRM, 200, &prm_of("https://as.example//x"));
    let first = host.request().request().uri().to_string();
    assert_eq!(
        first,
        "https://as.example/.well-known/oauth-authorization-server//x"
    );
}

#[test]
fn user_information_is_refused_even_when_it_is_empty() {
    for information in ["@", ":@", "user@", ":word@", "user:word@", "good.example@"] {
        let url = format!("https://{information}as.example/token");
        assert_eq!(refused("token_endpoint", &url), UrlFlaw::UserInfo, "{url}");
    }
}

#[test]
fn f09_international_names_are_compared_and_shown_as_ascii() {
    const ASCII: &str = "https://xn--s-zfa.example";
    let (policy, _) = UrlPolicy::for_mcp_url(MCP).unwrap();
    for look_alike in [
        "https://\u{430}s.example",
        "https://\u{e4}s.example",
        "https://a\u{200d}s.example",
        "https://\u{ff41}s.example",
        "https://xn--as-.example",
        "https://xn--as.example",
        "https://xn--.example",
        "https://XN--s-zfa.example",
    ] {
        let found = IssuerId::new(look_alike, &policy);
        assert!(found.is_err(), "{look_alike}: {found:?}");
    }
    assert_eq!(IssuerId::new(ASCII, &policy).unwrap().as_str(), ASCII);
    // The document spells it in its own script: not the same bytes.
    let mut host = Host::new(config());
    asked(&mut host);
    host.serve(PRM, 200, &prm_of(ASCII));
    let unicode = metadata_of(ASCII, "").replace(
        &format!("\"issuer\":\"{ASCII}\""),
        "\"issuer\":\"https://\u{e4}s.example\"",
    );
    host.serve(
        &format!("{ASCII}/.well-known/oauth-authorization-server"),
        200,
        &unicode,
    );
    host.serve(
        &format!("{ASCII}/.well-known/openid-configuration"),
        404,
        "",
    );
    assert!(matches!(
        host.error().cause,
        Cause::Violation(Violation::Metadata(MetadataFlaw::Issuer { .. }))
    ));
    // International host names must be given in their ASCII form, which is also what the user sees.
    assert!(
        Config::builder("https://b\u{fc}cher.example/mcp", REDIRECT)
            .build()
            .is_err()
    );
    let mut host = Host::new(config());
    asked(&mut host);
    host.serve(PRM, 200, &prm_of(ASCII));
    let place = format!("{ASCII}/.well-known/oauth-authorization-server");
    host.serve(&place, 200, &metadata_of(ASCII, ""));
    host.serve(
        &format!("{ASCII}/register"),
        201,
        r#"{"client_id":"dyn-1"}"#,
    );
    let redirect = host.redirect();
    assert_eq!(redirect.issuer.as_str(), ASCII);
    assert!(redirect.url.as_str().starts_with(ASCII));
}

#[test]
fn f13_a_place_on_no_origin_is_on_the_resource_or_nowhere() {
    let first = |place: &str| {
        let mut host = Host::new(config());
        host.ask(&format!("Bearer resource_metadata=\"{place}\""));
        host.request().request().uri().to_string()
    };
    assert_eq!(first("/x"), "https://mcp.example/x");
    assert_eq!(first("/../x"), "https://mcp.example/x");
    for nowhere in [
        "//evil.example/x",
        "///evil.example/x",
        "/\\\\evil.example/x",
        "/\t/evil.example/x",
        "x",
        "?x",
        "../x",
        "https:evil.example",
        "https:/evil.example/x",
        ":443/x",
    ] {
        assert_eq!(first(nowhere), PRM, "{nowhere}");
    }
    for target in [
        "/\\evil.example/x",
        "\\\\evil.example\\x",
        "//evil.example/x",
        "/a\\b",
    ] {
        let mut host = Host::new(config());
        asked(&mut host);
        host.serve_with(PRM, 302, &[("location", target)], "");
        let root = "https://mcp.example/.well-known/oauth-protected-resource";
        host.serve(root, 404, "");
        let cause = host.error().cause;
        assert!(
            matches!(cause, Cause::Violation(Violation::PlaceRefused { .. })),
            "{target}"
        );
        host.quiet();
    }
    for relative in ["/token", "token", "//evil.example/token", "?x"] {
        assert_eq!(refused("token_endpoint", relative), UrlFlaw::NotAbsolute);
    }
}

#[test]
fn f10_f11_an_endpoint_cannot_set_our_parameters_or_drown_them() {
    for parameter in [
        "client_id=x",
        "state=x",
        "redirect_uri=x",
        "code_challenge=x",
        "%73cope=x",
    ] {
        let url = format!("https://as.example/authorize?a=b&{parameter}");
        let mut host = endpoint("authorization_endpoint", &url).unwrap();
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
        let cause = host.error().cause;
        assert!(
            matches!(cause, Cause::Violation(Violation::ReservedParameter { .. })),
            "{parameter}"
        );
        host.quiet();
    }
    let long = format!("https://as.example/{}", "a".repeat(8 * 1024));
    for member in [
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
    ] {
        assert_eq!(refused(member, &long), UrlFlaw::TooLong);
    }
}

#[test]
fn f07_f08_a_second_scheme_hides_no_user_information() {
    for url in [
        "https:/user@as.example/x://y",
        "https:/user:word@as.example/x://y/",
        "https:user@as.example/://y",
    ] {
        for member in ["authorization_endpoint", "token_endpoint"] {
            assert_eq!(refused(member, url), UrlFlaw::NotAbsolute, "{url}");
        }
    }
    let plain = "https://as.example/authorize/x://y";
    assert!(endpoint("authorization_endpoint", plain).is_ok());
}

const PIECES: [&str; 40] = [
    "a",
    "b.example",
    "as.example.com",
    "xn--a",
    "..",
    ".",
    "/",
    "//",
    "/.",
    "/./",
    "/../",
    "/..a",
    "/.a",
    "%2e",
    "1",
    "0x7f",
    ":443",
    ":8443",
    ":",
    "?q",
    "?",
    "#f",
    "-",
    "--",
    "A",
    "@",
    "_",
    "~",
    "!",
    "[",
    "a.",
    "a-",
    "-a.b",
    "a.1",
    "localhost",
    "metadata.google.internal",
    "a.localhost",
    "\\",
    " ",
    "token",
];

proptest! {
    /// Most URLs are judged without the parser: it would give back the same.
    #[test]
    fn sec_36_accepted_urls_are_read_alike_by_a_parser(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..8)
    ) {
        let text = format!("https://{}", pieces.concat());
        let (policy, _) = UrlPolicy::for_mcp_url(MCP).unwrap();
        let parsed = url::Url::parse(&text);
        match policy.check(&text) {
            Ok(checked) => {
                let parsed = parsed.unwrap();
                prop_assert_eq!(checked.as_str(), parsed.as_str());
            }
            Err(UrlFlaw::Address(_)) => prop_assert!(parsed.is_ok()),
            Err(_) => {}
        }
    }
}
