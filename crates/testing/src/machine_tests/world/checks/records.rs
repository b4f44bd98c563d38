//! Records: whose they are, and what becomes of them (S03, S17 to S20).

use std::collections::BTreeSet;

use mcp_auth_machine::Moment;
use mcp_auth_machine::action::PersistSlot;

use super::super::ISSUERS;
use super::super::scanner::in_text;
use super::super::store::Shelf;
use super::{Ledger, Token, account};

impl Ledger {
    /// One record holds what one server issued, and nothing of another (S03).
    pub(in crate::machine_tests::world) fn writes(
        &mut self,
        at: usize,
        persist: &PersistSlot,
        now: Moment,
        tampered: bool,
    ) {
        let key = persist.slot().to_string();
        let Some(stored) = persist.write() else {
            if key.starts_with("account/") {
                let held = account(self.seat(at).account.as_deref().unwrap_or_default());
                let ended = self.ended(at, &held) || self.seat(at).signing_out;
                assert!(
                    ended || tampered,
                    "S20: the account is erased although no server ended it"
                );
            }
            return;
        };
        let text = stored.contents.expose();
        if key.starts_with("account/") {
            self.keeps(at, text, tampered);
        }
        let record = !key.starts_with("metadata/");
        let mut owner = None;
        for found in in_text(text) {
            if found.kind == "poison" || found.issuer == 9 {
                continue;
            }
            assert!(record, "S27: {} in a public slot", found.text);
            let owner = *owner.get_or_insert(found.issuer);
            assert_eq!(owner, found.issuer, "S03: {text}");
        }
        let named = format!(
            "\"issuer\":\"{}\"",
            ISSUERS.get(owner.unwrap_or(9)).unwrap_or(&"")
        );
        assert!(
            owner.is_none() || crate::spelled_out(text).contains(&named),
            "S17: {text}"
        );
        if key.starts_with("pending/") {
            assert!(
                persist.expected().is_none(),
                "S18: the record of an attempt is not its own"
            );
            self.seat(at).pending = Some(key);
            if account(text)["client"]["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("cid~"))
            {
                self.uses_registration(at, tampered);
            }
        } else if key.starts_with("registration/") {
            self.seat(at).registration = Some((now.mono.0, false));
        }
    }

    /// An account was replaced: no older token is stored again (S63), and no refresh token that was refused since (S64).
    pub(in crate::machine_tests::world) fn replaced_account(
        &self,
        old: &str,
        new: &str,
        now: Moment,
    ) {
        let (old, new) = (account(old), account(new));
        self.goes_forward(&old, &new, now);
        let (before, after) = (&old["tokens"]["refresh"], &new["tokens"]["refresh"]);
        let refused = |text: &str| self.refused.contains(text);
        // The record of another authorization says nothing of these tokens.
        let other = old["authorization"] != new["authorization"];
        assert!(
            other || before == after || !after.as_str().is_some_and(refused),
            "S64: {after} is stored again, which the account had lost"
        );
    }

    // ---- Registrations

    /// An instance reads a registration, before its client is chosen or then.
    pub(in crate::machine_tests::world) fn reads_registration(
        &mut self,
        at: usize,
        early: bool,
        now: Moment,
    ) {
        self.seat(at).registration = Some((now.mono.0, early));
    }

    /// An instance receives the answer of a server.
    pub(in crate::machine_tests::world) fn hears_http(&mut self, at: usize, now: Moment) {
        self.seat(at).heard_http = now.mono.0;
    }

    /// A redirect uses a registration that was read when its client was chosen, or at most a second before (S66).
    fn uses_registration(&mut self, at: usize, tampered: bool) {
        let seat = self.seat(at);
        let Some((read, early)) = seat.registration else {
            return;
        };
        assert!(
            !early || tampered || seat.heard_http < read + 1_000,
            "S66: a redirect uses a registration that was read {} ms before its client was chosen",
            seat.heard_http - read
        );
    }

    /// An attempt fails because the registration could not be read: that was a read for the chosen client (S66).
    pub(in crate::machine_tests::world) fn could_not_read(&mut self, at: usize) {
        let early = self.seat(at).registration.is_some_and(|(_, early)| early);
        assert!(
            !early,
            "S66: an attempt fails because of a read that began before it was needed"
        );
    }

    /// Tokens are dropped only when a server has ended them (S20).
    fn keeps(&mut self, at: usize, text: &str, tampered: bool) {
        let before = account(self.seat(at).account.as_deref().unwrap_or_default());
        let ended = self.ended(at, &before) || self.seat(at).signing_out || tampered;
        let (old, new) = (&before["tokens"], &account(text)["tokens"]);
        let same = old["access"] == new["access"];
        let lost = !old.is_null() && new.is_null();
        let unrenewable = same && !old["refresh"].is_null() && new["refresh"].is_null();
        assert!(
            ended || !(lost || unrenewable),
            "S20: tokens are dropped although no server ended them: {old} became {new}"
        );
    }

    /// Compare-and-swap is only as good as what is compared (S19).
    pub(in crate::machine_tests::world) fn replaces(
        &mut self,
        at: usize,
        persist: &PersistSlot,
        known: bool,
        shelf: &Shelf,
    ) {
        let current = shelf.load(&persist.slot().to_string());
        let binding = current.as_ref().is_some_and(|stored| {
            crate::spelled_out(stored.contents.expose()).contains(r#""kind":"binding""#)
        });
        assert!(
            !binding || persist.write().is_none() || persist.expected().is_none() || shelf.tampered,
            "REG-04: a client that is bound is bound again"
        );
        if binding && persist.write().is_none() {
            assert!(
                self.seat(at).asked_to_reset || shelf.tampered,
                "REG-04: a binding is dropped, and the host has not asked for that"
            );
        }
        let replaces = current.map(|stored| stored.revision) == persist.expected();
        assert!(
            !replaces || known || shelf.tampered,
            "S19: instance {at} replaces what it never saw"
        );
    }

    /// An instance asks for the account, or writes it: it waits for this answer and for no earlier one.
    pub(in crate::machine_tests::world) fn waits(&mut self, at: usize, key: &str, id: u64) {
        if key.starts_with("account/") {
            self.seat(at).waits_for = Some(id);
        }
        if key.starts_with("pending/") {
            self.seat(at).looks = true;
        }
    }

    /// An instance does something else now: whatever it asked of the account slot, it asks no more.
    pub(in crate::machine_tests::world) fn waits_no_more(&mut self, at: usize) {
        self.seat(at).waits_for = None;
    }

    /// An instance has seen what a slot holds.
    pub(in crate::machine_tests::world) fn sees(
        &mut self,
        at: usize,
        key: &str,
        id: u64,
        contents: Option<&str>,
        own: bool,
    ) {
        let seat = self.seat(at);
        if key.starts_with("pending/") {
            // A callback without a record leads to no code (S06).
            seat.after_callback &= own || contents.is_some();
            seat.pending_there = contents.is_some();
            seat.looks = false;
            seat.record_is_newer |= seat.pending.as_deref() == Some(key);
        }
        if key.starts_with("account/") && seat.waits_for == Some(id) {
            seat.record_is_newer = false;
            seat.account = contents.map(str::to_owned);
            self.bound_by_others(at);
        }
    }

    /// Whether the record of the last redirect of an instance is in the store, where it was not put back. A sign-out has ended a
    /// redirect that began beside an account (REFR-12).
    pub(in crate::machine_tests::world) fn is_open(&self, at: usize, shelf: &Shelf) -> bool {
        let pending = self.seats.get(at).and_then(|seat| seat.pending.as_ref());
        let Some(record) = pending.and_then(|pending| shelf.contents(pending)) else {
            return false;
        };
        let ended = account(record)["beside_account"] == true && shelf.account().is_none();
        !shelf.tampered && !ended
    }

    /// The user is asked for want of credentials by an account slot that was read after the record of the redirect, since another
    /// instance may have stored tokens meanwhile, and that was empty (S67).
    pub(in crate::machine_tests::world) fn lacks_credentials(&mut self, at: usize, shelf: &Shelf) {
        let seat = self.seat(at);
        let unsure = seat.store_failed || seat.account_unsaved || shelf.tampered;
        assert!(
            !seat.record_is_newer || unsure,
            "S67: the user is asked by an account that was read before the record of the redirect"
        );
        assert!(
            seat.account.is_none() || unsure,
            "S67: the user is asked for want of credentials, beside an account"
        );
    }

    /// An operation whose requests were refused with these tokens receives the error that the user took too long: the account has no other
    /// token that is valid (S54).
    pub(in crate::machine_tests::world) fn has_no_other(
        &mut self,
        at: usize,
        refused: &BTreeSet<Option<String>>,
        now: Moment,
        shelf: &Shelf,
    ) {
        let held = account(shelf.account().unwrap_or_default());
        let access = held["tokens"]["access"].as_str().unwrap_or_default();
        let known = self.tokens.iter().find(|token| token.text == access);
        let is_live = |token: &Token| {
            let age = now.mono.0.saturating_sub(token.asked);
            let seconds = token.seconds.unwrap_or(u64::MAX / 1_000);
            age < seconds.saturating_mul(1_000)
        };
        let was_refused = |sent: &String| sent.rsplit(' ').next() == Some(access);
        let was_refused = refused.iter().flatten().any(was_refused);
        assert!(
            was_refused
                || !known.is_some_and(is_live)
                || self.seat(at).store_failed
                || self.seat(at).account_unsaved
                || shelf.tampered,
            "S54: the user took too long, and {access} would serve the operation"
        );
    }

    /// The user is said to have taken too long only while the record of the redirect is there: otherwise the callback has
    /// arrived at another instance (S45). A store that does not answer leaves that open.
    pub(in crate::machine_tests::world) fn runs_out_of_time(&mut self, at: usize, shelf: &Shelf) {
        let seat = self.seat(at);
        let pending = seat.pending.as_ref();
        let there = pending.is_none_or(|pending| shelf.holds(pending));
        assert!(
            there || seat.looks || seat.store_failed || shelf.tampered,
            "S45: the user's time has passed, although the callback arrived"
        );
    }
}
