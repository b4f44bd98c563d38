//! Many tasks with one account.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, StatusCode};
use mcp_auth_client::asynchronous::{Callbacks, Stopped, User};
use mcp_auth_client::{FileStore, MemoryStore, Note, Store, StoreError, Swap};
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::slot::{Revision, Slot, Stored};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::{Action, Event};
use tokio::sync::Barrier;

use crate::support::{Agreeing, World, token};

const TASKS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_without_a_token_make_one_sign_in() {
    let world = World::start().await;
    let user = Agreeing::new();
    let client = world.client(user.clone());
    let calls: Vec<_> = (0..TASKS)
        .map(|_| {
            let (world, client) = (Arc::clone(&world), client.clone());
            tokio::spawn(async move { world.call(&client, "read").await })
        })
        .collect();
    let mut tokens = BTreeSet::new();
    for call in calls {
        tokens.insert(call.await.unwrap().unwrap());
    }
    assert_eq!((tokens.len(), user.trips()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_that_are_refused_make_one_refresh() {
    let world = World::start().await;
    let user = Agreeing::new();
    let client = world.client(user.clone());
    let old = world.call(&client, "read").await.unwrap();
    world.revoke(&old, &user.client_id()).await;
    let all_refused = Arc::new(Barrier::new(TASKS));
    let calls: Vec<_> = (0..TASKS)
        .map(|number| {
            let (world, client) = (Arc::clone(&world), client.clone());
            let all_refused = Arc::clone(&all_refused);
            tokio::spawn(async move {
                let operation = format!("read {number}");
                let mut call = client.call(operation.as_str(), Method::POST, world.url.as_str());
                let headers = call.headers().await.unwrap();
                let (status, answer) = world.post("read", headers).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED);
                all_refused.wait().await;
                assert!(call.again(status, &answer).await.unwrap());
                let headers = call.headers().await.unwrap();
                let (status, answer) = world.post("read", headers.clone()).await;
                assert!(!call.again(status, &answer).await.unwrap());
                assert_eq!(status, StatusCode::OK);
                token(&headers)
            })
        })
        .collect();
    let mut tokens = BTreeSet::new();
    for call in calls {
        tokens.insert(call.await.unwrap());
    }
    assert_eq!(tokens.len(), 1);
    assert!(!tokens.contains(&old));
    assert_eq!(world.server.refreshes(), 1);
    assert_eq!(user.trips(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_drivers_on_one_store_make_one_refresh() {
    let world = World::start().await;
    let user = Agreeing::new();
    let directory = tempfile::tempdir().unwrap();
    let driver = || {
        let store = FileStore::open(directory.path()).unwrap();
        world.on(store).user(user.clone()).start().unwrap()
    };
    let (one, two) = (driver(), driver());
    let old = world.call(&one, "read").await.unwrap();
    assert_eq!(world.call(&two, "read").await.unwrap(), old);
    world.revoke(&old, &user.client_id()).await;
    let (one, two) = tokio::join!(world.call(&one, "read"), world.call(&two, "read"));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!((world.server.refreshes(), user.trips()), (1, 1));
}

/// A store that loses all writes from a certain one on.
#[derive(Clone, Default)]
struct Broken {
    inner: MemoryStore,
    fails: Arc<AtomicUsize>,
}

impl Store for Broken {
    fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
        self.inner.load(slot)
    }

    fn persist_until(
        &self,
        slot: Slot,
        expected: Option<Revision>,
        write: Option<&Stored>,
        expires: Option<UnixMillis>,
    ) -> Result<Swap, StoreError> {
        if self.fails.load(Ordering::SeqCst) > 0 {
            return Err(StoreError("the disk is full".into()));
        }
        Store::persist_until(&self.inner, slot, expected, write, expires)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_to_all_who_wait_and_not_repeated_for_each() {
    let world = World::start().await;
    let user = Agreeing::new();
    let store = Broken::default();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let client = world
        .on(store.clone())
        .user(user.clone())
        .watched(move |note| {
            if let Note::Out(Action::SendRequest(_)) = note {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        })
        .start()
        .unwrap();
    let old = world.call(&client, "read").await.unwrap();
    world.revoke(&old, &user.client_id()).await;
    store.fails.store(1, Ordering::SeqCst);
    let before = requests.load(Ordering::SeqCst);
    let all_refused = Arc::new(Barrier::new(TASKS));
    let calls: Vec<_> = (0..TASKS)
        .map(|_| {
            let (world, client) = (Arc::clone(&world), client.clone());
            let all_refused = Arc::clone(&all_refused);
            tokio::spawn(async move {
                let mut call = client.call("read", Method::POST, world.url.as_str());
                let headers = call.headers().await.unwrap();
                let (status, answer) = world.post("read", headers).await;
                all_refused.wait().await;
                call.again(status, &answer).await
            })
        })
        .collect();
    for call in calls {
        let Err(Stopped::Failed(failure)) = call.await.unwrap() else {
            panic!("it did not fail");
        };
        assert!(matches!(failure.cause, Cause::NotPersisted(_)));
    }
    // No token was lost, and the user is still signed in.
    assert_eq!(world.server.refreshes(), 0);
    let sent = requests.load(Ordering::SeqCst) - before;
    assert!(sent < TASKS, "{sent} requests");
    store.fails.store(0, Ordering::SeqCst);
    let new = world.call(&client, "read").await.unwrap();
    assert_ne!(new, old);
    assert_eq!((world.server.refreshes(), user.trips()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_panics_wedges_nobody() {
    struct Panicking(MemoryStore, Arc<AtomicUsize>);

    impl Store for Panicking {
        fn load(&self, slot: Slot) -> Result<Option<Stored>, StoreError> {
            self.0.load(slot)
        }

        fn persist_until(
            &self,
            slot: Slot,
            expected: Option<Revision>,
            write: Option<&Stored>,
            expires: Option<UnixMillis>,
        ) -> Result<Swap, StoreError> {
            // The record of the cancelled attempt is cleared without waiting.
            if write.is_none() {
                assert_ne!(self.1.fetch_add(1, Ordering::SeqCst), 0, "planted");
            }
            Store::persist_until(&self.0, slot, expected, write, expires)
        }
    }

    /// Leaves the browser once, and signs in the next time.
    struct Wavering(Agreeing, AtomicUsize);

    impl User for Wavering {
        async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
            if self.1.fetch_add(1, Ordering::SeqCst) > 0 {
                self.0.redirect(redirect, callbacks).await;
            }
        }
    }

    let world = World::start().await;
    let store = Panicking(MemoryStore::default(), Arc::default());
    let (notes, mut noted) = tokio::sync::mpsc::unbounded_channel();
    let client = world
        .on(store)
        .user(Wavering(Agreeing::new(), AtomicUsize::new(0)))
        .watched(move |note| {
            if let Note::In(Event::SlotPersisted(_)) = note {
                let _ = notes.send(());
            }
        })
        .start()
        .unwrap();
    world.call(&client, "read").await.unwrap_err();
    world.call(&client, "read").await.unwrap();
    noted.recv().await.unwrap();
}
