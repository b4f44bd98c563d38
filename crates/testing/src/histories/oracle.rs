//! The judge of a conversation: properties of requests and texts that hold for every host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::{Action, Event};
use serde_json::Value;

use crate::{Playbook, documents, lock};

/// The members of responses that are secrets of the server that sent them.
const SECRETS: [&str; 5] = [
    "access_token",
    "refresh_token",
    "client_secret",
    "registration_access_token",
    "device_code",
];

/// The most requests without an event from outside (S22).
const MOST: usize = 60;

/// A violated property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The number of the property in `docs/threats.md`.
    pub property: &'static str,
    /// A sentence about it.
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.why)
    }
}

/// Watches a conversation, of the harness or of a running driver, and judges it. Clones share what they saw.
///
/// - A secret of a server is sent to that server only (S01 to S03).
/// - A code is sent once (S04), and none of a forged callback (S07, S08).
/// - Requests go to `https`, or to loopback (S13).
/// - No `Debug` text of an event or action contains a secret (S27).
/// - The number of requests without an event from outside is bounded (S22).
#[derive(Clone, Default)]
pub struct Oracle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The secrets, and the origin that each belongs to.
    secrets: BTreeMap<String, String>,
    forged: BTreeSet<String>,
    codes: BTreeMap<String, usize>,
    /// The origins of requests under way.
    sent: BTreeMap<u64, String>,
    requests: usize,
    findings: Vec<Finding>,
    playbook: Playbook,
}

impl Oracle {
    /// Creates a judge that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges an action.
    pub fn action(&self, action: &Action) {
        let mut state = lock(&self.0);
        state.playbook.action(action);
        state.shown(&format!("{action:?}"));
        if let Action::SendRequest(send) = action {
            state.request(send);
        }
    }

    /// Takes notice of an event, and judges its text.
    pub fn event(&self, event: &Event) {
        let mut state = lock(&self.0);
        state.playbook.event(event);
        state.shown(&format!("{event:?}"));
        match event {
            Event::HttpResponse(reply) => {
                let origin = state.sent.remove(&reply.id()).unwrap_or_default();
                let body = reply.response().map(|response| response.body());
                let members = body.and_then(|body| serde_json::from_slice::<Value>(body).ok());
                for name in SECRETS {
                    let secret = members.as_ref().and_then(|members| members.get(name));
                    if let Some(secret) = secret.and_then(Value::as_str) {
                        state.learns(secret, &origin);
                    }
                }
            }
            Event::SlotLoaded(_)
            | Event::SlotPersisted(_)
            | Event::Signed(_)
            | Event::AssertionObtained(_) => {}
            Event::Authorize(_)
            | Event::Challenged(_)
            | Event::Accepted(_)
            | Event::Wanted(_)
            | Event::CallbackParams(_)
            | Event::Observed(_)
            | Event::Timer
            | Event::Abandoned(_)
            | Event::SignedOut => state.requests = 0,
        }
    }

    /// Takes notice of a genuine callback, whose code belongs to the server of this origin. The machine's event does
    /// not reveal it.
    pub fn callback(&self, url: &str, origin: &str) {
        if let Some(code) = documents::parameter(url, "code") {
            lock(&self.0).learns(&code, origin);
        }
    }

    /// Takes notice of a callback whose code must not be sent anywhere.
    pub fn forged_callback(&self, url: &str) {
        if let Some(code) = documents::parameter(url, "code") {
            lock(&self.0).forged.insert(code);
        }
    }

    /// Returns a closure for `watched` of a driver: `driver.watched(oracle.watch())`.
    #[cfg(any(feature = "ureq", feature = "reqwest"))]
    pub fn watch(&self) -> impl FnMut(mcp_auth_client::Note<'_>) + Send + 'static + use<> {
        let oracle = self.clone();
        move |note| match note {
            mcp_auth_client::Note::In(event) => oracle.event(event),
            mcp_auth_client::Note::Out(action) => oracle.action(action),
            // The event that follows says that the action failed.
            mcp_auth_client::Note::Store(_) => {}
        }
    }

    /// Returns the violated properties.
    pub fn findings(&self) -> Vec<Finding> {
        lock(&self.0).findings.clone()
    }

    /// Returns the conversation.
    pub fn playbook(&self) -> Playbook {
        lock(&self.0).playbook.clone()
    }

    /// Adds a finding of a host's own check.
    pub fn finds(&self, property: &'static str, why: impl Into<String>) {
        let why = why.into();
        lock(&self.0).findings.push(Finding { property, why });
    }

    /// Fails where a property was violated.
    ///
    /// # Panics
    /// With the findings and the conversation.
    #[track_caller]
    pub fn assert_clean(&self) {
        let state = lock(&self.0);
        if state.findings.is_empty() {
            return;
        }
        let findings: Vec<String> = state.findings.iter().map(Finding::to_string).collect();
        let text = format!("{}\n{}", findings.join("\n"), state.playbook);
        drop(state);
        crate::conversation::fail(&text);
    }
}

impl fmt::Debug for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.findings()).finish()
    }
}

impl State {
    fn finds(&mut self, property: &'static str, why: String) {
        self.findings.push(Finding { property, why });
    }

    fn learns(&mut self, secret: &str, origin: &str) {
        // Short texts occur anywhere.
        if secret.len() >= 4 {
            self.secrets
                .entry(secret.to_owned())
                .or_insert_with(|| origin.to_owned());
        }
    }

    fn shown(&mut self, text: &str) {
        if let Some(secret) = self.secrets.keys().find(|secret| text.contains(*secret)) {
            let why = format!("a text shows the secret {secret:?}: {text}");
            self.finds("S27", why);
        }
    }

    fn request(&mut self, send: &SendRequest) {
        let request = send.request();
        let uri = request.uri();
        let host = uri.authority().map_or("", http::uri::Authority::as_str);
        let scheme = uri.scheme_str().unwrap_or_default();
        let origin = format!("{scheme}://{host}");
        self.sent.insert(send.id(), origin.clone());
        let is_local = uri
            .host()
            .is_some_and(|host| ["127.0.0.1", "localhost", "[::1]"].contains(&host));
        if scheme != "https" && !is_local {
            self.finds("S13", format!("a request goes to {uri}"));
        }
        self.requests = self.requests.saturating_add(1);
        if self.requests > MOST {
            self.finds(
                "S22",
                format!("{} requests without an event", self.requests),
            );
        }
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let mut texts = vec![uri.to_string(), body.clone()];
        for value in request.headers().values() {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let encoded = value.split_once(' ').map_or("", |(_, encoded)| encoded);
            if let Ok(bytes) = STANDARD.decode(encoded) {
                texts.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            texts.push(value);
        }
        let forms = [body, uri.query().unwrap_or_default().to_owned()];
        for form in forms {
            for (name, value) in url::form_urlencoded::parse(form.as_bytes()) {
                if name == "code" {
                    self.code(&value, &origin);
                }
                texts.push(value.into_owned());
            }
        }
        let foreign: Vec<String> = self
            .secrets
            .iter()
            .filter(|(secret, of)| {
                **of != origin && texts.iter().any(|text| text.contains(*secret))
            })
            .map(|(secret, of)| format!("{secret:?} of {of} is sent to {origin}"))
            .collect();
        for why in foreign {
            self.finds("S01", why);
        }
    }

    fn code(&mut self, code: &str, origin: &str) {
        if self.forged.contains(code) {
            self.finds(
                "S08",
                format!("the code {code:?} of a forged callback is sent to {origin}"),
            );
        }
        let sent = self.codes.entry(code.to_owned()).or_default();
        *sent = sent.saturating_add(1);
        if *sent > 1 {
            self.finds(
                "S04",
                format!("the code {code:?} is sent again, to {origin}"),
            );
        }
    }
}
