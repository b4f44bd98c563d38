//! Histories: random sequences of what can happen to a host, with an [`Oracle`] that judges each action.
//!
//! A history drives a [`System`]: the machine, or the machine inside the host's own layers. The servers are played by
//! the harness: an MCP server that changes its authorization server, two authorization servers, a browser whose
//! callbacks are forged and replayed, a store that fails, restarts, time.
//!
//! ```
//! use mcp_auth_machine::AuthMachine;
//! use mcp_auth_testing::histories::{History, run};
//!
//! let history = History::from_bytes(b"any bytes: of a fuzzer, for example");
//! let summary = run(&history, |config, now| AuthMachine::new(config, "alice", now));
//! println!("{summary:?}");
//! ```
//!
//! With the feature `proptest`, `any_history` is a strategy; with `arbitrary`, [`Outside`], [`Step`] and [`History`] implement it. [`fuzz_history!`](crate::fuzz_history) is a whole target
//! for `cargo fuzz`.

#[cfg(any(feature = "arbitrary", feature = "proptest"))]
mod generate;
mod harness;
mod oracle;
mod outside;

use std::sync::Arc;

use http::HeaderValue;
use mcp_auth_machine::time::MonoMillis;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Moment};

#[cfg(feature = "proptest")]
pub use generate::{any_history, any_outside, any_step};
pub use harness::Summary;
pub use oracle::{Finding, Oracle};
pub use outside::Outside;

use outside::Choices;

/// The machine, inside whatever layers a host puts around it.
pub trait System {
    /// Passes an event in.
    fn handle(&mut self, now: Moment, event: Event);

    /// Returns the next action.
    fn poll_action(&mut self) -> Option<Action>;

    /// Returns when `Timer` is due.
    fn deadline(&self) -> Option<MonoMillis>;

    /// Returns the value of `Authorization` for a request to this URL, if there is a token.
    fn bearer(&mut self, now: Moment, url: &str) -> Option<HeaderValue>;
}

impl System for AuthMachine {
    fn handle(&mut self, now: Moment, event: Event) {
        Self::handle(self, now, event);
    }

    fn poll_action(&mut self) -> Option<Action> {
        Self::poll_action(self)
    }

    fn deadline(&self) -> Option<MonoMillis> {
        Self::deadline(self)
    }

    fn bearer(&mut self, now: Moment, url: &str) -> Option<HeaderValue> {
        Self::bearer(self, now, url).ok()
    }
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The ordinary response.
    Ordinary,
    /// An error status: 400, 401, 404, 429, 500 or 503.
    Status(u16),
    /// A web page in place of JSON.
    Garbage,
    /// A document or a token response that belongs to the other server.
    Foreign,
    /// A redirect to another origin.
    Redirected,
    /// No connection.
    NeverSent,
    /// The connection broke off.
    MaybeSent,
    /// A body above the limit.
    TooLarge,
    /// An address that is not permitted.
    Blocked,
}

/// A callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Return {
    /// The callback of the last redirect.
    Ordinary,
    /// Another `state`.
    ForeignState,
    /// The `iss` and the code of the other server.
    MixedUp,
    /// An error of the server.
    Refused,
    /// The last callback, once more.
    Replayed,
}

/// A step of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The most ordinary continuation of what is under way.
    Next,
    /// The host needs a token.
    Wanted,
    /// The MCP server refuses the token, or a request without one.
    Refused,
    /// The MCP server wants more scopes.
    WantsScopes,
    /// The MCP server accepts a request.
    Accepted,
    /// The user agrees to sign in, asked or not.
    Authorize,
    /// One of the requests under way is answered.
    Answer(u8, Answer),
    /// The browser requests the redirect URI.
    Return(Return),
    /// Time passes, in seconds.
    Wait(u16),
    /// The MCP server names the other authorization server from now on.
    Moves,
    /// Writes fail from now on, or succeed again.
    StoreFails,
    /// The process ends, and another one begins on the same store.
    Restart,
    /// The user cancels.
    Abandon,
    /// The user signs out.
    SignOut,
    /// Any event from outside, which no redirect, request or token of this host is behind.
    Outside(Outside),
}

/// A sequence of steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(pub Vec<Step>);

/// The longest history that is made of bytes.
const LONGEST: usize = 400;

impl History {
    /// Makes a history of any bytes; half of the steps are the ordinary continuation, because uniform ones hardly ever
    /// lead to a token. `arbitrary` and the strategies of `proptest` read the same choices.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut choices = Choices::of(bytes);
        let mut steps = Vec::new();
        while choices.left() >= 2 && steps.len() < LONGEST {
            steps.push(step(&mut choices));
        }
        Self(steps)
    }
}

fn answer(value: u8) -> Answer {
    match value % 10 {
        0 => Answer::Garbage,
        1 => Answer::Foreign,
        2 => Answer::Redirected,
        3 => Answer::NeverSent,
        4 => Answer::MaybeSent,
        5 => Answer::TooLarge,
        6 => Answer::Blocked,
        7 => Answer::Ordinary,
        _ => Answer::Status(match value / 10 % 6 {
            0 => 400,
            1 => 401,
            2 => 404,
            3 => 429,
            4 => 500,
            _ => 503,
        }),
    }
}

fn step(choices: &mut Choices<'_>) -> Step {
    let (kind, value) = (choices.byte(), choices.byte());
    match kind % 32 {
        0 | 1 => Step::Wanted,
        2 => Step::Refused,
        3 => Step::WantsScopes,
        4 => Step::Accepted,
        5 => Step::Authorize,
        6..=8 => Step::Answer(value, answer(value)),
        9 => Step::Return(match value % 5 {
            0 => Return::Ordinary,
            1 => Return::ForeignState,
            2 => Return::MixedUp,
            3 => Return::Refused,
            _ => Return::Replayed,
        }),
        10 => Step::Wait(u16::from(value)),
        11 => Step::Wait(u16::from(value).saturating_mul(60)),
        12 => Step::Moves,
        13 => Step::StoreFails,
        14 => Step::Restart,
        15 => match value % 4 {
            0 => Step::SignOut,
            1 => Step::Abandon,
            _ => Step::Return(Return::Replayed),
        },
        16 => Step::Outside(Outside::choose(choices)),
        _ => Step::Next,
    }
}

/// Runs a history on a system, judges every action, and lets everything turn ordinary at the end: a token must then
/// be available after one more sign-in at most. The factory creates the system of one process at the given time; it is
/// called again for each restart.
///
/// # Panics
/// With the findings and the conversation, when a property is violated.
pub fn run<S: System>(history: &History, factory: impl FnMut(Arc<Config>, Moment) -> S) -> Summary {
    let mut harness = harness::Harness::new(factory);
    for step in &history.0 {
        harness.apply(step);
    }
    harness.heal()
}

/// Runs the history that these bytes stand for; the body of a fuzz target.
///
/// # Panics
/// When a property is violated.
pub fn fuzz<S: System>(bytes: &[u8], factory: impl FnMut(Arc<Config>, Moment) -> S) {
    run(&History::from_bytes(bytes), factory);
}

/// Defines a target for `cargo fuzz` that runs histories: on the machine alone, or on a system of the host. The crate
/// of the target depends on `libfuzzer-sys` and has `#![no_main]`. With the feature `arbitrary`, a crash shows the steps of
/// its history.
///
/// ```ignore
/// #![no_main]
/// mcp_auth_testing::fuzz_history!(|config, now| my_host::System::new(config, now));
/// ```
#[macro_export]
macro_rules! fuzz_history {
    () => {
        $crate::fuzz_history!(|config, now| $crate::machine::AuthMachine::new(
            config, "alice", now
        ));
    };
    ($system:expr) => {
        $crate::__fuzz_history!($system);
    };
}

#[doc(hidden)]
#[cfg(feature = "arbitrary")]
#[macro_export]
macro_rules! __fuzz_history {
    ($system:expr) => {
        ::libfuzzer_sys::fuzz_target!(|history: $crate::histories::History| {
            $crate::histories::run(&history, $system);
        });
    };
}

#[doc(hidden)]
#[cfg(not(feature = "arbitrary"))]
#[macro_export]
macro_rules! __fuzz_history {
    ($system:expr) => {
        ::libfuzzer_sys::fuzz_target!(|data: &[u8]| { $crate::histories::fuzz(data, $system) });
    };
}
