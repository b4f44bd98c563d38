//! The authorization request (AUTHZ, SCOPE, RES, PKCE) and the settings for single issuers (QUIRK).

use mcp_auth_machine::Secret;
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::config::{
    ConfigBuilder, ConfigError, IssuerSettings, PkceSupport, PreRegistered, RedirectUri,
    ResourceParameter,
};
use mcp_auth_machine::error::{Cause, Misconfiguration, Next, Refusal, Violation};
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::pkce::{Seed, Verifier};
use mcp_auth_machine::wire::scopes::{MAX_SCOPE_BYTES, MAX_SCOPES, Scopes};
use mcp_auth_machine::{Action, Event, Failure};
use proptest::prelude::*;

use crate::support::*;

/// Discovery with this challenge scope, resource metadata members and server metadata members.
pub fn discovered(
    config: ConfigBuilder,
    scope: Option<&str>,
    prm_more: &str,
    metadata: &str,
) -> Host {
    let mut host = Host::new(config);
    let scope = scope.map_or(String::new(), |scope| format!(", scope=\"{scope}\""));
    host.ask(&format!("Bearer resource_metadata=\"{PRM}\"{scope}"));
    let document = format!(r#"{{"resource":"{MCP}","authorization_servers":["{AS}"]{prm_more}}}"#);
    host.serve(PRM, 200, &document);
    host.serve(META, 200, metadata);
    host
}

/// The same, and a registration where one is asked for; up to the redirect.
pub fn flow(
    config: ConfigBuilder,
    scope: Option<&str>,
    prm_more: &str,
    metadata: &str,
) -> Result<(Host, Redirect), Failure> {
    let mut host = discovered(config, scope, prm_more, metadata);
    if matches!(host.actions.front(), Some(Action::SendRequest(_))) {
        host.serve(REGISTER, 201, r#"{"client_id":"c 1"}"#);
    }
    match host.next() {
        Action::Redirect(redirect) => Ok((host, redirect)),
        Action::Error(failure) => Err(*failure),
        other => panic!("{other:?}"),
    }
}

#[test]
fn authz_01_authz_05_res_09_the_parameters_of_the_request() {
    let (_, redirect) = flow(config(), Some("a b"), "", &metadata()).unwrap();
    let url = redirect.url.as_str();
    assert!(url.starts_with("https://as.example/authorize?"));
    assert!(url.contains("resource=https%3A%2F%2Fmcp.example%2Fmcp"));
    assert!(url.contains("client_id=c+1"));
    let found = query(url);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = [
        "response_type",
        "client_id",
        "redirect_uri",
        "state",
        "code_challenge",
        "code_challenge_method",
        "resource",
        "scope",
    ];
    assert_eq!(names, wanted);
    assert_eq!(get(&found, "response_type").as_deref(), Some("code"));
    assert_eq!(get(&found, "redirect_uri").as_deref(), Some(REDIRECT));
    assert_eq!(
        get(&found, "code_challenge_method").as_deref(),
        Some("S256")
    );
    assert_eq!(get(&found, "state").unwrap().len(), 22);
    assert_eq!(get(&found, "code_challenge").unwrap().len(), 43);
}

#[test]
fn authz_14_isolated_facts_for_the_host() {
    let (_, redirect) = flow(config(), Some("a"), "", &metadata()).unwrap();
    assert_eq!(redirect.issuer.as_str(), AS);
    assert_eq!(&*redirect.mcp_host, "mcp.example");
    assert_eq!(redirect.scopes.as_str(), "a");
    assert!(redirect.new_issuer);
    assert!(!format!("{redirect:?}").contains(&state_of(&redirect)));
}

#[test]
fn authz_02_f10_res_08_quirk_16_an_endpoint_with_a_query() {
    let endpoint = |url: &str| metadata().replace("https://as.example/authorize", url);
    let (_, redirect) = flow(
        config(),
        None,
        "",
        &endpoint("https://as.example/authorize?prompt=x"),
    )
    .unwrap();
    assert!(
        redirect
            .url
            .as_str()
            .starts_with("https://as.example/authorize?prompt=x&response_type=code&")
    );
    // The request's own resource stands once, in place of any other.
    for own in [
        "a=b&resource=https%3A%2F%2Fmcp.example%2Fmcp",
        "resource=https://as.example&a=b",
        "resource=x&a=b&%72esource=y",
    ] {
        let own = endpoint(&format!("https://as.example/authorize?{own}"));
        let (_, redirect) = flow(config(), None, "", &own).unwrap();
        let url = redirect.url.as_str();
        assert!(url.starts_with("https://as.example/authorize?a=b&response_type=code&"));
        let all = query(url);
        let resources: Vec<_> = all.iter().filter(|(name, _)| name == "resource").collect();
        assert_eq!(resources, [&("resource".to_owned(), MCP.to_owned())]);
    }
    for taken in [
        "client_id=x",
        "state=x",
        "redirect_uri=https://evil",
        "%73tate=x",
        "scope=admin",
    ] {
        let failure = flow(
            config(),
            None,
            "",
            &endpoint(&format!("https://as.example/authorize?{taken}")),
        )
        .err()
        .unwrap();
        assert!(
            matches!(
                failure.cause,
                Cause::Violation(Violation::ReservedParameter { .. })
            ),
            "{taken}"
        );
    }
    for name in [
        "response_type",
        "client_id",
        "redirect_uri",
        "state",
        "scope",
        "code_challenge",
        "code_challenge_method",
        "dpop_jkt",
        "request",
        "request_uri",
        "response_mode",
        "grant_type",
        "code",
        "code_verifier",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "refresh_token",
        "assertion",
        "username",
        "password",
        "token",
        "iss",
    ] {
        let document = endpoint(&format!("https://as.example/authorize?{name}=x"));
        let failure = flow(config(), None, "", &document).err().unwrap();
        let Cause::Violation(Violation::ReservedParameter { name: seen }) = failure.cause else {
            panic!("{name}")
        };
        assert_eq!(seen.as_plain(), name);
        // The host's settings reject the name too.
        assert!(
            IssuerSettings::new()
                .authorization_parameter(name, "x")
                .is_err()
        );
    }
}

#[test]
fn authz_06_authz_07_redirect_uris() {
    for good in [
        "https://app.example/cb",
        "http://127.0.0.1:1/cb",
        "http://127.9.9.9/cb",
        "http://[::1]:1/cb",
        "http://localhost/cb?x=1",
    ] {
        assert_eq!(RedirectUri::new(good).unwrap().as_str(), good);
    }
    for bad in [
        "http://app.example/cb",
        "https://app.example/cb#f",
        "com.example.app:/cb",
        "cb",
        "http://localhost.evil.com/",
        "https://u@app.example/",
        "https://app.example/\u{e9}",
        "https://app.example/c b",
    ] {
        assert!(RedirectUri::new(bad).is_err(), "{bad}");
    }
    assert!(RedirectUri::private_use("com.example.app:/cb").is_ok());
    for bad in [
        "myapp:/cb",
        "com.example.app://host/cb",
        "javascript:alert(1)",
    ] {
        assert!(RedirectUri::private_use(bad).is_err(), "{bad}");
    }
    // The scheme of an installed program, by an opt-in of its own.
    for good in [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "vscode://publisher.extension/callback",
        "myapp:/cb",
    ] {
        let uri = RedirectUri::custom_scheme(good).unwrap();
        assert_eq!(uri.as_str(), good);
        assert_eq!(uri.application_type().as_str(), "native");
        assert!(RedirectUri::new(good).is_err(), "{good}");
        let (mut host, redirect) = flow(
            config().custom_scheme_redirect_uri(good),
            None,
            "",
            &metadata(),
        )
        .unwrap();
        let sent = query(redirect.url.as_str());
        assert_eq!(get(&sent, "redirect_uri").as_deref(), Some(good));
        let url = format!("{good}?code=c&state={}", state_of(&redirect));
        host.handle(mcp_auth_machine::Event::CallbackParams(
            mcp_auth_machine::wire::callback::Callback::from_url(url),
        ));
        let form = body(host.request().request());
        assert_eq!(get(&form, "redirect_uri").as_deref(), Some(good));
    }
    for bad in [
        "https://app.example/cb",
        "http://127.0.0.1/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///x",
        "cursor:",
        "cursor://u@x/cb",
        "cursor://x/cb#f",
        "cb",
    ] {
        assert!(RedirectUri::custom_scheme(bad).is_err(), "{bad}");
    }
    let failed = mcp_auth_machine::Config::builder(MCP, "http://evil.example/cb").build();
    assert!(matches!(failed, Err(ConfigError::RedirectUri(_))));
}

#[test]
fn authz_09_tok_03_quirk_17_the_listeners_own_port_is_registered_and_sent() {
    let mut host = Host::new(config());
    host.challenged(401, &[&announcing()]);
    host.need_user();
    let uri = "http://127.0.0.1:49152/callback";
    let seed = host.next_seed();
    host.authorize_with(Authorization::new(seed).redirect_uri(RedirectUri::new(uri).unwrap()));
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    let request = host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    assert!(std::str::from_utf8(request.body()).unwrap().contains(uri));
    let redirect = host.redirect();
    assert_eq!(
        get(&query(redirect.url.as_str()), "redirect_uri").as_deref(),
        Some(uri)
    );
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host.quiet();
    // The same text goes with the code.
    let url = format!("{uri}?code=x&state={}", state_of(&redirect));
    host.handle(Event::CallbackParams(Callback::from_url(url)));
    let form = body(host.request().request());
    assert_eq!(get(&form, "redirect_uri").as_deref(), Some(uri));
}

#[test]
fn authz_11_f02_no_shell_metacharacter_in_a_redirect() {
    let odd = metadata().replace(
        "https://as.example/authorize",
        "https://as.example/$(calc)'x'",
    );
    let (_, redirect) = flow(config(), None, "", &odd).unwrap();
    assert!(
        redirect
            .url
            .as_str()
            .starts_with("https://as.example/%24%28calc%29%27x%27?")
    );
    for bad in [
        "https://as.example/`calc`",
        "https://as.example/a\\\"b",
        "https://as.example/a^b",
        "file:///etc/passwd",
        "data:text/html,x",
        "ms-msdt:/x",
    ] {
        let document = metadata().replace("https://as.example/authorize", bad);
        let mut host = Host::new(config());
        host.discover(&prm(), &document);
        host.serve(OPENID, 404, "");
        assert!(
            matches!(host.error().cause, Cause::Violation(Violation::Metadata(_))),
            "{bad}"
        );
    }
}

/// The host learns whether the user is needed when the token expires.
#[test]
fn quirk_08_a_token_says_whether_another_one_follows_without_the_user() {
    for (answer, renewable) in [
        (token_answer("t"), false),
        (renewable_for("t", "r", "60"), true),
    ] {
        let (mut host, redirect) = flow(config(), None, "", &metadata()).unwrap();
        host.callback(&format!("code=x&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &answer);
        assert_eq!(host.ready().renewable, renewable);
    }
}

/// A parameter for every server is sent to each, and gives way to the one for a server.
#[test]
fn authz_15_a_parameter_for_every_server() {
    let all = || {
        let all = config().authorization_parameter("access_type", "offline");
        all.and_then(|all| all.authorization_parameter("prompt", "consent"))
            .unwrap()
    };
    let own = IssuerSettings::new()
        .authorization_parameter("prompt", "none")
        .unwrap();
    for (config, prompt) in [
        (all(), "consent"),
        (all().issuer_settings(AS, own.clone()), "none"),
        (
            all().issuer_settings("https://other.example", own),
            "consent",
        ),
    ] {
        let (_, redirect) = flow(config, None, "", &metadata()).unwrap();
        let sent = query(redirect.url.as_str());
        assert_eq!(get(&sent, "access_type").as_deref(), Some("offline"));
        let prompts = sent.iter().filter(|(name, _)| name == "prompt");
        let prompts: Vec<_> = prompts.map(|(_, value)| value.as_str()).collect();
        assert_eq!(prompts, [prompt]);
    }
    assert!(config().authorization_parameter("state", "x").is_err());
}

#[test]
fn authz_15_tok_10_quirk_05_quirk_08_parameters_of_the_host() {
    let settings = IssuerSettings::new()
        .authorization_parameter("audience", "https://api/?a=b&c")
        .and_then(|s| s.authorization_parameter("access_type", "offline"))
        .and_then(|s| s.token_parameter("audience", "https://api"))
        .unwrap();
    let (mut host, redirect) = flow(
        config().issuer_settings(AS, settings),
        None,
        "",
        &metadata(),
    )
    .unwrap();
    let found = query(redirect.url.as_str());
    assert_eq!(
        get(&found, "audience").as_deref(),
        Some("https://api/?a=b&c")
    );
    assert_eq!(get(&found, "access_type").as_deref(), Some("offline"));
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    assert_eq!(
        get(&body(host.request().request()), "audience").as_deref(),
        Some("https://api")
    );
    for name in [
        "state",
        "resource",
        "code_challenge",
        "client_secret",
        "scope",
        "redirect_uri",
        "",
    ] {
        assert!(
            IssuerSettings::new()
                .authorization_parameter(name, "x")
                .is_err()
        );
        assert!(IssuerSettings::new().token_parameter(name, "x").is_err());
    }
}

#[test]
fn authz_16_authz_22_the_record_is_whole_and_no_response_mode_is_sent() {
    let (host, redirect) = flow(config(), Some("a"), "", &metadata()).unwrap();
    assert_eq!(get(&query(redirect.url.as_str()), "response_mode"), None);
    let pending = host.store.of_kind("pending");
    let text = spelled_out(pending[0].contents.expose());
    for member in [
        "state",
        "verifier",
        "redirect_uri",
        "issuer",
        "advertises_iss",
        "token_endpoint",
        "client",
        "resource",
        "requested",
        "principal",
        "created",
        "expires",
    ] {
        assert!(text.contains(&format!("\"{member}\":")), "{member}");
    }
}

#[test]
fn authz_21_meta_20_pushed_requests_without_an_endpoint_are_refused_with_a_reason() {
    let more = r#","require_pushed_authorization_requests":true"#;
    let failure = flow(config(), None, "", &metadata_with(more))
        .err()
        .unwrap();
    assert_eq!(
        failure.cause,
        Cause::Misconfigured(Misconfiguration::PushedRequestsRequired)
    );
    let text = r#","require_pushed_authorization_requests":"true""#;
    assert!(flow(config(), None, "", &metadata_with(text)).is_ok());
}

#[test]
fn res_01_res_02_res_03_res_04_quirk_19_the_same_bytes_everywhere() {
    for resource in [
        "https://mcp.example",
        "https://mcp.example/",
        "https://MCP.example:443/mcp",
    ] {
        let mut host = Host::new(config());
        host.discover(&prm().replace(MCP, resource), &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
        let redirect = host.redirect();
        assert_eq!(
            get(&query(redirect.url.as_str()), "resource").as_deref(),
            Some(resource)
        );
        host.callback(&format!("code=x&state={}", state_of(&redirect)));
        let request = host.serve(TOKEN, 200, &token_answer("t"));
        assert_eq!(get(&body(&request), "resource").as_deref(), Some(resource));
        assert!(host.ready().audience_bound);
    }
}

#[test]
fn res_10_invalid_target_is_final() {
    let (mut host, redirect) = flow(config(), None, "", &metadata()).unwrap();
    host.callback(&format!(
        "error=invalid_target&state={}",
        state_of(&redirect)
    ));
    assert_eq!(host.error().next(), Next::FixConfiguration);
    host.quiet();
}

#[test]
fn res_11_quirk_04_left_out_only_by_the_host_for_one_issuer() {
    let settings = || IssuerSettings::new().resource_parameter(ResourceParameter::Omit);
    let (mut host, redirect) = flow(
        config().issuer_settings(AS, settings()),
        None,
        "",
        &metadata(),
    )
    .unwrap();
    assert_eq!(get(&query(redirect.url.as_str()), "resource"), None);
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    let request = host.serve(TOKEN, 200, &token_answer("t"));
    assert_eq!(get(&body(&request), "resource"), None);
    assert!(!host.ready().audience_bound);
    let other = config().issuer_settings("https://other.example", settings());
    let (_, redirect) = flow(other, None, "", &metadata()).unwrap();
    assert!(get(&query(redirect.url.as_str()), "resource").is_some());
}

#[test]
fn pkce_03_pkce_04_vector() {
    let verifier = Verifier::from_text("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
    assert_eq!(
        verifier.challenge().as_str(),
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    );
}

#[test]
fn pkce_01_pkce_03_confidential_clients_too_with_the_hosts_own_bytes() {
    use base64::Engine;
    let client = PreRegistered::new("c").secret("s");
    let mut host = Host::new(config().pre_registered(AS, client));
    host.discover(
        &prm(),
        &metadata().replace("[\"none\"]", "[\"client_secret_basic\"]"),
    );
    let redirect = host.redirect();
    let asked = query(redirect.url.as_str());
    assert_eq!(
        get(&asked, "code_challenge_method").as_deref(),
        Some("S256")
    );
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    let send = host.request();
    assert!(send.request().headers().contains_key("authorization"));
    let verifier = get(&body(send.request()), "code_verifier").unwrap();
    // The first 32 bytes of the seed that came with the authorization.
    let mut bytes = [1; 32];
    bytes[0] = 0xA5;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    assert_eq!(engine.decode(verifier).unwrap(), bytes);
}

#[test]
fn pkce_01_pkce_02_pkce_08_pkce_09_s05_the_verifier_belongs_to_one_request() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (mut host, redirect) = flow(config(), None, "", &metadata()).unwrap();
        let _unused = host.next_seed();
        let challenge = get(&query(redirect.url.as_str()), "code_challenge").unwrap();
        host.callback(&format!("code=x&state={}", state_of(&redirect)));
        let request = host.serve(TOKEN, 200, &token_answer("t"));
        let verifier = get(&body(&request), "code_verifier").unwrap();
        assert_eq!(verifier.len(), 43);
        assert_eq!(
            Verifier::from_text(&verifier).unwrap().challenge().as_str(),
            challenge
        );
        let account = host.store.of_kind("account")[0]
            .contents
            .expose()
            .to_owned();
        assert!(!account.contains(&verifier));
        seen.push((verifier, state_of(&redirect)));
    }
    let mut host = Host::new(config());
    let first = host.to_redirect();
    host.handle(Event::Abandoned(Default::default()));
    host.error();
    host.authorize();
    host.serve(PRM, 200, &prm());
    let second = host.redirect();
    assert_ne!(state_of(&first), state_of(&second));
    let challenge = |r: &Redirect| get(&query(r.url.as_str()), "code_challenge");
    assert_ne!(challenge(&first), challenge(&second));
}

#[test]
fn pkce_05_pkce_06_pkce_07_b16_quirk_03_no_redirect_without_s256() {
    let list =
        |list: &str| metadata().replace(r#""code_challenge_methods_supported":["S256"],"#, list);
    let asserted =
        || config().issuer_settings(AS, IssuerSettings::new().pkce(PkceSupport::S256Asserted));
    for document in [
        list(""),
        list(r#""code_challenge_methods_supported":null,"#),
    ] {
        let failure = flow(config(), None, "", &document).err().unwrap();
        assert_eq!(failure.cause, Cause::Violation(Violation::NoPkce));
        let remedy = failure.remedy().unwrap();
        assert_eq!(remedy.setting(), "IssuerSettings::pkce");
        assert!(flow(asserted(), None, "", &document).is_ok());
    }
    for other in [r#"["plain"]"#, r#"["s256"]"#, "[]"] {
        let document = list(&format!(r#""code_challenge_methods_supported":{other},"#));
        assert!(flow(config(), None, "", &document).is_err());
        assert!(flow(asserted(), None, "", &document).is_err(), "{other}");
    }
}

#[test]
fn sec_19_a_verifier_goes_with_the_challenge_of_its_own_request_alone() {
    let only = |list: &str| metadata().replace("[\"S256\"]", list);
    for list in ["[\"plain\"]", "[\"S512\",\"plain\"]", "null"] {
        let failure = flow(config(), None, "", &only(list)).err().unwrap();
        assert_eq!(failure.cause, Cause::Violation(Violation::NoPkce), "{list}");
    }
    // The first request is given up; the second one's code takes the second one's verifier.
    let (mut host, first) = flow(config(), None, "", &metadata()).unwrap();
    host.handle(Event::Abandoned(Default::default()));
    host.error();
    host.authorize();
    host.serve(PRM, 200, &prm());
    let second = host.redirect();
    let challenge =
        |redirect: &Redirect| get(&query(redirect.url.as_str()), "code_challenge").unwrap();
    host.callback(&format!("code=x&state={}", state_of(&first)));
    host.quiet();
    host.callback(&format!("code=y&state={}", state_of(&second)));
    let form = body(host.request().request());
    let verifier = get(&form, "code_verifier").unwrap();
    let own = Verifier::from_text(&verifier).unwrap().challenge();
    assert_eq!(own.as_str(), challenge(&second));
    assert_ne!(own.as_str(), challenge(&first));
}

#[test]
fn s13_b02_k07_quirk_32_the_endpoint_origin_rule() {
    let elsewhere = |more: &str| {
        metadata_with(more).replace(
            "https://as.example/authorize",
            "https://login.example/authorize",
        )
    };
    let failure = flow(config(), None, "", &elsewhere("")).err().unwrap();
    assert!(matches!(
        failure.cause,
        Cause::Violation(Violation::AuthorizationOrigin { .. })
    ));
    let iss = r#","authorization_response_iss_parameter_supported":true"#;
    assert!(flow(config(), None, "", &elsewhere(iss)).is_ok());
    let pin = |origin: &str| {
        config().issuer_settings(AS, IssuerSettings::new().authorization_origin(origin))
    };
    assert!(flow(pin("https://login.example"), None, "", &elsewhere("")).is_ok());
    assert!(flow(pin("https://other.example"), None, "", &elsewhere("")).is_err());
    // The token endpoint may be anywhere: trust comes from the validated document.
    let token = metadata().replace("https://as.example/token", "https://api.example/token");
    let (mut host, redirect) = flow(config(), None, "", &token).unwrap();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.serve("https://api.example/token", 200, &token_answer("at-1"));
    host.ready();
}

#[test]
fn h09_sec_34_a_seed_that_was_not_filled_is_refused() {
    assert!(Seed::new([0; 48]).is_err());
    assert!(Seed::new([255; 48]).is_err());
    let halves = |attempt: u8, key: u8| {
        let at = |at: usize| u8::try_from(at).unwrap() * if at < 48 { attempt } else { key };
        std::array::from_fn::<u8, 64, _>(at)
    };
    assert!(Seed::with_key(halves(1, 1)).is_ok());
    assert!(Seed::with_key(halves(0, 1)).is_err());
    assert!(Seed::with_key(halves(1, 0)).is_err());
    assert!(Seed::try_from(&halves(1, 1)[..]).is_ok());
    assert!(Seed::try_from(&halves(1, 1)[..48]).is_ok());
    assert!(Seed::try_from(&halves(1, 1)[..63]).is_err());
    assert!(Seed::try_from(&[1_u8, 2, 3][..]).is_err());
}

#[test]
fn step_07_e11_authorizations_are_counted() {
    let mut host = Host::new(config());
    for _ in 0..3 {
        host.ask("Bearer");
        let redirect = loop {
            match host.next() {
                Action::SendRequest(send) => {
                    let url = send.request().uri().to_string();
                    let text = match url.as_str() {
                        PRM => prm(),
                        _ if url.ends_with("/register") => r#"{"client_id":"c"}"#.to_owned(),
                        _ => metadata(),
                    };
                    let status = if url.ends_with("/register") { 201 } else { 200 };
                    host.handle(send.response(response(status, &[], &text)));
                }
                Action::Redirect(redirect) => break redirect,
                other => panic!("{other:?}"),
            }
        };
        let state = state_of(&redirect);
        host.callback(&format!("error=server_error&state={state}"));
        host.error();
    }
    host.challenged(401, &["Bearer"]);
    assert!(matches!(host.error().cause, Cause::OutOfPatience(_)));
    host.accepted("tools/call x");
    host.challenged(401, &["Bearer"]);
    host.need_user();
}

#[test]
fn step_07_e10_zero_means_report() {
    let mut host = Host::new(config().step_ups_per_operation(0));
    let challenge = format!(
        r#"Bearer error="insufficient_scope", scope="w", resource_metadata="{PRM}", error_description="need\x w""#
    );
    host.challenged(403, &[&challenge]);
    let failure = host.error();
    let Cause::Refused(Refusal::InsufficientScope {
        scopes,
        resource_metadata,
        description,
        attempts,
    }) = failure.cause
    else {
        panic!("{failure:?}")
    };
    assert_eq!(scopes.unwrap().as_str(), "w");
    assert_eq!(resource_metadata.unwrap().as_str(), PRM);
    assert_eq!(description.unwrap().as_plain(), "needx w");
    assert_eq!(attempts, 0);
}

proptest! {
    #[test]
    fn scope_11_sec_29_lists_keep_their_invariants(text in "[ -~]{0,200}", more in "[a-f ]{0,60}") {
        let scopes = Scopes::parse(&text);
        let items: Vec<&str> = scopes.iter().collect();
        let mut distinct = items.clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), items.len());
        prop_assert_eq!(items.join(" "), scopes.as_str());
        let other = Scopes::parse(&more);
        let union = scopes.union(&other);
        prop_assert!(union.covers(&scopes) && union.covers(&other));
        prop_assert!(union.as_str().starts_with(scopes.as_str()));
    }
}

#[test]
fn sec_29_e01_scope_lists_are_bounded() {
    let many: String = (0..10_000).map(|n| format!("s{n} ")).collect();
    assert_eq!(Scopes::parse(&many).len(), MAX_SCOPES);
    let long: String = (0..200)
        .map(|n| format!("{n}{} ", "x".repeat(100)))
        .collect();
    assert!(Scopes::parse(&long).as_str().len() <= MAX_SCOPE_BYTES);
}

#[test]
fn tok_24_secrets_have_no_text() {
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
}
