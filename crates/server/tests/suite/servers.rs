//! The helpers for servers (AS, RS), and that the machine reads back what they emit.

use http::{HeaderMap, HeaderValue};
use mcp_auth_machine::Config;
use mcp_auth_machine::wire::challenge::{Scheme, parse};
use mcp_auth_machine::wire::resource::ResourceDocument;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::server::ServerDocument;
use mcp_auth_server::{
    AuthorizationError, AuthorizationServer, DpopAlgorithms, IssuerError, Presented,
    PresentedError, ProtectedResource, RedirectRules, RedirectTarget, RedirectUri,
    RedirectUriError, RegistrationError, RegistrationRequest, Rejection, RequiredScopes,
    ResourceError, ResponseMode, ScopeError, WithoutIss,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use mcp_auth_testing::{TestHost, documents};

use crate::common::{AS, MCP, PRM, REDIRECT, REGISTER, TOKEN, get, parameters};

fn server() -> AuthorizationServer {
    AuthorizationServer::new(AS)
        .unwrap()
        .with_response_mode(ResponseMode::Fragment)
        .with_response_mode(ResponseMode::FormPost)
}

fn registered(uri: &str) -> RedirectUri {
    RedirectRules::default().parse(uri).unwrap()
}

fn target() -> RedirectTarget {
    RedirectTarget::find([&registered(REDIRECT)], REDIRECT).unwrap()
}

fn needs(scopes: &str) -> RequiredScopes {
    RequiredScopes::parse(scopes).unwrap()
}

fn resource() -> ProtectedResource {
    ProtectedResource::new(MCP, AS)
        .unwrap()
        .scopes("files:read")
        .unwrap()
}

#[test]
fn as_02_issuers_that_are_none() {
    for (text, flaw) in [
        ("as.example", IssuerError::NotAbsolute),
        ("http://as.example", IssuerError::Scheme),
        ("https://as.example?x=1", IssuerError::Parts),
        ("https://as.example/#x", IssuerError::Parts),
        ("https://user@as.example", IssuerError::Parts),
        ("https://AS.example", IssuerError::NotCanonical),
        ("https://as.example:443", IssuerError::NotCanonical),
        ("https://as.example/a/../b", IssuerError::NotCanonical),
    ] {
        assert_eq!(AuthorizationServer::new(text).unwrap_err(), flaw, "{text}");
    }
    for text in [
        "https://as.example",
        "https://as.example/",
        "https://as.example/t",
        "http://127.0.0.1:9",
    ] {
        assert_eq!(AuthorizationServer::new(text).unwrap().issuer(), text);
    }
}

#[test]
fn as_01_as_03_every_response_carries_the_issuer_of_the_metadata() {
    for mode in [
        ResponseMode::Query,
        ResponseMode::Fragment,
        ResponseMode::FormPost,
    ] {
        let respond = || server().respond(target()).state("s&1").mode(mode).unwrap();
        let answers = [
            respond().code("c"),
            respond().error(AuthorizationError::AccessDenied, Some("no \"thanks\"\r\n")),
            respond().error(AuthorizationError::ServerError, None),
        ];
        for answer in answers {
            let http = answer.into_http();
            let (found, status) = match http.headers().get("location") {
                Some(url) => {
                    let url = url.to_str().unwrap();
                    let (_, answer) = url.split_once(['?', '#']).unwrap();
                    (parameters(answer), 303)
                }
                None => (form_fields(http.body()), 200),
            };
            assert_eq!(http.status().as_u16(), status);
            assert_eq!(http.headers()["cache-control"], "no-store");
            assert_eq!(get(&found, "iss").as_deref(), Some(AS), "{mode:?}");
            assert_eq!(get(&found, "state").as_deref(), Some("s&1"));
            assert_ne!(
                get(&found, "code").is_some(),
                get(&found, "error").is_some()
            );
            if let Some(text) = get(&found, "error_description") {
                assert_eq!(text, "no thanks");
            }
        }
    }
}

/// The fields of the form in a page.
fn form_fields(page: &str) -> Vec<(String, String)> {
    page.split("<input type=\"hidden\" name=\"")
        .skip(1)
        .map(|field| {
            let (name, rest) = field.split_once("\" value=\"").unwrap();
            let value = rest.split_once("\">").unwrap().0;
            let value = value
                .replace("&quot;", "\"")
                .replace("&#39;", "'")
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&");
            (name.to_owned(), value)
        })
        .collect()
}

#[test]
fn as_03_advertising_and_emitting_are_one_switch() {
    for reason in [
        None,
        Some(WithoutIss::OptedOut),
        Some(WithoutIss::SentByOthers),
    ] {
        let server = match reason {
            None => server(),
            Some(reason) => server().without_iss(reason),
        };
        assert_eq!(server.lacks_iss(), reason);
        let document: Value = serde_json::from_str(
            &server
                .metadata("https://as.example/a", "https://as.example/t")
                .to_json(),
        )
        .unwrap();
        let advertised = document.get("authorization_response_iss_parameter_supported");
        let response = server.respond(target()).code("c");
        let emitted = response.location().unwrap().contains("iss=");
        assert_eq!(advertised == Some(&json!(true)), emitted);
        assert_eq!(emitted, reason.is_none());
    }
    // Not by the back door either.
    let builder = server().metadata("https://as.example/a", "https://as.example/t");
    for name in [
        "issuer",
        "authorization_response_iss_parameter_supported",
        "code_challenge_methods_supported",
    ] {
        builder.clone().member(name, json!(true)).unwrap_err();
    }
}

#[test]
fn as_04_as_19_metadata_that_the_machine_reads() {
    let document = server()
        .metadata("https://as.example/authorize", "https://as.example/token")
        .registration_endpoint("https://as.example/register")
        .revocation_endpoint("https://as.example/revoke")
        .grant_types(["authorization_code", "refresh_token"])
        .token_auth_methods(["none"])
        .scopes(["a", "b"])
        .client_id_metadata_documents()
        .dpop_algorithms(&DpopAlgorithms::new(["ES256"]).unwrap())
        .member("op_policy_uri", json!("https://as.example/policy"))
        .unwrap()
        .to_json();
    assert_eq!(
        ServerDocument::parse(document.as_bytes()).unwrap().issuer(),
        Some(AS)
    );
    let members: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(members["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(
        members["dpop_signing_alg_values_supported"],
        json!(["ES256"])
    );
    assert_eq!(
        members["client_id_metadata_document_supported"],
        json!(true)
    );
    // A whole sign-in with it.
    let mut host = TestHost::new(Config::builder(MCP, REDIRECT));
    host.refused(401, "Bearer");
    host.need_user();
    host.authorize();
    host.serve(PRM, 200, &resource().metadata());
    host.serve(documents::METADATA, 200, &document);
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    let redirect = host.redirect();
    let response = server()
        .respond(target())
        .state(&documents::parameter(redirect.url.as_str(), "state").unwrap())
        .code("x");
    let callback = response.location().unwrap().to_owned();
    host.handle(mcp_auth_machine::Event::CallbackParams(
        mcp_auth_machine::wire::callback::Callback::from_url(callback),
    ));
    host.serve(TOKEN, 200, &documents::token("at"));
    let grant = host.ready();
    host.finish();
    assert_eq!(
        grant.iss_binding,
        mcp_auth_machine::wire::callback::IssBinding::Verified
    );
}

#[test]
fn as_04_the_places_to_serve_it_at() {
    let paths = |issuer: &str| {
        let server = AuthorizationServer::new(issuer).unwrap();
        server
            .metadata_paths()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        paths("https://as.example"),
        [
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration"
        ]
    );
    assert_eq!(
        paths("https://as.example/tenant"),
        [
            "/.well-known/oauth-authorization-server/tenant",
            "/.well-known/openid-configuration/tenant",
            "/tenant/.well-known/openid-configuration"
        ]
    );
}

#[test]
fn as_07_redirect_uris_match_exactly_but_for_a_loopback_port() {
    let found = |uri: &str, sent: &str| RedirectTarget::find([&registered(uri)], sent).is_some();
    assert!(found("https://c.example/cb", "https://c.example/cb"));
    assert!(found("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb"));
    assert!(found(
        "http://127.0.0.1:1/cb?x=1",
        "http://127.0.0.1:2/cb?x=1"
    ));
    assert!(found("http://[::1]:1/cb", "http://[::1]:2/cb"));
    for (registered, sent) in [
        ("https://c.example/cb", "https://c.example/cb/"),
        ("https://c.example/cb", "https://c.example/cb?x=1"),
        ("https://c.example/cb", "https://c.example:443/cb"),
        ("https://c.example/cb", "https://c.example/CB"),
        ("https://c.example/cb", "http://c.example/cb"),
        ("http://localhost:1/cb", "http://localhost:2/cb"),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:2/other"),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1.evil.example/cb"),
        (
            "http://127.0.0.1:1/cb",
            "http://127.0.0.1:2@evil.example/cb",
        ),
        ("http://127.0.0.1/cb", "http://[::1]/cb"),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:99999/cb"),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:/cb"),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:02/cb"),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:2/cb#f"),
        ("https://127.0.0.1:1/cb", "https://127.0.0.1:2/cb"),
    ] {
        assert!(!found(registered, sent), "{registered} {sent}");
    }
}

#[test]
fn as_08_a_303_that_keeps_the_query_of_the_redirect_uri() {
    let uri = "https://c.example/cb?keep=1";
    let target = RedirectTarget::find([&registered(uri)], uri).unwrap();
    let response = server().respond(target).code("c");
    assert_eq!(
        response.location(),
        Some("https://c.example/cb?keep=1&code=c&iss=https%3A%2F%2Fas.example")
    );
    assert_eq!(response.into_http().status().as_u16(), 303);
}

#[test]
fn as_15_the_answer_holds_every_registered_value() {
    let rules = RedirectRules::default();
    let body = json!({
        "redirect_uris": [REDIRECT],
        "client_name": "A \u{e9}",
        "scope": "a b",
        "contacts": ["x@y.example"],
        "application_type": "native",
        "unknown": 1,
        "tos_uri": null,
        "logo_uri": "",
        "response_types": [],
    });
    let request = RegistrationRequest::parse(body.to_string().as_bytes(), &rules).unwrap();
    assert_eq!(request.text("client_name"), Some("A \u{e9}"));
    let answer = request.accept("id-1").issued_at(7).secret("s", 0).to_json();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    for (name, value) in [
        ("client_id", json!("id-1")),
        ("client_id_issued_at", json!(7)),
        ("client_secret", json!("s")),
        ("client_secret_expires_at", json!(0)),
        ("redirect_uris", json!([REDIRECT])),
        ("scope", json!("a b")),
        ("contacts", json!(["x@y.example"])),
        ("grant_types", json!(["authorization_code"])),
        ("response_types", json!(["code"])),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
    ] {
        assert_eq!(answer[name], value, "{name}");
    }
    for name in ["unknown", "tos_uri", "logo_uri"] {
        assert!(answer.get(name).is_none(), "{name}");
    }
    for (body, flaw) in [
        ("[]", RegistrationError::NotAnObject),
        ("{}", RegistrationError::NoRedirectUri),
        (
            r#"{"redirect_uris":["/relative"]}"#,
            RegistrationError::RedirectUri(RedirectUriError::NotAbsolute),
        ),
        (
            r#"{"redirect_uris":["https://c.example/#f"]}"#,
            RegistrationError::RedirectUri(RedirectUriError::Fragment),
        ),
        (
            r#"{"redirect_uris":"x"}"#,
            RegistrationError::Type("redirect_uris"),
        ),
        (
            r#"{"redirect_uris":["https://c.example/"],"client_name":1}"#,
            RegistrationError::Type("client_name"),
        ),
        (
            r#"{"redirect_uris":["https://c.example/"],"client_uri":"javascript:alert(1)"}"#,
            RegistrationError::Url("client_uri"),
        ),
        (
            r#"{"redirect_uris":["https://c.example/"],"jwks_uri":"http://169.254.169.254/"}"#,
            RegistrationError::Url("jwks_uri"),
        ),
    ] {
        assert_eq!(
            RegistrationRequest::parse(body.as_bytes(), &rules).unwrap_err(),
            flaw,
            "{body}"
        );
        assert!(flaw.to_json().contains(flaw.code()));
    }
}

#[test]
fn rs_01_rs_07_rs_11_metadata_from_configuration() {
    let resource = resource()
        .scopes("a b")
        .unwrap()
        .name("Files")
        .authorization_server("https://b.example")
        .unwrap();
    assert_eq!(
        resource.metadata_path(),
        "/.well-known/oauth-protected-resource/mcp"
    );
    let text = resource.metadata();
    let document = ResourceDocument::parse(text.as_bytes()).unwrap();
    assert_eq!(document.resource(), Some(MCP));
    assert_eq!(
        document.authorization_servers().collect::<Vec<_>>(),
        [AS, "https://b.example"]
    );
    assert_eq!(document.scopes_supported().unwrap().as_str(), "a b");
    assert!(document.accepts_header());
    for identifier in [
        "mcp.example",
        "http://mcp.example/mcp",
        "https://mcp.example/mcp#x",
        "https://u@mcp.example/mcp",
        "https://MCP.example/mcp",
    ] {
        let flaw = ProtectedResource::new(identifier, AS).unwrap_err();
        assert_eq!(flaw, ResourceError::Identifier, "{identifier}");
    }
    assert_eq!(
        ProtectedResource::new(MCP, "http://as.example").unwrap_err(),
        ResourceError::Issuer(IssuerError::Scheme)
    );
    let root = ProtectedResource::new("https://mcp.example", AS).unwrap();
    assert_eq!(
        root.metadata_path(),
        "/.well-known/oauth-protected-resource"
    );
}

#[test]
fn rs_02_rs_03_rs_04_rs_05_refusals_that_the_machine_understands() {
    let needed = needs("files:read files:write");
    for (refused, status, error, scope) in [
        (Rejection::Missing, 401, None, "files:read"),
        (Rejection::Invalid, 401, Some("invalid_token"), "files:read"),
        (Rejection::Expired, 401, Some("invalid_token"), "files:read"),
        (
            Rejection::Malformed,
            400,
            Some("invalid_request"),
            "files:read",
        ),
        (
            Rejection::InsufficientScope(needed),
            403,
            Some("insufficient_scope"),
            "files:read files:write",
        ),
    ] {
        let answer = resource().reject(&refused);
        assert_eq!(answer.status().as_u16(), status);
        let mut headers = HeaderMap::new();
        headers.insert("www-authenticate", answer.www_authenticate().unwrap());
        let http = answer.into_http();
        assert_eq!(
            http.headers()["www-authenticate"],
            headers["www-authenticate"]
        );
        assert_eq!(http.headers()["cache-control"], "no-store");
        let parsed = parse(&headers);
        assert_eq!(parsed.challenges().len(), 1);
        let selected = parsed.select(status, &|_| true).unwrap();
        assert_eq!(selected.scheme, Some(Scheme::Bearer));
        assert_eq!(selected.error.as_deref(), error);
        assert_eq!(selected.scope.as_ref().unwrap().as_str(), scope);
        assert_eq!(selected.resource_metadata().len(), 1);
        assert_eq!(&*selected.resource_metadata()[0], PRM);
        assert!(selected.dropped.is_empty());
    }
}

#[test]
fn rs_07_no_challenge_asks_for_offline_access() {
    for text in ["offline_access", "offline_access a", "a offline_access"] {
        assert_eq!(RequiredScopes::parse(text), Err(ScopeError::OfflineAccess));
        assert_eq!(
            resource().scopes(text).unwrap_err(),
            ScopeError::OfflineAccess
        );
    }
}

#[test]
fn rs_05_rs_06_what_an_operation_needs_is_named_at_once() {
    let held = Scopes::parse("files:admin");
    let needed = needs("files:read files:write mail:send");
    let implies = |held: &str, needed: &str| held == "files:admin" && needed.starts_with("files:");
    assert_eq!(
        resource().allows(&held, &needed, implies),
        Err(Rejection::InsufficientScope(needed.clone()))
    );
    let files = needs("files:read files:write");
    assert_eq!(resource().allows(&held, &files, implies), Ok(()));
    assert!(resource().allows(&held, &files, |_, _| false).is_err());
}

#[test]
fn rs_08_rs_09_use_02_what_is_presented() {
    let read = |fields: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Presented::from_headers(&headers)
    };
    assert!(read(&[]).unwrap().is_none());
    assert!(read(&[("authorization", "Basic abc")]).unwrap().is_none());
    let presented = read(&[("authorization", "bEARER  t0ken")])
        .unwrap()
        .unwrap();
    assert!(matches!(&presented, Presented::Bearer(token) if **token == "t0ken"));
    assert!(!format!("{presented:?}").contains("t0ken"));
    let presented = read(&[("authorization", "DPoP t"), ("dpop", "a.b.c")])
        .unwrap()
        .unwrap();
    assert!(matches!(&presented, Presented::Dpop { proof, .. } if **proof == "a.b.c"));
    for fields in [
        &[("authorization", "Bearer")][..],
        &[("authorization", "Bearer a b")],
        &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
    ] {
        assert_eq!(read(fields).unwrap_err(), PresentedError::Malformed);
    }
    for fields in [
        &[("authorization", "DPoP t")][..],
        &[("authorization", "DPoP t"), ("dpop", "a"), ("dpop", "b")],
    ] {
        assert_eq!(read(fields).unwrap_err(), PresentedError::Proof);
    }
    assert_eq!(
        Rejection::from(PresentedError::Malformed),
        Rejection::Malformed
    );
    assert_eq!(
        Rejection::from(PresentedError::Proof),
        Rejection::InvalidProof
    );
}

proptest! {
    #[test]
    fn what_the_helpers_emit_is_read_back(
        code in "[!-~]{1,60}",
        state in ".{0,40}",
        scopes in prop::collection::vec("[!#-\\[\\]-~]{1,12}", 0..8),
        path in "(/[a-z0-9._~-]{1,8}){0,3}",
    ) {
        // The response, by each mode.
        for mode in [ResponseMode::Query, ResponseMode::Fragment, ResponseMode::FormPost] {
            let http = server().respond(target()).state(&state).mode(mode).unwrap().code(&code).into_http();
            let found = match http.headers().get("location") {
                Some(url) => parameters(url.to_str().unwrap().split_once(['?', '#']).unwrap().1),
                None => form_fields(http.body()),
            };
            prop_assert_eq!(get(&found, "code"), Some(code.clone()));
            prop_assert_eq!(get(&found, "state"), Some(state.clone()));
            prop_assert_eq!(get(&found, "iss"), Some(AS.to_owned()));
        }
        // Metadata and challenge of a resource.
        let identifier = format!("https://mcp.example{path}");
        let Ok(resource) = ProtectedResource::new(&identifier, AS) else {
            // Dot segments are no canonical spelling.
            prop_assert!(path.contains("/."));
            return Ok(());
        };
        let wanted = Scopes::from_items(
            scopes.iter().map(String::as_str).filter(|scope| *scope != "offline_access"),
        );
        if wanted.is_empty() {
            return Ok(());
        }
        let resource = resource.scopes(wanted.as_str()).unwrap();
        let text = resource.metadata();
        let document = ResourceDocument::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(document.resource(), Some(identifier.as_str()));
        prop_assert_eq!(document.scopes_supported().unwrap_or_default(), wanted.clone());
        let answer = resource.reject(&Rejection::InsufficientScope(needs(wanted.as_str())));
        let mut headers = HeaderMap::new();
        headers.insert("www-authenticate", answer.www_authenticate().unwrap());
        let selected = parse(&headers).select(403, &|_| true).unwrap();
        prop_assert_eq!(selected.scope.clone().unwrap_or_default(), wanted);
        let place = selected.resource_metadata().first().map(ToString::to_string).unwrap();
        prop_assert!(place.ends_with(resource.metadata_path()));
    }
}
