//! Tokens: what was granted, and for how long it is handed out (S30, D20).

use mcp_auth_machine::Moment;
use serde_json::Value;

use super::super::scanner::in_text;
use super::super::{Facts, issuer_named};
use super::{Ledger, Token};
use crate::machine_tests::get;

impl Ledger {
    /// A server has granted something.
    pub(in crate::machine_tests::world) fn granted(
        &mut self,
        (at, id): (usize, u64),
        form: &[(String, String)],
        answer: &str,
        now: Moment,
    ) {
        let now = now.mono.0;
        let (asked, limit) = self.seat(at).asked.get(&id).copied().unwrap_or((now, now));
        let awaited = (now <= limit).then(|| now.saturating_sub(asked));
        let Ok(answer) = serde_json::from_str::<serde_json::Value>(answer) else {
            return;
        };
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let kind = text("token_type");
        self.tokens.push(Token {
            text: text("access_token"),
            by: at,
            awaited,
            seconds: answer["expires_in"].as_u64(),
            // A missing or `null` type counts as Bearer.
            typed: answer["token_type"].is_null()
                || kind.eq_ignore_ascii_case("bearer")
                || kind.eq_ignore_ascii_case("dpop"),
            asked,
        });
        self.seat(at).unreached = false;
        let fits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        // An assumed type downgrades no bound token (DPOP-13).
        let assumed = answer["token_type"].is_null();
        let is_of_use = |token: &Token| token.typed && !assumed && fits(&token.text);
        if !self.tokens.last().is_some_and(is_of_use) && !text("refresh_token").is_empty() {
            // The refresh token was spent for a token that is of no use (REFR-14).
            self.refused.extend(get(form, "refresh_token"));
        }
        // A new sign-in at a server counts, whatever was listed before it.
        if let Some(code) = get(form, "code")
            .or_else(|| get(form, "device_code"))
            .as_deref()
            .and_then(|code| in_text(code).next())
        {
            let issuer = code.issuer;
            self.seat(at).scopes_refused = false;
            self.left.remove(&issuer);
            for seat in &mut self.seats {
                seat.left.remove(&issuer);
            }
        }
        self.issued(form, &text("refresh_token"));
        self.redeemed(form, text("access_token"));
    }

    pub(in crate::machine_tests::world) fn ready(
        &mut self,
        at: usize,
        issuer: &str,
        granted: &[String],
        bearer: Option<&str>,
        now: Moment,
        facts: &mut Facts,
    ) {
        assert!(
            bearer.is_some(),
            "S37: ready, and there is nothing to make a request with"
        );
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
        // The callback has its result: what follows is other work.
        seat.after_callback = false;
        self.answers_question(at, granted);
        if let Some(bearer) = bearer {
            let own = in_text(bearer).all(|found| found.kind == "at" && found.issuer == issuer);
            assert!(own, "D20: {bearer} for {issuer}");
            self.presented(at, bearer, now);
        }
    }

    /// A request is sent; its time limit passes then.
    pub(in crate::machine_tests::world) fn asks_at(
        &mut self,
        at: usize,
        id: u64,
        now: u64,
        limit: u64,
    ) {
        self.seat(at).asked.insert(id, (now, now + limit));
    }

    /// How many access tokens were granted, and the last one, with its lifetime.
    pub(in crate::machine_tests::world) fn last_token(
        &self,
    ) -> (usize, Option<(String, Option<u64>)>) {
        let last = self.tokens.last();
        let last = last.map(|token| (token.text.clone(), token.seconds));
        (self.tokens.len(), last)
    }

    /// Tokens of one authorization are not replaced by older ones, unless they have expired, or two instances held the lease at
    /// once because the wall clock jumped (S63).
    pub(super) fn goes_forward(&self, old: &Value, new: &Value, now: Moment) {
        let same = |name: &str| !old[name].is_null() && old[name] == new[name];
        let of = |account: &Value| {
            let access = account["tokens"]["access"].as_str()?;
            self.tokens.iter().find(|token| token.text == access)
        };
        let (Some(before), Some(after)) = (of(old), of(new)) else {
            return;
        };
        let ends = before.seconds.map(|seconds| seconds.saturating_mul(1_000));
        let lives = ends.is_none_or(|ends| now.mono.0 < before.asked.saturating_add(ends));
        let jumped = self.jumped.is_some_and(|at| at >= after.asked);
        assert!(
            !same("authorization") || !lives || jumped || before.asked <= after.asked,
            "S63: {} replaces {}, which was asked for later",
            after.text,
            before.text
        );
    }

    /// The user signs out of an account that holds this token.
    pub(in crate::machine_tests::world) fn signs_out_of(&mut self, at: usize, access: &str) {
        self.seat(at).signed_out_of.insert(access.to_owned());
    }

    /// No token is handed out of which the user has signed out here (S62).
    pub(in crate::machine_tests::world) fn outlives_no_sign_out(
        &mut self,
        at: usize,
        bearer: &str,
    ) {
        let text = bearer.rsplit(' ').next().unwrap_or_default();
        assert!(
            !self.seat(at).signed_out_of.contains(text),
            "S62: {text} is handed out after the sign-out"
        );
    }

    /// A token is handed out only as long as it was said to live, whatever the wall clock says (S30).
    pub(in crate::machine_tests::world) fn presented(
        &mut self,
        at: usize,
        bearer: &str,
        now: Moment,
    ) {
        let text = bearer.rsplit(' ').next().unwrap_or_default();
        // The token that this process received last; a rolled-back store may return an older one.
        let latest = self.tokens.iter().rev().find(|token| token.by == at);
        let known = latest.filter(|token| token.text == text);
        let untyped = self
            .tokens
            .iter()
            .any(|token| token.text == text && !token.typed);
        assert!(
            !untyped,
            "TOK-12: {text} came without a type that the client knows"
        );
        if let Some(token) = known
            && let Some(seconds) = token.seconds
        {
            let age = now.mono.0.saturating_sub(token.asked);
            let lifetime = seconds.saturating_mul(1_000);
            // One that had expired on receipt is used once (TOK-13).
            let is_over = token.awaited.is_some_and(|awaited| awaited >= lifetime);
            assert!(age <= lifetime || is_over, "S30: {text} after {age} ms");
        }
    }
}
