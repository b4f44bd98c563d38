//! A refresh in flight, in this process or in another one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use http::Method;
use mcp_auth_client::asynchronous::Stopped;
use mcp_auth_client::{MemoryStore, Note, seed};
use mcp_auth_machine::Action;
use mcp_auth_machine::action::Purpose;
use tokio::sync::mpsc::unbounded_channel;

use crate::support::{Agreeing, World, token};

/// Returns true for a token request.
fn is_token_request(note: &Note<'_>) -> bool {
    matches!(note, Note::Out(Action::SendRequest(send)) if send.purpose() == Purpose::Token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tok16_what_the_last_handle_left_under_way_is_stored() {
    let world = World::start().await;
    let user = Agreeing::new();
    let store = MemoryStore::default();
    let (begins, mut begun) = unbounded_channel();
    let client = world
        .on(store.clone())
        .user(user.clone())
        .watched(move |note| {
            if is_token_request(&note) {
                let _ = begins.send(());
            }
        })
        .start()
        .unwrap();
    let old = world.call(&client, "read").await.unwrap();
    begun.recv().await.unwrap();
    world.revoke(&old, &user.client_id()).await;
    let calling = {
        let (world, client) = (Arc::clone(&world), client.clone());
        tokio::spawn(async move { world.call(&client, "read").await })
    };
    begun.recv().await.unwrap();
    calling.abort();
    drop(client);
    // The closure is dropped with the task.
    assert!(begun.recv().await.is_none());
    assert_eq!(world.server.refreshes(), 1);

    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let next = world.on(store).watched(move |note| {
        if let Note::Out(Action::SendRequest(_)) = note {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let next = next.start().unwrap();
    let headers = next.authorize("read", &Method::POST, &world.url).await;
    assert_ne!(token(&headers.unwrap()), old);
    assert_eq!(sent.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_finishes_what_is_under_way_and_ends_all_handles() {
    let world = World::start().await;
    let user = Agreeing::new();
    let store = MemoryStore::default();
    let (begins, mut begun) = unbounded_channel();
    let client = world
        .on(store.clone())
        .user(user.clone())
        .watched(move |note| {
            if is_token_request(&note) {
                let _ = begins.send(());
            }
        })
        .start()
        .unwrap();
    let old = world.call(&client, "read").await.unwrap();
    begun.recv().await.unwrap();
    world.revoke(&old, &user.client_id()).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (world, client) = (Arc::clone(&world), client.clone());
            tokio::spawn(async move { world.call(&client, "read").await })
        })
        .collect();
    begun.recv().await.unwrap();
    let other = client.clone();
    client.close().await.unwrap();
    for call in calls {
        let told = call.await.unwrap();
        assert!(matches!(told, Ok(_) | Err(Stopped::Ended)), "{told:?}");
    }
    let told = other.grant().await;
    assert!(matches!(told, Err(Stopped::Ended)), "{told:?}");
    let next = world.on(store).start().unwrap();
    assert_ne!(world.call(&next, "read").await.unwrap(), old);
    assert_eq!(world.server.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_user_does_not_wait_for_another_process() {
    let world = World::start().await;
    let user = Agreeing::new();
    let store = MemoryStore::default();
    // The other process stops just before its refresh request.
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let (stops, mut stopped) = unbounded_channel();
    let mut tokens = 0;
    let other = world
        .on(store.clone())
        .user(user.clone())
        .watched(move |note| {
            tokens += usize::from(is_token_request(&note));
            if is_token_request(&note) && tokens == 2 {
                let _ = stops.send(());
                let _ = tokio::task::block_in_place(|| may_go_on.lock().unwrap().recv());
            }
        })
        .start()
        .unwrap();
    let old = world.call(&other, "read").await.unwrap();
    world.revoke(&old, &user.client_id()).await;
    let call = |client| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.call(&client, "read").await })
    };
    let theirs = call(other);
    stopped.recv().await.unwrap();

    let (loads, mut loaded) = unbounded_channel();
    let builder = world.on(store).watched(move |note| {
        if let Note::Out(Action::LoadSlot(_)) = note {
            let _ = loads.send(());
        }
    });
    let client = builder.start().unwrap();
    let ours = call(client.clone());
    // The client polls the slot, with pauses.
    for _ in 0..6 {
        loaded.recv().await.unwrap();
    }
    let redirect = client.begin(seed().unwrap()).await.unwrap();
    assert!(redirect.is_some());
    assert_eq!(
        client.grant().await.unwrap().unwrap().issuer.as_str(),
        world.server.issuer()
    );
    assert_eq!(world.server.refreshes(), 0);
    go_on.send(()).unwrap();
    let theirs = theirs.await.unwrap().unwrap();
    assert_eq!(ours.await.unwrap().unwrap(), theirs);
    assert_eq!(world.server.refreshes(), 1);
}
