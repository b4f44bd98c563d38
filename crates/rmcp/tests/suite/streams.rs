//! Server-sent events: the server's own stream, and oversized streams.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Method;
use mcp_auth_client::asynchronous::Nobody;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient as _, StreamableHttpError, StreamableHttpPostResponse,
};
use tokio::time::timeout;

use crate::guard::Instead;
use crate::support::{Agreeing, World, calling, direct};

#[tokio::test]
async fn the_servers_own_stream_is_authorized_and_brings_its_messages() {
    let world = World::start().await;
    let connection = world.connect(Agreeing::default()).await;
    connection.call("announce").await.unwrap();
    let changed = connection.changes.notified();
    timeout(Duration::from_secs(10), changed).await.unwrap();
    let seen = world.guard.take_seen();
    let stream = seen.iter().find(|seen| seen.method == Method::GET).unwrap();
    assert!(stream.token.is_some() && stream.status.is_success());
}

#[tokio::test]
async fn a_stream_is_opened_with_a_renewed_token() {
    let world = World::start().await;
    let user = Agreeing::default();
    let authorization = world.authorization(user.clone());
    let connection = world.try_connect(authorization.clone()).await.unwrap();
    connection.call("read").await.unwrap();
    world.revoke(&user.client_id()).await;
    let client = direct(authorization);
    let open = client.get_stream(
        world.url.as_str().into(),
        Some("no session".into()),
        Some("event 7".into()),
        None,
        HashMap::new(),
    );
    // The session is unknown, which the server reveals to authorized clients only.
    assert!(open.await.is_err());
    let seen = world.guard.take_seen();
    let statuses: Vec<_> = seen.iter().map(|seen| seen.status.as_u16()).collect();
    assert_eq!(statuses, [401, 404]);
    let events: Vec<_> = seen.iter().map(|seen| seen.last_event.as_deref()).collect();
    assert_eq!(events, [Some("event 7"); 2]);
    assert_eq!((user.trips(), world.server.refreshes()), (1, 1));
}

#[tokio::test]
async fn a_stream_that_needs_a_user_who_is_not_there_is_not_asked_for_again() {
    let world = World::start().await;
    let client = direct(world.authorization(Nobody));
    let open = client.get_stream(world.url.as_str().into(), None, None, None, HashMap::new());
    // rmcp stops at this error, and at no other error about authorization.
    let Err(StreamableHttpError::AuthRequired(required)) = open.await else {
        panic!("opened");
    };
    assert!(
        required
            .www_authenticate_header
            .contains("resource_metadata")
    );
}

#[tokio::test]
async fn an_event_larger_than_the_transport_allows_ends_the_stream() {
    let world = World::start().await;
    let text = format!("data: short\n\ndata: {}\n\n", "long".repeat(100));
    world.guard.answer_instead(Instead::Events(text));
    let client = direct(world.authorization(Agreeing::default()));
    for (limit, whole) in [(64, false), (1024, true)] {
        let url = world.url.as_str().into();
        let (call, custom) = (calling("read"), HashMap::new());
        let posted =
            client.post_message_with_max_sse_event_size(url, call, None, None, custom, limit);
        let StreamableHttpPostResponse::Sse(mut events, _) = posted.await.unwrap() else {
            panic!("no stream");
        };
        if whole {
            assert_eq!(events.next().await.unwrap().unwrap().data.unwrap(), "short");
            assert!(events.next().await.unwrap().is_ok());
            assert!(events.next().await.is_none());
        } else {
            let error = loop {
                if let Err(error) = events.next().await.unwrap() {
                    break error;
                }
            };
            assert!(error.to_string().contains("64 bytes"), "{error}");
        }
    }
}
