//! The rules of the contract.

use std::fmt;

/// A rule of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// A sign-in succeeds, and its token is used until it is refused.
    SignsIn,
    /// Every action is answered, whatever its outcome.
    Answers,
    /// No redirect is followed.
    NoRedirects,
    /// Requests arrive as the machine made them, without cookies and credentials of others.
    Exactly,
    /// Responses are read up to the limit of their request.
    BodyLimit,
    /// A request ends at its time limit.
    TimeLimit,
    /// Only permitted addresses are connected to, whatever a name resolves to.
    Addresses,
    /// A code is sent once, whatever becomes of the request.
    CodeOnce,
    /// Callbacks are passed in whole, and those that do not match leave the sign-in pending.
    WholeCallback,
    /// A write is reported as done when it is done.
    SlotOrder,
    /// A write that failed is reported as failed.
    FailedWrites,
    /// A write is done only if the slot still has the expected revision.
    CompareAndSwap,
    /// The token of a request is the current one.
    FreshToken,
    /// A token goes to its resource only.
    OwnResource,
    /// A key and an assertion that the host does not have are answered so.
    MissingKeys,
    /// The timer is passed in at the deadline.
    Timer,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 16] = [
        Self::SignsIn,
        Self::Answers,
        Self::NoRedirects,
        Self::Exactly,
        Self::BodyLimit,
        Self::TimeLimit,
        Self::Addresses,
        Self::CodeOnce,
        Self::WholeCallback,
        Self::SlotOrder,
        Self::FailedWrites,
        Self::CompareAndSwap,
        Self::FreshToken,
        Self::OwnResource,
        Self::MissingKeys,
        Self::Timer,
    ];

    /// Returns the rule as a sentence, with the duties of `docs/hosts.md` that it checks.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignsIn => "a sign-in succeeds, and its token is used until it is refused",
            Self::Answers => "every action is answered, whatever its outcome",
            Self::NoRedirects => "no redirect is followed (SEC-08)",
            Self::Exactly => "requests arrive as the machine made them (SEC-08)",
            Self::BodyLimit => "a response is read up to its limit (SEC-13)",
            Self::TimeLimit => "a request ends at its time limit (SEC-15)",
            Self::Addresses => "only permitted addresses are connected to (SEC-06, SEC-07)",
            Self::CodeOnce => "a code is sent once (S04)",
            Self::WholeCallback => "callbacks are passed in whole (CB)",
            Self::SlotOrder => "a write is reported as done when it is done (REFR-05)",
            Self::FailedWrites => "a write that failed is reported as failed (TOK-16)",
            Self::CompareAndSwap => "a write replaces the expected revision only (REFR-05)",
            Self::FreshToken => "the token of a request is the current one (USE-01, USE-07)",
            Self::OwnResource => "a token goes to its resource only (USE-04)",
            Self::MissingKeys => "a missing key is answered (M2M-12, WIF-12)",
            Self::Timer => "the timer is passed in at the deadline (USE-10, SEC-35)",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
