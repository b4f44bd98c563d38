//! Futures that are dropped at any point lose nothing.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::timeout;

use crate::support::{Agreeing, World, at_most};

/// A way of cancelling, reproducible where timing allows.
#[derive(Clone, Copy, Debug)]
enum After {
    Polls(usize),
    Turns(usize),
    Microseconds(u64),
}

impl After {
    fn all() -> impl Iterator<Item = Self> {
        let polls = (1..=20).map(Self::Polls);
        let turns = (0..30).map(|turns| Self::Turns(turns * turns / 4));
        let times = (0..20).map(|times: u64| Self::Microseconds(times * times * 20));
        polls.chain(turns).chain(times)
    }

    async fn on<F: Future>(self, future: F) {
        match self {
            Self::Polls(polls) => drop(at_most(polls, future).await),
            Self::Turns(turns) => {
                let other = async {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    _ = future => {}
                    () = other => {}
                }
            }
            Self::Microseconds(time) => {
                let _ = timeout(Duration::from_micros(time), future).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refr05_a_refresh_survives_whoever_wanted_it() {
    let world = World::start().await;
    let user = Agreeing::new();
    let client = world.client(user.clone());
    let mut token = world.call(&client, "read").await.unwrap();
    let mut variations = 0;
    for after in After::all() {
        world.revoke(&token, &user.client_id()).await;
        after.on(world.call(&client, "read")).await;
        let found = world.call(&client, "read").await.unwrap();
        assert_ne!(found, token, "{after:?}");
        token = found;
        variations += 1;
        assert_eq!(world.server.refreshes(), variations, "{after:?}");
    }
    assert!(variations >= 50);
    assert_eq!(user.trips(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_survives_whoever_wanted_it() {
    let world = World::start().await;
    for after in After::all() {
        let user = Agreeing::new();
        let client = world.client(user.clone());
        after.on(world.call(&client, "read")).await;
        let wanted = client.authorize("read", &Method::POST, &world.url);
        after.on(wanted).await;
        world.call(&client, "read").await.unwrap();
        assert_eq!(user.trips(), 1, "{after:?}");
        client.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_when_one_after() {
    let world = World::start().await;
    let user = Agreeing::new();
    let client = world.client(user.clone());
    let mut token = world.call(&client, "read").await.unwrap();
    for after in After::all() {
        world.revoke(&token, &user.client_id()).await;
        let refreshes = world.server.refreshes();
        let stays = {
            let (world, client) = (Arc::clone(&world), client.clone());
            tokio::spawn(async move { world.call(&client, "read").await })
        };
        after.on(world.call(&client, "read")).await;
        token = stays.await.unwrap().unwrap();
        assert_eq!(world.server.refreshes(), refreshes + 1, "{after:?}");
    }
    assert_eq!(user.trips(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tok16_the_end_of_the_last_handle_waits_for_the_slot() {
    let world = World::start().await;
    let user = Agreeing::new();
    let store = mcp_auth_client::MemoryStore::default();
    let start = || world.on(store.clone()).user(user.clone()).start().unwrap();
    let client = start();
    let mut token = world.call(&client, "read").await.unwrap();
    client.close().await.unwrap();
    for after in After::all() {
        world.revoke(&token, &user.client_id()).await;
        let client = start();
        after.on(world.call(&client, "read")).await;
        client.close().await.unwrap();
        let client = start();
        token = world.call(&client, "read").await.unwrap();
        client.close().await.unwrap();
    }
    assert_eq!(user.trips(), 1);
}
