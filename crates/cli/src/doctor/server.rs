//! The findings about the metadata of an authorization server, and about the list of several.

use mcp_auth_machine::config::IssuerSettings;
use mcp_auth_machine::wire::text::Untrusted;
use serde_json::Value;

use super::findings::{Finding, Mark};
use super::fix::{Fix, Place};
use crate::advice::listed_scopes;
use crate::shell::quoted;
use crate::speaker;

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
            "clients must be registered beforehand",
        )
        .fix(
            Fix::member(
                Place::ServerMetadata,
                "client_id_metadata_document_supported",
                "write true and accept client ID metadata documents, or publish registration_endpoint, so that any \
                 client can sign in",
            )
            .source("RFC 8414 section 2, RFC 7591 section 3"),
        )
        .option("--client-id ID --issuer URL, with a client that is registered there"),
    });
    if registration && !documents {
        let words = "whether registration needs an initial access token is not examined";
        let finding = Finding::new(Mark::Note, "REG-29", words)
            .fix(
                Fix::new(
                    Place::Registration,
                    "register any client, or support client ID metadata documents",
                )
                .source("RFC 7591 section 3"),
            )
            .option("--issuer-settings FILE with \"initial_access\", or --client-id");
        found.push(finding);
    }
    if document.get("grant_types_supported").is_some()
        && !lists("grant_types_supported", "refresh_token")
    {
        let words = "no refresh tokens are offered: users sign in again when a token expires";
        let finding = Finding::new(Mark::Note, "REG-19", words).fix(
            Fix::member(
                Place::ServerMetadata,
                "grant_types_supported",
                "list `refresh_token`, and rotate refresh tokens of public clients",
            )
            .source("RFC 8414 section 2, RFC 9700 section 2.2.2"),
        );
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
        .fix(
            Fix::member(
                Place::ServerMetadata,
                "authorization_response_iss_parameter_supported",
                "send `iss` in authorization responses, and write true",
            )
            .source("RFC 9207 sections 2 and 3"),
        )
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
            &format!(
                "tokens can be bound to a key: {}",
                speaker::login("--dpop-key FILE")
            ),
        ),
        (
            lists("grant_types_supported", "client_credentials"),
            "M2M-01",
            &format!(
                "clients can act for themselves: {}",
                speaker::login("--client-credentials --client-id ID")
            ),
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
        // The resource that is asked for replaces that of the server.
        name != "resource" && tried.is_err()
    };
    let name = names.find(|name| is_reserved(name))?;
    let words = format!(
        "the authorization endpoint has the parameter {:?} in its query, which only the client may set",
        Untrusted::new(&name)
    );
    let finding = Finding::new(Mark::Broken, "AUTHZ-02", words)
        .fix(
            Fix::member(
                Place::ServerMetadata,
                "authorization_endpoint",
                format!(
                    "take the parameter {:?} out of its query",
                    Untrusted::new(&name)
                ),
            )
            .source("RFC 6749 section 3.1"),
        )
        .option("--server-metadata FILE, with the endpoint as it should be");
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
            .fix(accept_none())
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
        .fix(accept_none())
        .option("--client-id with --auth-method, where the client is registered already");
    Some(finding)
}

/// The fix for a server that offers native clients no method without a secret.
fn accept_none() -> Fix {
    Fix::member(
        Place::ServerMetadata,
        "token_endpoint_auth_methods_supported",
        "list `none`, and accept it with PKCE: native clients keep no secret",
    )
    .source("RFC 8414 section 2, RFC 8252 section 8.4")
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
        .fix(
            Fix::member(
                Place::ServerMetadata,
                "scopes_supported",
                "list them, and let clients register for them",
            )
            .source("RFC 8414 section 2, RFC 7591 section 2"),
        )
        .option(
            "--scope with the scopes that the authorization server knows, where it refuses these",
        );
    Some(finding)
}

/// The scopes of OpenID Connect, which say nothing of an MCP server.
const OPENID: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "offline_access",
];

/// Returns the finding about scopes that only the authorization server lists: clients that ask for what the MCP server names
/// ask for none.
pub(super) fn judge_unnamed_scopes(resource: &Value, server: &Value) -> Option<Finding> {
    let mut listed = listed_scopes(server);
    listed.retain(|scope| !OPENID.contains(&scope.as_str()));
    let named = listed_scopes(resource);
    if listed.is_empty() || !named.is_empty() {
        return None;
    }
    let words = "only the authorization server lists scopes, and clients ask for those that the MCP server names: a sign-in asks \
                 for none, which some servers refuse";
    let finding = Finding::new(Mark::Warning, "SCOPE-05", words)
        .fix(
            Fix::member(
                Place::ResourceMetadata,
                "scopes_supported",
                "list the scopes that clients of this MCP server need",
            )
            .source("RFC 9728 section 2"),
        )
        .option(&format!(
            "--scope {}, or with some of them",
            quoted(&listed.join(" "))
        ));
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
        .fix(
            Fix::member(
                Place::ResourceMetadata,
                "authorization_servers",
                "list those first that register clients",
            )
            .source("RFC 9728 section 2"),
        )
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
        .fix(
            Fix::member(
                Place::ResourceMetadata,
                "authorization_servers",
                "list the one first that most clients can use",
            )
            .source("RFC 9728 section 2"),
        )
        .option("--prefer-issuer with one of them");
    Some(finding)
}
