//! Tokens: what was granted, and for how long it is handed out (S30, D20).

use mcp_auth_machine::Moment;

use super::super::scanner::in_text;
use super::super::{Facts, issuer_named};
use super::{Ledger, Token};
use crate::support::get;

impl Ledger {
    /// A server has granted something.
    pub(in crate::support::world) fn granted(&mut self, at: usize, answer: &str, now: Moment) {
        let Ok(answer) = serde_json::from_str::<serde_json::Value>(answer) else {
            return;
        };
        let text = answer["access_token"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.tokens.push(Token {
            text,
            by: at,
            received: now.mono.0,
            seconds: answer["expires_in"].as_u64(),
        });
        self.seat(at).ended = false;
    }

    pub(in crate::support::world) fn refused(&mut self, at: usize, form: &[(String, String)]) {
        if get(form, "grant_type").is_some() {
            self.seat(at).ended = true;
        }
    }

    pub(in crate::support::world) fn ready(
        &mut self,
        at: usize,
        issuer: &str,
        bearer: Option<&str>,
        now: Moment,
        facts: &mut Facts,
    ) {
        let issuer = issuer_named(issuer);
        facts.note(["ready at a", "ready at b", "ready at c"][issuer]);
        let seat = self.seat(at);
        if seat
            .ready_at
            .replace(issuer)
            .is_some_and(|before| before != issuer)
        {
            facts.note("moved");
        }
        if seat.stepping_up {
            facts.note("stepped up");
        }
        seat.lacks.clear();
        seat.stepping_up = false;
        seat.signing_out = false;
        if let Some(bearer) = bearer {
            let own = in_text(bearer).all(|found| found.kind == "at" && found.issuer == issuer);
            assert!(own, "D20: {bearer} for {issuer}");
            self.presented(at, bearer, now);
        }
    }

    /// A token is handed out only as long as it was said to live, whatever the wall clock says (S30).
    pub(in crate::support::world) fn presented(&mut self, at: usize, bearer: &str, now: Moment) {
        let text = bearer.rsplit(' ').next().unwrap_or_default();
        // Of the token that this process received last; a store that is rolled back may bring an older one.
        let latest = self.tokens.iter().rev().find(|token| token.by == at);
        let known = latest.filter(|token| token.text == text);
        if let Some((received, Some(seconds))) = known.map(|token| (token.received, token.seconds))
        {
            let age = now.mono.0.saturating_sub(received);
            assert!(
                age <= seconds.saturating_mul(1_000),
                "S30: {text} after {age} ms"
            );
        }
    }
}
