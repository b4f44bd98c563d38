//! A minimal MCP client: a machine, a store, and an optional user.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use mcp_auth_client::{Driver, HttpClient, Note, Pause, Store, seed};
use mcp_auth_machine::action::{Grant, Why};
use mcp_auth_machine::error::Stage;
use mcp_auth_machine::event::{Abandon, Authorization, Challenge, Operation};
use mcp_auth_machine::slot::Slot;
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::{Action, Event, Failure, NoBearer};

use super::choice::Choice;
use super::in_words;
use super::journal::Journal;
use super::keyring;
use super::ledger::Ledger;
use super::person::Person;
use super::profile::Profile;
use super::root::Root;
use super::seen::Seen;
use super::slots::Slots;
use super::told::warning;
use super::turn::{Awaited, Turn};
use crate::describe::describe;
use crate::lines::record::Recorder;
use crate::problem::{Presented, Problem};
use crate::remedy;
use crate::signals;
use crate::speaker;
use crate::style::Waiting;

/// How long a command waits silently for another process, or for a server that requests a delay.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the requests after the outcome of a command may take, such as the revocation of discarded tokens.
const FINISH: Duration = Duration::from_secs(3);

pub(super) struct Host {
    url: String,
    http: HttpClient,
    driver: Driver<Box<dyn Store>>,
    recorder: Recorder,
    ledger: Ledger,
    end: Instant,
    seen: Arc<Seen>,
    choice: Arc<Choice>,
    /// The turn of a bridge's sign-in.
    turn: Option<Turn>,
    /// The wait for a callback, which ends with the tokens of another process.
    waits: Awaited,
    /// The scopes that the user was asked to permit last.
    scopes: Option<String>,
    /// The authorization servers that the user named: these need no consent to a change.
    named: Vec<String>,
}

impl Drop for Host {
    fn drop(&mut self) {
        // `headers` ends half a second after its time.
        let left = self.end.saturating_duration_since(Instant::now());
        self.driver
            .finish(left.clamp(Duration::from_millis(400), FINISH));
        signals::release();
    }
}

/// The context of one command.
pub(super) struct Desk<'a> {
    pub(super) root: &'a Root,
    pub(super) verbose: bool,
    pub(super) recorder: &'a Recorder,
    /// The time limit of the command.
    pub(super) end: Instant,
}

impl Host {
    pub(super) fn open(desk: &Desk<'_>, profile: &Profile) -> Result<Self, Problem> {
        let (config, keys) = profile.config()?;
        let url = config.mcp_url().as_str().to_owned();
        let trust = profile.settings.tls.trust()?;
        let http = HttpClient::new(trust.clone());
        keyring::wait_until(desk.end);
        let ledger = Ledger::new(Slots::open(desk.root, profile)?);
        let store = desk.recorder.store(ledger.clone());
        desk.recorder.start(|| profile.line(&keys));
        let recorder = desk.recorder.clone();
        let verbose = desk.verbose;
        let seen = Arc::new(Seen::new(profile.settings.names_client()));
        let sees = Arc::clone(&seen);
        let choice = Arc::new(Choice::default());
        let chooses = Arc::clone(&choice);
        let mut warned = BTreeSet::new();
        let driver = Driver::new(config, profile.account.as_str(), store)
            .signer(keys)
            .trust(trust)
            .patience(PATIENCE)
            .deadline(desk.end)
            .watched(move |note| {
                recorder.see(&note);
                chooses.see(&note);
                match &note {
                    Note::Out(Action::Report(decision)) => {
                        // A retry comes to the same decision.
                        if let Some(words) =
                            warning(decision).filter(|it| warned.insert(it.clone()))
                        {
                            note!("{words}");
                        }
                    }
                    Note::Out(Action::SendRequest(send)) => sees.sends(send.purpose()),
                    Note::In(_) | Note::Out(_) | Note::Store(_) => {}
                }
                if let Some(text) = describe(&note).filter(|_| verbose) {
                    eprintln!("{text}");
                }
            });
        Ok(Self {
            url,
            http,
            driver,
            recorder: desk.recorder.clone(),
            ledger,
            end: desk.end,
            seen,
            choice,
            turn: None,
            waits: Arc::default(),
            scopes: None,
            named: profile.settings.servers(),
        })
    }

    /// Stores these settings together with the account of the next sign-in.
    pub(super) fn change(
        &self,
        root: &Root,
        journal: Journal,
        profile: Profile,
    ) -> Result<(), Problem> {
        // A client without a user has no callback.
        let has_person = profile.settings.has_person();
        self.ledger.change(root, journal, profile)?;
        if !has_person {
            self.ledger.signing_in();
        }
        Ok(())
    }

    /// Takes the turn of a bridge's sign-in; returns the wait for its callback.
    pub(super) fn take_turn(&mut self, turn: Turn) -> Awaited {
        self.turn = Some(turn);
        Arc::clone(&self.waits)
    }

    fn waits_since(&self, since: Option<UnixMillis>) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Has the sign-in register a new client in place of these registrations; returns whether one was stored.
    pub(super) fn replace(&self, registrations: BTreeSet<String>) -> Arc<AtomicBool> {
        self.ledger.replace(registrations);
        self.ledger.registered()
    }

    /// Returns true if a sign-in was stored.
    pub(super) fn has_committed(&self) -> bool {
        self.ledger.has_committed()
    }

    /// Takes back a sign-in that was stored and then failed: what it replaced is restored. Tokens of a first
    /// sign-in are revoked, where the server can.
    pub(super) fn take_back(&mut self) -> Result<(), Problem> {
        if !self.has_committed() {
            return Ok(());
        }
        let signed_out = if self.ledger.has_replaced() {
            Ok(())
        } else {
            self.sign_out()
        };
        self.ledger.roll_back()?;
        signed_out
    }

    /// Stores the settings for the existing account.
    pub(super) fn commit(&self) -> Result<(), Problem> {
        Ok(self.ledger.commit()?)
    }

    pub(super) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    fn handle(&mut self, event: Event) -> Pause {
        let _shown = Waiting::for_("waiting for the servers");
        let pause = self.driver.handle(event);
        signals::release();
        pause
    }

    fn run(&mut self) -> Pause {
        let _shown = Waiting::for_("waiting for the servers");
        let pause = self.driver.run();
        signals::release();
        pause
    }

    /// Returns the failure with the last error of the store or the network.
    fn failed(&self, failure: Box<Failure>) -> Problem {
        let mut detail = None;
        if Problem::needs_detail(&failure) {
            detail = self.ledger.trouble().or_else(|| self.last());
        }
        let error = failure.details().error;
        if error.is_some_and(|error| error.as_plain() == "invalid_scope") {
            let asked = self.scopes.as_ref();
            detail = asked.map(|scopes| match scopes.as_str() {
                "" => "asked for no scopes".to_owned(),
                scopes => format!("asked for the scopes `{scopes}`"),
            });
        }
        let others = match &failure.issuer {
            Some(issuer) => self.choice.others(issuer.as_str()),
            None => Vec::new(),
        };
        Problem::Failed {
            failure,
            detail,
            others,
        }
    }

    /// Returns the last request without a response.
    fn last(&self) -> Option<String> {
        let last = self.driver.undelivered()?;
        let next = last.tls.map_or(String::new(), crate::probe::remedy);
        Some(format!("{}: {}{next}", last.request, last.error))
    }

    /// Waits, if the command's time limit allows it.
    fn rest(&self, rest: Duration) -> Result<(), Problem> {
        if rest > self.end.saturating_duration_since(Instant::now()) {
            return Err(Problem::OutOfTime { last: self.last() });
        }
        note!("waiting for {}", in_words(rest.as_secs()));
        let _shown = Waiting::for_("waiting, as the server asks");
        sleep(rest);
        Ok(())
    }

    /// Passes an event in, and works until a token is available.
    fn follow(&mut self, event: Event, person: Option<&Person>) -> Result<Grant, Problem> {
        let pause = self.handle(event);
        self.until_ready(pause, person)
    }

    fn until_ready(&mut self, mut pause: Pause, person: Option<&Person>) -> Result<Grant, Problem> {
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
                            client: Presented::New,
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
                        && !self.named.iter().any(|named| named == to.as_str())
                        && !person.agrees(from.as_str(), to.as_str())
                    {
                        self.abandon();
                        return Err(Problem::Declined {
                            from: from.to_string(),
                            to: to.to_string(),
                        });
                    }
                    // Tells the user why the browser opens again.
                    if !matches!(need.why, Why::NoCredentials | Why::ServerChanged { .. }) {
                        let words = match (&need.why, &self.scopes) {
                            (Why::ScopesRefused { scopes }, Some(asked)) => {
                                remedy::refused(asked, scopes.as_str())
                            }
                            (why, _) => remedy::why(why),
                        };
                        eprintln!("mcp-auth: {words}");
                    }
                    self.ask(person)?
                }
                Pause::ShowCode(code) => {
                    let person =
                        person.ok_or("interactive sign-in required, but running without a user")?;
                    self.seen.asks();
                    self.ledger.signing_in();
                    self.scopes = Some(in_one(&code.scopes));
                    person.show(&code);
                    shown = true;
                    self.run()
                }
                Pause::Redirect(redirect) => {
                    let person =
                        person.ok_or("interactive sign-in required, but running without a user")?;
                    self.seen.asks();
                    let others = self.choice.others(redirect.issuer.as_str());
                    self.scopes = Some(in_one(&redirect.scopes));
                    person.send(&redirect, &others);
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

    /// Starts an authorization in the browser here, or in one of another device.
    fn ask(&mut self, person: &Person) -> Result<Pause, Problem> {
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
            let callback = person.come_back(route);
            self.waits_since(None);
            let Some(callback) = callback else {
                self.abandon();
                return Err(Problem::TimedOut {
                    client: self.seen.presented(),
                });
            };
            self.recorder.callback(&callback);
            self.ledger.signing_in();
            let event = Event::CallbackParams(Callback::from_url(callback));
            let pause = self.handle(event);
            if !matches!(pause, Pause::Idle) {
                return Ok(pause);
            }
            eprintln!("that was not the answer to this sign-in; still waiting");
        }
    }

    /// Requests a valid access token.
    pub(super) fn wanted(&mut self, person: Option<&Person>) -> Result<Grant, Problem> {
        self.recorder.operation("wanted", "token");
        self.follow(Event::Wanted(Operation::new("token")), person)
    }

    /// Handles a challenge of the MCP server.
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
        self.handle(Event::Accepted(Operation::new(operation)));
    }

    /// Requests scopes that the account lacks, although the server accepts its token. Not repeated if the
    /// user was just asked for them.
    pub(super) fn widen(&mut self, scopes: &str, person: &Person) -> Result<(), Problem> {
        if !self.missing(scopes)?.is_empty() && !self.seen.has_asked() {
            self.authorize(person)?;
        }
        Ok(())
    }

    /// Starts an authorization, regardless of the stored account.
    pub(super) fn authorize(&mut self, person: &Person) -> Result<(), Problem> {
        let pause = self.ask(person)?;
        self.until_ready(pause, Some(person))?;
        Ok(())
    }

    /// Returns those of the scopes that the account lacks.
    pub(super) fn missing(&mut self, scopes: &str) -> Result<Vec<String>, Problem> {
        let Some(held) = self.stored()? else {
            return Ok(Vec::new());
        };
        let wanted = Scopes::parse(scopes);
        let missing = wanted.iter().filter(|scope| !held.scopes.contains(scope));
        Ok(missing.map(str::to_owned).collect())
    }

    /// Returns the stored token, valid or not.
    pub(super) fn stored(&mut self) -> Result<Option<Grant>, Problem> {
        if let Pause::Failed(failure) = self.run() {
            return Err(self.failed(failure));
        }
        Ok(self.driver.grant())
    }

    /// Erases the account, then revokes its tokens where the server supports revocation. A failed
    /// revocation is reported, but is not an error.
    pub(super) fn sign_out(&mut self) -> Result<(), Problem> {
        self.recorder.plain("signed_out");
        let mut pause = self.handle(Event::SignedOut);
        loop {
            pause = match pause {
                Pause::Idle => return Ok(()),
                // The account is already erased, and the user informed.
                Pause::Failed(failure) if failure.stage == Stage::Revocation => self.run(),
                Pause::Failed(failure) => return Err(self.failed(failure)),
                Pause::Resting(rest) => {
                    self.rest(rest)?;
                    self.run()
                }
                Pause::Ready(_) | Pause::Redirect(_) | Pause::ShowCode(_) | Pause::NeedUser(_) => {
                    self.run()
                }
            };
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the HTTP client for requests to the MCP server.
    pub(super) fn http(&self) -> &HttpClient {
        &self.http
    }

    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// Returns true if an unexpired token is stored.
    pub(super) fn is_presentable(&mut self) -> bool {
        let url = self.url.clone();
        self.driver.present(&Method::POST, &url).is_ok()
    }

    /// Returns the headers of one request.
    pub(super) fn present(&mut self, method: &Method, url: &str) -> Result<HeaderMap, NoBearer> {
        self.driver.present(method, url)
    }
}

/// Returns scopes as one text.
fn in_one(scopes: &Scopes) -> String {
    scopes.iter().collect::<Vec<_>>().join(" ")
}
