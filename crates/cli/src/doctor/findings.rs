//! The findings about a server's set-up, each with its rule and its fix.

use http::HeaderMap;
use mcp_auth_machine::Failure;
use mcp_auth_machine::config::IssuerSettings;
use mcp_auth_machine::error::{Party, Stage};
use mcp_auth_machine::report::Decision;
use mcp_auth_machine::wire::challenge;
use mcp_auth_machine::wire::text::Untrusted;
use serde::Serialize;
use serde_json::Value;

use crate::account::choice;
use crate::probe::Other;
use crate::remedy;

/// The severity of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    Ok,
    Note,
    Warning,
    Broken,
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
    /// The fix for the operator.
    pub(super) fix: Option<String>,
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
            option: None,
        }
    }

    pub(super) fn option(mut self, option: &str) -> Self {
        self.option = Some(option.to_owned());
        self
    }

    pub(super) fn fix(mut self, fix: &str) -> Self {
        self.fix = Some(fix.to_owned());
        self
    }
}

pub(super) fn judge_challenge(status: u16, headers: &HeaderMap) -> Finding {
    let parsed = challenge::parse(headers);
    let selected = parsed.select(status, &|_| true);
    match (status, selected) {
        (401, Some(found)) if !found.resource_metadata.is_empty() => Finding::new(
            Mark::Ok,
            "RS-02",
            "a request without a token gets 401 and a challenge that names the resource metadata",
        ),
        (401, Some(_)) => Finding::new(
            Mark::Warning,
            "RS-02",
            "the challenge of the 401 names no resource metadata",
        )
        .fix("add resource_metadata=\"…\" to WWW-Authenticate"),
        (401, None) => Finding::new(
            Mark::Warning,
            "RS-02",
            "the 401 carries no challenge that a client can read",
        )
        .fix("answer with WWW-Authenticate: Bearer resource_metadata=\"…\""),
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
        .fix("answer 401 with a challenge wherever a token is missing"),
    }
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
    .fix("publish resource metadata, and name it in WWW-Authenticate")
}

/// Returns the finding for a response that is not from an MCP server.
pub(super) fn judge_other(other: &Other) -> Finding {
    let finding = Finding::new(Mark::Broken, "RS-02", other.words());
    if let Some(to) = &other.location {
        return finding
            .fix("serve MCP at the URL that users are given, without a redirect")
            .option(&format!("{to}, if that is the MCP server"));
    }
    finding.fix("answer JSON-RPC messages with JSON or an event stream, and 401 without a token")
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
        .fix("send each parameter once"),
        Decision::PlaceRefused { place, reason } => Finding::new(
            Mark::Warning,
            "CHAL-13",
            format!("{} must not be contacted: {reason}", place.as_plain()),
        )
        .fix("name an https URL on a public address"),
        Decision::MembersIgnored { names } => Finding::new(
            Mark::Warning,
            "DISC-17",
            format!(
                "{} of another type in the resource's metadata",
                names.join(", ")
            ),
        )
        .fix("write lists as arrays and flags as true or false"),
        Decision::EntryUnusable { entry, reason } => {
            let finding = Finding::new(
                Mark::Warning,
                "DISC-15",
                format!(
                    "{} in authorization_servers is not used: it {reason}",
                    entry.as_plain()
                ),
            );
            match choice::host_to_allow(entry, reason) {
                Some(host) => finding
                    .fix("list authorization servers at public addresses")
                    .option(&remedy::allow_host(&host)),
                None => finding.fix("list issuers exactly as their metadata spells them"),
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
        .fix("list the issuer, not the URL of its metadata"),
        Decision::SlashTolerated { listed, named } => Finding::new(
            Mark::Warning,
            "QUIRK-01",
            format!("{listed} is listed, and its metadata says {named}"),
        )
        .fix("spell the issuer the same in both documents; strict clients refuse this"),
        _ => return None,
    };
    Some(found)
}

/// Returns the finding for a failure: the violated rule and the responsible party.
pub(super) fn judge_failure(failure: &Failure) -> Finding {
    let fix = match failure.party() {
        Party::McpServer => "the operator of the MCP server corrects its answers",
        Party::AuthorizationServer => {
            "the operator of the authorization server corrects its metadata"
        }
        Party::Network => "check that the server is up and can be reached from here",
        Party::Host | Party::Store | Party::User => {
            "configure what the server does not publish, or have it published"
        }
    };
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
    let mut finding = Finding::new(Mark::Broken, rule, failure.to_string()).fix(fix);
    finding.option = remedy::option(failure);
    finding.code = Some(failure.cause.code());
    finding
}

/// Returns the findings about the authorization server's metadata.
pub(super) fn judge_server(document: &Value) -> Vec<Finding> {
    let flag = |name: &str| document.get(name).and_then(Value::as_bool) == Some(true);
    let has = |name: &str| document.get(name).is_some_and(Value::is_string);
    let lists = |name: &str, word: &str| {
        let list = document.get(name).and_then(Value::as_array);
        list.is_some_and(|items| items.iter().any(|item| item == word))
    };
    let mut found = Vec::new();
    let documents = flag("client_id_metadata_document_supported");
    let registration = has("registration_endpoint");
    found.push(match (documents, registration) {
        (true, _) => Finding::new(
            Mark::Ok,
            "REG-02",
            "clients present a metadata document by its URL",
        ),
        (false, true) => Finding::new(Mark::Ok, "REG-02", "clients register themselves"),
        (false, false) => Finding::new(
            Mark::Warning,
            "REG-02",
            "clients must be registered beforehand: login needs --client-id",
        )
        .fix("support client ID metadata documents, so that any client can sign in")
        .option("--client-id ID --issuer URL, with a client that is registered there"),
    });
    if registration && !documents {
        let words = "whether registration needs an initial access token is not examined";
        let finding = Finding::new(Mark::Note, "REG-29", words)
            .fix("register any client, or support client ID metadata documents")
            .option("--issuer-settings FILE with \"initial_access\", or --client-id");
        found.push(finding);
    }
    if document.get("grant_types_supported").is_some()
        && !lists("grant_types_supported", "refresh_token")
    {
        let words = "no refresh tokens are offered: users sign in again when a token expires";
        let finding = Finding::new(Mark::Note, "REG-19", words)
            .fix("offer the grant type refresh_token, with rotation");
        found.push(finding);
    }
    found.extend(judge_query(document));
    found.push(if flag("authorization_response_iss_parameter_supported") {
        Finding::new(
            Mark::Ok,
            "ISS-03",
            "the callback names its issuer: mix-ups are seen",
        )
    } else {
        Finding::new(
            Mark::Warning,
            "ISS-03",
            "the callback does not promise to name its issuer: mix-ups cannot be seen",
        )
        .fix("send iss, and advertise authorization_response_iss_parameter_supported")
    });
    found.extend(judge_methods(document, registration));
    let optional = [
        (
            has("revocation_endpoint"),
            "REV-01",
            "tokens can be revoked",
        ),
        (
            document.get("dpop_signing_alg_values_supported").is_some(),
            "DPOP-01",
            "tokens can be bound to a key: login --dpop-key",
        ),
        (
            lists("grant_types_supported", "client_credentials"),
            "M2M-01",
            "clients can act for themselves: login --client-credentials",
        ),
        (
            lists(
                "grant_types_supported",
                "urn:ietf:params:oauth:grant-type:jwt-bearer",
            ),
            "WIF-04",
            "assertions are accepted as grants: workload identity, enterprise-managed authorization",
        ),
        (
            flag("require_pushed_authorization_requests"),
            "AUTHZ-20",
            "authorization requests must be pushed; clients do that by themselves",
        ),
    ];
    for (offered, rule, words) in optional {
        if offered {
            found.push(Finding::new(Mark::Note, rule, words));
        }
    }
    found
}

/// Returns the finding about parameters of the client in the authorization endpoint's query.
fn judge_query(document: &Value) -> Option<Finding> {
    let endpoint = document.get("authorization_endpoint")?.as_str()?;
    let endpoint = url::Url::parse(endpoint).ok()?;
    let mut names = endpoint.query_pairs().map(|(name, _)| name);
    let is_reserved = |name: &str| {
        let tried = IssuerSettings::new().authorization_parameter(name, "x");
        // The server may repeat the resource that is asked for.
        name != "resource" && tried.is_err()
    };
    let name = names.find(|name| is_reserved(name))?;
    let words = format!(
        "the authorization endpoint has the parameter {:?} in its query, which only the client may set",
        Untrusted::new(&name)
    );
    let finding = Finding::new(Mark::Broken, "AUTHZ-02", words)
        .fix("take the parameter out of authorization_endpoint");
    Some(Finding {
        code: Some("reserved_parameter"),
        ..finding
    })
}

/// Returns texts of a document, without anything that a terminal would interpret.
fn shown(texts: &[impl AsRef<str>], between: &str) -> String {
    let texts = texts.iter().map(|text| Untrusted::new(text.as_ref()));
    let texts: Vec<_> = texts.map(|text| text.as_plain().to_owned()).collect();
    texts.join(between)
}

/// Returns the finding about the authentication methods of the token endpoint.
fn judge_methods(document: &Value, registration: bool) -> Option<Finding> {
    let member = "token_endpoint_auth_methods_supported";
    let listed: Vec<&str> = match document.get(member) {
        Some(methods) => methods
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect(),
        // The default of RFC 8414.
        None => vec!["client_secret_basic"],
    };
    let has = |method: &str| listed.contains(&method);
    if has("none") {
        return None;
    }
    if !has("client_secret_basic") && !has("client_secret_post") {
        let words = format!(
            "{member} has {}: a client needs a key or a certificate",
            shown(&listed, ", ")
        );
        let finding = Finding::new(Mark::Warning, "REG-11", words)
            .fix("accept `none` with PKCE for native clients, which keep no secret")
            .option("--client-id with --client-key");
        return Some(finding);
    }
    let first = if has("client_secret_post") {
        "client_secret_post"
    } else {
        "client_secret_basic"
    };
    let words = if document.get(member).is_none() && registration {
        format!(
            "{member} is left out, which means {first}: clients that register for it and are then \
             refused have to register again"
        )
    } else {
        format!(
            "native clients are given a secret, which they cannot keep; a registration asks for {first} \
             first"
        )
    };
    let finding = Finding::new(Mark::Note, "REG-21", words)
        .fix("list `none`, and accept it with PKCE")
        .option("--client-id with --auth-method, where the client is registered already");
    Some(finding)
}

/// Returns the finding about scopes that the MCP server names and the authorization server does not list: a
/// client that registers for the listed ones may be unable to request them.
pub(super) fn judge_scopes(resource: &Value, server: &Value) -> Option<Finding> {
    let scopes = |document: &Value| -> Option<Vec<String>> {
        let found = document.get("scopes_supported")?.as_array()?;
        Some(
            found
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        )
    };
    let known = scopes(server)?;
    let foreign: Vec<_> = scopes(resource)?
        .into_iter()
        .filter(|scope| !known.contains(scope))
        .collect();
    if foreign.is_empty() {
        return None;
    }
    let words = format!(
        "the MCP server names scopes that its authorization server does not list: {}",
        shown(&foreign, " ")
    );
    let finding = Finding::new(Mark::Warning, "SCOPE-03", words)
        .fix("list them in scopes_supported of the authorization server, and let clients register for them")
        .option("--scope with the scopes that the authorization server knows, where it refuses these");
    Some(finding)
}

/// Returns the finding about an authorization server that registers no clients, with another one after it.
pub(super) fn judge_passed_over(server: &Value) -> Finding {
    let issuer = server.get("issuer").and_then(Value::as_str);
    let issuer = issuer.unwrap_or_default();
    let words = format!(
        "{:?} registers no clients: clients without one there use the next authorization server",
        Untrusted::new(issuer)
    );
    Finding::new(Mark::Warning, "DISC-15", words)
        .fix("list authorization servers that register clients first")
        .option("--client-id ID --issuer URL, with a client that is registered there")
}

/// Returns the finding about several authorization servers.
pub(super) fn judge_choice(resource: &Value) -> Option<Finding> {
    let servers = resource.get("authorization_servers")?.as_array()?;
    let servers: Vec<_> = servers.iter().filter_map(Value::as_str).collect();
    if servers.len() < 2 {
        return None;
    }
    let words = format!(
        "{} authorization servers are listed, and clients may take any of them: {}",
        servers.len(),
        shown(&servers, ", ")
    );
    let finding = Finding::new(Mark::Note, "DISC-15", words)
        .fix("list the one first that most clients can use")
        .option("--prefer-issuer with one of them");
    Some(finding)
}
