//! The words of a failure: what happened and the next step. No peer text, apart from identifiers
//! that passed the URL rules.

use std::fmt::{self, Formatter};

use crate::budget::Limited;
use crate::error::{Cause, Failure, Misconfiguration, Next, Refusal, StoreFlaw, Violation};
use crate::issuer::MetadataFlaw;
use crate::wire::callback::IssFlaw;
use crate::wire::token::OAuthError;

pub(crate) fn failure(failure: &Failure, f: &mut Formatter<'_>) -> fmt::Result {
    cause(&failure.cause, f)?;
    if let Some(issuer) = &failure.issuer {
        write!(f, " (authorization server {issuer})")?;
    }
    f.write_str(match failure.next() {
        Next::AskUser => "; ask the user to authorize again",
        Next::FixConfiguration => "; change the configuration of the client or of the server",
        Next::RetryLater(_) => "; try again later",
        Next::DoNotTrust => "; do not trust this server",
    })
}

fn cause(cause: &Cause, f: &mut Formatter<'_>) -> fmt::Result {
    match cause {
        Cause::Violation(found) => violation(found, f),
        Cause::Refused(found) => refusal(found, f),
        Cause::Unreachable(found) if found.code_spent => {
            f.write_str("the token endpoint gave no usable answer; the code may be used up")
        }
        Cause::Unreachable(_) => f.write_str("a server could not be reached"),
        Cause::NotPersisted(flaw) => match flaw {
            StoreFlaw::Load => f.write_str("the store could not be read"),
            StoreFlaw::Write => f.write_str("the store did not keep a record"),
            StoreFlaw::Conflict => f.write_str("another process changed the record first"),
            StoreFlaw::Record(flaw) => write!(f, "a stored record cannot be used: {flaw}"),
        },
        Cause::OutOfPatience(limited) => f.write_str(match limited {
            Limited::Requests => "too many requests in one flow",
            Limited::Registrations => "too many registrations in one flow",
            Limited::Authorizations => "too many authorizations for one operation",
            Limited::Redirects => "too many authorizations in a short time",
            Limited::FlowTime => "the flow took too long",
            Limited::UserTime => "the user did not finish the authorization in time",
        }),
        Cause::Misconfigured(found) => misconfiguration(found, f),
        Cause::Abandoned => f.write_str("the authorization was given up"),
    }
}

fn violation(violation: &Violation, f: &mut Formatter<'_>) -> fmt::Result {
    let text = match violation {
        Violation::NoResource => "the resource metadata has no `resource` (DISC-11)",
        Violation::OtherResource { .. } => {
            "the resource metadata is for another resource than the MCP server (DISC-12)"
        }
        Violation::ResourceMetadataMalformed => {
            "the resource metadata repeats a member or is nested too deeply (SEC-14)"
        }
        Violation::NoHeaderMethod => {
            "the resource does not take tokens in the Authorization header (DISC-24)"
        }
        Violation::NoAuthorizationServer => {
            "the resource metadata lists no usable authorization server (DISC-15)"
        }
        Violation::Metadata(flaw) => return metadata(flaw, f),
        Violation::NoAuthorizationEndpoint => {
            "the server metadata has no authorization_endpoint (META-12)"
        }
        Violation::AuthorizationOrigin { endpoint } => {
            return write!(
                f,
                "the authorization endpoint {endpoint} is on another origin than its issuer, and \
                 the server does not advertise `iss`; pin it with \
                 IssuerSettings::authorization_origin if that is known to be right"
            );
        }
        Violation::NoPkce => {
            "the server metadata does not advertise S256 (PKCE-05); if the server is known to check \
             it, say so with IssuerSettings::pkce"
        }
        Violation::NoCodeGrant => {
            "the server does not offer the authorization code grant (META-14, REG-24)"
        }
        Violation::ReservedParameter => {
            "the authorization endpoint carries parameters that only the client may set (AUTHZ-02)"
        }
        Violation::Iss(IssFlaw::Missing) => {
            "issuer mismatch: the server advertises `iss` and did not send it (ISS-04)"
        }
        Violation::Iss(IssFlaw::Different) => {
            "issuer mismatch: the callback came from another server than the user was sent to (ISS-03)"
        }
        Violation::IssUnverifiable => "the server does not identify itself in its callback",
        Violation::FrontChannelToken => "the callback carries a token (CB-12)",
        Violation::NotOneAnswer => "the callback has not exactly one of code and error (CB-08)",
        Violation::Registration(flaw) => return write!(f, "{flaw} (REG-23)"),
        Violation::RedirectUriNotRegistered => {
            "the server registered other redirect URIs than ours (REG-24)"
        }
        Violation::RegistrationMethod(flaw) => return write!(f, "{flaw} (REG-23)"),
        Violation::Token(flaw) => return write!(f, "the token endpoint answered: {flaw} (TOK-11)"),
        Violation::Redirected => "a request was redirected where that is not allowed (SEC-09)",
        Violation::PlaceRefused(flaw) => {
            return write!(f, "an announced URL must not be contacted: {flaw} (SEC-05)");
        }
        Violation::TooLarge => "an answer is larger than allowed (SEC-13)",
        Violation::FreshTokenRefused => {
            "the MCP server refuses a token that has just been issued for it (USE-08)"
        }
        Violation::TokenEndpointMoved => {
            "the authorization server's token endpoint is now on another origin; the refresh token \
             is not sent there (REFR-11)"
        }
        Violation::NoEndpoint => "the server has not the endpoint that is needed",
        Violation::TokenNotBound => {
            "a token bound to a key was required, and the server issued another kind (DPOP-13)"
        }
        Violation::NoIdJag => "the identity provider's answer is no grant for this server (EMA-10)",
        Violation::ServerChanged => {
            "the MCP server changed its authorization server during the authorization (ISO-07)"
        }
    };
    f.write_str(text)
}

fn metadata(flaw: &MetadataFlaw, f: &mut Formatter<'_>) -> fmt::Result {
    match flaw {
        MetadataFlaw::Issuer { expected, got } => write!(
            f,
            "the server metadata names another issuer: expected {expected}, got {got:?} (META-08)"
        ),
        MetadataFlaw::NoTokenEndpoint => {
            f.write_str("the server metadata has no token_endpoint (META-12)")
        }
        MetadataFlaw::Endpoint { member, got, flaw } => {
            write!(
                f,
                "the server metadata's {member} {got:?} is refused: {flaw} (META-12)"
            )
        }
        MetadataFlaw::Parameter { member, name } => write!(
            f,
            "the server metadata's {member} has the parameter {name:?} in its query, which only the \
             client may set (META-12)"
        ),
        MetadataFlaw::Malformed => {
            f.write_str("the server metadata repeats a member or is nested too deeply (SEC-14)")
        }
    }
}

fn refusal(refusal: &Refusal, f: &mut Formatter<'_>) -> fmt::Result {
    match refusal {
        Refusal::OAuth { error, code, .. } => match (error, code) {
            (OAuthError::AccessDenied, _) => f.write_str("the authorization was declined"),
            (_, Some(code)) => write!(f, "the authorization server refused: {code:?}"),
            (_, None) => f.write_str("the authorization server refused"),
        },
        Refusal::InsufficientScope { scopes, .. } => match scopes {
            Some(scopes) => write!(f, "the MCP server wants the scopes `{}`", scopes.as_str()),
            None => f.write_str("the MCP server wants scopes that it does not name"),
        },
        Refusal::Forbidden => f.write_str("the MCP server forbids the operation"),
        Refusal::InvalidRequest => f.write_str("the MCP server calls the request malformed"),
    }
}

fn misconfiguration(found: &Misconfiguration, f: &mut Formatter<'_>) -> fmt::Result {
    match found {
        Misconfiguration::NoClient { issuer } => write!(
            f,
            "no client identifier for {issuer}: configure a pre-registered client, a client \
             metadata URL, or dynamic registration"
        ),
        Misconfiguration::OtherIssuer { configured, found } => {
            f.write_str("clients are configured for")?;
            for issuer in configured {
                write!(f, " {issuer}")?;
            }
            write!(f, ", but the MCP server uses {found}")
        }
        Misconfiguration::ServerUnknown => f.write_str(
            "the MCP server publishes no metadata: configure its authorization server, or enable \
             legacy servers",
        ),
        Misconfiguration::PushedRequestsRequired => {
            f.write_str("the server takes only pushed authorization requests (AUTHZ-21)")
        }
        Misconfiguration::DpopRequired => {
            f.write_str("the resource takes only tokens bound to a key (DPOP-02)")
        }
        Misconfiguration::ClientMethod(flaw) => write!(f, "{flaw} (TOK-04)"),
        Misconfiguration::KeyMissing => {
            f.write_str("the key that the token is bound to is not configured (REFR-10)")
        }
        Misconfiguration::SignerFailed => f.write_str("the host could not sign"),
        Misconfiguration::DpopUnavailable => f.write_str(
            "a token bound to a key is required, and server and keys have no algorithm in common \
             (DPOP-02)",
        ),
        Misconfiguration::NoAssertion => {
            f.write_str("the host's platform has no assertion to give (WIF-05, EMA-05)")
        }
        Misconfiguration::AssertionNotAllowed { allowed, found } => {
            f.write_str("assertions may be sent to")?;
            for issuer in allowed {
                write!(f, " {issuer}")?;
            }
            write!(f, ", but the MCP server uses {found} (WIF-12)")
        }
        Misconfiguration::GrantNotOffered => {
            f.write_str("the server does not offer the grant that is configured (WIF-04, EMA-03)")
        }
    }
}
