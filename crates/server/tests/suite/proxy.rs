//! The proxy for upstream servers without registration (AS-16, SEC-27).

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{
    AuthorizationError, ClientRequest, CodeChallenge, PendingUpstream, ProxyError, RedirectRules,
    RedirectTarget, UpstreamProxy,
};
use url::form_urlencoded::Serializer;

use crate::issuer::NOW;

const UPSTREAM: &str = "https://up.example";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const RANDOM: (&[u8; 32], &[u8; 32]) = (&[2; 32], &[3; 32]);

fn proxy() -> UpstreamProxy {
    UpstreamProxy::new(
        UPSTREAM,
        "https://up.example/authorize?tenant=1",
        "the one client",
        "https://proxy.example/callback",
        &[9; 32],
    )
    .unwrap()
}

fn request() -> ClientRequest {
    let uri = "http://127.0.0.1:7/cb";
    let registered = RedirectRules::default().parse(uri).unwrap();
    let target = RedirectTarget::find([&registered], uri).unwrap();
    let challenge = CodeChallenge::parse(CHALLENGE, Some("S256")).unwrap();
    ClientRequest::new(
        "https://app.example/c.json",
        &target,
        &Scopes::parse("a b"),
        challenge,
    )
    .client_name("<script>alert(1)</script>")
    .state("s-1")
}

/// The consent page of a request: its cookie and the sealed request.
fn asked(proxy: &UpstreamProxy, random: u8) -> (String, String) {
    let page = proxy.ask(&request(), "/consent", &[random; 32], NOW);
    let cookie = page.headers()["set-cookie"].to_str().unwrap();
    let (cookie, attributes) = cookie.split_once(';').unwrap();
    for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
        assert!(attributes.contains(attribute), "{attributes}");
    }
    assert!(cookie.starts_with("__Host-") && !attributes.contains("Domain"));
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"));
    assert_eq!(page.headers()["cache-control"], "no-store");
    let text = page.body();
    assert!(!text.contains("<script>"), "{text}");
    for shown in ["app.example", "127.0.0.1", "a b", "&lt;script&gt;"] {
        assert!(text.contains(shown), "{shown}");
    }
    let (_, rest) = text.split_once("name=\"request\" value=\"").unwrap();
    (
        cookie.to_owned(),
        rest.split_once('"').unwrap().0.to_owned(),
    )
}

fn headers(cookies: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert("content-type", form);
    for cookie in cookies {
        headers.append("cookie", HeaderValue::from_str(cookie).unwrap());
    }
    headers
}

fn form(sealed: &str, decision: &str) -> Vec<u8> {
    let pairs = [("request", sealed), ("decision", decision)];
    let text = Serializer::new(String::new()).extend_pairs(pairs).finish();
    text.into_bytes()
}

fn approved(proxy: &UpstreamProxy) -> (PendingUpstream, String, String) {
    let (cookie, sealed) = asked(proxy, 1);
    let approved = proxy.approve(&headers(&[&cookie]), &form(&sealed, "approve"), RANDOM, NOW);
    let (pending, redirect) = approved.unwrap();
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    (pending, location, cookie)
}

#[test]
fn as_16_sec_27_nothing_goes_upstream_before_a_consent_in_this_browser() {
    let proxy = proxy();
    let (cookie, sealed) = asked(&proxy, 1);
    let (other, elsewhere) = asked(&proxy, 4);
    let late = NOW + Duration::from_secs(600);
    let forged = UpstreamProxy::new(
        UPSTREAM,
        UPSTREAM,
        "c",
        "https://proxy.example/cb",
        &[8; 32],
    );
    let (_, forged) = asked(&forged.unwrap(), 1);
    let changed = format!("A{}", &sealed[1..]);
    for (cookies, sealed, decision, now, error) in [
        (vec![], &sealed, "approve", NOW, ProxyError::Consent),
        (vec![&*other], &sealed, "approve", NOW, ProxyError::Consent),
        (
            vec![&*cookie, &*other],
            &sealed,
            "approve",
            NOW,
            ProxyError::Consent,
        ),
        (
            vec![&*cookie],
            &elsewhere,
            "approve",
            NOW,
            ProxyError::Consent,
        ),
        (vec![&*cookie], &forged, "approve", NOW, ProxyError::Consent),
        (
            vec![&*cookie],
            &changed,
            "approve",
            NOW,
            ProxyError::Consent,
        ),
        (
            vec![&*cookie],
            &sealed,
            "approve",
            late,
            ProxyError::Consent,
        ),
        (
            vec![&*cookie],
            &sealed,
            "decline",
            NOW,
            ProxyError::Declined(Box::new(request())),
        ),
        (
            vec![&*cookie],
            &sealed,
            "",
            NOW,
            ProxyError::Declined(Box::new(request())),
        ),
    ] {
        let found = proxy.approve(&headers(&cookies), &form(sealed, decision), RANDOM, now);
        assert_eq!(found.unwrap_err(), error, "{cookies:?} {decision}");
    }
    let (_, location, _) = approved(&proxy);
    let url = url::Url::parse(&location).unwrap();
    assert_eq!(url.origin().ascii_serialization(), UPSTREAM);
    let get = |name: &str| {
        let found = url.query_pairs().find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned())
    };
    assert_eq!(get("tenant").as_deref(), Some("1"));
    assert_eq!(get("client_id").as_deref(), Some("the one client"));
    assert_eq!(
        get("redirect_uri").as_deref(),
        Some("https://proxy.example/callback")
    );
    assert_eq!(get("code_challenge_method").as_deref(), Some("S256"));
    // The client's own state and challenge stay here.
    assert_ne!(get("state").as_deref(), Some("s-1"));
    assert_ne!(get("code_challenge").as_deref(), Some(CHALLENGE));
}

#[test]
fn as_16_the_callback_belongs_to_one_approval_in_one_browser() {
    let proxy = proxy();
    let (pending, location, cookie) = approved(&proxy);
    let url = url::Url::parse(&location).unwrap();
    let (_, state) = url.query_pairs().find(|(name, _)| name == "state").unwrap();
    assert_eq!(PendingUpstream::key_of(&state), pending.key());
    let stored = serde_json::to_string(&pending).unwrap();
    assert!(!stored.contains(&*state));
    let pending = || serde_json::from_str::<PendingUpstream>(&stored).unwrap();
    let complete = |cookies: &[&str], query: &str, now| {
        pending().complete(&proxy, &headers(cookies), query, now)
    };
    let good = format!("code=up-1&state={state}");
    let code = complete(&[&cookie], &good, NOW).unwrap();
    assert_eq!(code.code, "up-1");
    assert_eq!(code.request, request());
    let late = NOW + Duration::from_secs(600);
    for (cookies, query, now, error) in [
        (vec![], good.clone(), NOW, ProxyError::Callback),
        (
            vec!["__Host-consent=x"],
            good.clone(),
            NOW,
            ProxyError::Callback,
        ),
        (
            vec![&*cookie],
            "code=up-1&state=s-1".to_owned(),
            NOW,
            ProxyError::Callback,
        ),
        (
            vec![&*cookie],
            "code=up-1".to_owned(),
            NOW,
            ProxyError::Callback,
        ),
        (
            vec![&*cookie],
            format!("{good}&code=2"),
            NOW,
            ProxyError::Callback,
        ),
        (
            vec![&*cookie],
            format!("state={state}"),
            NOW,
            ProxyError::Callback,
        ),
        (
            vec![&*cookie],
            format!("state={state}&code="),
            NOW,
            ProxyError::Callback,
        ),
        (
            vec![&*cookie],
            format!("{good}&error=access_denied"),
            NOW,
            ProxyError::Callback,
        ),
        (
            vec![&*cookie],
            format!("state={state}&error=access_denied&error_description=%3Cscript%3E"),
            NOW,
            ProxyError::Upstream(Box::new(request()), AuthorizationError::AccessDenied),
        ),
        (vec![&*cookie], good.clone(), late, ProxyError::Callback),
        (
            vec![&*cookie],
            format!("{good}&iss=https://evil.example"),
            NOW,
            ProxyError::Issuer,
        ),
        (
            vec![&*cookie],
            format!("error=x&state={state}"),
            NOW,
            ProxyError::Upstream(Box::new(request()), AuthorizationError::ServerError),
        ),
    ] {
        assert_eq!(
            complete(&cookies, &query, now).unwrap_err(),
            error,
            "{query}"
        );
    }
    let strict = proxy.clone().upstream_sends_iss();
    let missing = pending().complete(&strict, &headers(&[&cookie]), &good, NOW);
    assert_eq!(missing.unwrap_err(), ProxyError::Issuer);
    let with = format!("{good}&iss=https%3A%2F%2Fup.example");
    assert!(
        pending()
            .complete(&strict, &headers(&[&cookie]), &with, NOW)
            .is_ok()
    );
}

#[test]
fn as_16_parameters_of_the_proxy_are_not_doubled_by_its_configuration() {
    let secret = &[1; 32];
    for (endpoint, fits) in [
        ("https://up.example/authorize?tenant=1", true),
        ("http://127.0.0.1:9/authorize", true),
        ("http://up.example/authorize", false),
        ("https://user@up.example/authorize", false),
        ("https://up.example/authorize#x", false),
        ("https://up.example/authorize?state=x", false),
        ("https://up.example/authorize?redirect%5furi=x", false),
        ("javascript:alert(1)", false),
    ] {
        let made = UpstreamProxy::new(UPSTREAM, endpoint, "c", "https://p.example/cb", secret);
        assert_eq!(made.is_ok(), fits, "{endpoint}");
    }
}

/// AS-06, AS-16: names that look like others, and redirect URIs that every program can have.
#[test]
fn as_06_as_16_the_page_shows_what_it_says_and_warns_of_local_programs() {
    let proxy = proxy();
    let shown = |name: &str, uri: &str| {
        let rules = RedirectRules::default().scheme("cursor").unwrap();
        let registered = rules.parse(uri).unwrap();
        let target = RedirectTarget::find([&registered], uri).unwrap();
        let challenge = CodeChallenge::parse(CHALLENGE, Some("S256")).unwrap();
        let request = ClientRequest::new("c-1", &target, &Scopes::parse("a"), challenge);
        let request = request.client_name(name);
        proxy.ask(&request, "/consent", &[1; 32], NOW).into_body()
    };
    let page = shown(
        "Bank\u{202e}\u{200b}\n\u{feff} & Co",
        "https://app.example/cb",
    );
    assert!(page.contains("<p>Bank &amp; Co wants"), "{page}");
    assert!(!page.contains("on this computer"));
    for local in [
        "http://127.0.0.1/cb",
        "http://localhost:7/cb",
        "http://[::1]/cb",
    ] {
        assert!(shown("x", local).contains("on this computer"), "{local}");
    }
    // The host of a private scheme is nobody's.
    let page = shown("x", "cursor://bank.example/cb");
    assert!(page.contains("<dd>cursor:</dd>"), "{page}");
}
