//! The store that all instances share: compare-and-swap, and an attacker's power to roll back, damage and confuse its
//! slots.

use std::collections::BTreeMap;

use mcp_auth_machine::action::PersistSlot;
use mcp_auth_machine::slot::{SlotContents, SlotKind, Stored};
use mcp_auth_machine::{Action, Event};

use super::instance::Instance;
use super::{Facts, How, ISSUERS};

#[derive(Clone, Debug, Default)]
pub struct Shelf {
    slots: BTreeMap<String, Stored>,
    /// The previous contents of slots, for rolling back.
    before: BTreeMap<String, Stored>,
    /// The server that a client without an issuer was bound to by the last write.
    last_bound: Option<usize>,
    /// Secret slots were tampered with: properties that depend on them no longer hold.
    pub(super) tampered: bool,
}

/// Whether the store compares before it writes; a store that does not is a planted bug.
fn compares() -> bool {
    true
}

impl Shelf {
    pub(super) fn load(&self, slot: &str) -> Option<&Stored> {
        self.slots.get(slot)
    }

    /// The stored account: a world has one.
    pub(super) fn account(&self) -> Option<&str> {
        let account = |(key, _): &(&String, &Stored)| key.starts_with("account/");
        let (_, stored) = self.slots.iter().find(account)?;
        Some(stored.contents.expose())
    }

    /// The stored registration of this client.
    pub(super) fn registration(&self, client: &str) -> Option<&str> {
        let id = format!("\"id\":\"{client}\"");
        let mut found = self
            .slots
            .iter()
            .filter(|(key, _)| key.starts_with("registration/"));
        let (_, stored) = found.find(|(_, stored)| stored.contents.expose().contains(&id))?;
        Some(stored.contents.expose())
    }

    pub(super) fn holds(&self, slot: &str) -> bool {
        self.slots.contains_key(slot)
    }

    pub(super) fn contents(&self, slot: &str) -> Option<&str> {
        Some(self.slots.get(slot)?.contents.expose())
    }

    /// The server that a client without an issuer was last bound to: another process may have dropped the binding since.
    pub(super) fn last_bound(&self) -> Option<usize> {
        self.bound().or(self.last_bound)
    }

    /// The server that a client without an issuer is bound to.
    pub(super) fn bound(&self) -> Option<usize> {
        let registration = |(key, _): &(&String, &Stored)| key.starts_with("registration/");
        let (_, stored) = self.slots.iter().find(registration)?;
        let text = stored.contents.expose();
        ISSUERS.iter().position(|issuer| text.contains(issuer))
    }

    /// Whether it was done; else what the slot holds.
    pub(super) fn swap(&mut self, persist: &PersistSlot) -> Result<(), Option<Stored>> {
        let key = persist.slot().to_string();
        let current = self.slots.get(&key);
        let found = current.map(|stored| stored.revision);
        if found != persist.expected() && compares() {
            return Err(current.cloned());
        }
        let before = match persist.write() {
            Some(stored) => self.slots.insert(key.clone(), stored.clone()),
            None => self.slots.remove(&key),
        };
        if let Some(before) = before {
            self.before.insert(key, before);
        }
        if persist.slot().kind() == SlotKind::Registration {
            self.last_bound = self.bound().or(self.last_bound);
        }
        Ok(())
    }

    /// Completes the writes of a process that died.
    pub(super) fn finish(&mut self, instance: Instance) {
        for action in instance.actions {
            if let Action::PersistSlot(persist) = action {
                let _nobody_hears = self.swap(&persist);
            }
        }
    }

    fn secret(&self, pick: usize) -> Option<String> {
        let secret = |key: &&String| !key.starts_with("metadata/");
        let keys: Vec<&String> = self
            .slots
            .keys()
            .chain(self.before.keys())
            .filter(secret)
            .collect();
        let pick = pick.checked_rem(keys.len())?;
        keys.get(pick).map(|key| (*key).clone())
    }

    pub(super) fn roll_back(&mut self, pick: usize, facts: &mut Facts) {
        let Some(key) = self.secret(pick) else { return };
        if let Some(before) = self.before.get(&key) {
            facts.note("rolled back");
            self.slots.insert(key, before.clone());
            self.tampered = true;
        }
    }

    pub(super) fn damage(&mut self, pick: usize, facts: &mut Facts) {
        let Some(key) = self.secret(pick) else { return };
        if let Some(stored) = self.slots.get_mut(&key) {
            facts.note("damaged");
            let mut text = stored.contents.expose().to_owned();
            match pick % 3 {
                0 => text.truncate(text.len() / 2),
                1 => text = text.replacen("https://a.example", "https://b.example", 1),
                _ => text.push(' '),
            }
            stored.contents = SlotContents::new(text);
            self.tampered = true;
        }
    }

    /// Each registration comes under the key of another issuer, and so does each pending attempt.
    pub(super) fn confuse(&mut self, facts: &mut Facts) {
        for kind in ["registration/", "pending/"] {
            let kind = |key: &&String| key.starts_with(kind);
            let keys: Vec<String> = self.slots.keys().filter(kind).cloned().collect();
            let mut held: Vec<Stored> = keys.iter().map(|key| self.slots[key].clone()).collect();
            if held.len() < 2 {
                continue;
            }
            facts.note("confused");
            self.tampered = true;
            held.rotate_left(1);
            self.slots.extend(keys.into_iter().zip(held));
        }
    }
}

impl super::World {
    pub(super) fn stored(&mut self, at: usize, persist: PersistSlot, how: How) -> Event {
        if how == How::Fails {
            self.facts.note("write failed");
            self.ledger.store_failed(at);
            self.ledger.saves(at, false);
            return persist.failed();
        }
        let key = persist.slot().to_string();
        if let How::Says(which) = how {
            let found = self.says(which);
            self.conflicts(at, &key);
            self.saw(at, &key, persist.id(), found.as_ref());
            return persist.conflict(found);
        }
        let replaced = self.shelf.load(&key).cloned();
        match self.shelf.swap(&persist) {
            Ok(()) => {
                if let (true, Some(stored)) = (key.starts_with("account/"), persist.write()) {
                    if let Some(old) = replaced.filter(|_| !self.shelf.tampered) {
                        let (old, new) = (old.contents.expose(), stored.contents.expose());
                        self.ledger.replaced_account(old, new, self.now);
                    }
                    if persist.expected().is_none() && !self.shelf.tampered {
                        self.ledger.revives(stored.contents.expose());
                    }
                    self.ledger.kept(stored.contents.expose());
                    self.ledger.relists(at, stored.contents.expose());
                    self.ledger.saves(at, true);
                }
                if how == How::Lies {
                    self.facts.note("write failed");
                    self.ledger.store_failed(at);
                    return persist.failed();
                }
                self.saw_own(at, &key, persist.id(), persist.write());
                persist.done()
            }
            Err(current) => {
                self.conflicts(at, &key);
                if key.starts_with("account/") && current.is_some() {
                    self.facts.note("lost the race");
                }
                self.saw(at, &key, persist.id(), current.as_ref());
                persist.conflict(current)
            }
        }
    }

    fn conflicts(&mut self, at: usize, key: &str) {
        self.facts.note("conflict");
        if key.starts_with("pending/") {
            // Another instance has the callback: no code is exchanged here (S06).
            self.ledger.came_back(at, false);
        }
    }

    /// The load from a store that has lost or replaced its contents: absence, a damaged record, or one of a later
    /// version. From then on no property depends on stored contents.
    pub(super) fn says(&mut self, which: u8) -> Option<Stored> {
        self.shelf.tampered = true;
        let text = match which % 3 {
            0 => return None,
            1 => "v1.AAAAAAAAAAAAAAAAAAAAAA.{}",
            _ => "v9.AAAAAAAAAAAAAAAAAAAAAA.{}",
        };
        Some(Stored {
            contents: SlotContents::new(text),
            revision: "AAAAAAAAAAAAAAAAAAAAAA".parse().expect("a revision"),
        })
    }

    pub(super) fn saw(&mut self, at: usize, key: &str, id: u64, stored: Option<&Stored>) {
        self.sees(at, key, id, stored, false);
    }

    /// An instance hears that its write was done.
    fn saw_own(&mut self, at: usize, key: &str, id: u64, stored: Option<&Stored>) {
        self.sees(at, key, id, stored, true);
    }

    fn sees(&mut self, at: usize, key: &str, id: u64, stored: Option<&Stored>, own: bool) {
        let contents = stored.map(|stored| stored.contents.expose());
        self.ledger.sees_lease(at, key, id, contents, self.now, own);
        self.ledger.sees(at, key, id, contents, own);
        let seen = stored.map(|stored| stored.revision.to_string());
        self.instances[at].seen.extend(seen);
    }

    /// Whether an instance knows what it is about to replace (S19).
    pub(super) fn knows(&self, at: usize, revision: &str) -> bool {
        self.instances[at].seen.contains(revision)
    }
}
