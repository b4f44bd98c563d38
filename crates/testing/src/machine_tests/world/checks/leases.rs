//! Refresh leases, and the answers to refreshes (S56, S57, S59, S60).

use mcp_auth_machine::Moment;
use mcp_auth_machine::action::{PersistSlot, SendRequest};
use mcp_auth_machine::slot::SlotKind;

use super::{Ledger, account};
use crate::machine_tests::{body, get};

/// How long a lease lasts, in milliseconds.
const LONGEST: u64 = 35_000;
/// By how much the wall clocks of two hosts may differ, in milliseconds.
const SKEW: u64 = 300_000;

/// The lease in the account, as an instance last saw it.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    until: u64,
    /// Its end by the monotonic clock of the instance, which compared the wall clocks when it first saw it.
    ends: u64,
    /// The instance wrote it itself.
    own: bool,
}

impl Ledger {
    /// An instance has seen the account, or has written it (`own`).
    pub(in crate::machine_tests::world) fn sees_lease(
        &mut self,
        at: usize,
        key: &str,
        id: u64,
        contents: Option<&str>,
        now: Moment,
        own: bool,
    ) {
        let seat = self.seat(at);
        if !key.starts_with("account/") || seat.waits_for != Some(id) {
            return;
        }
        let until = contents.and_then(|text| account(text)["lease"].as_u64());
        let known = seat.lease.take();
        seat.lease = until.map(|until| match known {
            Some(known) if known.until == until && !own => known,
            _ => {
                let left = until.saturating_sub(now.wall.0);
                let lasts = if left <= LONGEST + SKEW {
                    left.min(LONGEST)
                } else {
                    0
                };
                let ends = now.mono.0 + lasts;
                Lease { until, ends, own }
            }
        });
    }

    /// Whether an instance has seen the lease of another one, and it lasts.
    pub(in crate::machine_tests::world) fn foreign_lease(&self, at: usize, now: Moment) -> bool {
        let lease = self.seats.get(at).and_then(|seat| seat.lease.as_ref());
        lease.is_some_and(|lease| !lease.own && now.mono.0 < lease.ends)
    }

    /// The rest of the lease of an instance, in milliseconds.
    pub(in crate::machine_tests::world) fn own_lease(&self, at: usize, now: Moment) -> Option<u64> {
        let lease = self
            .seats
            .get(at)?
            .lease
            .as_ref()
            .filter(|lease| lease.own)?;
        let by_wall = lease.until.saturating_sub(now.wall.0);
        Some(lease.ends.saturating_sub(now.mono.0).min(by_wall))
    }

    /// An instance writes a lease of its own: no lease of another instance lasts that it has seen (S57).
    pub(in crate::machine_tests::world) fn leases(
        &mut self,
        at: usize,
        persist: &PersistSlot,
        now: Moment,
        tampered: bool,
    ) {
        let Some(stored) = persist.write() else {
            return;
        };
        let is_account = persist.slot().kind() == SlotKind::Account;
        let Some(until) = account(stored.contents.expose())["lease"].as_u64() else {
            return;
        };
        let lasts = self.foreign_lease(at, now) && is_account && !tampered;
        self.seat(at).leased = Some(until);
        let seen = self.seat(at).lease.as_ref();
        let other = seen.is_some_and(|seen| seen.until != until);
        assert!(
            !(lasts && other),
            "S57: the refresh token is leased while another instance holds the lease"
        );
    }

    /// An instance writes the account and keeps its refresh token: the lease of another instance that it has seen, and that lasts,
    /// stays (S65). One that ends in the same millisecond as its own cannot be told apart from that.
    pub(in crate::machine_tests::world) fn keeps_lease(
        &mut self,
        at: usize,
        persist: &PersistSlot,
        now: Moment,
        tampered: bool,
    ) {
        let lasts = self.foreign_lease(at, now) && persist.slot().kind() == SlotKind::Account;
        let Some(stored) = persist.write().filter(|_| lasts && !tampered) else {
            return;
        };
        let old = account(self.seat(at).account.as_deref().unwrap_or_default());
        let new = account(stored.contents.expose());
        let refresh = &new["tokens"]["refresh"];
        let seat = self.seat(at);
        let seen = seat.lease.as_ref().map(|lease| lease.until);
        if seat.leased.is_some() && seat.leased == seen {
            return;
        }
        let kept = !refresh.is_null() && *refresh == old["tokens"]["refresh"];
        assert!(
            !kept || !new["lease"].is_null(),
            "S65: a write ends the lease of another instance for {refresh}"
        );
    }

    /// A refresh request: no lease of another instance lasts that this one has seen (S57), and the server has not replaced the
    /// refresh token in an answer that this instance took (S60).
    pub(in crate::machine_tests::world) fn refreshes(
        &mut self,
        at: usize,
        send: &SendRequest,
        now: Moment,
        tampered: bool,
    ) {
        let form = body(send.request());
        let refresh = get(&form, "refresh_token");
        let grant = get(&form, "grant_type");
        let Some(refresh) = refresh.filter(|_| grant.as_deref() == Some("refresh_token")) else {
            return;
        };
        assert!(
            !self.foreign_lease(at, now) || tampered,
            "S57: {refresh} is sent while another instance holds the lease"
        );
        let seat = self.seat(at);
        seat.last_refresh = Some(send.id());
        assert!(
            !seat.spent.contains(&refresh) || tampered,
            "S60: {refresh} is sent, and the server has replaced it"
        );
    }

    /// An instance that waited for it hears that the server has replaced the refresh token that it sent.
    pub(in crate::machine_tests::world) fn replaced(
        &mut self,
        at: usize,
        id: u64,
        form: &[(String, String)],
        answer: &str,
    ) {
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
        let came = answer["refresh_token"]
            .as_str()
            .filter(|text| !text.is_empty());
        let sent = get(form, "refresh_token");
        if let (Some(sent), Some(came)) = (sent, came)
            && sent != came
            && answer["error"].is_null()
        {
            self.seat(at).spent.insert(sent);
            self.seat(at).replaced = Some(id);
        }
    }

    /// Whether the answer to this refresh request of an instance has replaced the refresh token.
    pub(in crate::machine_tests::world) fn has_replaced(&self, at: usize, id: u64) -> bool {
        self.seats
            .get(at)
            .is_some_and(|seat| seat.replaced == Some(id))
    }

    /// Whether this is the last refresh request of an instance.
    pub(in crate::machine_tests::world) fn is_last_refresh(&self, at: usize, id: u64) -> bool {
        self.seats
            .get(at)
            .is_some_and(|seat| seat.last_refresh == Some(id))
    }

    /// Whether the late answer to a refresh request of an instance is to be taken: the account that it knows, which is the
    /// stored one, holds the refresh token that was sent.
    pub(in crate::machine_tests::world) fn takes_late(
        &mut self,
        at: usize,
        form: &[(String, String)],
        stored: Option<&str>,
    ) -> bool {
        let Some(sent) = get(form, "refresh_token") else {
            return false;
        };
        let holds = |text: &str| account(text)["tokens"]["refresh"] == *sent;
        let seat = self.seat(at);
        let known = seat.account.as_deref().is_some_and(holds);
        known && stored.is_some_and(holds) && !seat.signing_out
    }

    /// A code for another device was issued beside an account.
    pub(in crate::machine_tests::world) fn device_beside(&mut self, code: &str) {
        self.beside.insert(code.to_owned());
    }

    /// A device code was redeemed.
    pub(super) fn redeemed(&mut self, form: &[(String, String)], access: String) {
        if get(form, "device_code").is_some_and(|code| self.beside.contains(&code)) {
            self.beside.insert(access);
        }
    }

    /// An account is stored in an empty slot: the user has not signed out since its authorization began (S56).
    pub(in crate::machine_tests::world) fn revives(&mut self, contents: &str) {
        let account = account(contents);
        let access = account["tokens"]["access"].as_str().unwrap_or_default();
        assert!(
            !self.beside.contains(access),
            "S56: {access} is stored, although the user has signed out since its code was shown"
        );
    }
}
