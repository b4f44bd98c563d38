//! The observed events, in order.

use bytes::Bytes;
use http::HeaderMap;
use mcp_auth_client::Note;
use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::slot::{SlotKind, Stored};
use mcp_auth_machine::{Action, Event, Moment};
use serde_json::Value;

use super::cover::Copy;
use super::documents::{parameter, sent, written};

/// An input of the machine.
pub(super) enum Happened {
    Challenged {
        operation: String,
        status: u16,
        headers: HeaderMap,
        sent: Option<String>,
    },
    /// Whether the user is at another device.
    Authorize(bool),
    CameBack(String),
    Operation(&'static str, String),
    Plain(&'static str),
    Response {
        /// Whether it is a public document.
        public: bool,
        status: u16,
        headers: HeaderMap,
        body: Bytes,
    },
    Undelivered(&'static str),
    Loaded(SlotKind, Option<Stored>),
    LoadFailed,
    Persisted,
    PersistFailed,
    Conflict(SlotKind, Option<Stored>),
    Signed,
}

/// An action, reduced to the parts that do not depend on secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked(String);

impl Asked {
    fn new(name: &str, more: &[&str]) -> Self {
        Self([&[name], more].concat().join(" "))
    }

    pub(super) fn of_line(name: &str, line: &Value) -> Self {
        let text = |member: &str| text_of(line, member).to_owned();
        let id = line.get("id").map(ToString::to_string).unwrap_or_default();
        match name {
            "send_request" => {
                Self::new(name, &[&id, &text("method"), &without_query(&text("url"))])
            }
            "load_slot" | "persist_slot" => Self::new(name, &[&id, kind(&text("slot"))]),
            "sign" | "obtain_assertion" => Self::new(name, &[&id]),
            "redirect" | "show_code" | "ready" => Self::new(name, &[&text("issuer")]),
            "need_user" => Self::new(name, &[&text("why")]),
            "error" => Self::new(name, &[&text("stage"), &text("cause")]),
            "report" => Self::new(name, &[&text("code")]),
            _ => Self::new(name, &[]),
        }
    }

    fn of(action: &Action) -> Self {
        match action {
            Action::SendRequest(send) => {
                let url = without_query(&send.request().uri().to_string());
                let method = send.request().method().to_string();
                Self::new("send_request", &[&send.id().to_string(), &method, &url])
            }
            Action::LoadSlot(load) => {
                let slot = load.slot().to_string();
                Self::new("load_slot", &[&load.id().to_string(), kind(&slot)])
            }
            Action::PersistSlot(persist) => {
                let slot = persist.slot().to_string();
                Self::new("persist_slot", &[&persist.id().to_string(), kind(&slot)])
            }
            Action::Sign(sign) => Self::new("sign", &[&sign.id().to_string()]),
            Action::ObtainAssertion(obtain) => {
                Self::new("obtain_assertion", &[&obtain.id().to_string()])
            }
            Action::Redirect(redirect) => Self::new("redirect", &[redirect.issuer.as_str()]),
            Action::ShowCode(shown) => Self::new("show_code", &[shown.issuer.as_str()]),
            Action::NeedUser(need) => Self::new("need_user", &[need.why.as_str()]),
            Action::Ready(grant) => Self::new("ready", &[grant.issuer.as_str()]),
            Action::Error(failure) => {
                Self::new("error", &[failure.stage.as_str(), failure.cause.code()])
            }
            Action::Report(decision) => {
                let value = serde_json::to_value(decision).unwrap_or_default();
                Self::new("report", &[text_of(&value, "code")])
            }
        }
    }
}

/// Returns a string member.
pub(crate) fn text_of<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn without_query(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

fn kind(slot: &str) -> &str {
    slot.split('/').next().unwrap_or_default()
}

/// One observation.
enum Seen {
    In(Happened, Option<u64>, Moment),
    /// The number of a write, and its contents.
    Wrote(u64, Option<Stored>),
    State(String),
    Sent(HeaderMap, Bytes),
}

#[derive(Default)]
pub(super) struct Tape {
    config: Option<(Value, Moment)>,
    seen: Vec<Seen>,
    asked: Vec<Asked>,
    /// The number of the driver's current action.
    at: Option<u64>,
    /// Whether the last request was for a public document.
    public: bool,
    again: bool,
}

impl Tape {
    pub(super) fn start(&mut self, config: Value, at: Moment) {
        self.again |= self.config.is_some();
        self.config = Some((config, at));
    }

    /// Returns true if there is a machine to record.
    pub(super) fn has_begun(&self) -> bool {
        self.config.is_some()
    }

    pub(super) fn push(&mut self, happened: Happened, at: Moment) {
        let id = match happened {
            Happened::Challenged { .. }
            | Happened::Authorize(_)
            | Happened::CameBack(_)
            | Happened::Operation(..)
            | Happened::Plain(_) => None,
            Happened::Response { .. }
            | Happened::Undelivered(_)
            | Happened::Loaded(..)
            | Happened::LoadFailed
            | Happened::Persisted
            | Happened::PersistFailed
            | Happened::Conflict(..)
            | Happened::Signed => self.at,
        };
        self.seen.push(Seen::In(happened, id, at));
    }

    pub(super) fn see(&mut self, note: &Note<'_>, at: Moment) {
        match note {
            Note::Out(action) => self.out(action),
            Note::In(Event::HttpResponse(reply)) => {
                let happened = match reply.response() {
                    Some(response) => Happened::Response {
                        public: self.public,
                        status: response.status().as_u16(),
                        headers: response.headers().clone(),
                        body: response.body().clone(),
                    },
                    None => Happened::Undelivered(undelivered(&format!("{reply:?}"))),
                };
                self.push(happened, at);
            }
            Note::In(Event::Timer) => self.push(Happened::Plain("timer"), at),
            Note::In(Event::Signed(_)) => self.push(Happened::Signed, at),
            // The recorder's store records it.
            Note::Store(_) => {}
            // Recorded where they are created.
            Note::In(
                Event::Authorize(_)
                | Event::Challenged(_)
                | Event::Accepted(_)
                | Event::Wanted(_)
                | Event::CallbackParams(_)
                | Event::SlotLoaded(_)
                | Event::SlotPersisted(_)
                | Event::AssertionObtained(_)
                | Event::Observed(_)
                | Event::Abandoned(_)
                | Event::SignedOut,
            ) => {}
        }
    }

    fn out(&mut self, action: &Action) {
        self.asked.push(Asked::of(action));
        match action {
            Action::SendRequest(send) => {
                self.at = Some(send.id());
                self.public = matches!(
                    send.purpose(),
                    Purpose::ResourceMetadata | Purpose::ServerMetadata
                );
                let request = send.request();
                let (headers, body) = (request.headers().clone(), request.body().clone());
                self.seen.push(Seen::Sent(headers, body));
            }
            Action::LoadSlot(load) => self.at = Some(load.id()),
            Action::PersistSlot(persist) => {
                self.at = Some(persist.id());
                self.seen
                    .push(Seen::Wrote(persist.id(), persist.write().cloned()));
            }
            Action::Sign(sign) => self.at = Some(sign.id()),
            Action::ObtainAssertion(obtain) => self.at = Some(obtain.id()),
            Action::Redirect(redirect) => {
                let state = parameter(redirect.url.as_str(), "state");
                self.seen.push(Seen::State(state.unwrap_or_default()));
            }
            Action::ShowCode(_)
            | Action::NeedUser(_)
            | Action::Ready(_)
            | Action::Error(_)
            | Action::Report(_) => {}
        }
    }

    /// Returns the lines of the file.
    pub(super) fn transcript(self) -> Result<String, &'static str> {
        let (config, at) = self.config.ok_or("the command ended before it began")?;
        if self.again {
            return Err("the command ran more than one machine");
        }
        let mut copy = Copy::default();
        copy.start(config, at)?;
        let mut redirects = 0_usize;
        for seen in &self.seen {
            match seen {
                Seen::In(happened, id, at) => copy.happened(happened, *id, *at)?,
                Seen::Wrote(id, Some(stored)) => {
                    written(stored.contents.expose(), &mut copy.secrets);
                    copy.wrote(*id, stored.revision.to_string());
                }
                Seen::Wrote(_, None) => {}
                Seen::State(state) => {
                    copy.state(redirects, state);
                    redirects = redirects.saturating_add(1);
                }
                Seen::Sent(headers, body) => sent(headers, body, &mut copy.secrets),
            }
        }
        // The last actions may not have been performed.
        if !copy.asked.starts_with(&self.asked) {
            return Err("without its secrets, the machine did something else");
        }
        copy.secrets.are_absent(&copy.text)?;
        Ok(copy.text)
    }
}

fn undelivered(reply: &str) -> &'static str {
    [
        ("never sent", "never_sent"),
        ("too large", "too_large"),
        ("blocked", "blocked"),
    ]
    .into_iter()
    .find(|(words, _)| reply.contains(words))
    .map_or("maybe_sent", |(_, name)| name)
}
