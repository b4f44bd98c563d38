//! Converts observed events to input lines without secrets, while a second machine processes them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_auth_machine::Moment;
use mcp_auth_machine::slot::{SlotKind, Stored};
use mcp_auth_machine::wire::pkce::State;
use serde_json::{Value, json};

use super::documents::{answer, cover, headers, parameter, record};
use super::secrets::Secrets;
use super::tape::{Asked, Happened, text_of};
use crate::lines::session::Session;

type Flaw = &'static str;

/// Contents and revision, as in lines.
type Kept = (Value, Value);

#[derive(Default)]
pub(super) struct Copy {
    pub(super) secrets: Secrets,
    session: Session,
    pub(super) text: String,
    /// The actions of the second machine.
    pub(super) asked: Vec<Asked>,
    /// The contents written by the second machine, by the number of the action.
    written: BTreeMap<u64, Kept>,
    /// The substitutes for records, by their real revision.
    records: BTreeMap<String, Kept>,
    /// The substitutes for `state` values.
    states: BTreeMap<String, String>,
    redirects: Vec<String>,
    redirect_uri: String,
    seeds: u8,
}

impl Copy {
    pub(super) fn start(&mut self, mut config: Value, at: Moment) -> Result<(), Flaw> {
        cover(&mut config, &mut self.secrets);
        self.redirect_uri = text_of(&config, "redirect_uri").to_owned();
        let random: Vec<u8> = (1..=32).collect();
        if let Some(members) = config.as_object_mut() {
            members.insert("random".to_owned(), URL_SAFE_NO_PAD.encode(random).into());
        }
        let line = json!({ "now": at.wall.0, "mono": at.mono.0, "config": config });
        self.take(&line)
    }

    /// Maps the real revision to the contents that the action with this number wrote.
    pub(super) fn wrote(&mut self, id: u64, real: String) {
        if let Some(kept) = self.written.get(&id) {
            self.records.insert(real, kept.clone());
        }
    }

    /// Maps the real `state` of the redirect with this number.
    pub(super) fn state(&mut self, number: usize, real: &str) {
        self.secrets.saw(real);
        let own = self.redirects.get(number);
        if let Some(own) = own.and_then(|url| parameter(url, "state")) {
            self.states.insert(real.to_owned(), own);
        }
    }

    /// `id`: the action with this result.
    pub(super) fn happened(
        &mut self,
        happened: &Happened,
        id: Option<u64>,
        at: Moment,
    ) -> Result<(), Flaw> {
        let mut line = self.line(happened, id)?;
        if let Some(members) = line.as_object_mut() {
            members.insert("now".to_owned(), at.wall.0.into());
            members.insert("mono".to_owned(), at.mono.0.into());
        }
        self.take(&line)
    }

    fn take(&mut self, line: &Value) -> Result<(), Flaw> {
        let line = line.to_string();
        let out = self.session.take(line.as_bytes());
        self.text.push_str(&line);
        self.text.push('\n');
        for line in out {
            let text = serde_json::to_string(&line).map_err(|_| "a line cannot be written")?;
            self.text.push_str(&text);
            self.text.push('\n');
            let value: Value = serde_json::from_str(&text).map_err(|_| "a line is not JSON")?;
            let member = |name: &str| value.get(name).cloned().unwrap_or_default();
            let name = text_of(&value, "action");
            match name {
                "idle" => continue,
                "protocol_error" => return Err("an event has no line format"),
                "persist_slot" => {
                    let kept = (member("contents"), member("revision"));
                    self.written
                        .insert(member("id").as_u64().unwrap_or_default(), kept);
                }
                "redirect" => {
                    self.redirects.push(text_of(&value, "url").to_owned());
                }
                _ => {}
            }
            self.asked.push(Asked::of_line(name, &value));
        }
        Ok(())
    }

    fn line(&mut self, happened: &Happened, id: Option<u64>) -> Result<Value, Flaw> {
        Ok(match happened {
            Happened::Challenged {
                operation,
                status,
                headers: given,
                sent,
            } => {
                let sent = sent.as_deref().map(|sent| {
                    let token = sent.rsplit(' ').next().unwrap_or_default();
                    self.secrets.cover("token", token)
                });
                json!({
                    "event": "challenged", "operation": operation, "status": status,
                    "headers": headers(given, false), "sent": sent,
                })
            }
            Happened::Authorize(on_other_device) => {
                self.seeds = self.seeds.saturating_add(1);
                let seed: Vec<u8> = (0..64_u8).map(|at| at.wrapping_add(self.seeds)).collect();
                let seed = URL_SAFE_NO_PAD.encode(seed);
                match on_other_device {
                    false => json!({ "event": "authorize", "seed": seed }),
                    true => json!({ "event": "authorize", "seed": seed, "on_other_device": true }),
                }
            }
            Happened::CameBack(url) => {
                json!({ "event": "callback_params", "url": self.callback(url) })
            }
            Happened::Operation(event, operation) => {
                json!({ "event": event, "operation": operation })
            }
            Happened::Plain(event) => json!({ "event": event }),
            Happened::Response {
                public,
                status,
                headers: given,
                body,
            } => {
                let body = match (public, std::str::from_utf8(body)) {
                    (true, Ok(text)) => text.to_owned(),
                    (true, Err(_)) => return Err("a document is not UTF-8"),
                    (false, _) => answer(body, &mut self.secrets),
                };
                json!({
                    "event": "http_response", "id": id, "status": status,
                    "headers": headers(given, *public), "body": body,
                })
            }
            Happened::Undelivered(how) => {
                json!({ "event": "http_failed", "id": id, "failure": how })
            }
            Happened::Loaded(kind, found) => {
                let (contents, revision) = self.stored(*kind, found.as_ref())?;
                json!({ "event": "slot_loaded", "id": id, "contents": contents, "revision": revision })
            }
            Happened::LoadFailed => json!({ "event": "slot_load_failed", "id": id }),
            Happened::Persisted => {
                json!({ "event": "slot_persisted", "id": id, "outcome": "done" })
            }
            Happened::PersistFailed => {
                json!({ "event": "slot_persisted", "id": id, "outcome": "failed" })
            }
            Happened::Conflict(kind, current) => {
                let (contents, revision) = self.stored(*kind, current.as_ref())?;
                json!({
                    "event": "slot_persisted", "id": id, "outcome": "conflict",
                    "contents": contents, "revision": revision,
                })
            }
            Happened::Signed => {
                let signature: Vec<u8> = (1..=64).collect();
                json!({ "event": "signed", "id": id, "signature": URL_SAFE_NO_PAD.encode(signature) })
            }
        })
    }

    /// Returns the contents that the second machine finds in the slot.
    fn stored(&mut self, kind: SlotKind, stored: Option<&Stored>) -> Result<Kept, Flaw> {
        let Some(stored) = stored else {
            return Ok(Kept::default());
        };
        let real = stored.revision.to_string();
        if let Some(kept) = self.records.get(&real) {
            return Ok(kept.clone());
        }
        let (contents, revision) = record(kind, stored.contents.expose(), &mut self.secrets)
            .ok_or("a slot holds what cannot be kept without its secrets")?;
        let kept: Kept = (contents.into(), revision.into());
        self.records.insert(real, kept.clone());
        Ok(kept)
    }

    /// Returns the callback's parameters that the machine reads, with substitutes for `code` and `state`.
    /// The target is kept only if it is the redirect URI, because pasted text may be arbitrary.
    fn callback(&mut self, url: &str) -> String {
        let (target, query) = url.split_once('?').unwrap_or((url, ""));
        let target = match target == self.redirect_uri {
            true => target,
            false => "http://127.0.0.1/elsewhere",
        };
        let state = parameter(url, "state").and_then(|state| self.states.get(&state).cloned());
        let mut kept = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = match name.as_ref() {
                "iss" if value.starts_with("http") && !value.contains(['?', '#', '@']) => {
                    value.into_owned()
                }
                "error" if is_code(&value) => value.into_owned(),
                "state" => {
                    self.secrets.saw(&value);
                    let own = self.states.get(value.as_ref());
                    own.cloned().unwrap_or_else(|| strange(&value))
                }
                "code" if state.is_some() => self.secrets.cover("code", &value),
                "code" | "iss" | "error" | "access_token" | "id_token" | "token_type" => {
                    self.secrets.saw_any(&value);
                    "not-kept".to_owned()
                }
                _ => {
                    self.secrets.saw_any(&value);
                    continue;
                }
            };
            kept.append_pair(&name, &value);
        }
        format!("{target}?{}", kept.finish())
    }
}

/// Returns a substitute for an unknown `state`, of the same shape.
fn strange(state: &str) -> String {
    match State::from_text(state) {
        Some(_) => "A".repeat(22),
        None => "strange".to_owned(),
    }
}

/// Returns true for a well-formed error code.
fn is_code(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
