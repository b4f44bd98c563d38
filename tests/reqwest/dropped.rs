//! Futures that are dropped anywhere lose nothing.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::timeout;

use crate::support::{Agreeing, World, at_most};

/// One way of giving up, the same in each run where time allows.
#[derive(Clone, Copy, Debug)]
enum GivesUp {
    AfterPolls(usize),
    AfterTurns(usize),
    AfterMicroseconds(u64),
}

impl GivesUp {
    fn all() -> impl Iterator<Item = Self> {
        let polls = (1..=20).map(Self::AfterPolls);
        let turns = (0..30).map(|turns| Self::AfterTurns(turns * turns / 4));
        let times = (0..20).map(|times: u64| Self::AfterMicroseconds(times * times * 20));
        polls.chain(turns).chain(times)
    }

    async fn on<F: Future>(self, future: F) {
        match self {
            Self::AfterPolls(polls) => drop(at_most(polls, future).await),
            Self::AfterTurns(turns) => {
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
            Self::AfterMicroseconds(time) => {
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
    for gives_up in GivesUp::all() {
        world.revoke(&token, &user.client_id()).await;
        gives_up.on(world.call(&client, "read")).await;
        let found = world.call(&client, "read").await.unwrap();
        assert_ne!(found, token, "{gives_up:?}");
        token = found;
        variations += 1;
        assert_eq!(world.server.refreshes(), variations, "{gives_up:?}");
    }
    assert!(variations >= 50);
    assert_eq!(user.trips(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_survives_whoever_wanted_it() {
    let world = World::start().await;
    for gives_up in GivesUp::all() {
        let user = Agreeing::new();
        let client = world.client(user.clone());
        gives_up.on(world.call(&client, "read")).await;
        let wanted = client.authorize("read", &Method::POST, &world.url);
        gives_up.on(wanted).await;
        world.call(&client, "read").await.unwrap();
        assert_eq!(user.trips(), 1, "{gives_up:?}");
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_when_one_gives_up() {
    let world = World::start().await;
    let user = Agreeing::new();
    let client = world.client(user.clone());
    let mut token = world.call(&client, "read").await.unwrap();
    for gives_up in GivesUp::all() {
        world.revoke(&token, &user.client_id()).await;
        let refreshes = world.server.refreshes();
        let stays = {
            let (world, client) = (Arc::clone(&world), client.clone());
            tokio::spawn(async move { world.call(&client, "read").await })
        };
        gives_up.on(world.call(&client, "read")).await;
        token = stays.await.unwrap().unwrap();
        assert_eq!(world.server.refreshes(), refreshes + 1, "{gives_up:?}");
    }
    assert_eq!(user.trips(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tok16_the_end_of_the_last_handle_waits_for_the_slot() {
    let world = World::start().await;
    let user = Agreeing::new();
    let store = mcp_auth_machine::driver::MemoryStore::default();
    let start = || world.on(store.clone()).user(user.clone()).start().unwrap();
    let client = start();
    let mut token = world.call(&client, "read").await.unwrap();
    client.close().await;
    for gives_up in GivesUp::all() {
        world.revoke(&token, &user.client_id()).await;
        let client = start();
        gives_up.on(world.call(&client, "read")).await;
        client.close().await;
        let client = start();
        token = world.call(&client, "read").await.unwrap();
        client.close().await;
    }
    assert_eq!(user.trips(), 1);
}
