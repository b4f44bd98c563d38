//! Destinations that must not receive tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use http::{HeaderName, HeaderValue, StatusCode};
use mcp_auth_client::MemoryStore;
use mcp_auth_client::asynchronous::{Client, Stopped};
use mcp_auth_machine::{Config, NoBearer};
use mcp_auth_rmcp::Error;
use rmcp::model::ServerJsonRpcMessage;
use rmcp::service::ServiceError;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient as _, StreamableHttpError, StreamableHttpPostResponse,
};
use tokio::net::TcpListener;

use crate::guard::Instead;
use crate::support::{Agreeing, World, calling, direct, transport_error};

/// A server that counts requests.
async fn elsewhere() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let router = Router::new().fallback(move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        StatusCode::OK
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, count)
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let world = World::start().await;
    let (other, arrived) = elsewhere().await;
    let connection = world.connect(Agreeing::default()).await;
    for to in [other, format!("{}/further", world.url)] {
        world.guard.take_seen();
        world.guard.answer_instead(Instead::Redirect(to));
        let error = connection.call("read").await.unwrap_err();
        assert!(error.to_string().contains("307"), "{error}");
        let seen = world.guard.take_seen();
        let posts = seen.iter().filter(|seen| seen.status.as_u16() != 200);
        assert_eq!(posts.count(), 1);
    }
    assert_eq!(arrived.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_transport_to_another_place_gets_no_token() {
    let world = World::start().await;
    let (other, arrived) = elsewhere().await;
    let authorization = world.authorization(Agreeing::default());
    world.try_connect(authorization.clone()).await.unwrap();
    let client = direct(authorization);
    let posted = client.post_message(
        other.as_str().into(),
        calling("read"),
        None,
        None,
        HashMap::new(),
    );
    let Err(StreamableHttpError::Client(Error::Stopped(stopped))) = posted.await else {
        panic!("posted");
    };
    let outside = NoBearer::OutsideResource;
    assert!(matches!(*stopped, Stopped::NotPresented(flaw) if flaw == outside));
    assert_eq!(arrived.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_second_token_is_refused() {
    let world = World::start().await;
    let client = direct(world.authorization(Agreeing::default()));
    let mut attempts = vec![(Some("another token".to_owned()), HashMap::new())];
    for name in [
        "authorization",
        "dpop",
        "mcp-session-id",
        "accept",
        "last-event-id",
    ] {
        let name = HeaderName::from_static(name);
        let value = HeaderValue::from_static("x");
        attempts.push((None, HashMap::from([(name, value)])));
    }
    for (token, custom) in attempts {
        let posted = client.post_message(
            world.url.as_str().into(),
            calling("read"),
            None,
            token,
            custom,
        );
        let refused = posted.await;
        assert!(
            matches!(refused, Err(StreamableHttpError::ReservedHeaderConflict(_))),
            "{refused:?}"
        );
    }
    assert!(world.guard.take_seen().is_empty());
}

#[tokio::test]
async fn errors_hold_no_token_and_no_url() {
    let world = World::start().await;
    let connection = world.connect(Agreeing::default()).await;
    connection.call("read").await.unwrap();
    let token = world.guard.take_seen().pop().unwrap().token.unwrap();
    for status in [400, 403, 404, 418, 429, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        world.guard.answer_instead(Instead::Echo(status));
        let error = connection.call("read").await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains(&token), "{told}");
    }
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let url = format!("http://{address}/mcp?key=secret");
    let config = Config::builder(&url, "http://127.0.0.1:9/callback");
    let config = config.build().unwrap();
    let authorization = Client::builder(config, "alice", MemoryStore::default());
    let client = direct(authorization.start().unwrap());
    let posted = client.post_message(url.into(), calling("read"), None, None, HashMap::new());
    let error = posted.await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(!told.contains("secret"), "{told}");
}

#[tokio::test]
async fn a_server_that_is_busy_is_told_apart() {
    let world = World::start().await;
    let connection = world.connect(Agreeing::default()).await;
    world
        .guard
        .answer_instead(Instead::Echo(StatusCode::TOO_MANY_REQUESTS));
    let error = connection.call("read").await.unwrap_err();
    let ServiceError::TransportSend(error) = &error else {
        panic!("{error:?}");
    };
    let limited = transport_error(error);
    assert!(matches!(limited, StreamableHttpError::HttpStatus(told) if told.status == 429));
}

#[tokio::test]
async fn the_end_of_a_session_sends_nobody_to_the_browser() {
    let world = World::start().await;
    let user = Agreeing::default();
    let client = direct(world.authorization(user.clone()));
    let url = world.url.as_str().into();
    let ended = client.delete_session(url, "session".into(), None, HashMap::new());
    let refused = ended.await;
    assert!(
        matches!(refused, Err(StreamableHttpError::AuthRequired(_))),
        "{refused:?}"
    );
    assert_eq!((user.trips(), world.guard.take_seen().len()), (0, 1));
}

#[tokio::test]
async fn an_error_of_the_protocol_reaches_the_caller_whatever_its_status() {
    let world = World::start().await;
    let client = direct(world.authorization(Agreeing::default()));
    let told = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no such tool"}}"#;
    for status in [400, 404, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        world.guard.answer_instead(Instead::Json(status, told));
        let url = world.url.as_str().into();
        let posted = client.post_message(url, calling("read"), None, None, HashMap::new());
        let answer = posted.await.unwrap();
        let StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(error), _) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(error.error.message, "no such tool");
    }
}
