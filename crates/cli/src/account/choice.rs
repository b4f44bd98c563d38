//! The authorization servers that the resource metadata lists, of which a sign-in uses one.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{Response, StatusCode};
use mcp_auth_client::Note;
use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::text::Untrusted;
use mcp_auth_machine::wire::url::UrlPolicy;
use mcp_auth_machine::{Action, Event};
use serde_json::Value;

use crate::remedy::{allow_host, host};
use crate::speaker;

/// The entries of the last document.
#[derive(Default)]
pub(super) struct Choice(Mutex<Listed>);

#[derive(Default)]
struct Listed {
    asked: Vec<u64>,
    servers: Vec<String>,
    /// The scopes of the resource.
    scopes: Option<Scopes>,
    asked_servers: Vec<u64>,
    /// The authorization server of the last metadata offers the device authorization grant.
    device: Option<bool>,
}

pub(crate) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Returns true if metadata offers the device authorization grant (DEV-02).
pub(crate) fn offers_device(metadata: &Value) -> bool {
    let grants = metadata
        .get("grant_types_supported")
        .and_then(Value::as_array);
    let is_listed = grants.is_none_or(|grants| grants.iter().any(|grant| grant == DEVICE_CODE));
    let endpoint = metadata.get("device_authorization_endpoint");
    is_listed && endpoint.is_some_and(Value::is_string)
}

/// Returns the body of a response that may be a document: one of another status is not, whatever it is.
pub(crate) fn document(response: &Response<Bytes>) -> Option<&Bytes> {
    (response.status() == StatusCode::OK).then(|| response.body())
}

impl Choice {
    pub(super) fn see(&self, note: &Note<'_>) {
        let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            Note::Out(Action::SendRequest(send)) if send.purpose() == Purpose::ResourceMetadata => {
                listed.asked.push(send.id());
            }
            Note::In(Event::HttpResponse(reply)) if listed.asked.contains(&reply.id()) => {
                let document = reply.response().and_then(document);
                let document = document.and_then(|body| serde_json::from_slice(body).ok());
                let document: Value = document.unwrap_or_default();
                if let Some(servers) = servers(&document) {
                    listed.servers = servers;
                    listed.scopes = scopes(&document);
                }
            }
            Note::Out(Action::SendRequest(send)) if send.purpose() == Purpose::ServerMetadata => {
                listed.asked_servers.push(send.id());
            }
            Note::In(Event::HttpResponse(reply)) if listed.asked_servers.contains(&reply.id()) => {
                let document = reply.response().and_then(document);
                let document = document.and_then(|body| serde_json::from_slice(body).ok());
                if let Some(document) = document.filter(Value::is_object) {
                    listed.device = Some(offers_device(&document));
                }
            }
            Note::Out(_) | Note::In(_) | Note::Store(_) => {}
        }
    }

    /// Returns true if the authorization server may offer the device authorization grant: its metadata says so,
    /// or was not read by this process.
    pub(super) fn may_offer_device(&self) -> bool {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listed.device.unwrap_or(true)
    }

    /// Returns the listed servers, as far as they can be shown.
    pub(super) fn listed(&self) -> Vec<String> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listed.servers.clone()
    }

    /// Returns the listed scopes.
    pub(super) fn scopes(&self) -> Option<Scopes> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listed.scopes.clone()
    }

    /// Returns the listed servers beside this one, as far as they can be shown.
    pub(super) fn others(&self, than: &str) -> Vec<String> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = listed.servers.iter();
        let others = others.filter(|server| !same_but_slash(server, than));
        others.cloned().collect()
    }
}

/// Returns true for URLs that are equal, or differ in one slash at the end.
pub(super) fn same_but_slash(a: &str, b: &str) -> bool {
    a == b || a.strip_suffix('/') == Some(b) || b.strip_suffix('/') == Some(a)
}

/// Returns the scopes that a document lists.
fn scopes(document: &Value) -> Option<Scopes> {
    let listed = document.get("scopes_supported")?.as_array()?;
    let scopes = Scopes::from_items(listed.iter().filter_map(Value::as_str));
    (!scopes.is_empty()).then_some(scopes)
}

/// A few are enough to choose from, each a URL without anything that a terminal would interpret.
fn servers(document: &Value) -> Option<Vec<String>> {
    let listed = document.get("authorization_servers")?.as_array()?;
    let listed = listed.iter().filter_map(Value::as_str);
    let shown = listed.filter(|server| UrlPolicy::for_mcp_url(server).is_ok());
    Some(shown.take(8).map(str::to_owned).collect())
}

/// Returns the words about an entry that is not used, with the option that permits it.
pub(super) fn unusable(entry: &Untrusted, reason: &str) -> String {
    let words = format!("{entry:?} in authorization_servers is not used: it {reason}");
    match host_to_allow(entry, reason) {
        Some(host) => format!("{words}; {}", speaker::again(&allow_host(&host))),
        None => words,
    }
}

/// Returns the host of an entry that only the address policy forbids.
pub(crate) fn host_to_allow(entry: &Untrusted, reason: &str) -> Option<String> {
    host(entry).filter(|_| reason.contains("special-purpose"))
}
