//! The findings about a server's set-up, each with its rule and its fix.

use std::borrow::Cow;

use http::HeaderMap;
use mcp_auth_machine::Failure;
use mcp_auth_machine::error::Stage;
use mcp_auth_machine::report::{Decision, Verdict};
use mcp_auth_machine::wire::challenge;
use mcp_auth_machine::wire::text::Untrusted;
use serde::Serialize;

use super::fix::{Fix, Place};
use super::operator;
use crate::account::choice;
use crate::account::overruled::Named;
use crate::probe::Other;
use crate::{advice, remedy};

/// The severity of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    Ok,
    Note,
    Warning,
    Broken,
    /// Not examined: only a sign-in shows it.
    Unseen,
}

#[derive(Serialize)]
pub(super) struct Finding {
    pub(super) mark: Mark,
    /// The number of the rule.
    pub(super) rule: &'static str,
    /// The reason code of the machine, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    pub(super) words: String,
    /// The fix for the operator, as text.
    pub(super) fix: Option<String>,
    /// The same with its parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operator: Option<Fix>,
    /// The options of `login` that help the user meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) option: Option<String>,
}

impl Finding {
    pub(super) fn new(mark: Mark, rule: &'static str, words: impl Into<String>) -> Self {
        Self {
            mark,
            rule,
            code: None,
            words: words.into(),
            fix: None,
            operator: None,
            option: None,
        }
    }

    /// Returns the mark, and the words with what to change.
    pub(super) fn in_short(&self) -> (&'static str, String) {
        let mark = match self.mark {
            Mark::Ok => "ok",
            Mark::Note => "note",
            Mark::Warning => "warning",
            Mark::Broken => "broken",
            Mark::Unseen => "not examined",
        };
        let mut words = self.words.clone();
        for (name, more) in [
            ("the operator", &self.fix),
            ("meanwhile, for login", &self.option),
        ] {
            if let Some(more) = more {
                words.push_str(&format!("\n{name}: {more}"));
            }
        }
        (mark, words)
    }

    pub(super) fn option(mut self, option: &str) -> Self {
        self.option = Some(option.to_owned());
        self
    }

    pub(super) fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix.to_string());
        self.operator = Some(fix);
        self
    }
}

/// Returns the finding about an authorization server that the options give.
pub(super) fn judge_given(url: &str, named: Option<&Named>) -> Finding {
    let words = named.and_then(|named| named.words(url));
    if let Some(words) = words {
        return Finding::new(Mark::Warning, "DISC-20", words);
    }
    let words = match named {
        Some(Named::Given) => "the MCP server names the authorization server that the options give",
        Some(Named::Nothing | Named::Others { .. }) | None => {
            "the authorization server is the one that the options give; the MCP server names none"
        }
    };
    Finding::new(Mark::Note, "DISC-20", words)
}

/// Returns the finding about the first answer. `tried`: the places of documents, and what was there.
pub(super) fn judge_challenge(
    status: u16,
    headers: &HeaderMap,
    tried: &[(String, Verdict)],
) -> Finding {
    let parsed = challenge::parse(headers);
    let selected = parsed.select(status, &|_| true);
    let is_missing = |named: &Cow<'_, str>| {
        let mut found = tried.iter().filter(|(url, _)| url == named.as_ref());
        found.any(|(_, verdict)| *verdict == Verdict::Absent)
    };
    match (status, selected) {
        (401, Some(found)) if found.resource_metadata().iter().any(is_missing) => Finding::new(
            Mark::Warning,
            "RS-02",
            format!(
                "the challenge of the 401 names {}, where no resource metadata is",
                Untrusted::new(&found.resource_metadata().join(", ")).as_plain()
            ),
        )
        .fix(announce()),
        (401, Some(found)) if !found.resource_metadata().is_empty() => Finding::new(
            Mark::Ok,
            "RS-02",
            "a request without a token gets 401 and a challenge that names the resource metadata",
        ),
        (401, Some(_)) => Finding::new(
            Mark::Warning,
            "RS-02",
            "the challenge of the 401 names no resource metadata",
        )
        .fix(announce()),
        (401, None) => Finding::new(
            Mark::Warning,
            "RS-02",
            "the 401 carries no challenge that a client can read",
        )
        .fix(announce()),
        (200..=299, _) => Finding::new(
            Mark::Note,
            "RS-02",
            "a request without a token is accepted; only some operations may need one",
        ),
        (_, _) => Finding::new(
            Mark::Warning,
            "RS-02",
            format!("a request without a token gets {status} instead of 401"),
        )
        .fix(
            Fix::new(
                Place::McpResponse,
                "answer 401 with a challenge wherever a token is missing",
            )
            .source("RFC 6750 section 3, RFC 9728 section 5.1"),
        ),
    }
}

/// The fix for a challenge that does not lead to the resource metadata.
fn announce() -> Fix {
    Fix::member(
        Place::Challenge,
        "resource_metadata",
        "send `Bearer resource_metadata=\"…\"`, with the URL of the resource metadata",
    )
    .source("RFC 9728 section 5.1")
}

/// Returns the finding for an MCP server whose origin is its authorization server, as no resource metadata
/// says otherwise.
pub(super) fn judge_missing_resource() -> Finding {
    Finding::new(
        Mark::Warning,
        "LEG-01",
        "the MCP server publishes no resource metadata; a sign-in uses the authorization server at its \
         origin, as in revision 2025-03-26, and clients of later revisions may not",
    )
    .fix(
        Fix::member(
            Place::ResourceMetadata,
            "authorization_servers",
            "publish the document at /.well-known/oauth-protected-resource, followed by the path of the MCP server, \
             and list the issuer",
        )
        .source("RFC 9728 sections 2 and 3.1"),
    )
    .option("--authorization-server with the issuer, or --legacy")
}

/// Returns the finding for a response that is not from an MCP server.
pub(super) fn judge_other(other: &Other) -> Finding {
    let finding = Finding {
        code: Some(other.code()),
        ..Finding::new(Mark::Broken, "RS-02", other.words())
    };
    let place = Place::McpResponse;
    if let Some(to) = &other.location {
        return finding
            .fix(Fix::new(
                place,
                "serve MCP at the URL that users are given, without a redirect",
            ))
            .option(&format!("{to}, if that is the MCP server"));
    }
    match other.code() {
        "mcp_server_unavailable" => finding
            .fix(
                Fix::new(
                    place,
                    "answer 401 also under load, since clients take other errors for an outage",
                )
                .source("RFC 6750 section 3"),
            )
            .option("later"),
        _not_mcp => finding
            .fix(Fix::new(
                place,
                "answer POST with JSON-RPC as JSON or an event stream, and 401 without a token",
            ))
            .option("use the URL that the operator documents"),
    }
}

/// Returns the findings for deviations that the machine tolerated or rejected.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most decisions are no findings"
)]
pub(super) fn finding(decision: &Decision) -> Option<Finding> {
    let found = match decision {
        Decision::ChallengeParametersDropped { names } => Finding::new(
            Mark::Warning,
            "CHAL-08",
            format!(
                "the challenge repeats {} with different values",
                names.join(", ")
            ),
        )
        .fix(
            Fix::member(Place::Challenge, names.join(", "), "send each parameter once")
                .source("RFC 9110 section 11.2"),
        ),
        Decision::PlaceRefused { place, reason } => Finding::new(
            Mark::Warning,
            "CHAL-13",
            format!("{} must not be contacted: {reason}", place.as_plain()),
        )
        .fix(
            Fix::member(
                Place::Challenge,
                "resource_metadata",
                "name an https URL at a public address",
            )
            .source("RFC 9728 sections 5.1 and 7.7"),
        )
        .option("--resource-metadata with the URL of the document, or --allow-host with its host"),
        Decision::MembersIgnored { names } => Finding::new(
            Mark::Warning,
            "DISC-17",
            format!(
                "{} of another type in the resource's metadata",
                names.join(", ")
            ),
        )
        .fix(
            Fix::member(
                Place::ResourceMetadata,
                names.join(", "),
                "write lists as arrays of strings, and flags as true or false",
            )
            .source("RFC 9728 section 2"),
        ),
        Decision::EntryUnusable { entry, reason } => {
            let finding = Finding::new(
                Mark::Warning,
                "DISC-15",
                format!(
                    "{} in authorization_servers is not used: it {reason}",
                    entry.as_plain()
                ),
            );
            let fix = |change: &str| {
                Fix::member(Place::ResourceMetadata, "authorization_servers", change)
                    .source("RFC 9728 section 2")
            };
            match choice::host_to_allow(entry, reason) {
                Some(host) => finding
                    .fix(fix("list authorization servers at public addresses"))
                    .option(&remedy::allow_host(&host)),
                None => finding
                    .fix(fix("list issuers exactly as their metadata spells them, with https"))
                    .option("--authorization-server with the issuer"),
            }
        }
        Decision::EntryLooksLikeDocument { entry } => Finding::new(
            Mark::Warning,
            "QUIRK-21",
            format!(
                "{} in authorization_servers looks like a document",
                entry.as_plain()
            ),
        )
        .fix(
            Fix::member(
                Place::ResourceMetadata,
                "authorization_servers",
                "list the issuer, not the URL of its metadata",
            )
            .source("RFC 9728 section 2"),
        )
        .option("--authorization-server with the issuer"),
        Decision::SlashTolerated { listed, named } => Finding::new(
            Mark::Warning,
            "QUIRK-01",
            format!("{listed} is listed, and its metadata says {named}"),
        )
        .fix(
            Fix::member(
                Place::ServerMetadata,
                "issuer",
                format!("write {listed}, or list {named} in authorization_servers; strict clients refuse this"),
            )
            .source("RFC 8414 section 3.3"),
        ),
        _ => return None,
    };
    Some(found)
}

/// Returns the finding for an authorization server whose users sign in at another host, which its `iss` does not bind: no
/// standard forbids it.
pub(super) fn judge_elsewhere(failure: &Failure, issuer: &str, origin: &str) -> Finding {
    let words = advice::elsewhere_words(issuer, origin);
    let mut finding = Finding::new(Mark::Warning, "QUIRK-32", words);
    if let Some(fix) = operator::of_failure(failure) {
        finding = finding.fix(fix);
    }
    finding.option = remedy::option(failure);
    finding
}

/// Returns the finding for a failure: the violated rule and the responsible party.
pub(super) fn judge_failure(failure: &Failure) -> Finding {
    let rule = match failure.stage {
        Stage::ResourceMetadata => "DISC",
        Stage::ServerMetadata => "META",
        Stage::Slots
        | Stage::Challenge
        | Stage::Registration
        | Stage::Authorization
        | Stage::Callback
        | Stage::Token
        | Stage::IdentityProvider
        | Stage::Refresh
        | Stage::Revocation => "",
    };
    let mut finding = Finding::new(Mark::Broken, rule, failure.to_string());
    let slip = advice::scheme(failure).map(|words| {
        let place = if failure.stage == Stage::ResourceMetadata {
            Place::ResourceMetadata
        } else {
            Place::ServerMetadata
        };
        Fix::new(place, words)
    });
    match slip.or_else(|| operator::of_failure(failure)) {
        Some(fix) => finding = finding.fix(fix),
        None => finding.fix = Some("change the configuration of the client".to_owned()),
    }
    finding.option = remedy::option(failure);
    finding.code = Some(failure.cause.code());
    finding
}
