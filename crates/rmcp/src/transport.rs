//! The implementation of rmcp's trait: messages, streams, the end of a session.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use mcp_auth_client::asynchronous::Stopped;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest};
use rmcp::transport::common::http_header::{
    EVENT_STREAM_MIME_TYPE, HEADER_LAST_EVENT_ID, HEADER_SESSION_ID, JSON_MIME_TYPE,
};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use sse_stream::Sse;

use crate::answer;
use crate::client::{AuthorizedClient, Outgoing, Unanswered};
use crate::error::{Error, TransportError};

/// Additional headers of the transport.
type Custom = HashMap<HeaderName, HeaderValue>;

impl StreamableHttpClient for AuthorizedClient {
    type Error = Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: Custom,
    ) -> Result<StreamableHttpPostResponse, TransportError> {
        let limit = StreamableHttpClientTransportConfig::default().max_sse_event_size;
        self.post_message_with_max_sse_event_size(
            uri,
            message,
            session_id,
            auth_header,
            custom_headers,
            limit,
        )
        .await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: Custom,
        max_sse_event_size: usize,
    ) -> Result<StreamableHttpPostResponse, TransportError> {
        let mut headers = headers(
            custom_headers,
            auth_header.as_deref(),
            session_id.as_deref(),
        )?;
        let both = format!("{JSON_MIME_TYPE}, {EVENT_STREAM_MIME_TYPE}");
        headers.insert(ACCEPT, value(&both)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON_MIME_TYPE));
        let outgoing = Outgoing {
            operation: &operation(&message),
            method: Method::POST,
            url: &uri,
            headers,
            body: Some(Bytes::from(serde_json::to_vec(&message)?)),
        };
        let response = self.send(outgoing).await?;
        answer::posted(response, &message, session_id.is_some(), max_sse_event_size).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: Custom,
    ) -> Result<(), TransportError> {
        let headers = headers(custom_headers, auth_header.as_deref(), Some(&session_id))?;
        let outgoing = Outgoing {
            operation: "the end of the session",
            method: Method::DELETE,
            url: &uri,
            headers,
            body: None,
        };
        let response = self.send(outgoing).await?;
        let status = response.status();
        if status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED {
            Ok(())
        } else {
            Err(answer::failure(&response))
        }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: Custom,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, TransportError> {
        let limit = StreamableHttpClientTransportConfig::default().max_sse_event_size;
        self.get_stream_with_max_sse_event_size(
            uri,
            session_id,
            last_event_id,
            auth_header,
            custom_headers,
            limit,
        )
        .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: Custom,
        max_sse_event_size: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, TransportError> {
        let mut headers = headers(
            custom_headers,
            auth_header.as_deref(),
            session_id.as_deref(),
        )?;
        headers.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM_MIME_TYPE));
        if let Some(last) = last_event_id {
            headers.insert(HEADER_LAST_EVENT_ID, value(&last)?);
        }
        let outgoing = Outgoing {
            operation: "the stream",
            method: Method::GET,
            url: &uri,
            headers,
            body: None,
        };
        let response = self.send(outgoing).await.map_err(unopened)?;
        answer::stream(response, max_sse_event_size)
    }
}

/// Returns the error for a stream that cannot be opened. rmcp reopens a stream repeatedly, except after an
/// error that requires authorization; so the user is not asked repeatedly for a stream.
fn unopened(unanswered: Unanswered) -> TransportError {
    match unanswered {
        Unanswered::Stopped {
            stopped: Stopped::Failed(_),
            challenge: None,
        }
        | Unanswered::Failed(_) => unanswered.into(),
        Unanswered::Stopped { challenge, .. } => {
            answer::auth_required(challenge.unwrap_or_default())
        }
    }
}

/// Returns the operation that attempts are counted by: the method, with the tool's name for a tool call.
fn operation(message: &ClientJsonRpcMessage) -> String {
    match message {
        ClientJsonRpcMessage::Request(request) => {
            if let ClientRequest::CallToolRequest(call) = &request.request {
                format!("tools/call {}", call.params.name)
            } else {
                request.request.method().to_owned()
            }
        }
        ClientJsonRpcMessage::Notification(_) => "a notification".to_owned(),
        ClientJsonRpcMessage::Response(_) | ClientJsonRpcMessage::Error(_) => "a reply".to_owned(),
    }
}

/// Returns the transport's headers, without those of the protocol and of the authorization.
fn headers(
    custom: Custom,
    token: Option<&str>,
    session: Option<&str>,
) -> Result<HeaderMap, TransportError> {
    let reserved = [
        "accept",
        "authorization",
        "dpop",
        "last-event-id",
        "mcp-session-id",
    ];
    let conflict = custom.keys().find(|name| reserved.contains(&name.as_str()));
    if let Some(name) = conflict.or(token.map(|_| &AUTHORIZATION)) {
        return Err(StreamableHttpError::ReservedHeaderConflict(
            name.to_string(),
        ));
    }
    let mut headers: HeaderMap = custom.into_iter().collect();
    if let Some(session) = session {
        headers.insert(HEADER_SESSION_ID, value(session)?);
    }
    Ok(headers)
}

fn value(text: &str) -> Result<HeaderValue, TransportError> {
    HeaderValue::from_str(text).map_err(|_| {
        StreamableHttpError::UnexpectedServerResponse("an identifier is not a header value".into())
    })
}
