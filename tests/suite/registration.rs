//! Having a client identifier (REG), and how the client authenticates (TOK-04 to TOK-07).

use http::Request;
use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::{
    BasicEncoding, ConfigBuilder, ConfigError, DynamicRegistration, IssuerSettings, PreRegistered,
    RefreshTokens, RegistrationSharing,
};
use mcp_auth_machine::error::{Cause, Misconfiguration, Next, Party, Refusal, Violation};
use mcp_auth_machine::remedy::Remedy;
use mcp_auth_machine::wire::words::AuthMethod;
use mcp_auth_machine::{Failure, MethodFlaw};
use serde_json::{Value, json};

use crate::support::*;

const CIMD: &str = "https://client.example/oauth/client.json";

fn found(config: ConfigBuilder, more: &str) -> Host {
    let mut host = Host::new(config);
    host.discover(&prm(), &metadata_with(more));
    host
}

/// Metadata with another list of authentication methods.
pub fn methods(list: &str) -> String {
    metadata().replace(r#"["none"]"#, list)
}

fn json_body(request: &Request<bytes::Bytes>) -> Value {
    serde_json::from_slice(request.body()).unwrap()
}

/// Registers with this answer; the token request that follows, or the failure.
pub fn registered(list: &str, answer: &str) -> Result<Request<bytes::Bytes>, Failure> {
    let mut host = Host::new(config());
    host.discover(&prm(), &methods(list));
    host.serve(REGISTER, 201, answer);
    token_request(host)
}

pub fn token_request(mut host: Host) -> Result<Request<bytes::Bytes>, Failure> {
    match host.next() {
        mcp_auth_machine::Action::Redirect(redirect) => {
            host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
            Ok(copy(host.request().request()))
        }
        mcp_auth_machine::Action::Error(failure) => Err(*failure),
        other => panic!("{other:?}"),
    }
}

pub fn authentication(
    request: &Request<bytes::Bytes>,
) -> (Option<String>, Option<String>, Option<String>) {
    let header = request.headers().get("authorization");
    let form = body(request);
    let header = header.map(|value| value.to_str().unwrap().to_owned());
    (header, get(&form, "client_id"), get(&form, "client_secret"))
}

#[test]
fn reg_01_reg_02_the_order_of_mechanisms() {
    let all = || {
        config()
            .client_metadata_url(CIMD)
            .pre_registered(AS, PreRegistered::new("pre"))
            .dynamic_registration(DynamicRegistration::Always)
    };
    let cimd = r#","client_id_metadata_document_supported":true"#;
    assert_eq!(&*found(all(), cimd).redirect().client_id, "pre");
    let no_pre = config().client_metadata_url(CIMD);
    assert_eq!(&*found(no_pre.clone(), cimd).redirect().client_id, CIMD);
    let mut host = found(no_pre, "");
    host.serve(REGISTER, 201, r#"{"client_id":"dyn"}"#);
    assert_eq!(&*host.redirect().client_id, "dyn");
    let mut host = found(
        config().dynamic_registration(DynamicRegistration::Never),
        "",
    );
    let failure = host.error();
    assert!(matches!(
        failure.cause,
        Cause::Misconfigured(Misconfiguration::NoClient { .. })
    ));
    assert_eq!(failure.next(), Next::FixConfiguration);
}

#[test]
fn reg_05_c10_meta_20_the_metadata_url_is_sent_unchanged_and_only_where_supported() {
    for flag in ["\"true\"", "1", "null", "false"] {
        let more = format!(r#","client_id_metadata_document_supported":{flag}"#);
        let mut host = found(config().client_metadata_url(CIMD), &more);
        host.serve(REGISTER, 201, r#"{"client_id":"dyn"}"#);
    }
    let cimd = r#","client_id_metadata_document_supported":true"#;
    let host = found(config().client_metadata_url(CIMD), cimd);
    let request = token_request(host).unwrap();
    assert_eq!(
        authentication(&request),
        (None, Some(CIMD.to_owned()), None)
    );
}

#[test]
fn reg_03_c13_iso_06_a_configured_client_is_never_replaced_silently() {
    let mut host = found(
        config().pre_registered("https://other.example", PreRegistered::new("x")),
        "",
    );
    let failure = host.error();
    let Cause::Misconfigured(Misconfiguration::OtherIssuer { configured, found }) = failure.cause
    else {
        panic!("{failure:?}")
    };
    assert_eq!(
        (configured[0].as_str(), found.as_str()),
        ("https://other.example", AS)
    );
    host.quiet();
}

#[test]
fn reg_04_k20_a_client_without_issuer_is_bound_durably_and_visibly() {
    let config = std::sync::Arc::new(
        config()
            .pre_registered_unbound(PreRegistered::new("u").secret("s"))
            .build()
            .unwrap(),
    );
    let mut host = Host::on(std::sync::Arc::clone(&config), Store::default());
    host.discover(&prm(), &methods(r#"["client_secret_basic"]"#));
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    assert_eq!(host.reported("client_bound"), 1);
    host.request();
    // Another process, another server: refused, naming both.
    let store = std::mem::take(&mut host.store);
    let mut later = Host::on(config, store);
    let moved = prm().replace(AS, "https://b.example");
    later.ask(&announcing());
    later.serve(PRM, 200, &moved);
    let place = "https://b.example/.well-known/oauth-authorization-server";
    later.serve(place, 200, &metadata_of("https://b.example", ""));
    assert!(matches!(
        later.error().cause,
        Cause::Misconfigured(Misconfiguration::OtherIssuer { .. })
    ));
    later.quiet();
    let two = crate::support::config()
        .pre_registered_unbound(PreRegistered::new("u"))
        .pre_registered(AS, PreRegistered::new("v"))
        .build();
    assert!(matches!(two, Err(ConfigError::UnboundClient)));
}

#[test]
fn reg_17_reg_18_reg_19_reg_20_the_registration_request() {
    let mut host = Host::new(config());
    host.ask(&format!(
        "Bearer resource_metadata=\"{PRM}\", scope=\"a b\""
    ));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let send = host.request();
    let request = send.request();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.headers()["content-type"], "application/json");
    assert_eq!(request.headers()["accept"], "application/json");
    assert_eq!(
        json_body(request),
        json!({
            "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "client_name": "Test client",
            "application_type": "native",
            "scope": "a b",
        })
    );
    let web = mcp_auth_machine::Config::builder(MCP, "https://app.example/cb")
        .refresh_tokens(RefreshTokens::NotWanted);
    let mut host = found(web, "");
    let body = json_body(host.request().request());
    assert_eq!(body["application_type"], "web");
    assert_eq!(body["grant_types"], json!(["authorization_code"]));
    assert!(body.get("scope").is_none());
}

#[test]
fn reg_21_the_method_asked_for() {
    for (list, wanted) in [
        (r#"["none","client_secret_basic"]"#, "none"),
        (
            r#"["client_secret_basic","client_secret_post"]"#,
            "client_secret_post",
        ),
        (r#"["client_secret_basic"]"#, "client_secret_basic"),
        (
            r#"["private_key_jwt","client_secret_basic"]"#,
            "client_secret_basic",
        ),
        (r#"["client_secret_post"]"#, "client_secret_post"),
        ("null", "none"),
    ] {
        let mut host = Host::new(config());
        host.discover(&prm(), &methods(list));
        let body = json_body(host.request().request());
        assert_eq!(body["token_endpoint_auth_method"], wanted, "{list}");
    }
}

#[test]
fn reg_22_reg_28_quirk_12_quirk_25_once_more_without_scope() {
    for (status, refused) in [
        (400, r#"{"error":"invalid_client_metadata"}"#),
        // A server in front of another one that refused.
        (
            500,
            r#"{"error":"server_error","error_description":"Client registration failed: 400"}"#,
        ),
    ] {
        let mut host = Host::new(config().scopes("a"));
        host.discover(&prm(), &metadata());
        let first = host.serve(REGISTER, status, refused);
        assert_eq!(json_body(&first)["scope"], "a");
        let second = host.serve(REGISTER, status, refused);
        assert!(json_body(&second).get("scope").is_none());
        // Two are the limit.
        let failure = host.error();
        assert!(matches!(
            failure.cause,
            Cause::Refused(Refusal::OAuth { code: Some(_), .. })
        ));
        let is_temporary = failure.next() == Next::RetryLater(None);
        assert_eq!(is_temporary, status == 500);
        host.quiet();
    }
}

#[test]
fn reg_23_quirk_13_answers_in_the_field() {
    let ok = |answer: &str| registered(r#"["none"]"#, answer).unwrap();
    let request = ok(r#"{"client_id":"c","client_secret":null,"client_uri":"","scope":null}"#);
    assert_eq!(authentication(&request), (None, Some("c".to_owned()), None));
    // 200 is as good as 201, and no other status is.
    for (status, good) in [(200, true), (201, true), (202, false), (204, false)] {
        let mut host = found(config(), "");
        host.serve(REGISTER, status, r#"{"client_id":"c"}"#);
        let action = host.next();
        let redirected = matches!(action, mcp_auth_machine::Action::Redirect(_));
        assert_eq!(redirected, good, "{status}");
    }
    // A secret although only `none` is offered: not used.
    let request = ok(r#"{"client_id":"c","client_secret":"s"}"#);
    assert_eq!(authentication(&request), (None, Some("c".to_owned()), None));
    for answer in [
        "{}",
        r#"{"client_id":""}"#,
        r#"{"client_id":null}"#,
        r#"{"client_id":7}"#,
        "<html>",
        "[]",
    ] {
        let failure = registered(r#"["none"]"#, answer).err().unwrap();
        assert!(
            matches!(failure.cause, Cause::Violation(Violation::Registration(_))),
            "{answer}"
        );
    }
    let basic = r#"{"client_id":"c","token_endpoint_auth_method":"client_secret_basic"}"#;
    let failure = registered(r#"["client_secret_basic"]"#, basic)
        .err()
        .unwrap();
    let flaw = Violation::RegistrationMethod(MethodFlaw::NoSecret);
    assert_eq!(failure.cause, Cause::Violation(flaw));
}

#[test]
fn reg_24_sec_23_c01_c02_the_values_in_the_response_are_registered() {
    let post = r#"{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"client_secret_post"}"#;
    let request = registered(r#"["client_secret_basic","client_secret_post"]"#, post).unwrap();
    let wanted = (None, Some("c".to_owned()), Some("s".to_owned()));
    assert_eq!(authentication(&request), wanted);
    let evil = r#"{"client_id":"c","redirect_uris":["https://evil.example/cb"]}"#;
    let failure = registered(r#"["none"]"#, evil).err().unwrap();
    assert_eq!(
        failure.cause,
        Cause::Violation(Violation::RedirectUriNotRegistered)
    );
    for (grants, good) in [
        (r#"["authorization_code"]"#, true),
        ("null", true),
        (r#"["refresh_token","client_credentials"]"#, false),
        ("[]", true),
    ] {
        let answer = format!(r#"{{"client_id":"c","grant_types":{grants}}}"#);
        match registered(r#"["none"]"#, &answer) {
            Ok(_) => assert!(good, "{grants}"),
            Err(failure) => {
                assert!(!good, "{grants}");
                assert_eq!(failure.cause, Cause::Violation(Violation::NoCodeGrant));
            }
        }
    }
    let unknown = r#"{"client_id":"c","token_endpoint_auth_method":"tls_client_auth"}"#;
    let failure = registered(r#"["none"]"#, unknown).err().unwrap();
    let flaw = Violation::RegistrationMethod(MethodFlaw::Unsupported);
    assert_eq!(failure.cause, Cause::Violation(flaw));
}

#[test]
fn reg_25_reg_31_c04_c09_registrations_are_reused_until_they_expire() {
    let answer = |expires: &str| {
        format!(r#"{{"client_id":"c","client_secret":"s","client_secret_expires_at":{expires}}}"#)
    };
    let list = r#"["client_secret_basic"]"#;
    for (expires, reused) in [
        ("0", true),
        ("1800000100", true),
        ("\"0\"", true),
        ("1800000001", false),
    ] {
        let config = std::sync::Arc::new(config().build().unwrap());
        let mut host = Host::on(std::sync::Arc::clone(&config), Store::default());
        host.discover(&prm(), &methods(list));
        host.serve(REGISTER, 201, &answer(expires));
        host.redirect();
        let mut later = Host::on(config, std::mem::take(&mut host.store));
        later.seeds = 9;
        later.pass(5_000);
        later.ask(&announcing());
        later.serve(PRM, 200, &prm());
        let next = later.next();
        assert_eq!(
            matches!(next, mcp_auth_machine::Action::Redirect(_)),
            reused,
            "{expires}"
        );
    }
    for expires in ["-1", "\"soon\"", "1e400"] {
        let failure = registered(list, &answer(expires)).err().unwrap();
        assert!(
            matches!(failure.cause, Cause::Violation(Violation::Registration(_))),
            "{expires}"
        );
    }
}

#[test]
fn reg_26_reg_29_quirk_24_refusals() {
    for (status, text) in [
        (
            400,
            r#"{"error":"invalid_redirect_uri","error_description":"no"}"#,
        ),
        (422, r#"{"error":"invalid_client_metadata"}"#),
        (403, r#"{"error":"access_denied"}"#),
        (401, r#"{"error":"invalid_token"}"#),
        (403, r#"{"error":"insufficient_scope"}"#),
    ] {
        let mut host = found(config(), "");
        host.serve(REGISTER, status, text);
        let failure = host.error();
        assert_eq!(failure.issuer.as_ref().unwrap().as_str(), AS);
        assert!(
            matches!(
                failure.cause,
                Cause::Refused(Refusal::OAuth { code: Some(_), .. })
            ),
            "{status}"
        );
        assert_eq!(failure.next(), Next::FixConfiguration, "{status}");
        assert_eq!(failure.party(), Party::AuthorizationServer, "{status}");
        let text = failure.to_string();
        assert!(text.contains("refused to register"), "{text}");
    }
    for status in [401, 403] {
        let mut host = found(config(), "");
        host.serve(REGISTER, status, "");
        // The request was sent: the error has the status and the alternative.
        let failure = host.error();
        assert!(matches!(
            failure.cause,
            Cause::Refused(Refusal::OAuth { code: None, .. })
        ));
        assert_eq!(failure.seen[0].status, Some(status));
        assert!(matches!(failure.remedy(), Some(Remedy::Client { .. })));
        let text = failure.to_string();
        assert!(text.contains("refused to register"), "{text}");
        assert!(
            text.contains(&format!("{REGISTER} answered {status}")),
            "{text}"
        );
    }
    for status in [408, 425, 429, 500, 503] {
        let mut host = found(config(), "");
        host.serve_with(REGISTER, status, &[("retry-after", "7")], "");
        let at = mcp_auth_machine::time::UnixMillis(1_800_000_007_000);
        assert_eq!(host.error().next(), Next::RetryLater(Some(at)), "{status}");
    }
    for unusable in ["", "in itial", "initial\n", "initi\u{e4}l"] {
        let settings = IssuerSettings::new().initial_access(unusable);
        let built = config().issuer_settings(AS, settings).build();
        assert_eq!(built.err(), Some(ConfigError::InitialAccess(AS.to_owned())));
    }
    let settings = IssuerSettings::new().initial_access("initial");
    let mut host = found(config().issuer_settings(AS, settings), "");
    let send = host.request();
    assert_eq!(send.request().headers()["authorization"], "Bearer initial");
}

#[test]
fn sec_09_c07_a_redirected_registration_is_refused() {
    for status in [301, 302, 307, 308] {
        let mut host = found(config(), "");
        host.serve_with(
            REGISTER,
            status,
            &[("location", "https://evil.example/")],
            "",
        );
        assert_eq!(host.error().cause, Cause::Violation(Violation::Redirected));
        host.quiet();
    }
}

#[test]
fn tok_04_tok_05_one_method_by_the_rules() {
    let static_client = |fixed: Option<AuthMethod>, list: &str| {
        let mut client = PreRegistered::new("c").secret("s");
        if let Some(fixed) = fixed {
            client = client.method(fixed);
        }
        let mut host = Host::new(config().pre_registered(AS, client));
        host.discover(&prm(), &methods(list));
        token_request(host).map(|request| authentication(&request))
    };
    let basic = Ok((Some("Basic Yzpz".to_owned()), None, None));
    let post = Ok((None, Some("c".to_owned()), Some("s".to_owned())));
    let public = Ok((None, Some("c".to_owned()), None));
    let both = r#"["client_secret_basic","client_secret_post"]"#;
    assert_eq!(static_client(None, both), basic);
    assert_eq!(
        static_client(Some(AuthMethod::ClientSecretPost), both),
        post
    );
    assert_eq!(
        static_client(Some(AuthMethod::ClientSecretPost), "null"),
        post
    );
    assert_eq!(
        static_client(
            Some(AuthMethod::ClientSecretPost),
            r#"["client_secret_basic"]"#
        ),
        post
    );
    // The host knows its client, and lists are incomplete.
    let fixed = AuthMethod::ClientSecretBasic;
    assert_eq!(static_client(Some(fixed), r#"["none"]"#), basic);
    assert_eq!(static_client(Some(AuthMethod::None), both), public);
    assert_eq!(static_client(None, r#"["client_secret_post"]"#), post);
    assert_eq!(static_client(None, "null"), basic);
    assert_eq!(static_client(None, r#"["none"]"#), public);
    let failure = static_client(None, r#"["private_key_jwt"]"#).err().unwrap();
    let flaw = Misconfiguration::ClientMethod(MethodFlaw::NothingListed);
    assert_eq!(failure.cause, Cause::Misconfigured(flaw));
    // A client without a secret is public even where the list lacks it.
    let mut host = Host::new(config().pre_registered(AS, PreRegistered::new("c")));
    host.discover(&prm(), &methods(r#"["client_secret_basic"]"#));
    assert_eq!(token_request(host).map(|r| authentication(&r)), public);
}

#[test]
fn tok_06_d17_basic_vectors() {
    let header = |id: &str, secret: &str, list: &str, settings: IssuerSettings| {
        let client = PreRegistered::new(id).secret(secret);
        let mut host = Host::new(
            config()
                .pre_registered(AS, client)
                .issuer_settings(AS, settings),
        );
        host.discover(&prm(), &methods(list));
        authentication(&token_request(host).unwrap())
    };
    let basic = r#"["client_secret_basic"]"#;
    let (plain, ..) = header(
        "s6BhdRkqt3",
        "7Fjfp0ZBr1KtDRbnfVdmIw",
        basic,
        IssuerSettings::new(),
    );
    assert_eq!(
        plain.as_deref(),
        Some("Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3")
    );
    let (odd, ..) = header("my client:1", "p@ss w+rd/=%", basic, IssuerSettings::new());
    assert_eq!(
        odd.as_deref(),
        Some("Basic bXkrY2xpZW50JTNBMTpwJTQwc3MrdyUyQnJkJTJGJTNEJTI1")
    );
    // Where servers disagree about the encoding, the body is preferred if it is offered.
    let both = r#"["client_secret_basic","client_secret_post"]"#;
    let (none, id, secret) = header("my client:1", "p@ss", both, IssuerSettings::new());
    assert_eq!(
        (none, id.as_deref(), secret.as_deref()),
        (None, Some("my client:1"), Some("p@ss"))
    );
    let raw = IssuerSettings::new().basic_encoding(BasicEncoding::Raw);
    let (raw, ..) = header("a/b", "c", basic, raw);
    assert_eq!(raw.as_deref(), Some("Basic YS9iOmM="));
}

#[test]
fn l07_tok_19_c08_quirk_27_a_forgotten_client_is_registered_anew_once() {
    for status in [200, 400, 401, 403] {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        host.serve(TOKEN, status, r#"{"error":"invalid_client"}"#);
        assert_eq!(host.need_user().why, Why::ClientForgotten, "{status}");
        assert!(host.store.of_kind("registration").is_empty());
        host.authorize();
        host.serve(PRM, 200, &prm());
        host.serve(META, 200, &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"dyn-2"}"#);
        let redirect = host.redirect();
        assert_eq!(&*redirect.client_id, "dyn-2");
        host.callback(&format!("code=c-2&state={}", state_of(&redirect)));
        host.serve(TOKEN, status, r#"{"error":"invalid_client"}"#);
        assert!(matches!(
            host.error().cause,
            Cause::Refused(Refusal::OAuth { .. })
        ));
        host.quiet();
    }
    // A configured client is reported, and kept.
    let mut host = Host::new(config().pre_registered(AS, PreRegistered::new("c")));
    host.discover(&prm(), &metadata());
    let redirect = host.redirect();
    host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    host.serve(TOKEN, 401, r#"{"error":"invalid_client"}"#);
    assert!(matches!(
        host.error().cause,
        Cause::Refused(Refusal::OAuth { .. })
    ));
}

#[test]
fn quirk_14_a_host_may_reset_the_registration_when_no_callback_comes() {
    let mut host = Host::new(config());
    host.to_redirect();
    host.handle(mcp_auth_machine::Event::Abandoned(
        mcp_auth_machine::event::Abandon::ResetRegistration,
    ));
    host.error();
    assert_eq!(host.need_user().why, Why::ClientForgotten);
    assert!(host.store.of_kind("registration").is_empty());
}

#[test]
fn iso_12_registrations_are_kept_apart_by_principal_unless_shared() {
    for (sharing, shared) in [
        (RegistrationSharing::PerPrincipal, false),
        (RegistrationSharing::AcrossPrincipals, true),
    ] {
        let config = config().registration_sharing(sharing).build().unwrap();
        let config = std::sync::Arc::new(config);
        let mut alice = Host::on(std::sync::Arc::clone(&config), Store::default());
        alice.to_redirect();
        let store = std::mem::take(&mut alice.store);
        let mut bob = Host::for_user(config, store, "bob");
        bob.ask(&announcing());
        bob.serve(PRM, 200, &prm());
        if !shared {
            bob.serve(REGISTER, 201, r#"{"client_id":"bobs"}"#);
        }
        let client = if shared { "dyn-1" } else { "bobs" };
        assert_eq!(&*bob.redirect().client_id, client);
    }
}
