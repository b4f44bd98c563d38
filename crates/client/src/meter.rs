//! The figures of the asynchronous driver through the facade `metrics` (feature `metrics`; without it nothing happens).
//! `docs/metrics.md` lists the names and all values of their labels: none comes from a server, a user or a principal.
#![cfg_attr(
    not(feature = "metrics"),
    allow(
        unused_variables,
        clippy::unused_self,
        clippy::needless_pass_by_ref_mut
    )
)]

#[cfg(feature = "metrics")]
use std::time::Instant;

#[cfg(feature = "metrics")]
use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::action::{NeedUser, SendRequest};
use mcp_auth_machine::event::Reply;
use mcp_auth_machine::{Failure, Phase};

/// The figures of one machine.
#[derive(Default)]
pub(crate) struct Meter {
    /// The requests under way: number, kind, start.
    #[cfg(feature = "metrics")]
    sent: Vec<(u64, &'static str, Instant)>,
}

impl Meter {
    /// A request is sent to a server, in this phase of the machine.
    pub(crate) fn sent(&mut self, request: &SendRequest, phase: Phase) {
        #[cfg(feature = "metrics")]
        {
            let kind = match (request.purpose(), phase) {
                (Purpose::Token, Phase::Working("refreshing")) => "refresh",
                (Purpose::Token, Phase::Working("exchanging")) => "code",
                (other, _) => other.as_str(),
            };
            self.sent.push((request.id(), kind, Instant::now()));
        }
    }

    /// A request has its result.
    pub(crate) fn answered(&mut self, reply: &Reply) {
        #[cfg(feature = "metrics")]
        {
            let Some(place) = self.sent.iter().position(|(id, ..)| *id == reply.id()) else {
                return;
            };
            let (_, kind, since) = self.sent.swap_remove(place);
            let outcome = match reply.response().map(|known| known.status().as_u16()) {
                None => "no_response",
                Some(200..300) => "success",
                Some(300..400) => "redirect",
                Some(429) => "rate_limited",
                Some(400..500) => "refused",
                Some(_) => "server_error",
            };
            metrics::counter!("mcp_auth_requests_total", "kind" => kind, "outcome" => outcome)
                .increment(1);
            metrics::histogram!("mcp_auth_request_seconds", "kind" => kind).record(since.elapsed());
        }
    }
}

/// An attempt failed.
pub(crate) fn failed(failure: &Failure) {
    #[cfg(feature = "metrics")]
    metrics::counter!(
        "mcp_auth_failures_total",
        "stage" => failure.stage.as_str(),
        "cause" => failure.cause.code()
    )
    .increment(1);
}

/// The user is needed.
pub(crate) fn user_is_needed(need: &NeedUser) {
    #[cfg(feature = "metrics")]
    metrics::counter!("mcp_auth_user_needed_total", "why" => need.why.as_str()).increment(1);
}

/// A step of a sign-in: `begun`, `code_shown`, `completed`, `signed_out`.
pub(crate) fn sign_in(step: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("mcp_auth_sign_ins_total", "step" => step).increment(1);
}

/// The MCP server refused a request.
pub(crate) fn refusal(status: u16) {
    #[cfg(feature = "metrics")]
    {
        let status = match status {
            400 => "400",
            401 => "401",
            403 => "403",
            _other => "other",
        };
        metrics::counter!("mcp_auth_refusals_total", "status" => status).increment(1);
    }
}

/// A refusal was answered with a token that was there already.
pub(crate) fn absorbed() {
    #[cfg(feature = "metrics")]
    metrics::counter!("mcp_auth_refusals_absorbed_total").increment(1);
}

/// A caller was sent away because too many wait.
pub(crate) fn busy() {
    #[cfg(feature = "metrics")]
    metrics::counter!("mcp_auth_busy_total").increment(1);
}

/// Tokens were lost with their machine.
pub(crate) fn lost() {
    #[cfg(feature = "metrics")]
    metrics::counter!("mcp_auth_tokens_lost_total").increment(1);
}

/// Measures how long something waits.
pub(crate) struct Waits {
    #[cfg(feature = "metrics")]
    since: Instant,
}

impl Waits {
    pub(crate) fn begin() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            since: Instant::now(),
        }
    }

    /// Ends a wait for a `machine`, a `server` or the `store`.
    pub(crate) fn end(self, what: &'static str) {
        #[cfg(feature = "metrics")]
        metrics::histogram!("mcp_auth_wait_seconds", "what" => what).record(self.since.elapsed());
    }

    /// Ends a call of the store.
    pub(crate) fn stored(self, operation: &'static str, outcome: &'static str) {
        #[cfg(feature = "metrics")]
        {
            metrics::histogram!("mcp_auth_store_seconds", "operation" => operation)
                .record(self.since.elapsed());
            metrics::counter!(
                "mcp_auth_store_calls_total",
                "operation" => operation,
                "outcome" => outcome
            )
            .increment(1);
        }
    }
}

/// The size of an object with many accounts.
#[cfg(feature = "metrics")]
pub(crate) fn sizes(counts: &crate::asynchronous::Counts) {
    #[allow(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "a figure to look at"
    )]
    let gauge = |name: &'static str, number: usize| metrics::gauge!(name).set(number as f64);
    gauge("mcp_auth_machines", counts.machines);
    gauge("mcp_auth_machines_working", counts.working);
    gauge("mcp_auth_machines_unsaved", counts.unsaved);
    gauge("mcp_auth_callers_waiting", counts.waiting);
    gauge("mcp_auth_tokens_warm", counts.tokens);
    metrics::counter!("mcp_auth_warm_total").absolute(counts.warm);
}
