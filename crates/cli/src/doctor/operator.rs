//! The fix for each failure that a server can cause, by the reason code.

use mcp_auth_machine::Failure;
use mcp_auth_machine::details::Details;
use mcp_auth_machine::error::Stage;

use super::fix::{Fix, Place};

/// Returns the change at a server that prevents a failure; `None` where the cause is the client, the user or the store.
pub(super) fn of_failure(failure: &Failure) -> Option<Fix> {
    let (code, details) = (failure.cause.code(), failure.details());
    of_resource(code, &details)
        .or_else(|| of_documents(code, failure.stage, &details))
        .or_else(|| of_server(code, &details))
        .or_else(|| of_sign_in(code))
        .or_else(|| of_token(code))
        .or_else(|| of_use(code))
}

/// The change for one member: document, member, change, source.
fn change(place: Place, member: &str, change: impl Into<String>, source: &'static str) -> Fix {
    Fix::member(place, member, change).source(source)
}

fn of_resource(code: &str, details: &Details) -> Option<Fix> {
    let place = Place::ResourceMetadata;
    Some(match code {
        "no_resource" => change(
            place,
            "resource",
            "add it, with the URL of the MCP server that users are given",
            "RFC 9728 section 2",
        ),
        "resource_mismatch" => {
            let expected = details
                .expected
                .as_deref()
                .unwrap_or("the URL of the MCP server");
            let words = format!("write {expected}, in the document of this MCP server");
            change(place, "resource", words, "RFC 9728 section 3.3")
        }
        "resource_metadata_malformed" => {
            Fix::new(place, "write each member once, without deep nesting")
                .source("RFC 8259 section 4")
        }
        "no_header_method" => change(
            place,
            "bearer_methods_supported",
            "list `header`, or leave the member out",
            "RFC 9728 section 2",
        ),
        "no_authorization_server" => change(
            place,
            "authorization_servers",
            "list the issuer of the authorization server, an https URL at a public address",
            "RFC 9728 section 2",
        ),
        "server_changed" => change(
            place,
            "authorization_servers",
            "keep the issuer for as long as clients sign in there",
            "RFC 9728 section 2",
        ),
        "dpop_required" => change(
            place,
            "dpop_bound_access_tokens_required",
            "leave it out, unless every client must bind its tokens to a key",
            "RFC 9728 section 2",
        ),
        "server_unknown" => change(
            Place::Challenge,
            "resource_metadata",
            "name the resource metadata, and publish it at /.well-known/oauth-protected-resource, followed by the path \
             of the MCP server",
            "RFC 9728 sections 3.1 and 5.1",
        ),
        _ => return None,
    })
}

/// Returns the fix for a document that was not obtained.
fn of_documents(code: &str, stage: Stage, details: &Details) -> Option<Fix> {
    let of_resource = matches!(stage, Stage::ResourceMetadata | Stage::Challenge);
    let (place, source) = if of_resource {
        (Place::ResourceMetadata, "RFC 9728 section 3.2")
    } else {
        (Place::ServerMetadata, "RFC 8414 section 3.2")
    };
    let url = details.seen.last().map(|seen| &*seen.url);
    Some(match code {
        "place_refused" if of_resource => change(
            Place::Challenge,
            "resource_metadata",
            "name an https URL at a public address",
            "RFC 9728 sections 5.1 and 7.7",
        ),
        "place_refused" => change(
            Place::ResourceMetadata,
            "authorization_servers",
            "list an issuer with an https URL at a public address",
            "RFC 9728 sections 2 and 7.7",
        ),
        "document_redirected" => Fix::new(
            place,
            "serve it at its well-known URL with status 200, without a redirect to another origin",
        )
        .source(source),
        "document_too_large" => {
            Fix::new(place, "keep it below 256 KiB, which clients read").source(source)
        }
        "too_large" => Fix::new(place, "keep it below 256 KiB, which clients read"),
        "no_server_metadata" => {
            let urls: Vec<&str> = details.seen.iter().map(|seen| &*seen.url).collect();
            let words = format!(
                "serve a JSON object with `issuer` and status 200 at {}",
                if urls.is_empty() {
                    "/.well-known/oauth-authorization-server".to_owned()
                } else {
                    urls.join(" or ")
                }
            );
            Fix::new(Place::ServerMetadata, words).source("RFC 8414 section 3")
        }
        "unreachable" if matches!(stage, Stage::ResourceMetadata | Stage::ServerMetadata) => {
            let words = match url {
                Some(url) => {
                    format!("answer {url} with status 200, or with 404 where it has no document")
                }
                None => "answer with status 200, or with 404 where it has no document".to_owned(),
            };
            Fix::new(place, words).source(source)
        }
        "unreachable" => Fix::new(
            Place::Network,
            "have the server answer, and be reached from here",
        ),
        _ => return None,
    })
}

fn of_server(code: &str, details: &Details) -> Option<Fix> {
    let place = Place::ServerMetadata;
    let source = "RFC 8414 section 2";
    Some(match code {
        "metadata_issuer_mismatch" => {
            let expected = details.expected.as_deref().unwrap_or("the issuer");
            let words =
                format!("write {expected}, or list in authorization_servers what stands here");
            change(place, "issuer", words, "RFC 8414 section 3.3")
        }
        "server_metadata_invalid" => match &details.member {
            Some(member) => change(
                place,
                member.as_plain(),
                "an https URL at a public address, without parameters of the client",
                source,
            ),
            None => Fix::new(place, "write each member once, without deep nesting")
                .source("RFC 8259 section 4"),
        },
        "no_authorization_endpoint" => {
            change(place, "authorization_endpoint", "add its URL", source)
        }
        "authorization_origin" => change(
            place,
            "authorization_response_iss_parameter_supported",
            "send `iss` in authorization responses and write true, or serve authorization_endpoint at the origin of \
             the issuer",
            "RFC 9207 sections 2 and 3",
        ),
        "no_pkce" => change(
            place,
            "code_challenge_methods_supported",
            "list `S256`, and verify it at the token endpoint",
            "RFC 8414 section 2, RFC 7636 section 4.6",
        ),
        "no_code_grant" => change(
            place,
            "response_types_supported",
            "list `code`, and `authorization_code` in grant_types_supported",
            source,
        ),
        "reserved_parameter" => {
            let name = details
                .member
                .as_ref()
                .map(|name| name.as_plain().to_owned());
            let words = format!(
                "take the parameter {} out of its query",
                name.as_deref().unwrap_or("of the client")
            );
            change(
                place,
                "authorization_endpoint",
                words,
                "RFC 6749 section 3.1",
            )
        }
        "no_endpoint" => {
            Fix::new(place, "publish the endpoint that the failure names").source(source)
        }
        "token_endpoint_moved" => change(
            place,
            "token_endpoint",
            "keep it on its origin; refresh tokens are not sent to another one",
            source,
        ),
        "dpop_unavailable" => change(
            place,
            "dpop_signing_alg_values_supported",
            "list `ES256`",
            "RFC 9449 section 5.1",
        ),
        "grant_not_offered" => change(
            place,
            "grant_types_supported",
            "list the grant, where clients may use it",
            source,
        ),
        "no_device_grant" => change(
            place,
            "device_authorization_endpoint",
            "publish it, and list the grant in grant_types_supported",
            "RFC 8628 section 4",
        ),
        "pushed_requests_required" => change(
            place,
            "pushed_authorization_request_endpoint",
            "publish it, or leave require_pushed_authorization_requests out",
            "RFC 9126 section 5",
        ),
        "no_client" => change(
            place,
            "client_id_metadata_document_supported",
            "write true and accept client ID metadata documents, or publish registration_endpoint",
            "RFC 8414 section 2, RFC 7591 section 3",
        ),
        "client_method" => change(
            place,
            "token_endpoint_auth_methods_supported",
            "list `none` for native clients, or a method that needs a secret alone",
            source,
        ),
        _ => return None,
    })
}

/// Returns the fix for a response during a sign-in.
fn of_sign_in(code: &str) -> Option<Fix> {
    Some(match code {
        "registration_invalid" => Fix::new(
            Place::Registration,
            "answer 201 with a JSON object that has `client_id`",
        )
        .source("RFC 7591 section 3.2.1"),
        "redirect_uri_not_registered" => change(
            Place::Registration,
            "redirect_uris",
            "register those of the request, or refuse with `invalid_redirect_uri`; loopback URIs match with any port",
            "RFC 7591 section 3.2.1, RFC 8252 section 7.3",
        ),
        "registration_method" => change(
            Place::Registration,
            "token_endpoint_auth_method",
            "register the method of the request, with `client_secret` where it needs one",
            "RFC 7591 section 3.2.1",
        ),
        "issuer_mismatch" | "issuer_unverifiable" => change(
            Place::AuthorizationResponse,
            "iss",
            "send the issuer of the metadata, also with errors",
            "RFC 9207 section 2",
        ),
        "front_channel_token" => change(
            Place::AuthorizationResponse,
            "access_token",
            "answer `response_type=code` with a code alone",
            "RFC 6749 section 4.1.2",
        ),
        "not_one_answer" => change(
            Place::AuthorizationResponse,
            "code",
            "send either `code` or `error`",
            "RFC 6749 section 4.1.2",
        ),
        "device_answer_invalid" => Fix::new(
            Place::DeviceResponse,
            "send `device_code`, `user_code`, `verification_uri` and `expires_in`",
        )
        .source("RFC 8628 section 3.2"),
        "verification_origin" => change(
            Place::DeviceResponse,
            "verification_uri",
            "name a page at the origin of the issuer",
            "RFC 8628 section 3.2",
        ),
        _ => return None,
    })
}

/// Returns the fix for a response of the token endpoint.
fn of_token(code: &str) -> Option<Fix> {
    let place = Place::TokenResponse;
    Some(match code {
        "token_answer_invalid" => Fix::new(
            place,
            "send a JSON object with `access_token` and `token_type`, and status 200",
        )
        .source("RFC 6749 section 5.1"),
        "token_not_bound" => change(
            place,
            "token_type",
            "send `DPoP` for a request with a proof",
            "RFC 9449 section 5",
        ),
        "no_id_jag" => change(
            place,
            "issued_token_type",
            "send `urn:ietf:params:oauth:token-type:id-jag` with the grant",
            "RFC 8693 section 2.2.1",
        ),
        "redirected" => Fix::new(
            place,
            "answer at the URL of the metadata, without a redirect",
        )
        .source("RFC 9700 section 4.12"),
        "refused" => change(
            place,
            "error",
            "answer with the code that the standard defines for the reason, and say the reason in `error_description`",
            "RFC 6749 section 5.2",
        ),
        _ => return None,
    })
}

/// Returns the fix for a response of the MCP server to a request with a token.
fn of_use(code: &str) -> Option<Fix> {
    Some(match code {
        "fresh_token_refused" => Fix::new(
            Place::McpResponse,
            "accept tokens that were issued for `resource`; its authorization server puts that URL into `aud`",
        )
        .source("RFC 8707 section 2.2"),
        "insufficient_scope" | "forbidden" => change(
            Place::Challenge,
            "scope",
            "name the scopes that the operation needs, beside error=\"insufficient_scope\"",
            "RFC 6750 section 3.1",
        ),
        "invalid_request" => change(
            Place::Challenge,
            "error_description",
            "say what is malformed in the request",
            "RFC 6750 section 3.1",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    /// Failures that no change at a server prevents.
    const OWN: &[&str] = &[
        "request_too_long",
        "not_persisted",
        "out_of_patience",
        "binding_unreadable",
        "no_principal",
        "no_redirect_uri",
        "key_missing",
        "signer_failed",
        "no_assertion",
        "assertion_not_allowed",
        "abandoned",
    ];

    /// Each failure in the table of docs/command.md has a fix for the operator, or is the client's own.
    #[test]
    fn each_failure_that_a_server_causes_has_a_fix() {
        let codes = crate::problem::machine_codes();
        assert!(codes.len() > 40);
        let own: BTreeSet<String> = OWN.iter().map(|code| (*code).to_owned()).collect();
        assert!(own.is_subset(&codes));
        let details = Details::default();
        for code in &codes {
            let fixes = [
                of_resource(code, &details),
                of_documents(code, Stage::ServerMetadata, &details),
                of_server(code, &details),
                of_sign_in(code),
                of_token(code),
                of_use(code),
            ];
            let count = fixes.iter().flatten().count();
            assert_eq!(count, usize::from(!own.contains(code)), "{code}");
        }
    }
}
