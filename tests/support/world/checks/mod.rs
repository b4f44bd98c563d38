//! The properties, as checks of what is seen from outside. None of them knows the machine's types.

mod documents;
mod records;
mod redirects;
mod requests;
mod tokens;

use std::collections::BTreeSet;

use mcp_auth_machine::action::Why;

use super::LIAR;
use super::scanner::POISON;

/// What a callback said of its issuer, beside the one it was sent to.
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
    /// It also carried a token.
    pub token: bool,
}

/// An authorization that was sent out.
#[derive(Clone, Debug)]
struct Sent {
    state: String,
    challenge: String,
    issuer: usize,
    url: String,
    /// Where its record lies.
    pending: Option<String>,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    by: usize,
    received: u64,
    seconds: Option<u64>,
}

/// What is remembered of one instance.
#[derive(Clone, Debug, Default)]
struct Seat {
    sends: u32,
    /// A callback arrived while nothing else was under way; no document may be asked for since.
    after_callback: bool,
    /// The server has said something that ends a token.
    ended: bool,
    signing_out: bool,
    pending: Option<String>,
    lacks: Vec<String>,
    stepping_up: bool,
    ready_at: Option<usize>,
    /// The account as it last saw it.
    account: Option<String>,
    waits_for: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Ledger {
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
}

impl Ledger {
    fn seat(&mut self, at: usize) -> &mut Seat {
        if self.seats.len() <= at {
            self.seats.resize(at + 1, Seat::default());
        }
        &mut self.seats[at]
    }

    pub(in crate::support::world) fn external(&mut self, at: usize) {
        let seat = self.seat(at);
        seat.sends = 0;
        seat.after_callback = false;
    }

    pub(in crate::support::world) fn came_back(&mut self, at: usize, idle: bool) {
        self.seat(at).after_callback = idle;
    }

    pub(in crate::support::world) fn crashed(&mut self, at: usize) {
        *self.seat(at) = Seat::default();
        // Whoever comes next has only the wall clock to go by.
        self.tokens.retain(|token| token.by != at);
    }

    pub(in crate::support::world) fn cancelled(&mut self, at: usize) {
        self.seat(at).lacks.clear();
        self.seat(at).stepping_up = false;
    }

    pub(in crate::support::world) fn signed_out(&mut self, at: usize) {
        self.seat(at).signing_out = true;
        self.tokens.retain(|token| token.by != at);
        for seat in &mut self.seats {
            seat.lacks.clear();
        }
    }

    pub(in crate::support::world) fn hears(&mut self, at: usize) {
        self.seat(at).lacks.clear();
    }

    pub(in crate::support::world) fn lacks(&mut self, at: usize, scopes: &str) {
        self.seat(at).lacks = scopes.split(' ').map(str::to_owned).collect();
    }

    pub(in crate::support::world) fn asks(&mut self, at: usize, why: &Why) {
        self.seat(at).stepping_up = matches!(why, Why::ScopeMissing { .. });
        if let Why::ServerChanged { from, to } = why {
            self.asked.push((from.to_string(), to.to_string()));
        }
    }

    pub(in crate::support::world) fn bound(&self) -> Option<usize> {
        self.bound
    }

    pub(in crate::support::world) fn delivered(&mut self, delivered: Delivered) {
        self.delivered.push(delivered);
    }

    /// A pushed request has no state in its URL.
    pub(in crate::support::world) fn pushed_state(&self, url: &str) -> Option<String> {
        let sent = self.sent.iter().find(|sent| sent.url == url)?;
        Some(sent.state.clone())
    }

    /// Whether the document that led to this URL advertised `iss`.
    pub(in crate::support::world) fn advertises(&self, issuer: usize, url: &str) -> bool {
        issuer == 0 || (issuer == LIAR && url.contains("v=4"))
    }

    /// Nothing of an error whose `iss` is wrong is shown (S09).
    pub(in crate::support::world) fn failed(text: &str) {
        if text.contains("Iss(") {
            assert!(!text.contains(POISON), "S09: {text}");
        }
    }
}

/// What an account record says; null when it cannot be read.
fn account(record: &str) -> serde_json::Value {
    let json = record.splitn(3, '.').nth(2).unwrap_or_default();
    serde_json::from_str(json).unwrap_or_default()
}
