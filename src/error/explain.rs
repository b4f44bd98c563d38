//! The text of a failure: the value seen, the value expected, and the next step. Texts of servers are
//! quoted, escaped, bounded, and attributed to the server. Settings are not named here, because a user of
//! the command line has options instead: see [`Failure::remedy`].

use std::fmt::{self, Formatter};

use super::{
    Cause, Failure, Misconfiguration, Next, PlaceFlaw, Refusal, Seen, Stage, StoreFlaw, Violation,
};
use crate::budget::Limited;
use crate::issuer::MetadataFlaw;
use crate::wire::callback::IssFlaw;
use crate::wire::text::Untrusted;
use crate::wire::token::{OAuthError, UnexpectedToken};

pub(crate) fn failure(failure: &Failure, f: &mut Formatter<'_>) -> fmt::Result {
    reason(&failure.cause, failure, f)?;
    if let Some(issuer) = failure.issuer.as_ref().filter(|_| is_about_issuer(failure)) {
        write!(f, " (authorization server {issuer})")?;
    }
    for (at, seen) in failure.seen.iter().enumerate() {
        f.write_str(if at == 0 { "; " } else { ", " })?;
        write!(f, "{seen}")?;
    }
    if f.alternate() {
        return Ok(());
    }
    f.write_str(match failure.next() {
        Next::AskUser => "; ask the user to authorize again",
        Next::FixConfiguration => "; change the configuration of the client or of the server",
        Next::RetryLater(_) => "; try again later",
        Next::DoNotTrust => "; stop using this server",
    })
}

/// Returns true if the authorization server may have a part in the failure: not where the store fails, and not where another
/// server could not be reached.
fn is_about_issuer(failure: &Failure) -> bool {
    let is_of_another = matches!(
        failure.stage,
        Stage::Challenge | Stage::ResourceMetadata | Stage::IdentityProvider
    );
    match &failure.cause {
        Cause::NotPersisted(_) => false,
        Cause::Unreachable(_) | Cause::Resting(_) => !is_of_another,
        Cause::Violation(_)
        | Cause::Refused(_)
        | Cause::OutOfPatience(_)
        | Cause::Misconfigured(_)
        | Cause::Abandoned => true,
    }
}

/// Returns what the last request of an attempt got in place of an answer.
fn no_answer(last: Option<&Seen>) -> &'static str {
    match last.map(|seen| seen.status) {
        None => "could not be reached, or sent no usable response",
        Some(None) => "could not be reached",
        Some(Some(429)) => "takes no more requests for now",
        Some(Some(500..=599)) => "fails for now",
        Some(Some(_)) => "sent no usable response",
    }
}

/// Returns the server that a stage asks.
const fn server_at(stage: Stage) -> &'static str {
    match stage {
        Stage::Slots => "a server",
        Stage::Challenge | Stage::ResourceMetadata => "the MCP server",
        Stage::IdentityProvider => "the identity provider",
        Stage::ServerMetadata
        | Stage::Registration
        | Stage::Authorization
        | Stage::Callback
        | Stage::Token
        | Stage::Refresh
        | Stage::Revocation => "the authorization server",
    }
}

/// Writes the cause: that of the failure, or the one that it repeats.
fn reason(cause: &Cause, failure: &Failure, f: &mut Formatter<'_>) -> fmt::Result {
    let stage = failure.stage;
    match cause {
        Cause::Violation(found) => violation(found, f),
        Cause::Refused(found) => refusal(found, stage, f),
        Cause::Unreachable(found) if found.code_spent => f.write_str(
            "the token endpoint sent no usable response; the code may have been consumed",
        ),
        Cause::Unreachable(_) => {
            let missed = no_answer(failure.seen.last());
            write!(f, "{} {missed}", server_at(stage))
        }
        Cause::Resting(resting) => {
            reason(&resting.after, failure, f)?;
            f.write_str(" a moment ago, and the back-off has not ended")
        }
        Cause::NotPersisted(flaw) => match flaw {
            StoreFlaw::Load => f.write_str("the store could not be read"),
            StoreFlaw::Write => f.write_str("the store did not keep a record"),
            StoreFlaw::Slow => f.write_str("a token expired before the store confirmed the write"),
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
            Limited::Callers => "too many operations of this account wait for a token",
        }),
        Cause::Misconfigured(found) => misconfiguration(found, f),
        Cause::Abandoned => f.write_str("the authorization was cancelled"),
    }
}

fn violation(violation: &Violation, f: &mut Formatter<'_>) -> fmt::Result {
    let text = match violation {
        Violation::NoResource => "the resource metadata has no `resource` (DISC-11)",
        Violation::OtherResource { expected, got } => {
            return write!(
                f,
                "the resource metadata is for another resource than the MCP server: expected \
                 {expected}, got {got:?} (DISC-12)"
            );
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
                "the authorization server signs users in at {endpoint}, on another origin than its own, and does not advertise \
                 `iss`, so that another server could respond in its place; configure its origin if it is known to \
                 belong to the server",
            );
        }
        Violation::NoPkce => {
            "the server metadata does not advertise the code challenge method S256 (PKCE-05); if the \
             server is known to check it, say so in the configuration"
        }
        Violation::NoCodeGrant => {
            "the server does not offer the authorization code grant (META-14, REG-24)"
        }
        Violation::ReservedParameter { name } => {
            return write!(
                f,
                "the authorization endpoint has the parameter {name:?} in its query, which only the \
                 client may set (AUTHZ-02)"
            );
        }
        Violation::RequestTooLong { bytes } => {
            return write!(
                f,
                "the authorization request has a URL of {bytes} bytes; at most 32768 are sent to \
                 browsers (AUTHZ-11)"
            );
        }
        Violation::NoServerMetadata => {
            "no well-known location of the authorization server has its metadata, a JSON object with `issuer` \
             (META-04)"
        }
        Violation::Iss(IssFlaw::Missing) => {
            "issuer mismatch: the server advertises `iss` and did not send it (ISS-04)"
        }
        Violation::Iss(IssFlaw::MissingFromError) => {
            "the authorization ended with an error response without `iss`, which the server advertises, so \
             its content was ignored; if the user declined, that was probably the reason (ISS-04)"
        }
        Violation::Iss(IssFlaw::Different) => {
            "issuer mismatch: the callback came from another server than the user was sent to (ISS-03)"
        }
        Violation::IssUnverifiable => "the callback does not carry `iss`, and the host requires it",
        Violation::FrontChannelToken => "the callback carries a token (CB-12)",
        Violation::NotOneAnswer => {
            "the callback must have exactly one of `code` and `error` (CB-08)"
        }
        Violation::Registration(flaw) => return write!(f, "{flaw} (REG-23)"),
        Violation::RedirectUriNotRegistered => {
            "the registration does not contain the redirect URI of this client (REG-24)"
        }
        Violation::RegistrationMethod(flaw) => return write!(f, "{flaw} (REG-23)"),
        Violation::Token(flaw) => {
            let rule = match flaw {
                UnexpectedToken::TokenType => "TOK-12",
                UnexpectedToken::Body
                | UnexpectedToken::Status(_)
                | UnexpectedToken::NoToken
                | UnexpectedToken::TokenText => "TOK-11",
            };
            return write!(f, "the token response is unusable: {flaw} ({rule})");
        }
        Violation::Redirected => {
            "the server redirected a request that must not be redirected (SEC-09)"
        }
        Violation::PlaceRefused { place, flaw } => {
            return match flaw {
                PlaceFlaw::Url(flaw) => write!(
                    f,
                    "the announced URL {place:?} {flaw}, and is not contacted (SEC-05)"
                ),
                PlaceFlaw::RedirectsElsewhere(_)
                | PlaceFlaw::RedirectsNowhere
                | PlaceFlaw::RedirectsTooOften => write!(f, "{place:?} {flaw} (SEC-08)"),
                PlaceFlaw::TooLarge => write!(f, "{place:?} {flaw} (SEC-13)"),
            };
        }
        Violation::TooLarge => "a response is larger than 256 KiB (SEC-13)",
        Violation::FreshTokenRefused { description } => {
            f.write_str(
                "the MCP server refuses a token that has just been issued for it (USE-08)",
            )?;
            return says(description.as_ref(), f);
        }
        Violation::TokenEndpointMoved => {
            "the authorization server's token endpoint is now on another origin; the refresh token \
             is not sent there (REFR-11)"
        }
        Violation::NoEndpoint => {
            "the authorization server does not publish the endpoint that is needed"
        }
        Violation::TokenNotBound => {
            "a token bound to a key was required, and the server issued another kind (DPOP-13)"
        }
        Violation::Device(flaw) => {
            return write!(
                f,
                "the device authorization response is unusable: {flaw} (DEV-04)"
            );
        }
        Violation::VerificationOrigin { page } => {
            return write!(
                f,
                "the page for the code, {page}, is on another origin than the issuer, so that the code could \
                 be one of another server; configure its origin if that is known to be correct (DEV-05)"
            );
        }
        Violation::NoIdJag => "the identity provider's response has no usable grant (EMA-10)",
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
                "the server metadata's {member} {got:?} is refused: it {flaw} (META-12)"
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

fn refusal(refusal: &Refusal, stage: Stage, f: &mut Formatter<'_>) -> fmt::Result {
    match refusal {
        Refusal::OAuth {
            error,
            code,
            description,
            error_uri,
        } => {
            f.write_str(match (error, stage) {
                (_, Stage::Registration) => {
                    "the authorization server refused to register this client"
                }
                (OAuthError::AccessDenied, _) => "the authorization was declined",
                (_, Stage::Refresh) => "the authorization server rejected the refresh",
                (_, Stage::Revocation) => "the authorization server refused to revoke a token",
                (_, Stage::IdentityProvider) => "the identity provider refused",
                (_, Stage::Challenge) => "the MCP server refused the token",
                (
                    _,
                    Stage::Slots
                    | Stage::ResourceMetadata
                    | Stage::ServerMetadata
                    | Stage::Authorization
                    | Stage::Callback
                    | Stage::Token,
                ) => "the authorization server refused",
            })?;
            if let Some(code) = code {
                write!(f, ": {code:?}")?;
            }
            says(description.as_ref(), f)?;
            match error_uri {
                Some(page) => write!(f, "; see {page}"),
                None => Ok(()),
            }
        }
        Refusal::InsufficientScope {
            scopes,
            description,
            attempts,
            ..
        } => {
            match scopes {
                Some(scopes) => {
                    write!(
                        f,
                        "the MCP server requires the scopes `{}`",
                        scopes.as_str()
                    )?;
                }
                None => f.write_str("the MCP server requires scopes that it does not name")?,
            }
            if *attempts > 0 {
                write!(f, " after {attempts} authorizations")?;
            }
            says(description.as_ref(), f)
        }
        Refusal::Forbidden { description } => {
            f.write_str("the MCP server forbids the operation")?;
            says(description.as_ref(), f)
        }
        Refusal::InvalidRequest { description } => {
            f.write_str("the MCP server calls the request malformed")?;
            says(description.as_ref(), f)
        }
    }
}

/// Writes a server's text, attributed to the server.
fn says(words: Option<&Untrusted>, f: &mut Formatter<'_>) -> fmt::Result {
    match words {
        Some(words) => write!(f, ", saying {words:?}"),
        None => Ok(()),
    }
}

fn misconfiguration(found: &Misconfiguration, f: &mut Formatter<'_>) -> fmt::Result {
    match found {
        Misconfiguration::NoClient { issuer } => write!(
            f,
            "no client identifier for {issuer}, and none can be registered there: it offers no dynamic registration that \
             this client may use; configure a pre-registered client, or a client metadata URL if the server takes one"
        ),
        Misconfiguration::OtherIssuer { configured, found } => {
            f.write_str("clients are configured for")?;
            for issuer in configured {
                write!(f, " {issuer}")?;
            }
            write!(f, ", but the MCP server uses {found}")
        }
        Misconfiguration::BindingUnreadable { slot, flaw } => write!(
            f,
            "the record {slot}, which binds the configured client to its authorization server, \
             cannot be used: {flaw}; name the client's issuer in the configuration, or clear the \
             record (REG-04)"
        ),
        Misconfiguration::ServerUnknown => f.write_str(
            "the MCP server publishes no metadata: configure its authorization server, or enable \
             legacy servers",
        ),
        Misconfiguration::NoRedirectUri => {
            f.write_str("a user can only sign in with a redirect URI, and this client has none")
        }
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
        Misconfiguration::NoPrincipal => {
            f.write_str("the name of the principal is empty: name the user")
        }
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
        Misconfiguration::NoDeviceGrant => f.write_str(
            "the server does not let users authorize on another device (DEV-02): it names no \
             device_authorization_endpoint, or not the grant",
        ),
        Misconfiguration::GrantNotOffered => {
            f.write_str("the server does not offer the grant that is configured (WIF-04, EMA-03)")
        }
    }
}
