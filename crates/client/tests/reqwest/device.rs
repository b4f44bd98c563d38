//! A device authorization that the host begins for its own user, as a gateway does: the code goes to a page of
//! the host, and the host waits for the end.

use std::time::Duration;

use http::Method;
use http::header::CONTENT_TYPE;
use mcp_auth_client::asynchronous::{Accounts, DeviceSignIn, Nobody, Stopped};
use mcp_auth_client::{MemoryStore, SharedStore, seed};
use mcp_auth_machine::event::{Abandon, Authorization};

use crate::accounts::{call, network, server};
use crate::support::World;

const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("an end")
}

fn authorization() -> Authorization {
    seed().unwrap().into()
}

/// The user at another device.
async fn enters(world: &World, sign_in: &DeviceSignIn, answer: &str) {
    let code = sign_in.code();
    let body = format!("user_code={}&answer={answer}", code.user_code.as_str());
    let request = world.http.post(code.verification_uri.as_str());
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answered = request.body(body).send().await.unwrap();
    assert!(answered.status().is_success());
}

/// DEV-06, DEV-09, DEV-10: the code is shown, others receive `NeedUser`, and the host receives the end.
#[tokio::test]
async fn dev_10_a_host_shows_the_code_and_awaits_the_end() {
    let world = World::start().await;
    let client = world.client(Nobody);
    let begun = client.begin_on_other_device(authorization()).await;
    let sign_in = begun.unwrap().unwrap();
    let shown = format!("{sign_in:?}");
    assert!(
        !shown.contains(sign_in.code().user_code.as_str()),
        "{shown}"
    );
    let begun = client.begin_on_other_device(authorization()).await;
    let again = begun.unwrap().unwrap();
    assert_eq!(
        again.code().user_code.as_str(),
        sign_in.code().user_code.as_str()
    );
    let wanted = client.authorize("read", &Method::POST, &world.url);
    let wanted = within(wanted).await;
    assert!(matches!(wanted, Err(Stopped::NeedUser(_))), "{wanted:?}");
    enters(&world, &sign_in, "approve").await;
    within(sign_in.ended()).await.unwrap();
    within(again.ended()).await.unwrap();
    world.call(&client, "read").await.unwrap();
}

/// The driver polls although the host keeps nothing but the sign-in.
#[tokio::test]
async fn a_sign_in_keeps_its_driver() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let client = world.on(store.clone()).start().unwrap();
    let begun = client.begin_on_other_device(authorization()).await;
    let sign_in = begun.unwrap().unwrap();
    drop(client);
    enters(&world, &sign_in, "approve").await;
    within(sign_in.ended()).await.unwrap();
    let next = world.on(store).start().unwrap();
    world.call(&next, "read").await.unwrap();
}

/// DEV-09, DEV-10: each end of a code reaches the host.
#[tokio::test]
async fn dev_09_each_end_of_a_code_is_told() {
    let world = World::start().await;
    let begin = || async {
        let client = world.client(Nobody);
        let begun = client.begin_on_other_device(authorization()).await;
        (client, begun.unwrap().unwrap())
    };

    let (_client, sign_in) = begin().await;
    enters(&world, &sign_in, "decline").await;
    match within(sign_in.ended()).await {
        Err(Stopped::Failed(failure)) => assert_eq!(failure.cause.code(), "refused"),
        other => panic!("{other:?}"),
    }

    let (client, sign_in) = begin().await;
    client.abandon(Abandon::Cancelled);
    match within(sign_in.ended()).await {
        Err(Stopped::Failed(failure)) => assert_eq!(failure.cause.code(), "abandoned"),
        other => panic!("{other:?}"),
    }

    let (client, sign_in) = begin().await;
    client.sign_out().await.unwrap();
    let ended = within(sign_in.ended()).await;
    assert!(matches!(ended, Err(Stopped::SignedOut)), "{ended:?}");

    let (client, sign_in) = begin().await;
    let redirect = client.begin(authorization()).await.unwrap();
    assert!(redirect.is_some());
    let ended = within(sign_in.ended()).await;
    assert!(matches!(ended, Err(Stopped::NeedUser(_))), "{ended:?}");

    let (client, sign_in) = begin().await;
    client.close().await.unwrap();
    let ended = within(sign_in.ended()).await;
    assert!(matches!(ended, Err(Stopped::Ended)), "{ended:?}");
}

/// A gateway: each of many users may take a code, and a machine with one does not make room for others.
#[tokio::test]
async fn accounts_show_codes_too() {
    let world = World::start().await;
    let accounts = Accounts::builder(SharedStore::new(MemoryStore::default()))
        .network(&network())
        .machines(2)
        .start()
        .unwrap();
    let server = server(&accounts, &world);
    let begin = |principal: &'static str| {
        accounts.begin_on_other_device(&server, principal, authorization())
    };
    let alice = begin("alice").await.unwrap().unwrap();
    let wanted = accounts.authorize(&server, "alice", "read", &Method::POST);
    let wanted = within(wanted).await;
    assert!(matches!(wanted, Err(Stopped::NeedUser(_))), "{wanted:?}");
    // Others come and go through the room that is left.
    for principal in ["bob", "carol", "dave"] {
        let other = accounts.authorize(&server, principal, "read", &Method::POST);
        assert!(within(other).await.is_err());
    }
    enters(&world, &alice, "approve").await;
    within(alice.ended()).await.unwrap();
    call(&world, &accounts, &server, "alice").await.unwrap();
    accounts.close().await.unwrap();
}
