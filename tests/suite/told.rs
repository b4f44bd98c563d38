//! The contents of a failure, as text and as typed facts: the server's own words, the values seen and expected, the
//! responsible party, and the setting that helps.

use mcp_auth_machine::action::Why;
use mcp_auth_machine::config::{ConfigError, Dpop, DpopPolicy, Enterprise, PreRegistered};
use mcp_auth_machine::error::{Cause, Misconfiguration, Party, Stage, Violation};
use mcp_auth_machine::remedy::Remedy;
use mcp_auth_machine::wire::words::AuthMethod;
use mcp_auth_machine::{Config, Failure};

use crate::support::*;

const ADVERTISED: &str = r#","authorization_response_iss_parameter_supported":true"#;
const WORDS: &str = "AADSTS9010010: the resource does not match";

fn at_token() -> Host {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=x&state={}", state_of(&redirect)));
    host
}

/// The server's words are in the text and among the facts, as its own.
#[track_caller]
fn says(failure: &Failure, code: &str) {
    let text = failure.to_string();
    assert!(
        text.contains(&format!("{code:?}, saying {WORDS:?}")),
        "{text}"
    );
    let details = failure.details();
    assert_eq!(details.error.unwrap().as_plain(), code);
    assert_eq!(details.description.unwrap().as_plain(), WORDS);
}

#[test]
fn tok_18_cb_09_the_servers_words_are_told_in_each_step() {
    let refusal = |code: &str| format!(r#"{{"error":"{code}","error_description":"{WORDS}"}}"#);
    let mut host = at_token();
    host.serve(TOKEN, 400, &refusal("invalid_target"));
    let failure = host.error();
    says(&failure, "invalid_target");
    assert!(matches!(
        failure.remedy(),
        Some(Remedy::OmitResource { .. })
    ));
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    host.serve(REGISTER, 400, &refusal("invalid_client_metadata"));
    let failure = host.error();
    says(&failure, "invalid_client_metadata");
    assert_eq!(failure.details().seen[0].status, Some(400));
    // The callback's, once `state` and `iss` have passed; not a word before.
    for (iss, told) in [(AS, true), ("https://evil.example", false)] {
        let mut host = Host::new(config());
        host.discover(&prm(), &metadata_with(ADVERTISED));
        host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
        let state = state_of(&host.redirect());
        let words = WORDS.replace(' ', "+");
        host.callback(&format!(
            "error=server_error&error_description={words}&state={state}&iss={iss}"
        ));
        let failure = host.error();
        if told {
            says(&failure, "server_error");
        } else {
            let shown = format!("{failure} {failure:?} {:?}", failure.details());
            assert!(!shown.contains("AADSTS"), "{shown}");
        }
    }
    // The MCP server's.
    let mut host = Host::signed_in(
        config().step_ups_per_operation(0),
        &renewable("at-1", "rt-1"),
    );
    let place = format!("{PRM}?x");
    host.refused(&format!(
        "Bearer error=\"insufficient_scope\", scope=\"a b\", resource_metadata=\"{place}\", \
         error_description=\"{WORDS}\""
    ));
    let details = host.error().details();
    assert_eq!(details.scopes.unwrap().as_str(), "a b");
    assert_eq!(details.resource_metadata.unwrap().as_str(), place);
    assert_eq!(details.description.unwrap().as_plain(), WORDS);
    assert!(details.attempts.is_some());
}

#[test]
fn sec_28_the_servers_words_are_escaped_and_bounded() {
    let mut host = at_token();
    let words = format!("\\u001b[31m\\\"x\\\"\\n{}", "y".repeat(5_000));
    let answer = format!(r#"{{"error":"e","error_description":"{words}"}}"#);
    host.serve(TOKEN, 400, &answer);
    let text = host.error().to_string();
    assert!(text.chars().all(|c| matches!(c, ' '..='~')), "{text}");
    assert!(text.contains(r#"saying "[31m\"x\"yyy"#), "{text}");
    assert!(text.len() < 1_000);
}

#[test]
fn a_failure_has_the_responses_and_blames_the_responsible_party() {
    // The authorization server's web page and its 403 are not the MCP server's.
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.serve(PRM, 200, &prm());
    host.serve_with(
        META,
        403,
        &[("content-type", "text/html; charset=utf-8")],
        "<html>",
    );
    host.serve(OPENID, 404, "");
    let failure = host.error();
    assert_eq!(failure.cause, Cause::Violation(Violation::NoServerMetadata));
    assert_eq!(failure.party(), Party::AuthorizationServer);
    let text = failure.to_string();
    let page = format!("{META} answered 403, \"text/html; charset=utf-8\"");
    assert!(text.contains(&page), "{text}");
    assert!(text.contains(&format!("{OPENID} answered 404")), "{text}");
    assert!(!text.contains("MCP server"), "{text}");
    // Responses of earlier steps are left out.
    assert!(!text.contains(PRM), "{text}");
    // The MCP server's are its own.
    let mut host = Host::new(config());
    host.challenged(401, &[]);
    host.need_user();
    host.authorize();
    host.serve_with(PRM, 404, &[("content-type", "text/html")], "");
    host.serve(
        "https://mcp.example/.well-known/oauth-protected-resource",
        404,
        "",
    );
    let failure = host.error();
    assert_eq!(
        failure.cause,
        Cause::Misconfigured(Misconfiguration::ServerUnknown)
    );
    assert_eq!(failure.remedy(), Some(Remedy::AuthorizationServer));
    assert!(failure.to_string().contains("answered 404, \"text/html\""));
    // No answer at all names the URL.
    let mut host = at_token();
    let send = host.request();
    host.handle(send.never_sent());
    let failure = host.error();
    assert_eq!(failure.stage, Stage::Token);
    assert!(
        failure
            .to_string()
            .contains(&format!("{TOKEN} gave no answer"))
    );
}

#[test]
fn both_values_of_a_mismatch_are_told() {
    let mut host = Host::new(config());
    host.ask(&announcing());
    host.serve(PRM, 200, &prm().replace(MCP, "https://other.example/mcp"));
    let failure = host.error();
    let details = failure.details();
    assert_eq!(details.expected.as_deref(), Some(MCP));
    assert_eq!(
        details.found.unwrap().as_plain(),
        "https://other.example/mcp"
    );
    let text = failure.to_string();
    assert!(
        text.contains(MCP) && text.contains("https://other.example/mcp"),
        "{text}"
    );
}

#[test]
fn each_flaw_of_an_authorization_request_has_its_own_cause() {
    let end = |document: String| {
        let mut host = Host::new(config());
        host.discover(&prm(), &document);
        if matches!(
            host.actions.front(),
            Some(mcp_auth_machine::Action::SendRequest(_))
        ) {
            host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
        }
        host.error()
    };
    let endpoint = r#""authorization_endpoint":"https://as.example/authorize","#;
    let none = end(metadata().replace(endpoint, ""));
    assert_eq!(none.cause.code(), "no_authorization_endpoint");
    let reserved = end(metadata().replace("/authorize", "/authorize?state=x"));
    assert_eq!(reserved.details().member.unwrap().as_plain(), "state");
    assert!(reserved.to_string().contains("parameter \"state\""));
    let settings = mcp_auth_machine::config::IssuerSettings::new()
        .authorization_parameter("hint", &"x".repeat(40_000))
        .unwrap();
    let mut host = Host::new(config().issuer_settings(AS, settings));
    host.discover(&prm(), &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
    let long = host.error();
    assert!(matches!(
        long.cause,
        Cause::Violation(Violation::RequestTooLong { bytes }) if bytes > 40_000
    ));
}

#[test]
fn a_refused_renewal_tells_why_the_user_is_needed() {
    let mut host = Host::signed_in(config(), &renewable_for("at-1", "rt-1", "60"));
    host.pass(60_000);
    host.wanted("x");
    let answer = format!(r#"{{"error":"interaction_required","error_description":"{WORDS}"}}"#);
    host.serve(TOKEN, 400, &answer);
    let Why::RenewalRefused { cause } = host.need_user().why else {
        panic!()
    };
    let details = cause.details();
    assert_eq!(details.error.unwrap().as_plain(), "interaction_required");
    assert_eq!(details.description.unwrap().as_plain(), WORDS);
}

#[test]
fn scope_04_m2m_01_m2m_08_dpop_02_a_configuration_that_cannot_work_is_not_built() {
    for bad in ["a\nb", "a b\"c", "a \\", "caf\u{e9}"] {
        let built = config().scopes(bad).build();
        assert!(matches!(built, Err(ConfigError::Scope(_))), "{bad}");
    }
    assert!(config().scopes("a  b ").build().is_ok());
    let nobody = config().client_credentials().build();
    assert_eq!(nobody.err(), Some(ConfigError::NoClient));
    let idp = || Enterprise::new("https://idp.example", PreRegistered::new("c"));
    let nobody = config().enterprise(idp()).build();
    assert_eq!(nobody.err(), Some(ConfigError::NoClient));
    // A client that cannot authenticate.
    let public = || PreRegistered::new("svc");
    let flaw = Some(ConfigError::PublicClient("svc".to_owned()));
    let by_choice = public().secret("s").method(AuthMethod::None);
    let no_secret = public().method(AuthMethod::ClientSecretBasic);
    for client in [public(), by_choice, no_secret] {
        let own = config().pre_registered(AS, client.clone());
        assert_eq!(own.client_credentials().build().err(), flaw);
        let unbound = config().pre_registered_unbound(client.clone());
        assert_eq!(unbound.client_credentials().build().err(), flaw);
        let idp = Enterprise::new("https://idp.example", client);
        let own = || config().pre_registered(AS, public().secret("s"));
        assert_eq!(own().enterprise(idp.clone()).build().err(), flaw);
        assert!(own().enterprise(idp.public_client()).build().is_ok());
    }
    let keyless = config().dpop(Dpop::new(DpopPolicy::Require)).build();
    assert_eq!(keyless.err(), Some(ConfigError::DpopKey));
    let where_it_can_be = config().dpop(Dpop::new(DpopPolicy::IfSupported));
    assert!(where_it_can_be.build().is_ok());
    for url in ["https://u:p@mcp.example/mcp", "https://u@mcp.example/mcp"] {
        let failed = Config::builder(url, REDIRECT).build().err().unwrap();
        assert_eq!(
            failed.to_string(),
            "the MCP URL contains a user name or a password; it must be https, or http on loopback"
        );
    }
    // Sentences.
    let failed = Config::builder("http://mcp.example/mcp", REDIRECT).build();
    let text = failed.err().unwrap().to_string();
    assert!(text.starts_with("the MCP URL is not https"), "{text}");
    let failed = Config::builder(MCP, "callback").build();
    let text = failed.err().unwrap().to_string();
    assert_eq!(text, "the redirect URI is not an absolute URI");
}

#[test]
fn m2m_01_a_client_without_a_user_needs_no_redirect_uri() {
    let client = PreRegistered::new("svc").secret("s");
    let own = Config::without_user(MCP)
        .pre_registered(AS, client)
        .client_credentials();
    assert!(own.clone().build().unwrap().redirect_uri().is_none());
    let mut host = Host::new(own);
    host.challenged(401, &[&announcing()]);
    host.serve(PRM, 200, &prm());
    let document = metadata().replace(
        r#"["none"]"#,
        r#"["client_secret_basic"],"grant_types_supported":["client_credentials"]"#,
    );
    host.serve(META, 200, &document);
    host.serve(TOKEN, 200, &token_answer("at-1"));
    host.ready();
    // A sign-in needs a redirect URI.
    let user = Config::without_user(MCP).build();
    assert_eq!(user.err(), Some(ConfigError::NoRedirectUri));
}
