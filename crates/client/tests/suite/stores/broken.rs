//! Stores that each break one rule, which the contract names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_auth_client::contract::{self, Rule};
use mcp_auth_client::{MemoryStore, Store, StoreError, Swap};
use mcp_auth_machine::slot::{Revision, Slot, SlotContents, Stored};
use mcp_auth_machine::time::UnixMillis;

use super::slot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    Fails,
    NeverCompares,
    OverwritesWhenEmptyIsExpected,
    WritesOnAnEmptySlot,
    TellsNothing,
    WritesInSpiteOfAConflict,
    KeepsWhatIsCleared,
    KnowsOneSlot,
    Trims,
    CutsOff,
    DropsWhatHasAnEnd,
    ComparesBeforeItLocks,
    WritesInTwoSteps,
    Panics,
}

/// A store in memory with a bug.
#[derive(Clone)]
struct Broken {
    bug: Bug,
    inner: MemoryStore,
    /// The revisions, separate from the contents.
    revisions: Arc<Mutex<BTreeMap<Slot, Revision>>>,
}

impl Broken {
    fn new(bug: Bug) -> Self {
        Self {
            bug,
            inner: MemoryStore::default(),
            revisions: Arc::default(),
        }
    }

    fn slot(&self, asked: Slot) -> Slot {
        if self.bug == Bug::KnowsOneSlot {
            slot()
        } else {
            asked
        }
    }

    /// Overwrites the current contents.
    fn force(&self, slot: Slot, write: Option<&Stored>) -> Swap {
        loop {
            let held = self.inner.load(slot).unwrap().map(|held| held.revision);
            let swap = self.inner.persist(slot, held, write).unwrap();
            if matches!(swap, Swap::Done) {
                return swap;
            }
        }
    }
}

impl Store for Broken {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        let mut found = self.inner.load(self.slot(slot))?;
        if self.bug == Bug::WritesInTwoSteps
            && let Some(found) = &mut found
            && let Some(revision) = self.revisions.lock().unwrap().get(&slot)
        {
            found.revision = *revision;
        }
        Ok(found)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        let write = write.filter(|_| self.bug != Bug::DropsWhatHasAnEnd || expires.is_none());
        let slot = self.slot(slot);
        let held = self.inner.load(slot)?;
        let fits = held.as_ref().map(|held| held.revision) == expected;
        match self.bug {
            Bug::Fails => Err(StoreError("out of order".into())),
            Bug::Panics if held.is_some() => panic!("on purpose"),
            Bug::NeverCompares => Ok(self.force(slot, write)),
            Bug::OverwritesWhenEmptyIsExpected if expected.is_none() => Ok(self.force(slot, write)),
            Bug::WritesOnAnEmptySlot if held.is_none() => Ok(self.force(slot, write)),
            Bug::TellsNothing if !fits => Ok(Swap::Conflict(None)),
            Bug::WritesInSpiteOfAConflict if !fits && held.is_some() => {
                self.force(slot, write);
                Ok(Swap::Conflict(held))
            }
            Bug::KeepsWhatIsCleared if fits && write.is_none() => Ok(Swap::Done),
            Bug::Trims | Bug::CutsOff if write.is_some() => {
                let write = write.unwrap();
                let text = write.contents.expose();
                let text = match self.bug {
                    Bug::Trims => text.trim_end().to_owned(),
                    _cuts => text.chars().take(60_000).collect(),
                };
                let write = Stored {
                    contents: SlotContents::new(text),
                    revision: write.revision,
                };
                self.inner.persist(slot, expected, Some(&write))
            }
            Bug::ComparesBeforeItLocks if fits => {
                std::thread::sleep(Duration::from_millis(5));
                Ok(self.force(slot, write))
            }
            Bug::WritesInTwoSteps if fits => {
                let swap = self.inner.persist(slot, expected, write)?;
                std::thread::sleep(Duration::from_millis(5));
                if let (Swap::Done, Some(write)) = (&swap, write) {
                    let mut revisions = self.revisions.lock().unwrap();
                    revisions.insert(slot, write.revision);
                }
                Ok(swap)
            }
            _well => self.inner.persist(slot, expected, write),
        }
    }
}

fn broken_rule(bug: Bug) -> Rule {
    let store = Broken::new(bug);
    contract::check(&store).unwrap_err().rule
}

#[test]
fn what_one_caller_can_see_is_noticed() {
    for (bug, rule) in [
        (Bug::Fails, Rule::NothingFails),
        (Bug::NeverCompares, Rule::ExpectsRevision),
        (Bug::OverwritesWhenEmptyIsExpected, Rule::ExpectsEmpty),
        (Bug::WritesOnAnEmptySlot, Rule::ExpectsRevision),
        (Bug::TellsNothing, Rule::ConflictTells),
        (Bug::WritesInSpiteOfAConflict, Rule::ConflictTells),
        (Bug::KeepsWhatIsCleared, Rule::EmptyUntilWritten),
        (Bug::KnowsOneSlot, Rule::SlotsApart),
        (Bug::Trims, Rule::WrittenAsGiven),
        (Bug::CutsOff, Rule::WrittenAsGiven),
        (Bug::DropsWhatHasAnEnd, Rule::KeptUntilItsEnd),
    ] {
        assert_eq!(broken_rule(bug), rule, "{bug:?}");
    }
}

#[test]
fn what_only_many_can_see_is_noticed() {
    for (bug, rules) in [
        (Bug::ComparesBeforeItLocks, vec![Rule::OneWinner]),
        (Bug::WritesInTwoSteps, vec![Rule::NeverHalf]),
        (Bug::Panics, vec![Rule::NothingFails]),
    ] {
        let store = Broken::new(bug);
        if bug != Bug::Panics {
            contract::check(&store).unwrap();
        }
        let violation = contract::check_races(&[store.clone(), store]).unwrap_err();
        assert!(rules.contains(&violation.rule), "{bug:?}: {violation}");
    }
}

#[test]
fn what_the_store_said_is_told() {
    let violation = contract::check(&Broken::new(Bug::Fails)).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "the store breaks the rule: no operation fails while the store is reachable"
    );
    let said = std::error::Error::source(&violation).unwrap();
    assert_eq!(said.to_string(), "the store failed: out of order");
    // Without stores, no race runs.
    contract::check_races::<MemoryStore>(&[]).unwrap();
}
