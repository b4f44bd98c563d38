//! The change that a `login` makes: account, secret and settings, stored together or taken back together.

use std::io;
use std::path::{Path, PathBuf};

use mcp_auth_client::{DirectoryLock, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotKind, Stored};
use serde_json::Value;

use super::super::conversion::convert;
use super::super::journal::{Commit, Journal};
use super::super::profile::Profile;
use super::super::records;
use super::super::root::Root;
use super::super::sealing;
use super::super::slots::Slots;
use crate::problem::Problem;
use crate::slot_json;

/// Settings to be stored with the account of the sign-in that uses them.
pub(super) struct Change {
    root: Root,
    journal: Journal,
    profile: Profile,
    /// The file for a typed secret, relative to the directory.
    place: PathBuf,
    /// The access token that was stored before.
    before: Option<zeroize::Zeroizing<String>>,
    /// The next account to be stored is the result of this sign-in.
    signing_in: bool,
    committed: bool,
    /// The records that the commit replaced.
    former: Option<Former>,
    /// The registrations that this sign-in found.
    used: Vec<Slot>,
}

/// The account and the settings that a sign-in replaced, for a sign-in that fails afterwards.
struct Former {
    slot: Slot,
    /// The file of the account, opened or not.
    account: Option<Stored>,
    profile: Option<Vec<u8>>,
    /// The revision that this process wrote last.
    written: Option<Revision>,
}

/// Returns true for an account with newly issued tokens. An account that is about to be refreshed holds a
/// lease.
pub(super) fn brings_tokens(slot: Slot, stored: &Stored) -> bool {
    if slot.kind() != SlotKind::Account {
        return false;
    }
    let record = slot_json::parse(stored.contents.expose()).unwrap_or_default();
    // Records of version 1 contain `null` for members that later versions omit.
    let leased = record.get("lease").is_some_and(|lease| !lease.is_null());
    record.get("tokens").is_some_and(Value::is_object) && !leased
}

type Secret = Option<(PathBuf, zeroize::Zeroizing<String>)>;

impl Change {
    pub(super) fn new(root: &Root, journal: Journal, profile: Profile) -> Result<Self, Problem> {
        let millis = mcp_auth_client::now().wall.0;
        let name = profile.name()?;
        let own = format!("{name}.{}-{millis}", std::process::id());
        let before = records::access_of(&root.slots(), &name);
        Ok(Self {
            root: root.clone(),
            journal,
            profile,
            place: Path::new("secrets").join(own),
            before,
            signing_in: false,
            committed: false,
            former: None,
            used: Vec::new(),
        })
    }

    fn account(&self) -> (&str, &str) {
        (&self.profile.url, &self.profile.account)
    }

    pub(super) fn signs_in(&mut self) {
        self.signing_in = true;
    }

    pub(super) fn has_committed(&self) -> bool {
        self.committed
    }

    pub(super) fn has_replaced(&self) -> bool {
        let former = self.former.as_ref();
        former.is_some_and(|former| former.account.is_some())
    }

    /// Notes a pending authorization before it is stored.
    pub(super) fn pends(&self, slot: Slot) -> io::Result<()> {
        self.journal.pending(&slot.to_string())
    }

    /// Notes the issuer of a configured client, or a registration in place of another one, before it is stored: a sign-in
    /// that fails leaves the former one. A first registration stays, because the next sign-in uses it; and so does one in
    /// place of a client that the server refused, or that the user had replaced (`is_hidden`).
    pub(super) fn registers(
        &mut self,
        (slot, is_hidden): (Slot, bool),
        write: Option<&Stored>,
    ) -> Result<(), StoreError> {
        let path = self.root.slots().join(slot.to_string());
        let (binds, is_first) = match write {
            Some(stored) => (
                records::is_binding(stored.contents.expose()),
                !path.exists() || is_hidden,
            ),
            None => (records::is_binding_at(&path), true),
        };
        if !binds && is_first {
            self.journal.stays(&slot.to_string())?;
        } else {
            let written = write.map(|stored| stored.revision.to_string());
            self.journal.binds(&slot.to_string(), written)?;
        }
        Ok(())
    }

    /// Notes a registration that was stored: its port, and the account of the sign-in.
    pub(super) fn has_registered(&self, slot: Slot, stored: &Stored) {
        if records::is_binding(stored.contents.expose()) {
            return;
        }
        if let Some(port) = self.profile.port {
            self.root.keep_port(port);
        }
        self.root.note_client(&self.profile, slot);
    }

    /// Notes a registration that was found.
    pub(super) fn uses(&mut self, slot: Slot, stored: &Stored) {
        if !records::is_binding(stored.contents.expose()) && !self.used.contains(&slot) {
            self.used.push(slot);
        }
    }

    /// Notes the registrations that the stored sign-in used with the account, so that they are known where they cannot be
    /// read. Not while this process holds the lock of the directory.
    pub(super) fn note_used(&self) {
        for slot in self.used.iter().filter(|_| self.committed) {
            self.root.note_client(&self.profile, *slot);
        }
    }

    /// Notes that a record was written after the sign-in was stored.
    pub(super) fn has_written(&mut self, slot: Slot, write: Option<&Stored>) {
        if let Some(former) = &mut self.former
            && former.slot == slot
        {
            former.written = write.map(|stored| stored.revision);
        }
    }

    /// Stores the settings for the existing account.
    pub(super) fn commit(&mut self, slots: &Slots) -> Result<(), StoreError> {
        let locked = self.root.lock()?;
        if self.committed {
            // Registrations, and a secret of an earlier sign-in, may have the former form.
            return convert(&self.root, &locked, self.account());
        }
        let former = self.root.profile_text(&self.profile)?;
        let (profile, secret) = self.ready(slots, &locked)?;
        if let Some((path, text)) = &secret {
            locked.write(path, text.as_bytes())?;
        }
        self.journal.replaces(&locked)?;
        let stored = Root::write_profile(&locked, &profile)
            .map_err(StoreError::from)
            .and_then(|()| convert(&self.root, &locked, self.account()));
        if let Err(error) = stored {
            let before = self.root.restore(&locked, &profile, former.as_deref());
            before?;
            convert(&self.root, &locked, self.account())?;
            return Err(error);
        }
        Root::save(&locked, &self.root, &profile)?;
        self.committed = true;
        self.journal.settled(&locked, true);
        Ok(())
    }

    /// Restores what the sign-in replaced, unless another process has changed the account meanwhile.
    pub(super) fn roll_back(&mut self, slots: &Slots) -> Result<(), StoreError> {
        let Some(former) = self.former.take() else {
            return Ok(());
        };
        let locked = self.root.lock()?;
        let account = former.account.as_ref();
        match slots.restore(&locked, (former.slot, former.written), account)? {
            Swap::Done => {}
            // A sign-out has erased it already.
            Swap::Conflict(None) if account.is_none() => {}
            Swap::Conflict(_) => return Ok(()),
        }
        self.root
            .restore(&locked, &self.profile, former.profile.as_deref())?;
        locked.remove(&self.place)?;
        self.journal.settled(&locked, false);
        self.committed = false;
        convert(&self.root, &locked, self.account())
    }

    /// Returns true for the account of the sign-in, rather than one that is about to be refreshed.
    pub(super) fn is_the_result(&self, slot: Slot, stored: &Stored) -> bool {
        if !self.signing_in || !brings_tokens(slot, stored) {
            return false;
        }
        let token = records::access(stored.contents.expose());
        self.before.is_none() || token != self.before
    }

    /// Returns the settings to store, and the secret with its file.
    fn ready(
        &self,
        slots: &Slots,
        locked: &DirectoryLock,
    ) -> Result<(Profile, Secret), StoreError> {
        let mut profile = self.profile.clone();
        let Some(mut text) = profile.settings.typed.take() else {
            return Ok((profile, None));
        };
        if profile.settings.keyring {
            let (id, key) = slots.key(locked)?;
            let place = sealing::place_of(&self.place);
            text = zeroize::Zeroizing::new(sealing::seal(&id, &key, &place, &text)?);
        }
        profile.settings.client_secret_file = Some(self.root.join(&self.place));
        Ok((profile, Some((self.place.clone(), text))))
    }

    /// Stores account, secret and settings. After a crash the next process completes or undoes the change
    /// from the journal entry.
    pub(super) fn store(
        &mut self,
        slots: &Slots,
        slot: Slot,
        expected: Option<Revision>,
        stored: &Stored,
    ) -> Result<Swap, StoreError> {
        let locked = self.root.lock()?;
        let (profile, secret) = self.ready(slots, &locked)?;
        let place = secret.as_ref().map(|_| self.place.clone());
        let commit = Commit {
            profile: profile.clone(),
            revision: stored.revision.to_string(),
            former: expected.map(|revision| revision.to_string()),
            client: records::client(stored.contents.expose()),
            secret: place,
        };
        self.journal.commits(&locked, commit)?;
        if let Some((path, text)) = &secret {
            locked.write(path, text.as_bytes())?;
        }
        let former = Former {
            slot,
            account: slots.raw(slot)?,
            profile: self.root.profile_text(&profile)?,
            written: Some(stored.revision),
        };
        let form = Some(profile.settings.keyring);
        let swap = slots.persist_locked(&locked, (slot, expected), (Some(stored), None), form);
        match &swap {
            Ok(Swap::Done) => {
                // The end of the journal's entry removes the former secret.
                Root::write_profile(&locked, &profile)?;
                self.former.get_or_insert(former).written = Some(stored.revision);
                self.committed = true;
                self.journal.settled(&locked, true);
            }
            // When the entry is closed, the stored account decides about the settings.
            Ok(Swap::Conflict(_)) | Err(_) => {}
        }
        swap
    }
}
