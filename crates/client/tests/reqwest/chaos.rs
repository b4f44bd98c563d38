//! Random concurrent operations: every one completes, and the account works afterwards.

use std::sync::Arc;

use http::Method;
use mcp_auth_client::asynchronous::{Callbacks, Client, Stopped, User};
use mcp_auth_client::seed;
use mcp_auth_machine::action::{NeedUser, Redirect};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::wire::callback::Callback;

use crate::support::{Agreeing, World, at_most};

/// A reproducible pseudo-random generator.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A user who usually agrees, and sometimes never returns.
struct Moody(Agreeing);

impl Moody {
    fn is_willing(&self) -> bool {
        self.0.asked.lock().unwrap().len() % 5 != 3
    }
}

impl User for Moody {
    async fn consent(&self, need: NeedUser, with: Authorization) -> Option<Authorization> {
        let with = self.0.consent(need, with).await;
        with.filter(|_| self.is_willing())
    }

    async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
        if self.0.trips() % 7 != 6 {
            self.0.redirect(redirect, callbacks).await;
        }
    }
}

/// Performs one random operation; any result is accepted.
async fn act(world: Arc<World>, client: Client, action: u64) {
    match action {
        0..5 => drop(world.call(&client, "read").await),
        5..8 => drop(world.call(&client, "write").await),
        8..10 => {
            let wanted = client.authorize("list", &Method::POST, &world.url);
            drop(wanted.await);
        }
        10 => drop(client.sign_out().await),
        11 => client.abandon(Abandon::Cancelled),
        12 => drop(client.grant().await),
        13 => {
            let stray = Callback::from_url("http://127.0.0.1:9/callback?code=x&state=y");
            assert!(!matches!(client.came_back(stray).await, Ok(true)));
        }
        _ => {
            if let Ok(Some(redirect)) = client.begin(seed().unwrap()).await {
                let callback = world.follow(&redirect).await;
                drop(client.came_back(Callback::from_url(callback)).await);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_ever() {
    let world = World::start().await;
    world.mcp.set_tool_scope("write", "notes:write").unwrap();
    for start in 1..=40 {
        let mut dice = Dice(start * 0x9E37_79B9);
        let user = Agreeing::new();
        let client = world.client(Moody(user.clone()));
        let tasks: Vec<_> = (0..30)
            .map(|_| {
                let (action, polls) = (dice.roll(16), dice.roll(24));
                let acting = act(Arc::clone(&world), client.clone(), action);
                tokio::spawn(async move {
                    if polls < 12 {
                        at_most(usize::try_from(polls).unwrap(), acting).await;
                    } else {
                        acting.await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        match client.sign_out().await {
            Ok(()) | Err(Stopped::Failed(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        let mut answers = 0;
        // The user declines at times.
        while world.call(&client, "read").await.is_err() {
            answers += 1;
            assert!(answers < 10, "start {start}");
        }
        client.close().await.unwrap();
    }
}
