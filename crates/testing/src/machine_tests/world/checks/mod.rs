//! The properties, as checks of what is seen from outside. None of them knows the machine's types.

mod accounts;
mod consent;
mod documents;
mod leases;
mod records;
mod redirects;
mod requests;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use super::LIAR;
use super::scanner::POISON;
use crate::machine_tests::{get, query};

/// The `iss` of a callback, compared with the issuer of its redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iss {
    Equal,
    Absent,
    Different,
    Twice,
    Alike,
}

/// A callback with a code, as it was delivered.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub code: String,
    pub state: String,
    pub row: Iss,
    /// Whether the callback also carried a token.
    pub token: bool,
}

/// An authorization that was sent out.
#[derive(Clone, Debug)]
struct Sent {
    state: String,
    challenge: String,
    issuer: usize,
    url: String,
    /// Where its record lies, and what it said.
    pending: Option<String>,
    record: String,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    by: usize,
    /// How long its answer was awaited, if that was within the time limit of the request.
    awaited: Option<u64>,
    seconds: Option<u64>,
    /// Its answer said of what type it is, in words of the client's.
    typed: bool,
    /// When it was asked for: its lifetime counts from then (S30, S63).
    asked: u64,
}

/// The known facts about one instance.
#[derive(Clone, Debug, Default)]
struct Seat {
    sends: u32,
    /// A callback arrived while nothing else was under way; no document may be asked for since.
    after_callback: bool,
    signing_out: bool,
    pending: Option<String>,
    /// The record of the authorization whose code it sent last (S49).
    exchanges: Option<String>,
    /// The record of an attempt was there when it last looked at one.
    pending_there: bool,
    /// It has asked for the record of an attempt, and has no answer.
    looks: bool,
    lacks: Vec<String>,
    /// The scopes that the last question named, and those of answered ones whose authorization is under way (S46).
    question: Vec<String>,
    agreed_to: Vec<String>,
    /// That question outlived a sign-in without its scopes (S48).
    kept: bool,
    /// An authorization is being prepared, and these scopes were missing meanwhile (S47).
    prepares: bool,
    joined: Vec<String>,
    /// How often a person asked to sign in, and whether the user has declined anything.
    clicks: u8,
    declined: bool,
    stepping_up: bool,
    ready_at: Option<usize>,
    /// The account as it last saw it.
    account: Option<String>,
    /// The lease in it (S57).
    lease: Option<leases::Lease>,
    /// When the last lease that it wrote ends, by the wall clock (S65).
    leased: Option<u64>,
    /// The refresh request that it made last, and the refresh tokens that were replaced (S59, S60).
    last_refresh: Option<u64>,
    spent: BTreeSet<String>,
    /// When each request was sent, and its time limit passes (S30).
    asked: BTreeMap<u64, (u64, u64)>,
    /// The tokens that were stored when the user signed out (S62).
    signed_out_of: BTreeSet<String>,
    /// The last read of a registration: when it began, and whether that was before the client was chosen (S66).
    registration: Option<(u64, bool)>,
    /// When it last received an answer of a server (S66).
    heard_http: u64,
    /// The refresh request whose answer replaced a refresh token last (S61).
    replaced: Option<u64>,
    waits_for: Option<u64>,
    /// The request that it made last, while it waits for nothing else.
    newest: Option<u64>,
    /// The issuers that the resource was seen not to list any more (S35).
    left: BTreeSet<usize>,
    /// Something was not reached, or not understood, since a server last said yes or no (S38).
    unreached: bool,
    /// The host has asked to forget the registration.
    asked_to_reset: bool,
    /// The server to which it bound a client without an issuer itself (S01).
    bound: Option<usize>,
    /// Registrations that the host has asked to forget (S39).
    reset: BTreeSet<String>,
    /// Registrations that a server rejected at client authentication (S39).
    dead: BTreeSet<String>,
    /// A server has refused scopes since the last sign-in: those of earlier requests may be left out.
    scopes_refused: bool,
    /// The machine has asked for the user, and not been answered.
    wants_user: bool,
    /// That request removes the reason for which the authorization before it failed.
    mends: bool,
    /// The user agreed to that, and nothing else has happened since (S40).
    agreed: bool,
    /// A person asked to sign in, on their own account, and nothing has come of it yet (S40).
    clicked: bool,
    /// It has read the record of its redirect since it last read the account (S67).
    record_is_newer: bool,
    /// The store did not keep the account when it last should have.
    account_unsaved: bool,
    /// The store has failed it since the last event from outside.
    store_failed: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// When the wall clock jumped last: a lease that was not seen before may have seemed over since (D01).
    pub(in crate::machine_tests::world) jumped: Option<u64>,
    sent: Vec<Sent>,
    codes: BTreeSet<String>,
    verifiers: BTreeSet<String>,
    delivered: Vec<Delivered>,
    tokens: Vec<Token>,
    seats: Vec<Seat>,
    /// Changes of the server that the user was asked about.
    asked: Vec<(String, String)>,
    /// The issuers that the resource has listed (S11), and those whose own documents named them (S10).
    listed: BTreeSet<usize>,
    vouched: BTreeSet<usize>,
    /// Where the client without an issuer has shown its secret.
    bound: Option<usize>,
    /// The servers to which it has been bound when it was shown there.
    shown: BTreeSet<usize>,
    /// Refresh tokens that a token endpoint has refused, in so many words (S20).
    refused: BTreeSet<String>,
    /// Clients that were refused where clients authenticate, with the origin that did (S20).
    refused_clients: BTreeSet<(String, String)>,
    /// The servers that the resource has left, as the account says in the store.
    left: BTreeSet<usize>,
    /// Requests that were pushed, by the name that they got.
    pushed: BTreeMap<String, Vec<(String, String)>>,
    /// For every refresh token, the record of the authorization that it goes back to (S36).
    basis: BTreeMap<String, String>,
    /// The last document of each server that each instance read, by instance and server.
    documents: BTreeMap<(usize, usize), String>,
    /// For every secret that a client was registered with, where clients authenticated then (S42).
    secrets: BTreeMap<String, BTreeSet<String>>,
    /// Device codes that were issued beside an account, and the tokens that they brought (S56).
    beside: BTreeSet<String>,
    /// For every device code, the document of its server that was in force (S36).
    devices: BTreeMap<String, String>,
    /// Every scope that a redirect has requested (S48).
    requested: BTreeSet<String>,
    /// The names of all parameters that the machine has set.
    names: BTreeSet<String>,
    /// The addresses that the documents of each server named when they were read.
    named: BTreeMap<usize, BTreeSet<String>>,
}

impl Ledger {
    fn seat(&mut self, at: usize) -> &mut Seat {
        if self.seats.len() <= at {
            self.seats.resize(at + 1, Seat::default());
        }
        &mut self.seats[at]
    }

    pub(in crate::machine_tests::world) fn external(&mut self, at: usize) {
        let seat = self.seat(at);
        seat.sends = 0;
        seat.after_callback = false;
        seat.store_failed = false;
        seat.clicked = false;
        seat.agreed = false;
    }

    pub(in crate::machine_tests::world) fn came_back(&mut self, at: usize, idle: bool) {
        self.seat(at).after_callback = idle;
    }

    pub(in crate::machine_tests::world) fn crashed(&mut self, at: usize) {
        *self.seat(at) = Seat::default();
        // The next process has only the wall clock.
        self.tokens.retain(|token| token.by != at);
    }

    pub(in crate::machine_tests::world) fn cancelled(&mut self, at: usize) {
        self.seat(at).lacks.clear();
        self.seat(at).stepping_up = false;
        self.seat(at).declined = true;
        self.ends_consent(at);
    }

    pub(in crate::machine_tests::world) fn signed_out(&mut self, at: usize) {
        self.seat(at).signing_out = true;
        self.seat(at).lease = None;
        self.ends_consent(at);
        // A sign-out comes before the forgetting of a registration, and the machine forgets that too.
        self.seat(at).dead.clear();
        self.seat(at).reset.clear();
        self.tokens.retain(|token| token.by != at);
        for seat in &mut self.seats {
            seat.lacks.clear();
        }
    }

    pub(in crate::machine_tests::world) fn hears(&mut self, at: usize) {
        self.seat(at).lacks.clear();
    }

    pub(in crate::machine_tests::world) fn lacks(&mut self, at: usize, scopes: &str) {
        self.seat(at).lacks = scopes.split(' ').map(str::to_owned).collect();
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.names.clone()
    }

    pub(in crate::machine_tests::world) fn bound(&self) -> Option<usize> {
        self.bound
    }

    /// Whether the client without an issuer was shown to this server while it was bound to it.
    pub(in crate::machine_tests::world) fn was_shown(&self, server: usize) -> bool {
        self.shown.contains(&server)
    }

    pub(in crate::machine_tests::world) fn delivered(&mut self, delivered: Delivered) {
        self.delivered.push(delivered);
    }

    /// A request was pushed, and has this name now.
    pub(in crate::machine_tests::world) fn pushed(
        &mut self,
        name: &str,
        mut form: Vec<(String, String)>,
    ) {
        form.retain(|(name, _)| name == "client_id" || !name.starts_with("client_"));
        self.pushed.insert(name.to_owned(), form);
    }

    /// The parameters of an authorization request: those of its URL, or the pushed ones.
    pub(in crate::machine_tests::world) fn asked(&self, url: &str) -> Vec<(String, String)> {
        let asked = query(url);
        let pushed = get(&asked, "request_uri").and_then(|name| self.pushed.get(&name));
        pushed.cloned().unwrap_or(asked)
    }

    /// Whether the document that led to this URL advertised `iss`.
    pub(in crate::machine_tests::world) fn advertises(&self, issuer: usize, url: &str) -> bool {
        match issuer {
            0 => !url.contains("v=8"),
            LIAR => url.contains("v=4"),
            _ => url.contains("v=9"),
        }
    }

    /// An error with a wrong `iss` shows none of its text (S09).
    pub(in crate::machine_tests::world) fn failed(text: &str) {
        if text.contains("Iss(") {
            assert!(!text.contains(POISON), "S09: {text}");
        }
    }
}

/// The contents of an account record; null when it cannot be read.
fn account(record: &str) -> serde_json::Value {
    serde_json::from_str(&crate::spelled_out(record)).unwrap_or_default()
}
