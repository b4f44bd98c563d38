//! A host whose users are at other devices: redirect and callback are two requests to a web server.

use http::Method;
use mcp_auth_client::asynchronous::{Nobody, Stopped};
use mcp_auth_client::{MemoryStore, seed};
use mcp_auth_machine::action::Why;
use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::wire::callback::Callback;

use crate::support::World;

fn authorization() -> Authorization {
    seed().unwrap().into()
}

#[tokio::test]
async fn the_callback_may_come_back_to_another_instance() {
    let world = World::start().await;
    let store = MemoryStore::default();
    let one = world.on(store.clone()).start().unwrap();
    let two = world.on(store).start().unwrap();
    let Err(Stopped::NeedUser(need)) = world.call(&one, "read").await else {
        panic!("the user is not needed");
    };
    assert_eq!(need.why, Why::NoCredentials);
    let redirect = one.begin(authorization()).await.unwrap().unwrap();
    let callback = world.follow(&redirect).await;
    let stray = Callback::from_url("http://127.0.0.1:9/callback?code=x&state=y");
    assert!(!two.came_back(stray).await.unwrap());
    let back = || Callback::from_url(callback.as_str());
    assert!(two.came_back(back()).await.unwrap());
    assert!(!two.came_back(back()).await.unwrap());
    let token = world.call(&two, "read").await.unwrap();
    assert_eq!(world.call(&one, "read").await.unwrap(), token);
}

#[tokio::test]
async fn while_the_user_is_away_others_are_told_so_at_once() {
    let world = World::start().await;
    let client = world.client(Nobody);
    let redirect = client.begin(authorization()).await.unwrap().unwrap();
    let again = client.begin(authorization()).await.unwrap().unwrap();
    assert_eq!(redirect.url, again.url);
    let wanted = client.authorize("read", &Method::POST, &world.url).await;
    assert!(matches!(wanted, Err(Stopped::NeedUser(_))), "{wanted:?}");
    let called = world.call(&client, "read").await;
    assert!(matches!(called, Err(Stopped::NeedUser(_))), "{called:?}");
    let callback = world.follow(&redirect).await;
    assert!(
        client
            .came_back(Callback::from_url(callback))
            .await
            .unwrap()
    );
    world.call(&client, "read").await.unwrap();
}
