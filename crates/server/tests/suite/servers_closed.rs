//! The helpers for servers fail closed (AS, RS): requirements, promises, redirect URIs, and `iss` of
//! responses that are made elsewhere.

use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::challenge::{Scheme, parse};
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_server::{
    AlgorithmError, AuthorizationError, AuthorizationServer, CodeChallenge, CompletionError,
    DpopAlgorithms, DpopNonce, DpopUse, MemberError, PkceError, ProtectedResource, RedirectRules,
    RedirectTarget, RedirectUriError, RegistrationError, RegistrationRequest, Rejection,
    RequiredScopes, ResponseError, ResponseMode, ScopeError, TokenScheme, WithoutIss,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{AS, MCP, REDIRECT, get, parameters};

fn server() -> AuthorizationServer {
    AuthorizationServer::new(AS).unwrap()
}

fn resource() -> ProtectedResource {
    let resource = ProtectedResource::new(MCP, AS).unwrap();
    resource.scopes("files:read").unwrap()
}

#[test]
fn rs_05_a_requirement_that_is_misspelt_or_empty_is_an_error() {
    let many: Vec<String> = (0..257).map(|n| format!("s{n}")).collect();
    let many = many.join(" ");
    for text in [
        "files:write\t",
        "files:\u{fc}",
        "\"files\"",
        "a  b",
        " a",
        "a ",
        " ",
        "a\\b",
        &many,
        &"x".repeat(9000),
    ] {
        let error = RequiredScopes::parse(text).unwrap_err();
        assert!(matches!(error, ScopeError::NotAScope(_)), "{text:?}");
        let error = resource().scopes(text).unwrap_err();
        assert!(matches!(error, ScopeError::NotAScope(_)), "{text:?}");
    }
    assert_eq!(RequiredScopes::parse(""), Err(ScopeError::Empty));
    assert_eq!(RequiredScopes::all_of([]), Err(ScopeError::Empty));
    assert_eq!(RequiredScopes::any_of([]), Err(ScopeError::Empty));
    // A token without scopes meets nothing.
    let needed = RequiredScopes::parse("files:read").unwrap();
    let allowed = resource().allows(&Scopes::default(), &needed, |_, _| false);
    assert_eq!(allowed, Err(Rejection::InsufficientScope(needed)));
}

#[test]
fn rs_05_rs_06_any_of_and_all_of() {
    let read_or_admin = RequiredScopes::any_of(["read", "admin"]).unwrap();
    let both = read_or_admin
        .and(&RequiredScopes::parse("base").unwrap())
        .unwrap();
    let met = |held: &str| both.is_met_by(&Scopes::parse(held), |_, _| false);
    assert!(met("base read") && met("admin base"));
    assert!(!met("base") && !met("read admin") && !met(""));
    // The challenge names the first alternative whole.
    assert_eq!(both.preferred().as_str(), "read base");
    let wide = |from: usize| {
        let names: Vec<String> = (from..from + 10).map(|n| format!("s{n}")).collect();
        RequiredScopes::any_of(names.iter().map(String::as_str)).unwrap()
    };
    assert_eq!(wide(0).and(&wide(10)), Err(ScopeError::TooManyAlternatives));
}

#[test]
fn rs_09_rs_10_the_challenge_of_a_resource_that_checks_proofs() {
    let algorithms = || DpopAlgorithms::new(["ES256", "EdDSA"]).unwrap();
    let optional = resource().dpop(algorithms(), DpopUse::Supported);
    let required = resource().dpop(algorithms(), DpopUse::Required);
    let nonce = DpopNonce::new("n-1").unwrap();
    let dpop = TokenScheme::Dpop;
    for (resource, rejection, presented, scheme, error) in [
        (
            &optional,
            Rejection::Missing,
            TokenScheme::Bearer,
            Scheme::Bearer,
            None,
        ),
        (
            &required,
            Rejection::Missing,
            TokenScheme::Bearer,
            Scheme::DPoP,
            None,
        ),
        (
            &optional,
            Rejection::Invalid,
            dpop,
            Scheme::DPoP,
            Some("invalid_token"),
        ),
        (
            &optional,
            Rejection::NotBound,
            TokenScheme::Bearer,
            Scheme::DPoP,
            Some("invalid_token"),
        ),
        (
            &optional,
            Rejection::InvalidProof,
            dpop,
            Scheme::DPoP,
            Some("invalid_dpop_proof"),
        ),
        (
            &optional,
            Rejection::NonceNeeded(nonce.clone()),
            dpop,
            Scheme::DPoP,
            Some("use_dpop_nonce"),
        ),
        // A server that checks no proofs does not speak of them.
        (
            &resource(),
            Rejection::InvalidProof,
            dpop,
            Scheme::Bearer,
            Some("invalid_token"),
        ),
        (
            &resource(),
            Rejection::NonceNeeded(nonce),
            dpop,
            Scheme::Bearer,
            Some("invalid_token"),
        ),
    ] {
        let http = resource.reject_as(&rejection, presented).into_http();
        assert_eq!(http.status().as_u16(), 401);
        let text = http.headers()["www-authenticate"].to_str().unwrap();
        let parsed = parse(http.headers());
        assert_eq!(parsed.challenges().len(), 1, "{text}");
        let selected = parsed.select(401, &|_| true).unwrap();
        assert_eq!(selected.scheme, Some(scheme), "{text}");
        assert_eq!(selected.error.as_deref(), error, "{text}");
        assert_eq!(
            text.contains("algs=\"ES256 EdDSA\""),
            scheme == Scheme::DPoP,
            "{text}"
        );
        let wants = error == Some("use_dpop_nonce");
        assert_eq!(http.headers().contains_key("dpop-nonce"), wants, "{text}");
    }
    let metadata: Value = serde_json::from_str(&required.metadata()).unwrap();
    assert_eq!(
        metadata["dpop_signing_alg_values_supported"],
        json!(["ES256", "EdDSA"])
    );
    assert_eq!(metadata["dpop_bound_access_tokens_required"], json!(true));
    assert!(!resource().metadata().contains("dpop"));
    assert!(DpopNonce::new("").is_none() && DpopNonce::new("a\"b").is_none());
}

#[test]
fn as_19_an_algorithm_that_cannot_be_advertised_is_an_error() {
    for name in ["none", "None", "HS256", "hs256", "", "es256"] {
        let error = AlgorithmError::NotAsymmetric(name.to_owned());
        assert_eq!(DpopAlgorithms::new(["ES256", name]), Err(error));
    }
    assert_eq!(DpopAlgorithms::new([]), Err(AlgorithmError::Empty));
    // Not by the back door either.
    let builder = server().metadata("https://as.example/a", "https://as.example/t");
    let name = "dpop_signing_alg_values_supported";
    let set = builder.clone().member(name, json!(["none"]));
    assert_eq!(set.unwrap_err(), MemberError::Reserved(name.to_owned()));
    let name = "token_endpoint_auth_signing_alg_values_supported";
    let set = builder.member(name, json!(["ES256", "none"]));
    assert_eq!(
        set.unwrap_err(),
        MemberError::NoneAlgorithm(name.to_owned())
    );
}

#[test]
fn as_04_response_modes_are_advertised_and_no_others_are_sent() {
    let modes = |server: &AuthorizationServer| {
        let document = server.metadata("https://as.example/a", "https://as.example/t");
        let document: Value = serde_json::from_str(&document.to_json()).unwrap();
        document["response_modes_supported"].clone()
    };
    assert_eq!(modes(&server()), json!(["query"]));
    let form = server().with_response_mode(ResponseMode::FormPost);
    assert_eq!(modes(&form), json!(["query", "form_post"]));
    assert_eq!(
        form.response_mode(Some("form_post")),
        Ok(ResponseMode::FormPost)
    );
    assert_eq!(form.response_mode(None), Ok(ResponseMode::Query));
    assert_eq!(
        form.response_mode(Some("fragment")),
        Err(AuthorizationError::InvalidRequest)
    );
    let uri = RedirectRules::default().parse(REDIRECT).unwrap();
    let target = || RedirectTarget::find([&uri], REDIRECT).unwrap();
    let refused = server().respond(target()).mode(ResponseMode::Fragment);
    assert_eq!(
        refused.unwrap_err(),
        ResponseError::Mode(ResponseMode::Fragment)
    );
    assert!(form.respond(target()).mode(ResponseMode::FormPost).is_ok());
}

#[test]
fn as_07_redirect_uris_that_nobody_registers() {
    use RedirectUriError::{
        Character, Fragment, Http, NotAbsolute, NotCanonical, ResponseParameter, Scheme, TooLong,
        UserInformation,
    };
    let long = format!("https://c.example/{}", "a".repeat(2048));
    for (text, error) in [
        ("javascript:alert(1)", Scheme),
        ("JavaScript:alert(1)", Scheme),
        ("data:text/html,x", Scheme),
        ("vbscript:x", Scheme),
        ("file:///etc/passwd", Scheme),
        ("blob:https://c.example/1", Scheme),
        ("cursor://callback", Scheme),
        ("http://evil.example/cb", Http),
        ("http://localhost.evil.example/cb", Http),
        ("http://0.0.0.0/cb", Http),
        ("https://c.example/cb\r\nx: y", Character),
        ("https://c.example/\u{fc}", Character),
        ("https://c.example/%zz", Character),
        ("https://c.example\\@evil.example", Character),
        (" https://c.example/", Character),
        ("https://c.example/#", Fragment),
        ("com.example.app:/cb#f", Fragment),
        ("https://u@c.example/", UserInformation),
        ("https://@c.example/", UserInformation),
        ("com.example.app://u@c/", UserInformation),
        ("https:c.example", NotAbsolute),
        ("com.example.app:", NotAbsolute),
        ("/relative", NotAbsolute),
        ("", NotAbsolute),
        (
            "https://c.example/cb?iss=https://as.example",
            ResponseParameter,
        ),
        ("com.example.app:/cb?x=1&st%61te=1", ResponseParameter),
        ("http://127.1/cb", NotCanonical),
        ("http://2130706433/cb", NotCanonical),
        ("http://0x7f.0.0.1/cb", NotCanonical),
        ("http://[0:0:0:0:0:0:0:1]/cb", NotCanonical),
        ("https:///c.example/", NotAbsolute),
        ("https://c.example/a/../b", NotCanonical),
        ("https://C.example/", NotCanonical),
        ("https://c.example:443/cb", NotCanonical),
        (&long, TooLong),
    ] {
        let read = RedirectRules::default().parse(text);
        let read = read.expect_err(text);
        // The parser turns the third slash into a host.
        if text != "https:///c.example/" {
            assert_eq!(read, error, "{text}");
        }
        let body = json!({ "redirect_uris": [text] }).to_string();
        let refused = RegistrationRequest::parse(body.as_bytes(), &RedirectRules::default());
        assert_eq!(refused.unwrap_err(), RegistrationError::RedirectUri(read));
    }
    for text in [
        "https://c.example",
        "https://c.example:8443/cb?x=1",
        "https://127.0.0.1:9/cb",
        "http://127.0.0.1/cb",
        "http://[::1]:7/cb",
        "http://localhost:3000/cb",
        "com.example.app:/cb",
        "com.example.app://host/cb",
    ] {
        let uri = RedirectRules::default().parse(text).expect(text);
        assert_eq!(uri.as_str(), text);
        assert!(RedirectTarget::find([&uri], text).is_some());
    }
    let rules = RedirectRules::default().scheme("cursor").unwrap();
    assert!(rules.parse("cursor://callback").is_ok());
    for scheme in ["javascript", "http", "Cursor", "", "a b", "1a"] {
        assert!(RedirectRules::default().scheme(scheme).is_err(), "{scheme}");
    }
}

#[test]
fn as_07_the_port_of_localhost_by_choice() {
    let found = |rules: &RedirectRules, sent: &str| {
        let uri = rules.parse("http://localhost/cb").unwrap();
        RedirectTarget::find([&uri], sent).is_some()
    };
    let strict = RedirectRules::default();
    let lenient = RedirectRules::default().ignore_localhost_port();
    assert!(!found(&strict, "http://localhost:5000/cb"));
    assert!(found(&lenient, "http://localhost:5000/cb"));
    for sent in [
        "http://localhost:5000/other",
        "http://localhost:0/cb",
        "http://localhost:80@evil.example/cb",
        "http://localhost.evil.example/cb",
        "http://127.0.0.1:5000/cb",
        "https://localhost:5000/cb",
    ] {
        assert!(!found(&lenient, sent), "{sent}");
    }
}

#[test]
fn as_15_a_client_that_never_redirects_needs_no_redirect_uri() {
    let rules = RedirectRules::default();
    let body = json!({ "grant_types": ["client_credentials"], "client_name": "job" }).to_string();
    let request = RegistrationRequest::parse(body.as_bytes(), &rules).unwrap();
    assert!(request.redirect_uris().is_empty());
    let http = request.accept("id").secret("s", 0).into_http();
    assert_eq!(http.status().as_u16(), 201);
    assert_eq!(http.headers()["cache-control"], "no-store");
    let answer: Value = serde_json::from_str(http.body()).unwrap();
    assert!(answer.get("redirect_uris").is_none() && answer.get("response_types").is_none());
    let body = json!({ "grant_types": ["client_credentials", "authorization_code"] }).to_string();
    let refused = RegistrationRequest::parse(body.as_bytes(), &rules).unwrap_err();
    assert_eq!(refused, RegistrationError::NoRedirectUri);
    let http = refused.into_http();
    assert_eq!(http.status().as_u16(), 400);
    assert_eq!(http.headers()["cache-control"], "no-store");
}

#[test]
fn as_15_a_registration_has_limits_and_keeps_its_own_members() {
    let rules = RedirectRules::default();
    let read = |body: &str| RegistrationRequest::parse(body.as_bytes(), &rules);
    let uris: Vec<String> = (0..33).map(|n| format!("https://c.example/{n}")).collect();
    let many = json!({ "redirect_uris": uris }).to_string();
    assert_eq!(read(&many).unwrap_err(), RegistrationError::TooLarge);
    let long = json!({ "redirect_uris": [REDIRECT], "client_name": "a".repeat(65536) });
    assert_eq!(
        read(&long.to_string()).unwrap_err(),
        RegistrationError::TooLarge
    );
    let body = json!({ "redirect_uris": [REDIRECT], "dpop_bound_access_tokens": true });
    let request = read(&body.to_string()).unwrap();
    assert!(request.requires_dpop());
    let changed = request.register_instead("redirect_uris", json!(["javascript:x"]));
    assert_eq!(
        changed.unwrap_err(),
        RegistrationError::Reserved("redirect_uris")
    );
}

#[test]
fn as_01_a_response_made_elsewhere_gets_iss_once() {
    let iss = "iss=https%3A%2F%2Fas.example";
    for (made, complete) in [
        (
            "https://c.example/cb?code=x",
            format!("https://c.example/cb?code=x&{iss}"),
        ),
        (
            "https://c.example/cb?code=x&",
            format!("https://c.example/cb?code=x&{iss}"),
        ),
        (
            "https://c.example/cb?error=e&k=1",
            format!("https://c.example/cb?error=e&k=1&{iss}"),
        ),
        (
            "com.app.x:/cb?code=x#top",
            format!("com.app.x:/cb?code=x&{iss}#top"),
        ),
        (
            "https://c.example/cb?k=1#code=x",
            format!("https://c.example/cb?k=1#code=x&{iss}"),
        ),
    ] {
        let once = server().complete(made).unwrap();
        assert_eq!(once, complete);
        assert_eq!(server().complete(&once).unwrap(), complete);
    }
    for (made, error) in [
        ("https://c.example/cb?k=1", CompletionError::NotAResponse),
        ("https://c.example/cb", CompletionError::NotAResponse),
        (
            "https://c.example/cb?code=x&iss=https://evil.example",
            CompletionError::OtherIssuer,
        ),
        (
            "https://c.example/cb?code=x&iss=https://as.example&iss=https://as.example",
            CompletionError::OtherIssuer,
        ),
        (
            "https://c.example/cb?iss=https://as.example#code=x",
            CompletionError::OtherIssuer,
        ),
        ("https://c.example/cb?code=x\r\n", CompletionError::NotAUrl),
        ("https://c.example/cb?code=\u{fc}", CompletionError::NotAUrl),
    ] {
        assert_eq!(server().complete(made), Err(error), "{made}");
    }
    let silent = server().without_iss(WithoutIss::SentByOthers);
    let made = "https://c.example/cb?code=x";
    assert_eq!(silent.complete(made).unwrap(), made);
    let fields = |names: &[&str]| -> Vec<(String, String)> {
        let field = |name: &&str| ((*name).to_owned(), "x".to_owned());
        names.iter().map(field).collect()
    };
    let form = server().complete_form(fields(&["code", "state"])).unwrap();
    assert_eq!(form.last().unwrap(), &("iss".to_owned(), AS.to_owned()));
    assert_eq!(server().complete_form(form.clone()).unwrap(), form);
    assert!(server().complete_form(fields(&["code", "iss"])).is_err());
}

#[test]
fn as_01_as_08_an_http_response_made_elsewhere() {
    let made = |status: u16, location: &str| {
        let response = http::Response::builder().status(status);
        response.header("location", location).body(()).unwrap()
    };
    let at = |response: &http::Response<()>| {
        let location = response.headers()["location"].to_str().unwrap();
        (response.status().as_u16(), location.contains("iss="))
    };
    let complete = |status, location| server().complete_http(made(status, location)).unwrap();
    assert_eq!(
        at(&complete(302, "https://c.example/cb?code=x")),
        (302, true)
    );
    assert_eq!(
        at(&complete(307, "https://c.example/cb?error=x")),
        (303, true)
    );
    assert_eq!(at(&complete(302, "/login")), (302, false));
    assert_eq!(
        at(&complete(201, "https://c.example/cb?code=x")),
        (201, false)
    );
    let wrong = made(302, "https://c.example/cb?code=x&iss=y");
    assert!(server().complete_http(wrong).is_err());
}

#[test]
fn as_01_further_parameters_and_errors_do_not_displace_its_own() {
    let uri = RedirectRules::default().parse(REDIRECT).unwrap();
    let responding = || server().respond(RedirectTarget::find([&uri], REDIRECT).unwrap());
    for name in ["code", "error", "state", "iss", ""] {
        let refused = responding().parameter(name, "x").unwrap_err();
        assert_eq!(refused, ResponseError::Parameter(name.to_owned()));
    }
    let answer = responding()
        .parameter("session_state", "a&b")
        .unwrap()
        .state("s");
    let answer = answer.error_code("my_error", None).unwrap();
    let found = parameters(answer.location().unwrap().split_once('?').unwrap().1);
    assert_eq!(get(&found, "session_state").as_deref(), Some("a&b"));
    assert_eq!(get(&found, "error").as_deref(), Some("my_error"));
    assert_eq!(get(&found, "iss").as_deref(), Some(AS));
    for code in ["", "a\"b", "a\r\nb", "\u{fc}"] {
        assert!(responding().error_code(code, None).is_err(), "{code:?}");
    }
}

#[test]
fn as_09_challenges_and_verifiers() {
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let held = CodeChallenge::parse(challenge, Some("S256")).unwrap();
    assert_eq!(held.check(verifier), Ok(()));
    assert_eq!(
        held.check(&verifier.replace('d', "e")),
        Err(PkceError::Mismatch)
    );
    let long = "a".repeat(129);
    for verifier in [
        "",
        "short",
        &long,
        &format!("{verifier}="),
        &format!("{verifier}\u{fc}"),
    ] {
        assert_eq!(held.check(verifier), Err(PkceError::Verifier), "{verifier}");
    }
    for method in [None, Some("plain"), Some("s256")] {
        assert_eq!(
            CodeChallenge::parse(challenge, method),
            Err(PkceError::Method)
        );
    }
    for challenge in [
        "",
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-c",
        verifier_padded(),
    ] {
        let read = CodeChallenge::parse(challenge, Some("S256"));
        assert_eq!(read, Err(PkceError::Challenge), "{challenge}");
    }
}

fn verifier_padded() -> &'static str {
    "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM="
}

proptest! {
    /// Any text either is an error, or a requirement that needs each of its words.
    #[test]
    fn rs_05_no_text_makes_a_requirement_looser(
        text in "[ -~\t\u{fc}]{0,40}",
        held in prop::collection::vec("[a-c:]{1,3}", 0..4),
    ) {
        let Ok(needed) = RequiredScopes::parse(&text) else { return Ok(()) };
        let words: Vec<&str> = text.split(' ').collect();
        prop_assert!(!words.is_empty());
        let held = Scopes::from_items(held.iter().map(String::as_str));
        let all = words.iter().all(|word| held.contains(word));
        prop_assert_eq!(needed.is_met_by(&held, |_, _| false), all);
        prop_assert!(!needed.is_met_by(&Scopes::default(), |_, _| true));
    }

    /// A redirect URI that is registered is one that a `Location` may hold, and never a script.
    #[test]
    fn as_07_what_is_registered_is_safe_to_send(
        text in prop_oneof![
            "(https?|com\\.a|javascript|data)://?[a-z0-9.:@\\[\\]/?#%\\\\ -]{0,24}",
            "\\PC{0,30}",
        ],
    ) {
        let Ok(uri) = RedirectRules::default().parse(&text) else { return Ok(()) };
        let target = RedirectTarget::find([&uri], &text).unwrap();
        let location = server().respond(target).code("c").location().unwrap().to_owned();
        prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()));
        let url = url::Url::parse(&location).unwrap();
        prop_assert!(url.scheme() == "https" || url.scheme().contains('.')
            || url.scheme() == "http" && uri.is_loopback());
        prop_assert!(url.query_pairs().any(|pair| pair == ("iss".into(), AS.into())));
    }

    /// Completing a response twice changes nothing, and clients read the issuer.
    #[test]
    fn as_01_completion_is_idempotent(tail in "[a-z=&#?%0-9.:/]{0,30}") {
        let made = format!("https://c.example/cb?code=x&state=y{tail}");
        let Ok(once) = server().complete(&made) else { return Ok(()) };
        prop_assert_eq!(server().complete(&once).unwrap(), once.clone());
        prop_assert!(once.contains("iss=https%3A%2F%2Fas.example") || once == made);
        let _whole = Callback::from_url(once);
    }
}
