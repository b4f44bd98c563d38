//! The user's browser: it goes where it is sent, may be sent on, and brings back what it is given.

use mcp_auth_machine::event::Event;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Action, Phase};

use super::checks::{Delivered, Iss};
use super::scanner::POISON;
use super::{ISSUERS, LIAR, REDIRECT, Return, Visit, World, server_of};
use crate::machine_tests::get;

/// Error codes that an authorization endpoint may return.
const FRONT: [&str; 6] = [
    "unauthorized_client",
    "invalid_client",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "invalid_grant",
];

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl World {
    pub(super) fn come_back(&mut self, visit: usize, at: usize, how: Return) {
        let Some(visit) = self.visits.get(visit).cloned() else {
            return;
        };
        let asked = self.ledger.asked(&visit.url);
        let Some(state) = get(&asked, "state") else {
            return;
        };
        let client = get(&asked, "client_id").unwrap_or_default();
        let known = !self.setup.client.registers() || self.servers.clients.contains(&client);
        if visit.issuer != LIAR && !known {
            // The server shows a page of its own, and no callback arrives (QUIRK-14).
            return self.facts.note("an error page instead of a callback");
        }
        let challenge = get(&asked, "code_challenge").unwrap_or_default();
        let shown_at = server_of(&visit.url);
        let from = match how {
            Return::From(server) | Return::FromNamed(server) => server,
            _ => shown_at.unwrap_or(visit.issuer),
        };
        // A server that advertises its name says it whenever it sends a user back.
        let named = match how {
            Return::FromNamed(_) | Return::WithOtherIss | Return::IssTwice | Return::IssAlike => {
                true
            }
            Return::WithoutIss => false,
            _ => self.says_iss(from),
        };
        if from != LIAR && from != visit.issuer && !named && !self.advertises(&visit) {
            // The declared residual: an honest server without `iss`, reached through another.
            return self.facts.note("residual");
        }
        let (mut query, row) = self.parameters(&visit, how, from, named, &state, &challenge);
        let stray = matches!(
            how,
            Return::StateWrong | Return::StateMissing | Return::ErrorStray
        );
        if how == Return::WithToken {
            query.push_str("&access_token=at~1~0");
        }
        if from != visit.issuer {
            self.facts.note("mixed up");
        }
        if !stray {
            self.note_row(&visit, row);
        }
        if query.contains("invalid_scope") {
            self.ledger.scopes_refused(at);
        }
        self.deliver(at, &query, stray);
        if how == Return::Twice {
            self.facts.note("callback twice");
            self.deliver(at, &query, false);
        }
        if how == Return::Honest {
            self.visits.retain(|open| open.url != visit.url);
        }
    }

    fn parameters(
        &mut self,
        visit: &Visit,
        how: Return,
        from: usize,
        named: bool,
        state: &str,
        challenge: &str,
    ) -> (String, Iss) {
        let name = match how {
            Return::WithOtherIss => ISSUERS[(visit.issuer + 1) % 3],
            _ => ISSUERS[from],
        };
        let name = encoded(name);
        let (iss, row) = match how {
            Return::IssTwice => (format!("&iss={name}&iss={name}"), Iss::Twice),
            Return::IssAlike => (format!("&iss={name}%2F"), Iss::Alike),
            _ if !named => (String::new(), Iss::Absent),
            Return::WithOtherIss => (format!("&iss={name}"), Iss::Different),
            _ if from == visit.issuer => (format!("&iss={name}"), Iss::Equal),
            _ => (format!("&iss={name}"), Iss::Different),
        };
        let error =
            format!("error=access_denied&error_description={POISON}%1b%5b31m&error_uri={POISON}");
        let query = match how {
            Return::ErrorStray => {
                self.facts.note("stray callback");
                format!("{error}&state=AAAAAAAAAAAAAAAAAAAAAA")
            }
            Return::Error => {
                self.facts.note("error callback");
                format!("error=access_denied&state={state}{iss}")
            }
            Return::ErrorOf(which) => {
                self.facts.note("an error of the server in a callback");
                let error = FRONT[usize::from(which) % FRONT.len()];
                format!("error={error}&state={state}{iss}")
            }
            Return::ErrorPoisoned => {
                self.facts.note("error callback, poisoned");
                let other = encoded("https://evil.example");
                format!("{error}&state={state}&iss={other}")
            }
            Return::StateWrong | Return::StateMissing => {
                self.facts.note("stray callback");
                let code = self.mint("code", from);
                let state = match how {
                    Return::StateWrong => "&state=AAAAAAAAAAAAAAAAAAAAAA",
                    _ => "",
                };
                format!("code={code}{state}{iss}")
            }
            _ => {
                let code = self.mint("code", from);
                self.servers.code(&code, from, challenge);
                self.ledger.delivered(Delivered {
                    code: code.clone(),
                    state: state.to_owned(),
                    row,
                    token: how == Return::WithToken,
                });
                format!("code={code}&state={state}{iss}")
            }
        };
        (query, row)
    }

    fn advertises(&self, visit: &Visit) -> bool {
        self.ledger.advertises(visit.issuer, &visit.url)
    }

    fn note_row(&mut self, visit: &Visit, row: Iss) {
        let fact = match (self.advertises(visit), row) {
            (true, Iss::Equal) => "iss advertised, equal",
            (true, Iss::Absent) => "iss advertised, absent",
            (true, Iss::Different) => "iss advertised, different",
            (false, Iss::Equal) => "iss not advertised, equal",
            (false, Iss::Absent) => "iss not advertised, absent",
            (false, Iss::Different) => "iss not advertised, different",
            (_, Iss::Twice) => "iss twice",
            (_, Iss::Alike) => "iss alike",
        };
        self.facts.note(fact);
    }

    fn deliver(&mut self, at: usize, query: &str, stray: bool) {
        let instance = &self.instances[at];
        let phase = instance.machine.phase();
        let idle = !matches!(phase, Phase::Working(_));
        let queued = instance.actions.len();
        self.ledger.external(at);
        self.ledger.came_back(at, idle);
        let callback = Callback::from_url(format!("{REDIRECT}?{query}"));
        self.tell(at, Event::CallbackParams(callback));
        if stray && idle {
            // Another instance may have prepared it: looking that up is all that may happen (S08); any
            // event is an occasion to save what could not be saved before.
            let only_looks = |action: &Action| match action {
                Action::LoadSlot(_) => true,
                Action::PersistSlot(persist) => persist.write().is_some(),
                _ => false,
            };
            let more = self.instances[at].actions.iter().skip(queued);
            for action in more {
                assert!(only_looks(action), "S08: a stray callback made {action:?}");
            }
        }
    }
}
