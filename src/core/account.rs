//! The account slot: its contents are adopted, bound to what the resource lists, and released.

use crate::account::{Account, Standing, Validity};
use crate::config::Discovery;
use crate::frame::{Opened, RecordFlaw};
use crate::issuer::{AtIssuer, IssuerId};
use crate::record::{AccountAsRead, read_account, write_account};
use crate::report::Decision;
use crate::slot::{Slot, SlotKind, Stored};

use super::{Core, Lease, Proof};

impl Core {
    /// Adopts the contents of the account slot. An unusable record counts as absent and stays in the store.
    pub(crate) fn adopt(&mut self, stored: Option<&Stored>) -> Result<(), RecordFlaw> {
        if stored.is_some_and(|stored| self.holds(stored)) {
            self.held.read_at = Some(self.event);
            self.held.known_at = self.now.mono;
            return Ok(());
        }
        let read = stored
            .map(|stored| read_account(&self.identity, stored))
            .transpose();
        let config = self.identity.config();
        let replaced = |at: &AtIssuer<Account>| {
            let client = &at.held().client;
            config.replaces(at.issuer().as_str(), &client.id, client.origin)
        };
        let moved = self.memory.left.is_some();
        self.held.is_exact = read.is_ok() && !moved;
        let (at, lease, key, flaw) = match read {
            Ok(Some(read)) if replaced(&read.at) => {
                (None, None, read.key, Some(RecordFlaw::Foreign))
            }
            Ok(Some(AccountAsRead { at, lease, key })) => (Some(at), lease, key, None),
            Ok(None) => (None, None, None, None),
            Err(flaw) => (None, None, None, Some(flaw)),
        };
        if let Some(key) = key {
            self.identity.seal_with(key);
        }
        let recorded = at.as_ref().map(|at| at.held().standing.clone());
        let at = at.map(|at| Box::new(self.bound_by_what_was_heard(at)));
        let as_recorded = at.as_ref().map(|at| &at.held().standing) == recorded.as_ref();
        self.held.is_exact &= as_recorded;
        if let Some(left) = self.memory.left.as_mut().filter(|_| !as_recorded) {
            // The account has come since, from a process that had not read of the change.
            left.durable = false;
        }
        // The same token keeps its monotonic expiry and its evidence (SEC-35).
        let tokens = at.as_ref().and_then(|at| at.held().tokens.as_ref());
        let unchanged = match (tokens, self.held.tokens()) {
            (Some(new), Some(old)) => new.is(&old.access, old.received),
            (_, _) => false,
        };
        if !unchanged {
            self.held.proof = Proof::Assumed;
        }
        self.held.validity = Some(self.held.validity_of(tokens, self.now));
        self.held.at = at;
        let known = self.held.lease.filter(|known| Some(known.until) == lease);
        let now = self.now;
        self.held.lease = lease.map(|until| known.unwrap_or_else(|| Lease::first_seen(until, now)));
        self.held.revision = stored.map(|stored| stored.revision);
        self.held.is_newer = flaw == Some(RecordFlaw::Newer);
        self.held.read_at = Some(self.event);
        self.held.known_at = self.now.mono;
        // A token that is bound to a key that the host no longer has makes no request succeed (DPOP-02).
        let binding = self
            .held
            .at
            .as_ref()
            .and_then(|at| at.held().binding.as_ref());
        if binding.is_some_and(|binding| self.config().key_of(binding).is_none()) {
            self.held.validity = Some(Validity::Over);
        }
        match flaw {
            None => Ok(()),
            Some(flaw) => {
                let slot = self.account_slot();
                self.report_unusable(slot, flaw);
                Err(flaw)
            }
        }
    }

    /// Returns true if the account was read from these contents, or written to them, and has not changed since. The
    /// contents are still checked, since a store may keep a revision beside altered ones (S26).
    fn holds(&mut self, stored: &Stored) -> bool {
        let moved = self.memory.left.is_some();
        let known = self.held.is_exact && self.held.revision == Some(stored.revision);
        if moved || self.held.at.is_none() || !known {
            return false;
        }
        let opened = Opened::open(stored, SlotKind::Account);
        let key = opened.as_ref().ok().and_then(|opened| opened.key);
        if let Some(key) = key {
            self.identity.seal_with(key);
        }
        opened.is_ok()
    }

    /// Applies a known change of issuer that the store did not keep; where the host configured the server, what it
    /// configured.
    pub(crate) fn bound_by_what_was_heard(&self, at: AtIssuer<Account>) -> AtIssuer<Account> {
        match (&self.config().discovery, self.left_for(at.issuer())) {
            // The host's word stands in the place of the resource's (DISC-20).
            (Discovery::Issuer(own) | Discovery::ServerMetadata(own, _), _) => {
                let standing = Standing::by(self.config(), own, at.issuer());
                at.standing(standing)
            }
            (Discovery::Standard | Discovery::ResourceMetadata(_), Some(to)) => {
                at.standing(Standing::LeftFor(to))
            }
            (Discovery::Standard | Discovery::ResourceMetadata(_), None) => at,
        }
    }

    /// Returns the issuer that the resource lists in place of this one, as far as this process has read.
    pub(crate) fn left_for(&self, issuer: &IssuerId) -> Option<IssuerId> {
        let left = self.memory.left.as_ref();
        left.filter(|left| left.from == *issuer)
            .map(|left| left.to.clone())
    }

    /// Returns true if the resource is known to have left the account's issuer, or an earlier one.
    pub(crate) fn knows_of_a_move(&self) -> bool {
        let held = self.held.at.as_ref().map(|at| at.held().still_listed());
        self.memory.left.is_some() || held.is_some_and(|listed| listed.is_err())
    }

    /// Releases the refresh lease. Fire-and-forget: an unreleased lease expires.
    pub(crate) fn release_lease(&mut self) {
        if self.held.lease.take().is_none() {
            return;
        }
        if let Some(at) = &self.held.at {
            let stored = write_account(&self.identity, at, None);
            let expected = self.held.revision;
            self.held.is_stored_as(stored.revision);
            let slot = self.account_slot();
            self.persist(slot, expected, Some(stored), None);
        }
    }

    pub(crate) fn report_unusable(&mut self, slot: Slot, flaw: RecordFlaw) {
        self.report(|| Decision::RecordUnusable {
            slot: slot.to_string(),
            reason: flaw.to_string(),
        });
    }

    /// Returns true when every scope that was demanded was requested or granted for the account.
    pub(crate) fn has_what_was_demanded(&self) -> bool {
        let demanded = self.memory.demanded.all();
        demanded.is_none_or(|scopes| self.held.has_scopes(scopes))
    }

    pub(crate) fn account_slot(&self) -> Slot {
        self.identity.account_slot()
    }
}
