//! The parts of a failure: a stable code, the responsible party, the next step, and a message.

use std::fmt::Write;

use mcp_auth_machine::budget::Limited;
use mcp_auth_machine::error::{
    Cause, Misconfiguration, Next, Party, PlaceFlaw, Refusal, Resting, Stage, StoreFlaw,
    Unreachable, Violation,
};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::callback::IssFlaw;
use mcp_auth_machine::wire::text::Untrusted;
use mcp_auth_machine::wire::token::OAuthError;
use mcp_auth_machine::wire::url::UrlFlaw;
use mcp_auth_machine::{Failure, MethodFlaw, RecordFlaw};

use crate::support::*;

fn failure(cause: Cause) -> Failure {
    Failure {
        operation: None,
        stage: Stage::Token,
        issuer: None,
        cause,
        seen: Vec::new(),
    }
}

fn place(flaw: PlaceFlaw) -> Violation {
    let place = Untrusted::new("http://mcp.example/prm");
    Violation::PlaceRefused { place, flaw }
}

fn violations() -> Vec<Violation> {
    vec![
        Violation::NoResource,
        Violation::ResourceMetadataMalformed,
        Violation::NoHeaderMethod,
        Violation::NoAuthorizationServer,
        Violation::NoAuthorizationEndpoint,
        Violation::NoPkce,
        Violation::NoCodeGrant,
        Violation::ReservedParameter {
            name: Untrusted::new("state"),
        },
        Violation::RequestTooLong { bytes: 40_000 },
        Violation::NoServerMetadata,
        Violation::OtherResource {
            expected: "https://mcp.example/mcp".into(),
            got: Untrusted::new("https://other.example"),
        },
        Violation::Iss(IssFlaw::Missing),
        Violation::Iss(IssFlaw::MissingFromError),
        Violation::Iss(IssFlaw::Different),
        Violation::IssUnverifiable,
        Violation::FrontChannelToken,
        Violation::NotOneAnswer,
        Violation::RedirectUriNotRegistered,
        Violation::RegistrationMethod(MethodFlaw::NoSecret),
        Violation::Redirected,
        Violation::TooLarge,
        place(PlaceFlaw::Url(UrlFlaw::Scheme)),
        place(PlaceFlaw::RedirectsElsewhere(Untrusted::new("/login"))),
        place(PlaceFlaw::RedirectsNowhere),
        place(PlaceFlaw::RedirectsTooOften),
        place(PlaceFlaw::TooLarge),
        Violation::FreshTokenRefused { description: None },
        Violation::TokenEndpointMoved,
        Violation::ServerChanged,
        Violation::NoEndpoint,
        Violation::TokenNotBound,
        Violation::NoIdJag,
    ]
}

fn others() -> Vec<Cause> {
    let oauth = |error| {
        Cause::Refused(Refusal::OAuth {
            error,
            code: None,
            description: None,
            error_uri: None,
        })
    };
    let unreachable = |code_spent| {
        Cause::Unreachable(Unreachable {
            code_spent,
            retry_at: None,
        })
    };
    let mut causes = vec![
        Cause::Refused(Refusal::OAuth {
            error: OAuthError::InvalidTarget,
            code: Some(Untrusted::new("invalid_target")),
            description: Some(Untrusted::new("AADSTS9010010: \u{1b}[31m\"no\"")),
            error_uri: None,
        }),
        oauth(OAuthError::AccessDenied),
        oauth(OAuthError::InvalidClient),
        oauth(OAuthError::TemporarilyUnavailable),
        Cause::Refused(Refusal::InsufficientScope {
            scopes: None,
            resource_metadata: None,
            description: None,
            attempts: 1,
        }),
        Cause::Refused(Refusal::Forbidden { description: None }),
        Cause::Refused(Refusal::InvalidRequest { description: None }),
        unreachable(false),
        unreachable(true),
    ];
    causes.extend(
        [
            StoreFlaw::Load,
            StoreFlaw::Write,
            StoreFlaw::Conflict,
            StoreFlaw::Slow,
        ]
        .map(Cause::NotPersisted),
    );
    causes.push(Cause::NotPersisted(StoreFlaw::Record(RecordFlaw::Newer)));
    causes.push(Cause::Resting(Resting {
        after: Box::new(oauth(OAuthError::InvalidTarget)),
        retry_at: UnixMillis(1_800_000_005_000),
    }));
    causes.push(Cause::Misconfigured(Misconfiguration::BindingUnreadable {
        slot: "registration/x".to_owned(),
        flaw: RecordFlaw::Damaged,
    }));
    let limits = [
        Limited::Requests,
        Limited::Registrations,
        Limited::Authorizations,
        Limited::Redirects,
        Limited::FlowTime,
        Limited::UserTime,
    ];
    causes.extend(limits.map(Cause::OutOfPatience));
    let settings = [
        Misconfiguration::ServerUnknown,
        Misconfiguration::NoRedirectUri,
        Misconfiguration::PushedRequestsRequired,
        Misconfiguration::DpopRequired,
        Misconfiguration::ClientMethod(MethodFlaw::Algorithm),
        Misconfiguration::KeyMissing,
        Misconfiguration::SignerFailed,
        Misconfiguration::DpopUnavailable,
        Misconfiguration::NoAssertion,
        Misconfiguration::GrantNotOffered,
    ];
    causes.extend(settings.map(Cause::Misconfigured));
    causes.push(Cause::Abandoned);
    causes
}

#[test]
fn every_failure_has_a_code_a_culprit_a_next_step_and_a_sentence() {
    let mut told = String::new();
    let causes = violations().into_iter().map(Cause::Violation);
    for cause in causes.chain(others()) {
        let failure = failure(cause);
        let (code, party) = (failure.cause.code(), format!("{:?}", failure.party()));
        let next = format!("{:?}", failure.next());
        // The reader may know command-line options instead of settings.
        assert!(!failure.to_string().contains("Settings") && !failure.to_string().contains("::"));
        writeln!(told, "{code:26} {party:20} {next:18} {failure}").unwrap();
    }
    insta::assert_snapshot!(told);
}

#[test]
fn the_culprit_is_the_one_who_can_change_it() {
    let party = |cause| failure(cause).party();
    let iss = Violation::Iss(IssFlaw::Different);
    assert_eq!(party(Cause::Violation(iss)), Party::AuthorizationServer);
    assert_eq!(
        party(Cause::Violation(Violation::NoResource)),
        Party::McpServer
    );
    assert_eq!(party(Cause::OutOfPatience(Limited::UserTime)), Party::User);
    assert_eq!(party(Cause::NotPersisted(StoreFlaw::Write)), Party::Store);
    let next = |cause| failure(cause).next();
    let lie = Violation::Iss(IssFlaw::Missing);
    assert_eq!(next(Cause::Violation(lie)), Next::DoNotTrust);
}

/// One slash, or `http` for `https`, is a slip of the operator; another host or path is not.
#[test]
fn a_slip_in_a_url_is_no_reason_to_distrust() {
    let next = |expected: &str, got: &str| {
        let violation = Violation::OtherResource {
            expected: expected.into(),
            got: Untrusted::new(got),
        };
        failure(Cause::Violation(violation)).next()
    };
    let own = "https://mcp.example/mcp";
    for got in [
        "https://mcp.example/mcp/",
        "http://mcp.example/mcp",
        "http://mcp.example/mcp/",
    ] {
        assert_eq!(next(own, got), Next::FixConfiguration, "{got}");
    }
    for got in [
        "https://evil.example/mcp",
        "https://mcp.example/mcp//",
        "https://mcp.example/other",
        "ftp://mcp.example/mcp",
        "",
    ] {
        assert_eq!(next(own, got), Next::DoNotTrust, "{got}");
    }
    assert_eq!(next("", ""), Next::DoNotTrust);
}

/// A server that answers is not said to be out of reach.
#[test]
fn the_sentence_about_a_missing_answer_is_that_of_the_last_response() {
    for (status, words) in [
        (
            429,
            "the authorization server takes no more requests for now",
        ),
        (503, "the authorization server fails for now"),
    ] {
        let mut host = Host::new(config());
        host.discover(&prm(), &metadata());
        host.serve(REGISTER, status, "<html>");
        let said = host.error().to_string();
        assert!(said.starts_with(words), "{said}");
    }
}
