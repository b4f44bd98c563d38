//! Playbooks: a conversation between a host and its machine as stable text, for snapshots.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use mcp_auth_machine::action::{Purpose, SendRequest};
use mcp_auth_machine::event::Reply;
use mcp_auth_machine::{Action, Event};
use serde_json::Value;
use url::form_urlencoded;

use super::lock;

/// Parameters and members whose values are shown: they are neither secret nor random.
const SHOWN: [&str; 19] = [
    "application_type",
    "client_name",
    "token_endpoint_auth_method",
    "grant_type",
    "response_type",
    "code_challenge_method",
    "redirect_uri",
    "resource",
    "scope",
    "token_type",
    "token_type_hint",
    "client_assertion_type",
    "expires_in",
    "error",
    "interval",
    "response_mode",
    "prompt",
    "iss",
    "requested_token_type",
];

/// A conversation as text, one line for each event (`>`) and action (`<`), shared by its clones.
///
/// Secrets and random values appear as placeholders such as `<access_token 1>`: the same value has the same
/// number wherever it occurs, and the next value another one. Ports on loopback are placeholders too, so that
/// the text is the same at every run.
///
/// ```
/// # use mcp_auth_machine::{AuthMachine, Config, Event, Moment};
/// # use mcp_auth_testing::Playbook;
/// # let config = Config::builder("https://mcp.example/mcp", "http://127.0.0.1:3000/callback").build()?;
/// # let mut machine = AuthMachine::new(config, "alice", Moment::new(std::time::SystemTime::now(), std::time::Duration::ZERO));
/// let playbook = Playbook::new();
/// while let Some(action) = machine.poll_action() {
///     playbook.action(&action);
///     // Perform the action, then: playbook.event(&event); machine.handle(now, event);
/// }
/// assert_eq!(playbook.text(), "< load account\n");
/// # Ok::<(), mcp_auth_machine::config::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct Playbook(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    text: String,
    /// The placeholders, by name and value.
    known: BTreeMap<(String, String), usize>,
    /// The purposes of requests under way, by their numbers.
    sent: BTreeMap<u64, Purpose>,
}

impl Playbook {
    /// Creates an empty playbook.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event that the host passes to the machine.
    pub fn event(&self, event: &Event) {
        lock(&self.0).event(event);
    }

    /// Adds an action that the machine requests.
    pub fn action(&self, action: &Action) {
        lock(&self.0).action(action);
    }

    /// Adds a heading.
    pub fn chapter(&self, heading: &str) {
        let mut script = lock(&self.0);
        script.line(&format!("# {heading}"));
    }

    /// Returns a closure for `watched` of a driver, which records everything that the driver does:
    /// `driver.watched(playbook.watch())`.
    #[cfg(any(feature = "ureq", feature = "reqwest"))]
    pub fn watch(&self) -> impl FnMut(mcp_auth_client::Note<'_>) + Send + 'static + use<> {
        let playbook = self.clone();
        move |note| match note {
            mcp_auth_client::Note::In(event) => playbook.event(event),
            mcp_auth_client::Note::Out(action) => playbook.action(action),
            // The event that the machine receives is recorded.
            mcp_auth_client::Note::Store(_) => {}
        }
    }

    /// Forgets the conversation up to now. A value that was seen keeps its placeholder.
    pub fn clear(&self) {
        lock(&self.0).text.clear();
    }

    /// Returns the conversation up to now.
    pub fn text(&self) -> String {
        lock(&self.0).text.clone()
    }
}

impl fmt::Display for Playbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lock(&self.0).text)
    }
}

/// The text, which a failed assertion prints.
impl fmt::Debug for Playbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Playbook\n{self}")
    }
}

impl Script {
    fn line(&mut self, line: &str) {
        let line = self.without_ports(line);
        self.text.push_str(&line);
        self.text.push('\n');
    }

    fn placeholder(&mut self, name: &str, value: &str) -> String {
        let key = (name.to_owned(), value.to_owned());
        let next = self.known.keys().filter(|(known, _)| known == name).count();
        let number = *self.known.entry(key).or_insert(next.saturating_add(1));
        format!("<{name} {number}>")
    }

    /// Replaces the ports of loopback addresses.
    fn without_ports(&mut self, line: &str) -> String {
        let mut text = String::new();
        let mut rest = line;
        let hosts = ["127.0.0.1:", "localhost:", "[::1]:"];
        loop {
            let found = hosts
                .iter()
                .filter_map(|host| rest.find(host).map(|at| at.saturating_add(host.len())))
                .min();
            let Some((before, after)) = found.and_then(|end| rest.split_at_checked(end)) else {
                break;
            };
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (port, after) = after.split_at_checked(digits).unwrap_or(("", after));
            text.push_str(before);
            if !port.is_empty() {
                text.push_str(&self.placeholder("port", port));
            }
            rest = after;
        }
        text.push_str(rest);
        text
    }

    fn pairs(&mut self, text: &str) -> String {
        let pairs = form_urlencoded::parse(text.as_bytes());
        let mut line = String::new();
        for (name, value) in pairs {
            line.push(' ');
            line.push_str(&self.pair(&name, &value));
        }
        line
    }

    fn pair(&mut self, name: &str, value: &str) -> String {
        if value.is_empty() {
            format!("{name}=")
        } else if SHOWN.contains(&name) {
            let value = value.escape_debug();
            format!("{name}={value}")
        } else {
            let value = self.placeholder(name, value);
            format!("{name}={value}")
        }
    }

    fn action(&mut self, action: &Action) {
        let line = match action {
            Action::SendRequest(send) => {
                self.sent.insert(send.id(), send.purpose());
                self.request(send)
            }
            Action::Redirect(redirect) => {
                let (to, query) = split(redirect.url.as_str());
                let query = self.pairs(query);
                let new = if redirect.new_issuer {
                    ", a new issuer"
                } else {
                    ""
                };
                format!("< redirect to {to}{new}:{query}")
            }
            Action::ShowCode(shown) => {
                let scopes = shown.scopes.as_str();
                format!("< show a code of {} for '{scopes}'", shown.issuer)
            }
            Action::LoadSlot(load) => format!("< load {}", kind(&load.slot().to_string())),
            Action::PersistSlot(persist) => {
                let what = match persist.write() {
                    Some(_) => "write",
                    None => "clear",
                };
                format!("< {what} {}", kind(&persist.slot().to_string()))
            }
            Action::Sign(sign) => {
                let algorithm = sign.algorithm().as_str();
                format!("< sign with the key '{}' ({algorithm})", sign.key())
            }
            Action::ObtainAssertion(obtain) => format!("< obtain {:?}", obtain.kind()),
            Action::NeedUser(need) => format!("< need user: {}", need.why.as_str()),
            Action::Ready(grant) => {
                let scopes = grant.scopes.as_str();
                format!("< ready: a token of {} for '{scopes}'", grant.issuer)
            }
            Action::Error(failure) => {
                let (code, stage) = (failure.cause.code(), failure.stage.as_str());
                format!("< error {code} at {stage}, next {:?}", failure.next())
            }
            Action::Report(_) => return,
        };
        self.line(&line);
    }

    fn request(&mut self, send: &SendRequest) -> String {
        let request = send.request();
        let url = request.uri().to_string();
        let (to, query) = split(&url);
        let mut line = format!("< {} {to}", request.method());
        if !query.is_empty() {
            line.push('?');
            line.push_str(self.pairs(query).trim_start());
        }
        if let Some(value) = request.headers().get("authorization") {
            let scheme = value.to_str().unwrap_or_default();
            let scheme = scheme.split(' ').next().unwrap_or_default();
            line.push_str(&format!(" ({scheme})"));
        }
        if request.headers().contains_key("dpop") {
            line.push_str(" (DPoP proof)");
        }
        let is_form = send.purpose() != Purpose::Registration;
        if let (true, Ok(body)) = (is_form, std::str::from_utf8(request.body())) {
            line.push_str(&self.pairs(body));
        }
        line
    }

    fn event(&mut self, event: &Event) {
        let line = match event {
            Event::Authorize(_) => "> authorize".to_owned(),
            Event::Challenged(challenge) => format!("> {challenge:?}"),
            Event::Accepted(operation) => format!("> accepted {operation}"),
            Event::Wanted(operation) => format!("> wanted {operation}"),
            Event::HttpResponse(reply) => self.reply(reply),
            Event::CallbackParams(_) => "> callback".to_owned(),
            Event::SlotLoaded(_) => "> loaded".to_owned(),
            Event::SlotPersisted(_) => "> persisted".to_owned(),
            Event::Signed(_) => "> signed".to_owned(),
            Event::AssertionObtained(_) => "> obtained".to_owned(),
            Event::Observed(_) => "> observed".to_owned(),
            Event::Timer => "> timer".to_owned(),
            Event::Abandoned(how) => format!("> abandoned: {how:?}"),
            Event::SignedOut => "> signed out".to_owned(),
        };
        self.line(&line);
    }

    /// The status, and the members of a response whose values are texts or numbers, unless it is a document.
    fn reply(&mut self, reply: &Reply) -> String {
        let Some(response) = reply.response() else {
            let text = format!("{reply:?}");
            let outcome = text.split_once(", ").map_or("", |(_, outcome)| outcome);
            return format!("> {}", outcome.trim_end_matches(')'));
        };
        let mut line = format!("> {}", response.status().as_u16());
        let is_document = matches!(
            self.sent.remove(&reply.id()),
            Some(Purpose::ResourceMetadata | Purpose::ServerMetadata)
        );
        if let (false, Ok(Value::Object(members))) =
            (is_document, serde_json::from_slice(response.body()))
        {
            for (name, value) in &members {
                let value = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => continue,
                };
                line.push(' ');
                line.push_str(&self.pair(name, &value));
            }
        }
        line
    }
}

fn split(url: &str) -> (&str, &str) {
    url.split_once('?').unwrap_or((url, ""))
}

fn kind(slot: &str) -> &str {
    slot.split('/').next().unwrap_or_default()
}
