//! The attempt of a user or a command to get a token: what the machine asks for, until it has one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mcp_auth_client::{Pause, seed};
use mcp_auth_machine::Event;
use mcp_auth_machine::action::{Grant, Why};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::slot::Slot;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::text::Untrusted;

use super::super::choice::same_but_slash;
use super::super::in_words;
use super::super::person::Person;
use super::Host;
use crate::advice;
use crate::problem::{Presented, Problem};
use crate::remedy;
use crate::speaker;
use crate::style::Waiting;

/// Returns the issuer that a callback names.
fn issuer_of(callback: &str) -> Option<Untrusted> {
    parameter(callback, "iss").map(|issuer| Untrusted::new(&issuer))
}

/// Returns a parameter of a callback.
fn parameter(callback: &str, name: &str) -> Option<String> {
    let callback = url::Url::parse(callback).ok()?;
    let mut pairs = callback.query_pairs();
    let found = pairs.find(|(found, _)| found == name);
    found.map(|(_, value)| value.into_owned())
}

impl Host {
    /// Waits, if the command's time limit allows it.
    pub(super) fn rest(&self, rest: Duration) -> Result<(), Problem> {
        if rest > self.end.saturating_duration_since(Instant::now()) {
            return Err(Problem::OutOfTime {
                last: self.last(),
                lease: self.lease_of_another(),
            });
        }
        note!("waiting for {}", in_words(rest.as_secs()));
        let _shown = Waiting::for_("waiting, as the server asks");
        sleep(rest);
        Ok(())
    }

    /// Passes an event in, and works until a token is available.
    pub(super) fn follow(
        &mut self,
        event: Event,
        person: Option<&Person>,
    ) -> Result<Grant, Problem> {
        let pause = self.handle(event);
        self.until_ready(pause, person)
    }

    pub(super) fn until_ready(
        &mut self,
        mut pause: Pause,
        person: Option<&Person>,
    ) -> Result<Grant, Problem> {
        let mut shown = false;
        loop {
            pause = match pause {
                Pause::Ready(grant) => return Ok(*grant),
                Pause::Failed(failure) => return Err(self.failed(failure)),
                // The user has the code.
                Pause::Resting(rest) if shown => {
                    if rest > self.end.saturating_duration_since(Instant::now()) {
                        self.abandon();
                        return Err(Problem::TimedOut {
                            client: Presented::Code,
                        });
                    }
                    let _shown = Waiting::for_("waiting for the code to be entered");
                    sleep(rest);
                    self.run()
                }
                Pause::Resting(rest) => {
                    self.rest(rest)?;
                    self.run()
                }
                Pause::NeedUser(need) => {
                    let Some(person) = person else {
                        return Err(Problem::SignInNeeded { why: need.why });
                    };
                    if let Why::ServerChanged { from, to } = &need.why
                        && !self
                            .named
                            .iter()
                            .any(|named| same_but_slash(named, to.as_str()))
                        && !person.agrees(from.as_str(), to.as_str())
                    {
                        self.abandon();
                        return Err(Problem::Declined {
                            from: from.to_string(),
                            to: to.to_string(),
                        });
                    }
                    if let Some(problem) = self.would_drop(&need.why) {
                        self.abandon();
                        return Err(problem);
                    }
                    // Tells the user why the browser opens again.
                    if !matches!(need.why, Why::NoCredentials | Why::ServerChanged { .. }) {
                        let words = match (&need.why, &self.scopes) {
                            (Why::ScopesRefused { scopes }, Some(asked)) => {
                                remedy::refused(asked, scopes.as_str())
                            }
                            (why, _) => remedy::why(why),
                        };
                        eprintln!("mcp-auth: signing in again: {words}");
                    }
                    self.ask(person)?
                }
                Pause::ShowCode(code) => {
                    let person =
                        person.ok_or("interactive sign-in required, but running without a user")?;
                    self.seen.asks();
                    self.ledger.signing_in();
                    self.scopes = Some(code.scopes.as_str().to_owned());
                    person.show(&code);
                    shown = true;
                    self.run()
                }
                Pause::Redirect(redirect) => {
                    let person =
                        person.ok_or("interactive sign-in required, but running without a user")?;
                    self.seen.asks();
                    let others = self.choice.others(redirect.issuer.as_str());
                    self.scopes = Some(redirect.scopes.as_str().to_owned());
                    let is_old = self.seen.presented() == Presented::Earlier;
                    if let Some(words) = advice::secret_missing(redirect.issuer.as_str()) {
                        eprintln!("mcp-auth: {words}");
                    }
                    person.send(&redirect, &others, is_old);
                    if let Some(turn) = &self.turn {
                        turn.share(redirect.url.as_str());
                    }
                    if person.lacks_display() && self.choice.may_offer_device() {
                        note!(
                            "Without a browser here, a server that offers it shows a code instead: {}",
                            speaker::login("--device")
                        );
                    }
                    self.come_back(person, redirect.route())?
                }
                Pause::Idle => return Err("nothing is left to do".into()),
            };
        }
    }

    /// Returns the failure of a sign-in whose next request would omit scopes of the account, because the server refused them
    /// together with those that the user added.
    fn would_drop(&self, why: &Why) -> Option<Problem> {
        let Why::ScopesRefused { scopes } = why else {
            return None;
        };
        let held = self.driver.grant()?.scopes;
        let added = Scopes::parse(self.added.as_deref()?);
        let added: Vec<_> = added.iter().filter(|scope| !held.contains(scope)).collect();
        let drops = Scopes::parse(scopes.as_str())
            .iter()
            .any(|scope| held.contains(scope));
        (drops && !added.is_empty()).then(|| Problem::ScopesRefused {
            asked: self.scopes.clone().unwrap_or_default(),
            added: added.join(" "),
        })
    }

    /// Starts an authorization in the browser here, or in one of another device.
    pub(super) fn ask(&mut self, person: &Person) -> Result<Pause, Problem> {
        let device = person.is_elsewhere();
        self.recorder.authorize(device);
        let mut authorization = Authorization::new(seed()?);
        if device {
            authorization = authorization.on_other_device();
        }
        Ok(self.handle(Event::Authorize(authorization)))
    }

    fn abandon(&mut self) {
        self.recorder.plain("abandoned");
        self.handle(Event::Abandoned(Abandon::Cancelled));
    }

    /// Waits for the callback of this authorization; other callbacks are ignored.
    fn come_back(&mut self, person: &Person, route: Slot) -> Result<Pause, Problem> {
        loop {
            self.waits_since(Some(self.ledger.own_end()));
            let callback = person.come_back(route, self.seen.presented());
            self.waits_since(None);
            let Some(callback) = callback else {
                self.abandon();
                return Err(Problem::TimedOut {
                    client: self.seen.presented(),
                });
            };
            self.recorder.callback(&callback);
            self.came_from = issuer_of(&callback);
            let has_state = parameter(&callback, "state").is_some();
            self.ledger.signing_in();
            let event = Event::CallbackParams(Callback::from_url(callback));
            let pause = self.handle(event);
            if !matches!(pause, Pause::Idle) {
                return Ok(pause);
            }
            let without_state = if has_state {
                ""
            } else {
                ": it has no `state`, which the authorization server must send back as it was sent (RFC 6749 section 4.1.2)"
            };
            eprintln!("that was not the answer to this sign-in{without_state}; still waiting");
        }
    }
}
