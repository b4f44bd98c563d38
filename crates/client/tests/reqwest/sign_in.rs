//! Sign-in, step-up, declining, and sign-out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use http::Method;
use mcp_auth_client::asynchronous::{Callbacks, Client, Nobody, StartFlaw, Stopped, User};
use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_client::{FileStore, MemoryStore, Note};
use mcp_auth_machine::action::{NeedUser, Redirect, Why};
use mcp_auth_machine::config::{Dpop, DpopPolicy, PreRegistered};
use mcp_auth_machine::error::{Cause, Stage};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::{Action, NoBearer};
use tokio::sync::{Notify, Semaphore};

use crate::support::{Agreeing, SERVICE, World, token};
use mcp_auth_testing::authorization::Iss;

#[tokio::test]
async fn a_complete_sign_in_and_a_restart() {
    let world = World::start().await;
    let user = Agreeing::new();
    let directory = tempfile::tempdir().unwrap();
    let store = || FileStore::open(directory.path()).unwrap();
    let client = world.on(store()).user(user.clone()).start().unwrap();
    let first = world.call(&client, "read").await.unwrap();
    assert_eq!(world.call(&client, "read").await.unwrap(), first);
    assert_eq!(user.asked.lock().unwrap()[..], [Why::NoCredentials]);
    assert_eq!(user.trips(), 1);
    client.close().await.unwrap();
    assert_eq!(user.finished(), 1);

    let again = world.on(store()).start().unwrap();
    let grant = again.grant().await.unwrap().unwrap();
    assert_eq!(grant.issuer.as_str(), world.server.issuer());
    assert_eq!(world.call(&again, "read").await.unwrap(), first);
}

#[tokio::test]
async fn a_wrong_iss_ends_the_call_with_the_failure() {
    let world = World::with(Iss::Wrong("https://attacker.example".to_owned())).await;
    let client = world.client(Agreeing::new());
    let Err(Stopped::Failed(failure)) = world.call(&client, "read").await else {
        panic!("not refused");
    };
    assert_eq!(failure.stage, Stage::Callback);
    assert_eq!(failure.operation.unwrap().as_str(), "read");
    assert!(matches!(failure.cause, Cause::Violation(_)));
    assert!(client.grant().await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_that_acts_for_itself_needs_nobody() {
    let world = World::start().await;
    let config = world
        .config()
        .pre_registered(
            world.server.issuer(),
            PreRegistered::new(SERVICE.0).secret(SERVICE.1),
        )
        .client_credentials();
    let store = MemoryStore::default();
    let client = Client::builder(config.build().unwrap(), "service", store);
    let client = client.start().unwrap();
    world.call(&client, "read").await.unwrap();
}

#[tokio::test]
async fn dpop08_each_request_carries_a_proof_of_its_own() {
    let world = World::start().await;
    let user = Agreeing::new();
    let key = SoftwareKey::generate("key").unwrap();
    let dpop = Dpop::new(DpopPolicy::Require).key(key.describe().unwrap());
    let config = world.config().dpop(dpop).build().unwrap();
    let client = Client::builder(config, "alice", MemoryStore::default())
        .user(user.clone())
        .signer(key);
    let client = client.start().unwrap();
    let bound = world.call(&client, "read").await.unwrap();
    let mut proofs = BTreeSet::new();
    for _ in 0..3 {
        let headers = client.authorize("read", &Method::POST, &world.url).await;
        let headers = headers.unwrap();
        assert_eq!(token(&headers), bound);
        proofs.insert(headers["dpop"].to_str().unwrap().to_owned());
        let (status, _) = world.post("read", headers).await;
        assert!(status.is_success());
    }
    assert_eq!(proofs.len(), 3);
    world.revoke(&bound, &user.client_id()).await;
    assert_ne!(world.call(&client, "read").await.unwrap(), bound);
    assert_eq!((world.server.refreshes(), user.trips()), (1, 1));
}

#[tokio::test]
async fn without_a_user_the_need_is_told() {
    let world = World::start().await;
    let client = world.client(Nobody);
    let url = world.url.as_str();
    let wanted = client.authorize("read", &Method::POST, url).await;
    let Err(Stopped::NeedUser(need)) = wanted else {
        panic!("{wanted:?}");
    };
    assert_eq!(need.why, Why::NoCredentials);
    assert_eq!(need.operation.unwrap().as_str(), "read");
    let called = world.call(&client, "write").await;
    assert!(matches!(called, Err(Stopped::NeedUser(_))), "{called:?}");
}

#[tokio::test]
async fn a_token_is_not_given_out_for_another_place() {
    let world = World::start().await;
    let client = world.client(Agreeing::new());
    world.call(&client, "read").await.unwrap();
    let url = "https://elsewhere.example/mcp";
    let answer = client.authorize("read", &Method::POST, url).await;
    let outside = NoBearer::OutsideResource;
    assert!(matches!(answer, Err(Stopped::NotPresented(flaw)) if flaw == outside));
}

#[tokio::test]
async fn an_answer_that_is_no_refusal_stands() {
    let world = World::start().await;
    let client = world.client(Nobody);
    let mut call = client.call("read", Method::POST, world.url.as_str());
    for status in [200, 400, 404, 500] {
        let status = http::StatusCode::from_u16(status).unwrap();
        let headers = http::HeaderMap::new();
        assert!(!call.again(status, &headers).await.unwrap());
    }
}

#[tokio::test]
async fn a_step_up_asks_once_and_keeps_what_was_granted() {
    let world = World::start().await;
    let user = Agreeing::new();
    let client = world.client(user.clone());
    world.call(&client, "read").await.unwrap();
    world.mcp.set_tool_scope("write", "notes:write").unwrap();
    world.call(&client, "write").await.unwrap();
    assert_eq!(user.trips(), 2);
    let scopes = user.redirects.lock().unwrap()[1].scopes.as_str().to_owned();
    for scope in ["mcp:tools", "notes:write"] {
        assert!(scopes.contains(scope), "{scopes}");
    }
    let asked = user.asked.lock().unwrap()[1].clone();
    assert!(matches!(asked, Why::ScopeMissing { .. }));
    world.call(&client, "read").await.unwrap();
    world.call(&client, "write").await.unwrap();
    assert_eq!(user.trips(), 2);
}

/// A user who considers each step-up until released.
struct Hesitating(Agreeing, Arc<Semaphore>);

impl User for Hesitating {
    async fn consent(&self, need: NeedUser, with: Authorization) -> Option<Authorization> {
        if need.why != Why::NoCredentials {
            let _goes_on = self.1.acquire().await.unwrap();
        }
        self.0.consent(need, with).await
    }

    async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
        self.0.redirect(redirect, callbacks).await;
    }
}

#[tokio::test]
async fn step12_step_ups_that_come_together_become_one_and_hold_nobody_up() {
    let world = World::start().await;
    let (user, go_on) = (Agreeing::new(), Arc::new(Semaphore::new(0)));
    let (needs, mut needed) = tokio::sync::mpsc::unbounded_channel();
    let client = world
        .on(MemoryStore::default())
        .user(Hesitating(user.clone(), Arc::clone(&go_on)))
        .watched(move |note| {
            if let Note::Out(Action::NeedUser(need)) = note {
                let _ = needs.send(need.why.clone());
            }
        })
        .start()
        .unwrap();
    let first = world.call(&client, "read").await.unwrap();
    needed.recv().await.unwrap();
    world.mcp.set_tool_scope("read", "notes:read").unwrap();
    world.mcp.set_tool_scope("write", "notes:write").unwrap();
    let calls: Vec<_> = ["read", "write"]
        .map(|tool| {
            let (world, client) = (Arc::clone(&world), client.clone());
            tokio::spawn(async move { world.call(&client, tool).await })
        })
        .into();
    needed.recv().await.unwrap();
    needed.recv().await.unwrap();
    // While the user is being asked, a caller that needs no more scopes keeps the current token.
    let headers = client.authorize("list", &Method::POST, &world.url).await;
    assert_eq!(token(&headers.unwrap()), first);
    // More scopes are needed by now, so the user is asked again.
    go_on.add_permits(1);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(user.trips(), 2);
    let scopes = user.redirects.lock().unwrap()[1].scopes.as_str().to_owned();
    for scope in ["notes:read", "notes:write"] {
        assert!(scopes.contains(scope), "{scopes}");
    }
    assert_eq!(user.asked.lock().unwrap().len(), 3);
}

/// A user who declines, at consent or in the browser.
struct Unwilling {
    at_browser: bool,
}

impl User for Unwilling {
    async fn consent(&self, _: NeedUser, with: Authorization) -> Option<Authorization> {
        self.at_browser.then_some(with)
    }

    async fn redirect(&self, _: Redirect, _: Callbacks) {}
}

#[tokio::test]
async fn a_user_who_says_no_is_heard_by_all_who_wait() {
    let world = World::start().await;
    for at_browser in [false, true] {
        let client = world.client(Unwilling { at_browser });
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let (world, client) = (Arc::clone(&world), client.clone());
                tokio::spawn(async move { world.call(&client, "read").await })
            })
            .collect();
        for call in calls {
            match call.await.unwrap() {
                Err(Stopped::NeedUser(_)) => {}
                Err(Stopped::Failed(failure)) if at_browser => {
                    assert_eq!(failure.cause, Cause::Abandoned);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A user who never returns from the browser.
struct Lost(Arc<Notify>);

impl User for Lost {
    async fn redirect(&self, _: Redirect, _: Callbacks) {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn authz19_a_cancel_button_ends_the_sign_in_for_all() {
    let world = World::start().await;
    let away = Arc::new(Notify::new());
    let client = world.client(Lost(Arc::clone(&away)));
    let calling = {
        let (world, client) = (Arc::clone(&world), client.clone());
        tokio::spawn(async move { world.call(&client, "read").await })
    };
    away.notified().await;
    client.abandon(Abandon::Cancelled);
    let Err(Stopped::Failed(failure)) = calling.await.unwrap() else {
        panic!("it did not end");
    };
    assert_eq!(failure.cause, Cause::Abandoned);
}

#[tokio::test]
async fn refr12_signing_out_tells_everybody_and_erases() {
    let world = World::start().await;
    let away = Arc::new(Notify::new());
    let client = world.client(Lost(Arc::clone(&away)));
    let calling = {
        let (world, client) = (Arc::clone(&world), client.clone());
        tokio::spawn(async move { world.call(&client, "read").await })
    };
    away.notified().await;
    client.sign_out().await.unwrap();
    let told = calling.await.unwrap();
    assert!(matches!(told, Err(Stopped::SignedOut)), "{told:?}");

    let user = Agreeing::new();
    let client = world.client(user.clone());
    let before = world.call(&client, "read").await.unwrap();
    client.sign_out().await.unwrap();
    assert!(client.grant().await.unwrap().is_none());
    assert!(world.server.tokens().lookup(&before).is_none());
    world.call(&client, "read").await.unwrap();
    assert_eq!(user.trips(), 2);
}

#[tokio::test]
async fn the_last_handle_ends_the_task_though_the_user_is_away() {
    let world = World::start().await;
    let away = Arc::new(Notify::new());
    let (goes, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    let lost = Lost(Arc::clone(&away));
    let builder = world.on(MemoryStore::default()).user(lost);
    let client = builder.watched(move |_| {
        let _goes_with_the_task = &goes;
    });
    let client = client.start().unwrap();
    let calling = {
        let (world, client) = (Arc::clone(&world), client.clone());
        tokio::spawn(async move { world.call(&client, "read").await })
    };
    away.notified().await;
    calling.abort();
    drop(client);
    // The user's future is dropped with the task.
    gone.recv().await;
}

#[test]
fn without_a_runtime_it_does_not_start() {
    let config = mcp_auth_machine::Config::builder("https://m.example/", "http://127.0.0.1:9/c");
    let builder = Client::builder(config.build().unwrap(), "alice", MemoryStore::default());
    assert!(matches!(builder.start(), Err(StartFlaw::NoRuntime)));
}

#[tokio::test]
async fn what_is_watched_shows_no_secret() {
    let world = World::start().await;
    let seen: Arc<Mutex<String>> = Arc::default();
    let sees = Arc::clone(&seen);
    let client = world
        .on(MemoryStore::default())
        .user(Agreeing::new())
        .watched(move |note| sees.lock().unwrap().push_str(&format!("{note:?}\n")))
        .start()
        .unwrap();
    let token = world.call(&client, "read").await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.contains("SendRequest"));
    assert!(!seen.contains(&token));
}
