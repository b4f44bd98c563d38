//! An authorization endpoint with axum, built from `mcp_auth_server::AuthorizationServer`, which adds `iss`
//! to every response.
//!
//! ```sh
//! cargo run -p mcp-auth-server --example server_authorization
//! ```
//!
//! The example shows metadata and the authorization endpoint only; the built-in server of `mcp-auth demo`
//! is complete.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mcp_auth_server::{
    AuthorizationError, AuthorizationServer, CodeChallenge, RedirectRules, RedirectTarget,
};

/// The only client of this example.
const CLIENT: (&str, &str) = ("example-client", "http://127.0.0.1/callback");

async fn metadata(State(server): State<Arc<AuthorizationServer>>) -> Response {
    let issuer = server.issuer();
    let document = server
        .metadata(&format!("{issuer}/authorize"), &format!("{issuer}/token"))
        .token_auth_methods(["none"])
        .to_json();
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}

async fn authorize(
    State(server): State<Arc<AuthorizationServer>>,
    Query(asked): Query<Vec<(String, String)>>,
) -> Response {
    let get = |name: &str| {
        let mut found = asked.iter().filter(|(known, _)| known == name);
        let first = found.next().map(|(_, value)| value.as_str());
        // A repeated parameter counts as absent.
        first.filter(|_| found.next().is_none())
    };
    let sent = get("redirect_uri").filter(|_| get("client_id") == Some(CLIENT.0));
    // Without a known client with this redirect URI, a page instead of a redirect.
    let registered = RedirectRules::default().parse(CLIENT.1).ok();
    let target = sent.and_then(|sent| RedirectTarget::find(&registered, sent));
    let Some(target) = target else {
        return (StatusCode::BAD_REQUEST, "unknown client or redirect URI").into_response();
    };
    let mut responding = server.respond(target);
    if let Some(state) = get("state") {
        responding = responding.state(state);
    }
    let challenge = get("code_challenge").unwrap_or_default();
    let response = match CodeChallenge::parse(challenge, get("code_challenge_method")) {
        // A real server authenticates the user, asks for consent, and stores the grant of the code.
        Ok(_challenge) => responding.code("a-code-that-is-good-once"),
        Err(error) => {
            responding.error(AuthorizationError::InvalidRequest, Some(&error.to_string()))
        }
    };
    response.into_http().map(Body::from)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let server = AuthorizationServer::new(&issuer).map_err(io::Error::other)?;
    let mut router = Router::new().route(
        "/authorize",
        // A HEAD request must not issue a code.
        get(authorize).head(async || StatusCode::METHOD_NOT_ALLOWED),
    );
    for path in server.metadata_paths() {
        println!("metadata at {issuer}{path}");
        router = router.route(&path, get(metadata));
    }
    axum::serve(listener, router.with_state(Arc::new(server))).await
}
