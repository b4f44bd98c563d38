//! The keys of the gateway seal a store.

use example_gateway::keys::Keys;
use mcp_auth_client::{MemoryStore, RedisStore, Sealed, Store, Swap, contract};
use mcp_auth_machine::slot::{Slot, SlotContents, Stored};
use mcp_auth_testing::RedisServer;

fn slot(user: &str) -> Slot {
    Slot::account(user, "https://mcp.example/mcp")
}

#[test]
fn redis_with_sealed_slots_keeps_the_contract() {
    let redis = RedisServer::start().unwrap();
    let open = || RedisStore::open(&redis.url(), "test:").unwrap();
    let sealed = || Sealed::new(open(), Keys::new(&"k".repeat(43)).unwrap());
    contract::check(&sealed()).unwrap();
    contract::check_races(&[sealed(), sealed()]).unwrap();
}

#[test]
fn a_sealed_slot_opens_with_its_key_and_in_its_place_alone() {
    let memory = MemoryStore::default();
    let sealed = |key: &str| Sealed::new(memory.clone(), Keys::new(&key.repeat(43)).unwrap());
    let stored = Stored {
        revision: "A".repeat(22).parse().unwrap(),
        contents: SlotContents::new("secret"),
    };
    let (alice, bob) = (slot("alice"), slot("bob"));
    let store = sealed("k");
    let written = store.persist(alice, None, Some(&stored)).unwrap();
    assert!(matches!(written, Swap::Done));
    assert_eq!(store.load(alice).unwrap(), Some(stored));
    sealed("g").load(alice).unwrap_err();
    let below = memory.load(alice).unwrap();
    let moved = memory.persist(bob, None, below.as_ref()).unwrap();
    assert!(matches!(moved, Swap::Done));
    store.load(bob).unwrap_err();
}
