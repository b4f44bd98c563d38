//! Asynchronous stores, and the adapters in both directions.

use mcp_auth_client::{
    AsyncStore, MemoryStore, OnRuntime, OnThreads, Sealed, SharedStore, Store, StoreError, Swap,
    contract,
};
use mcp_auth_machine::slot::{Revision, Slot, Stored};
use mcp_auth_machine::time::UnixMillis;
use tokio::runtime::Handle;

use super::sealed::Turn;

/// Tests one caller at a time, and concurrent ones through three handles.
async fn keeps_the_contract<S: AsyncStore + Clone>(store: S) {
    contract::check_async(store.clone()).await.unwrap();
    let handles = [store.clone(), store.clone(), store];
    contract::check_races_async(handles).await.unwrap();
}

#[tokio::test]
async fn memory_threads_and_what_is_sealed_keep_the_contract() {
    keeps_the_contract(MemoryStore::default()).await;
    keeps_the_contract(SharedStore::blocking(MemoryStore::default())).await;
    let sealed = Sealed::new(MemoryStore::default(), Turn(3));
    contract::check_async(SharedStore::new(sealed))
        .await
        .unwrap();
}

#[tokio::test]
async fn there_and_back_again_it_is_the_same_store() {
    let memory = MemoryStore::default();
    let there = OnThreads::new(memory.clone());
    let back = OnRuntime::new(there, Handle::current());
    let checked = tokio::task::spawn_blocking(move || contract::check(&back)).await;
    checked.unwrap().unwrap();
}

/// Reports every replacement as done, and performs none.
#[derive(Clone, Default)]
struct Forgetful(MemoryStore);

impl AsyncStore for Forgetful {
    async fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        AsyncStore::load(&self.0, slot).await
    }

    async fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        _: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        if expected.is_some() && write.is_some() {
            return Ok(Swap::Done);
        }
        Store::persist(&self.0, slot, expected, write)
    }
}

#[tokio::test]
async fn a_store_that_breaks_the_contract_is_found_out() {
    contract::check_async(Forgetful::default())
        .await
        .unwrap_err();
    contract::check_races_async([Forgetful::default()])
        .await
        .unwrap_err();
}

#[test]
fn a_runtime_that_is_gone_is_an_error_and_no_hang() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let store = OnRuntime::new(MemoryStore::default(), runtime.handle().clone());
    drop(runtime);
    store
        .load(Slot::account("alice", "https://mcp.example/mcp"))
        .unwrap_err();
}
