//! Responses of the MCP server, converted for rmcp's transport.

use futures_core::stream::BoxStream;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::common::http_header::{
    EVENT_STREAM_MIME_TYPE, HEADER_SESSION_ID, JSON_MIME_TYPE,
};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, InsufficientScopeError, SseError, StreamableHttpError,
    StreamableHttpPostResponse as Posted,
};
use sse_stream::Sse;

use crate::error::{TransportError, failed};
use crate::events::events;

/// The limits of rmcp's own clients, in bytes.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
const REFUSAL_LIMIT: usize = 64 * 1024;

/// Converts the response to a message.
pub(crate) async fn posted(
    response: Response,
    message: &ClientJsonRpcMessage,
    in_session: bool,
    event_limit: usize,
) -> Result<Posted, TransportError> {
    let status = response.status();
    if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
        return Ok(Posted::Accepted);
    }
    if !status.is_success() {
        return refused(response, message, in_session).await;
    }
    let expects_answer = matches!(message, ClientJsonRpcMessage::Request(_));
    let session = text(response.headers(), HEADER_SESSION_ID);
    let kind = text(response.headers(), CONTENT_TYPE.as_str());
    if is(kind.as_deref(), EVENT_STREAM_MIME_TYPE) {
        return Ok(Posted::Sse(events(response, event_limit), session));
    }
    if is(kind.as_deref(), JSON_MIME_TYPE) {
        let body = read(response, ANSWER_LIMIT).await?;
        return match serde_json::from_slice(&body) {
            Ok(answer) => Ok(Posted::Json(answer, session)),
            Err(_) if !expects_answer => Ok(Posted::Accepted),
            Err(error) => Err(StreamableHttpError::Deserialize(error)),
        };
    }
    if !expects_answer && response.content_length() == Some(0) {
        return Ok(Posted::Accepted);
    }
    Err(StreamableHttpError::UnexpectedContentType(kind))
}

async fn refused(
    response: Response,
    message: &ClientJsonRpcMessage,
    in_session: bool,
) -> Result<Posted, TransportError> {
    let status = response.status();
    if status == StatusCode::NOT_FOUND && in_session {
        return Err(StreamableHttpError::SessionExpired);
    }
    let error = failure(&response);
    let kind = text(response.headers(), CONTENT_TYPE.as_str());
    let unauthorized = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if unauthorized || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(error);
    }
    let told = if is(kind.as_deref(), JSON_MIME_TYPE) {
        let body = read(response, REFUSAL_LIMIT).await.unwrap_or_default();
        match serde_json::from_slice(&body) {
            Ok(ServerJsonRpcMessage::Error(told)) => Some(told),
            Ok(_) | Err(_) => None,
        }
    } else {
        None
    };
    // A server of an older revision may reject an unknown request with a page, or without the request's id.
    // rmcp recognises such a server by an error with that id.
    if let ClientJsonRpcMessage::Request(request) = message
        && matches!(request.request, ClientRequest::DiscoverRequest(_))
        && status.is_client_error()
        && !in_session
    {
        let told = told.map(|told| told.error);
        let told =
            told.unwrap_or_else(|| ErrorData::invalid_request(format!("HTTP {status}"), None));
        let answer = ServerJsonRpcMessage::error(told, Some(request.id.clone()));
        return Ok(Posted::Json(answer, None));
    }
    match told {
        Some(told) => Ok(Posted::Json(ServerJsonRpcMessage::Error(told), None)),
        None => Err(error),
    }
}

/// Returns the requested stream.
pub(crate) fn stream(
    response: Response,
    event_limit: usize,
) -> Result<BoxStream<'static, Result<Sse, SseError>>, TransportError> {
    let status = response.status();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        return Err(StreamableHttpError::ServerDoesNotSupportSse);
    }
    if !status.is_success() {
        return Err(failure(&response));
    }
    let kind = text(response.headers(), CONTENT_TYPE.as_str());
    if is(kind.as_deref(), EVENT_STREAM_MIME_TYPE) {
        Ok(events(response, event_limit))
    } else {
        Err(StreamableHttpError::UnexpectedContentType(kind))
    }
}

/// Returns an error with the status, without the server's text, which may repeat secrets of the request.
pub(crate) fn failure(response: &Response) -> TransportError {
    let status = response.status();
    let challenge = text(response.headers(), WWW_AUTHENTICATE.as_str());
    match (status, challenge) {
        (StatusCode::UNAUTHORIZED, Some(challenge)) => auth_required(challenge),
        // The driver has already handled the scope.
        (StatusCode::FORBIDDEN, Some(challenge)) => {
            StreamableHttpError::InsufficientScope(InsufficientScopeError::new(challenge, None))
        }
        _ if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            let rest = text(response.headers(), RETRY_AFTER.as_str());
            HttpStatusError::new(status.as_u16(), rest).into()
        }
        _ if status.is_redirection() => StreamableHttpError::UnexpectedServerResponse(
            format!("HTTP {status}: redirects are not followed with a token").into(),
        ),
        _ => StreamableHttpError::UnexpectedServerResponse(format!("HTTP {status}").into()),
    }
}

pub(crate) fn auth_required(challenge: String) -> TransportError {
    StreamableHttpError::AuthRequired(AuthRequiredError::new(challenge))
}

pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn is(kind: Option<&str>, wanted: &str) -> bool {
    let essence = kind.and_then(|kind| kind.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

async fn read(mut response: Response, max_size: usize) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len().saturating_add(chunk.len()) > max_size {
            return Err(StreamableHttpError::ResponseBodyTooLarge { max_size });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
