//! Sign-in, refresh, step-up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use mcp_auth_client::MemoryStore;
use mcp_auth_client::asynchronous::{Callbacks, Client, Nobody, Stopped, User};
use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_machine::action::{NeedUser, Redirect, Why};
use mcp_auth_machine::config::{Dpop, DpopPolicy};
use mcp_auth_machine::event::Authorization;
use mcp_auth_rmcp::stopped;
use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _};

use tokio::sync::Barrier;

use crate::guard::{Instead, TOOLS};
use crate::support::{Agreeing, World, direct, stopped_by};

/// The number of concurrent requests of rmcp.
const AT_ONCE: usize = 16;

#[tokio::test]
async fn a_complete_sign_in_from_the_first_refusal_to_the_end_of_the_session() {
    let world = World::start().await;
    let user = Agreeing::default();
    let connection = world.connect(user.clone()).await;
    let tools = connection.mcp.list_all_tools().await.unwrap();
    assert!(tools.iter().map(|tool| &*tool.name).eq(TOOLS));
    assert_eq!(
        connection.call("read").await.unwrap(),
        "read has been called"
    );
    connection.mcp.cancel().await.unwrap();

    let seen = world.guard.take_seen();
    assert_eq!(seen[0].status, StatusCode::UNAUTHORIZED);
    assert_eq!(seen[0].token, None);
    let after: BTreeSet<_> = seen[1..].iter().map(|seen| seen.token.clone()).collect();
    assert_eq!(after.len(), 1, "one token for everything: {seen:?}");
    assert!(seen[1..].iter().all(|seen| seen.status.is_success()));
    assert_eq!(seen.last().unwrap().method, Method::DELETE);
    assert_eq!((user.trips(), world.server.refreshes()), (1, 0));
}

#[tokio::test]
async fn servers_without_sessions_are_signed_in_to_as_well() {
    let world = World::start().await;
    let user = Agreeing::default();
    let transport = direct(world.authorization(user.clone())).transport(world.url.as_str());
    let lifecycle = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let mcp = ().serve_with_lifecycle(transport, lifecycle).await.unwrap();
    assert_eq!(mcp.list_all_tools().await.unwrap().len(), TOOLS.len());
    mcp.cancel().await.unwrap();
    assert_eq!(user.trips(), 1);
    let seen = world.guard.take_seen();
    assert!(seen.iter().all(|seen| seen.method == Method::POST));
}

#[tokio::test]
async fn an_old_server_is_noticed_behind_its_authorization() {
    let world = World::start().await;
    world.guard.old.store(true, Ordering::SeqCst);
    let user = Agreeing::default();
    let transport = direct(world.authorization(user.clone())).transport(world.url.as_str());
    let lifecycle = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: None,
    };
    let mcp = ().serve_with_lifecycle(transport, lifecycle).await.unwrap();
    assert_eq!(mcp.list_all_tools().await.unwrap().len(), TOOLS.len());
    assert_eq!(user.trips(), 1);
}

#[tokio::test]
async fn a_session_that_the_server_has_forgotten_is_opened_again() {
    let world = World::start().await;
    let user = Agreeing::default();
    let connection = world.connect(user.clone()).await;
    world.guard.answer_instead(Instead::NoSession);
    connection.call("read").await.unwrap();
    let seen = world.guard.take_seen();
    assert!(seen.iter().any(|seen| seen.status == StatusCode::NOT_FOUND));
    assert_eq!((user.trips(), world.server.refreshes()), (1, 0));
}

#[tokio::test]
async fn a_token_that_has_ended_is_renewed_without_the_user() {
    let world = World::start().await;
    let user = Agreeing::default();
    let connection = world.connect(user.clone()).await;
    connection.call("read").await.unwrap();
    let old = world.revoke(&user.client_id()).await;
    connection.call("read").await.unwrap();
    let seen = world.guard.take_seen();
    let statuses: Vec<_> = seen.iter().map(|seen| seen.status.as_u16()).collect();
    assert_eq!(statuses, [401, 200]);
    assert_eq!(seen[0].token.as_deref(), Some(old.as_str()));
    assert_ne!(seen[1].token, seen[0].token);
    // Some servers leave a connection after a refusal.
    assert_ne!(seen[1].peer, seen[0].peer);
    assert_eq!((user.trips(), world.server.refreshes()), (1, 1));
}

#[tokio::test]
async fn a_token_that_is_over_is_renewed_before_it_is_refused() {
    let world = World::with_tokens_for(2).await;
    let user = Agreeing::default();
    let connection = world.connect(user.clone()).await;
    world.guard.take_seen();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    connection.call("read").await.unwrap();
    let seen = world.guard.take_seen();
    assert!(seen.iter().all(|seen| seen.status.is_success()), "{seen:?}");
    assert!(world.server.refreshes() > 0);
    assert_eq!(user.trips(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_with_a_token_that_has_ended_make_one_refresh() {
    let world = World::start().await;
    let user = Agreeing::default();
    let connection = Arc::new(world.connect(user.clone()).await);
    connection.call("read").await.unwrap();
    world.revoke(&user.client_id()).await;
    *world.guard.gate.lock().unwrap() = Some(Arc::new(Barrier::new(AT_ONCE)));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let connection = Arc::clone(&connection);
            tokio::spawn(async move { connection.call("read").await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let seen = world.guard.take_seen();
    let refused = seen.iter().filter(|seen| !seen.status.is_success()).count();
    assert_eq!(refused, AT_ONCE);
    assert_eq!((user.trips(), world.server.refreshes()), (1, 1));
}

#[tokio::test]
async fn a_tool_that_needs_more_is_called_after_a_step_up() {
    let world = World::start().await;
    world.protect("write", "notes:write");
    let user = Agreeing::default();
    let connection = world.connect(user.clone()).await;
    connection.call("read").await.unwrap();
    assert_eq!(
        connection.call("write").await.unwrap(),
        "write has been called"
    );
    assert_eq!(user.trips(), 2);
    let seen = world.guard.take_seen();
    assert!(seen.iter().any(|seen| seen.status == StatusCode::FORBIDDEN));
    connection.call("write").await.unwrap();
    connection.call("read").await.unwrap();
    assert_eq!(user.trips(), 2);
    let seen = world.guard.take_seen();
    assert!(seen.iter().all(|seen| seen.status.is_success()));
}

/// A user who signs in, and declines every further scope.
struct Reluctant(Agreeing);

impl User for Reluctant {
    async fn consent(&self, need: NeedUser, with: Authorization) -> Option<Authorization> {
        (need.why == Why::NoCredentials).then_some(with)
    }

    async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
        self.0.redirect(redirect, callbacks).await;
    }
}

#[tokio::test]
async fn a_step_up_that_the_user_declines_fails_that_call_alone() {
    let world = World::start().await;
    world.protect("write", "notes:write");
    let user = Agreeing::default();
    let connection = world.connect(Reluctant(user.clone())).await;
    let error = connection.call("write").await.unwrap_err();
    let Stopped::NeedUser(need) = stopped_by(&error) else {
        panic!("{error:?}");
    };
    assert!(matches!(need.why, Why::ScopeMissing { .. }));
    assert_eq!(
        need.operation.as_ref().unwrap().as_str(),
        "tools/call write"
    );
    connection.call("read").await.unwrap();
    assert_eq!(user.trips(), 1);
}

#[tokio::test]
async fn without_a_user_the_connection_fails_with_the_need() {
    let world = World::start().await;
    let failed = world.try_connect(world.authorization(Nobody)).await;
    let error = failed.err().unwrap();
    let ClientInitializeError::TransportError { error, .. } = &*error else {
        panic!("{error:?}");
    };
    let Some(Stopped::NeedUser(need)) = stopped(error) else {
        panic!("{error:?}");
    };
    assert_eq!(need.operation.as_ref().unwrap().as_str(), "initialize");
}

#[tokio::test]
async fn dpop_each_request_carries_a_proof_of_its_own() {
    let world = World::start().await;
    let key = SoftwareKey::generate("key").unwrap();
    let dpop = Dpop::new(DpopPolicy::Require).key(key.describe().unwrap());
    let config = world.config().dpop(dpop).build().unwrap();
    let authorization = Client::builder(config, "alice", MemoryStore::default())
        .user(Agreeing::default())
        .signer(key);
    let connection = world.try_connect(authorization.start().unwrap()).await;
    let connection = connection.unwrap();
    connection.call("read").await.unwrap();
    connection.mcp.cancel().await.unwrap();
    let seen = world.guard.take_seen();
    assert_eq!(seen.last().unwrap().method, Method::DELETE);
    assert!(seen[1..].iter().all(|seen| seen.status.is_success()));
    let proofs: BTreeSet<_> = seen[1..].iter().map(|seen| seen.proof.clone()).collect();
    assert_eq!(proofs.len(), seen.len() - 1);
    assert!(!proofs.contains(&None));
}
