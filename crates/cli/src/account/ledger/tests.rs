#![allow(clippy::unwrap_used)]

use mcp_auth_machine::slot::SlotContents;

use super::super::{keyring, sealing};
use super::*;

fn stored(text: &str) -> Stored {
    Stored {
        contents: SlotContents::new(text),
        revision: Revision::of(text.as_bytes()),
    }
}

/// A record that no one can open is replaced; one that another sign-in stored in its place meanwhile is a conflict.
#[test]
fn a_hidden_record_is_replaced_as_it_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path().to_owned());
    let url = "https://mcp.example/mcp";
    let profile = Profile::new(url, "default");
    let slots = Slots::open(&root, &profile).ok().unwrap();
    let ledger = Ledger::new(slots.clone());
    let journal = Journal::begin(&root, (url, "default")).unwrap();
    ledger.change(&root, journal, profile).ok().unwrap();

    let slot = Slot::account("default", url);
    let (id, key) = sealing::new_key().unwrap();
    keyring::remember(&id, &key);
    let lost = stored(&sealing::seal(&id, &key, "another/place", "v2.x.{}").unwrap());
    let put = |expected, record| {
        let locked = root.lock().unwrap();
        slots.restore(&locked, (slot, expected), Some(record))
    };
    put(None, &lost).unwrap();
    assert_eq!(ledger.load(slot).unwrap(), None);
    assert_eq!(ledger.load(slot).unwrap(), None);

    let good = stored("v2.good.{}");
    let replaced = put(Some(lost.revision), &good);
    assert!(matches!(replaced.unwrap(), Swap::Done));
    let own = stored("v2.own.{}");
    let swap = ledger.persist_until(slot, None, Some(&own), None).unwrap();
    assert!(matches!(swap, Swap::Conflict(Some(found)) if found == good));
    assert_eq!(ledger.load(slot).unwrap(), Some(good));
}
