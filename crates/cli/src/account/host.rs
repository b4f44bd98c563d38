//! An MCP client without tools: it has a machine, a store and perhaps a person.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use http::{HeaderMap, Method};
use mcp_auth_client::{Driver, FileStore, Note, Pause, Store, now, seed};
use mcp_auth_machine::action::{Grant, Why};
use mcp_auth_machine::error::Stage;
use mcp_auth_machine::event::{Abandon, Challenge, Operation};
use mcp_auth_machine::report::Decision;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::{Action, Event, NoBearer};
use serde_json::{Value, json};

use super::in_words;
use super::person::Person;
use super::profile::Profile;
use crate::describe::describe;
use crate::lines::record::Recorder;
use crate::problem::Problem;

/// How long a command waits for a server that asks for a rest, or for another process.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Host {
    url: String,
    driver: Driver<Box<dyn Store>>,
    recorder: Recorder,
    /// Somebody was sent to sign in.
    asked: bool,
}

impl Host {
    pub(super) fn open(
        directory: &Path,
        profile: &Profile,
        verbose: bool,
        recorder: &Recorder,
    ) -> Result<Self, Problem> {
        let (config, keys) = profile.config()?;
        let url = config.mcp_url().as_str().to_owned();
        let store = FileStore::open(directory.join("slots"))?;
        let store = recorder.store(store);
        recorder.start(|| profile.line(&keys));
        let seen = recorder.clone();
        let driver = Driver::new(config, profile.account.as_str(), store)
            .signer(keys)
            .patience(PATIENCE)
            .watched(move |note| {
                seen.see(&note);
                if let Note::Out(Action::Report(decision)) = &note {
                    warn(decision);
                }
                if let Some(text) = describe(&note).filter(|_| verbose) {
                    eprintln!("{text}");
                }
            });
        Ok(Self {
            url,
            driver,
            recorder: recorder.clone(),
            asked: false,
        })
    }

    /// Hands an event in, and follows until a token can be had.
    fn follow(&mut self, event: Event, person: Option<&Person>) -> Result<Grant, Problem> {
        let mut pause = self.driver.handle(event);
        loop {
            pause = match pause {
                Pause::Ready(grant) => return Ok(*grant),
                Pause::Failed(failure) => return Err(Problem::Failed(failure)),
                Pause::Resting(rest) => {
                    eprintln!("waiting for {}", in_words(rest.as_secs()));
                    sleep(rest);
                    self.driver.run()
                }
                Pause::NeedUser(need) => {
                    let Some(person) = person else {
                        return Err(Problem::SignInNeeded {
                            url: self.url.clone(),
                            why: need.why,
                        });
                    };
                    if let Why::ServerChanged { from, to } = &need.why
                        && !person.agrees(from.as_str(), to.as_str())
                    {
                        self.recorder.plain("abandoned");
                        self.driver.handle(Event::Abandoned(Abandon::Cancelled));
                        return Err(Problem::Declined {
                            from: from.to_string(),
                            to: to.to_string(),
                        });
                    }
                    self.recorder.authorize();
                    self.driver.handle(Event::Authorize(seed()?.into()))
                }
                Pause::Redirect(redirect) => {
                    let person = person.ok_or("nobody is here to sign in")?;
                    self.asked = true;
                    person.send(&redirect);
                    self.come_back(person)?
                }
                Pause::Idle => return Err("nothing is left to do".into()),
            };
        }
    }

    /// Waits for the callback of this authorization; others change nothing.
    fn come_back(&mut self, person: &Person) -> Result<Pause, Problem> {
        let deadline = person.deadline();
        loop {
            let Some(callback) = person.come_back(deadline) else {
                self.recorder.plain("abandoned");
                self.driver.handle(Event::Abandoned(Abandon::Cancelled));
                return Err(Problem::TimedOut);
            };
            self.recorder.callback(&callback);
            let event = Event::CallbackParams(Callback::from_url(callback));
            let pause = self.driver.handle(event);
            if !matches!(pause, Pause::Idle) {
                return Ok(pause);
            }
            eprintln!("that was not the answer to this sign-in; still waiting");
        }
    }

    /// A token that is good now.
    pub(super) fn wanted(&mut self, person: Option<&Person>) -> Result<Grant, Problem> {
        self.recorder.operation("wanted", "token");
        self.follow(Event::Wanted(Operation::new("token")), person)
    }

    /// A refusal by the MCP server.
    pub(super) fn challenged(
        &mut self,
        operation: &str,
        answer: (u16, &HeaderMap),
        sent: Option<&str>,
        person: Option<&Person>,
    ) -> Result<Grant, Problem> {
        let (status, headers) = answer;
        self.recorder.challenged(operation, status, headers, sent);
        let mut challenge = Challenge::new(operation, status, headers.clone());
        if let Some(sent) = sent {
            challenge = challenge.sent(sent);
        }
        self.follow(Event::Challenged(challenge), person)
    }

    pub(super) fn accepted(&mut self, operation: &str) {
        self.recorder.operation("accepted", operation);
        self.driver
            .handle(Event::Accepted(Operation::new(operation)));
    }

    /// Asks for scopes that the account has not, although the server accepts what it has. Whoever
    /// was just asked for them is not asked twice.
    pub(super) fn widen(&mut self, scopes: &str, person: &Person) -> Result<(), Problem> {
        let held = self.stored()?;
        let missing = held.is_some_and(|grant| {
            let wanted = Scopes::parse(scopes);
            wanted.iter().any(|scope| !grant.scopes.contains(scope))
        });
        if missing && !self.asked {
            self.recorder.authorize();
            self.follow(Event::Authorize(seed()?.into()), Some(person))?;
        }
        Ok(())
    }

    /// What is stored, whether or not it is good.
    pub(super) fn stored(&mut self) -> Result<Option<Grant>, Problem> {
        if let Pause::Failed(failure) = self.driver.run() {
            return Err(Problem::Failed(failure));
        }
        Ok(self.driver.grant())
    }

    /// Erases the account, then revokes what it held where the server can.
    pub(super) fn sign_out(&mut self) -> Result<(), Problem> {
        self.recorder.plain("signed_out");
        let mut pause = self.driver.handle(Event::SignedOut);
        loop {
            pause = match pause {
                Pause::Idle => return Ok(()),
                // The account is erased by then; the user has been told.
                Pause::Failed(failure) if failure.stage == Stage::Revocation => self.driver.run(),
                Pause::Failed(failure) => return Err(Problem::Failed(failure)),
                Pause::Resting(rest) => {
                    sleep(rest);
                    self.driver.run()
                }
                Pause::Ready(_) | Pause::Redirect(_) | Pause::NeedUser(_) => self.driver.run(),
            };
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The headers of one request.
    pub(super) fn present(&mut self, method: &Method, url: &str) -> Result<HeaderMap, NoBearer> {
        self.driver.present(method, url)
    }
}

/// What the user should know although it went on.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most decisions need no word"
)]
fn warn(decision: &Decision) {
    match decision {
        Decision::Revoked {
            issuer,
            token,
            refused: Some(reason),
        } => eprintln!(
            "the {} was erased here, but not revoked at {issuer} ({})",
            token.as_str().replace('_', " "),
            reason.replace('_', " ")
        ),
        Decision::RecordUnusable { slot, reason } => {
            eprintln!("the stored record {slot} cannot be used and counts as absent: {reason}");
        }
        Decision::ClientBound { issuer } => {
            eprintln!("the client identifier now belongs to {issuer}; it is used nowhere else");
        }
        _ => {}
    }
}

/// A grant for people and for programs.
pub(super) fn grant_json(grant: Option<&Grant>) -> Value {
    let Some(grant) = grant else {
        return json!({ "signed_in": false });
    };
    json!({
        "signed_in": true,
        "issuer": grant.issuer.as_str(),
        "scopes": grant.scopes.iter().collect::<Vec<_>>(),
        "expires_in": left(grant),
    })
}

/// Seconds until the token is over; `None` when nobody knows.
pub(super) fn left(grant: &Grant) -> Option<u64> {
    let expires = grant.expires?;
    Some(expires.0.saturating_sub(now().wall.0) / 1_000)
}

/// One line about what is held.
pub(super) fn grant_words(grant: Option<&Grant>) -> String {
    let Some(grant) = grant else {
        return "not signed in".to_owned();
    };
    let scopes: Vec<&str> = grant.scopes.iter().collect();
    let scopes = match scopes.as_slice() {
        [] => String::new(),
        some => format!(", scopes {}", some.join(" ")),
    };
    let time = match left(grant) {
        None => String::new(),
        Some(0) => ", token over (renewed when wanted, where the server allows)".to_owned(),
        Some(seconds) => format!(", token good for {}", in_words(seconds)),
    };
    format!("signed in at {}{scopes}{time}", grant.issuer)
}
