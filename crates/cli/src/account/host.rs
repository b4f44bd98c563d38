//! A minimal MCP client: a machine, a store, and an optional user.

mod attempt;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use mcp_auth_client::{Driver, HttpClient, Note, Pause, Store};
use mcp_auth_machine::action::Grant;
use mcp_auth_machine::error::{Cause, Stage, Violation};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::callback::IssFlaw;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::text::Untrusted;
use mcp_auth_machine::{Action, Event, Failure, NoBearer};

use super::choice::Choice;
use super::journal::Journal;
use super::ledger::Ledger;
use super::person::Person;
use super::profile::Profile;
use super::records;
use super::revocation::{Revocation, Unrevoked};
use super::root::Root;
use super::seen::Seen;
use super::slots::Slots;
use super::told::{OFFLINE, warning};
use super::turn::{Awaited, Turn};
use crate::describe::describe;
use crate::facts;
use crate::lines::record::Recorder;
use crate::problem::{Detail, Problem};
use crate::remedy;
use crate::signals;
use crate::speaker;
use crate::style::Waiting;
use crate::waits::{self, Wait};

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
    /// The authorization server refused the client at the revocation.
    client_is_unknown: bool,
    /// The fate of the access token at the authorization server.
    revocation: Arc<Revocation>,
    /// The issuer of the last callback, by its own account.
    came_from: Option<Untrusted>,
    /// The scopes that the user added in this sign-in.
    added: Option<String>,
    /// The options give the authorization server.
    is_given: bool,
    /// The authorization servers that the user named: these need no consent to a change.
    named: Vec<String>,
    /// The records, and the name of the account's one.
    record: (PathBuf, String),
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
        waits::until(desk.end);
        let ledger = Ledger::new(Slots::open(desk.root, profile)?);
        let store = desk.recorder.store(ledger.clone());
        desk.recorder.start(|| profile.line(&keys));
        let recorder = desk.recorder.clone();
        let verbose = desk.verbose;
        let seen = Arc::new(Seen::new(profile.settings.names_client()));
        let sees = Arc::clone(&seen);
        let choice = Arc::new(Choice::default());
        let chooses = Arc::clone(&choice);
        let revocation = Arc::new(Revocation::default());
        let revoked = Arc::clone(&revocation);
        let mut warned = BTreeSet::new();
        let mut sent = Vec::new();
        let driver = Driver::new(config, profile.account.as_str(), store)
            .signer(keys)
            .trust(trust)
            .patience(PATIENCE)
            .deadline(desk.end)
            .watched(move |note| {
                recorder.see(&note);
                facts::see(&note);
                chooses.see(&note);
                match &note {
                    Note::Out(Action::Report(decision)) => {
                        revoked.see(decision);
                        sees.decides(decision);
                        // A retry comes to the same decision.
                        if let Some(words) =
                            warning(decision).filter(|it| warned.insert(it.clone()))
                        {
                            note!("{words}");
                        }
                    }
                    Note::Out(Action::SendRequest(send)) => {
                        sees.sends(send.purpose());
                        sent.push(waits::note(Wait::answer_to(send)));
                    }
                    Note::In(_) => sent.clear(),
                    Note::Out(_) | Note::Store(_) => {}
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
            client_is_unknown: false,
            came_from: None,
            revocation,
            added: None,
            is_given: profile.settings.discovery.gives_server(),
            named: profile.settings.servers(),
            record: (desk.root.slots(), profile.name()?),
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

    /// Sets the scopes that the user added in this sign-in.
    pub(super) fn adds(&mut self, scopes: Option<&str>) {
        self.added = scopes.map(str::to_owned);
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
            let last = || self.last().map(Detail::from);
            detail = self.ledger.trouble().or_else(last);
        }
        let error = failure.details().error;
        let is = |code: &str| error.as_ref().is_some_and(|error| error.as_plain() == code);
        if is("invalid_scope") {
            let asked = self.scopes.as_ref();
            detail = asked.map(|scopes| match scopes.as_str() {
                "" => "asked for no scopes".to_owned().into(),
                scopes => format!("asked for the scopes `{scopes}`").into(),
            });
        }
        if is("invalid_target") && self.is_given {
            detail = Some(Detail {
                words: "the options give this authorization server".to_owned(),
                step: Some(format!(
                    "{}, or with --authorization-server \"\" for the one that the MCP server names",
                    speaker::again(
                        "--authorization-server with the one that knows this MCP server"
                    )
                )),
            });
        }
        if let (Cause::Violation(Violation::Iss(IssFlaw::Different)), Some(issuer), Some(got)) =
            (&failure.cause, &failure.issuer, &self.came_from)
        {
            detail = Some(Detail {
                words: format!("expected {issuer}, got {got:?}"),
                step: remedy::issuer(got).map(|option| {
                    format!("stop using this server; or {}", speaker::again(&option))
                }),
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

    /// Returns the time that another process may hold the lease of a refresh for, in seconds.
    fn lease_of_another(&self) -> Option<u64> {
        let (slots, name) = &self.record;
        let until =
            records::leased_until(slots, name).filter(|_| self.driver.waits_without_lease())?;
        let left = until.0.saturating_sub(mcp_auth_client::now().wall.0);
        (left > 0).then(|| left.div_ceil(1_000))
    }

    /// Returns the last request without a response.
    fn last(&self) -> Option<String> {
        let last = self.driver.undelivered()?;
        let next = last.tls.map_or(String::new(), crate::probe::remedy);
        Some(format!("{}: {}{next}", last.request, last.error))
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

    /// Returns the scopes that the user was asked to permit last.
    pub(super) fn asked_scopes(&self) -> Scopes {
        Scopes::parse(self.scopes.as_deref().unwrap_or_default())
    }

    /// Returns true if this sign-in redirected the user.
    pub(super) fn has_asked(&self) -> bool {
        self.seen.has_asked()
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
        // Some servers answer this one with a refresh token, and do not list it.
        let is_granted =
            |scope: &str| held.scopes.contains(scope) || scope == OFFLINE && held.renewable;
        let missing = wanted.iter().filter(|scope| !is_granted(scope));
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
                Pause::Failed(failure) if failure.stage == Stage::Revocation => {
                    let error = failure.details().error;
                    let error = error.as_ref().map_or("", |error| error.as_plain());
                    self.client_is_unknown |=
                        matches!(error, "invalid_client" | "unauthorized_client");
                    self.run()
                }
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

    /// Returns why the sign-out did not revoke the access token; `None` if it did.
    pub(super) fn unrevoked(&self) -> Option<Unrevoked> {
        self.revocation.unrevoked()
    }

    /// Returns the issuer to which this sign-in bound the client identifier of the settings.
    pub(super) fn bound(&self) -> Option<&str> {
        self.seen.bound()
    }

    /// Returns true if the authorization server does not know the client any more, as it said at the sign-out.
    pub(super) fn client_is_unknown(&self) -> bool {
        self.client_is_unknown
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
