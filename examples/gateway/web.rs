//! One instance: its routes, and a client of the MCP server for each user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use mcp_auth_machine::Config;
use mcp_auth_machine::action::{BrowserUrl, Redirect};
use mcp_auth_machine::driver::asynchronous::Client;
use mcp_auth_machine::driver::{Store, seed};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::wire::callback::Callback;
use serde::Deserialize;
use serde_json::json;

use super::keys::{Keys, Session};
use super::pages::{HOME, Problem, came_back, page};

/// How many users an instance has clients for. What they hold is in the store.
const MAX_CLIENTS: usize = 10_000;

pub(crate) type SharedStore = Arc<dyn Store + Send + Sync>;

pub(crate) struct Gateway {
    config: Arc<Config>,
    store: SharedStore,
    keys: Arc<Keys>,
    http: reqwest::Client,
    /// Whether browsers reach it over HTTPS.
    secure: bool,
    clients: Mutex<HashMap<String, Client>>,
    begun: Mutex<HashMap<String, (BrowserUrl, Vec<u8>)>>,
}

#[derive(Deserialize)]
struct Login {
    user: String,
}

#[derive(Deserialize)]
struct Tool {
    tool: String,
    text: String,
}

pub(crate) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/", get(async || page(StatusCode::OK, HOME)))
        .route("/login", post(login))
        .route("/connect", get(connect))
        .route("/callback", get(callback))
        .route("/call", post(call))
        .route("/disconnect", post(disconnect))
        .with_state(Arc::new(gateway))
}

impl Gateway {
    pub(crate) fn new(
        config: Arc<Config>,
        store: SharedStore,
        keys: Arc<Keys>,
        http: reqwest::Client,
        secure: bool,
    ) -> Self {
        Self {
            config,
            store,
            keys,
            http,
            secure,
            clients: Mutex::default(),
            begun: Mutex::default(),
        }
    }

    /// The principal is the user of the session, and nothing else in the request (ISO-12).
    fn session(&self, headers: &HeaderMap) -> Result<Session, Problem> {
        let cookies = headers.get_all(COOKIE).iter();
        cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix("session="))
            .find_map(|session| self.keys.check(session))
            .ok_or(Problem::NoSession)
    }

    fn client(&self, session: &Session) -> Result<Client, Problem> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&session.user) {
            return Ok(client.clone());
        }
        if clients.len() >= MAX_CLIENTS {
            // Whoever is being served has a handle of their own.
            clients.clear();
            self.begun().clear();
        }
        let store = Arc::clone(&self.store);
        let client = Client::builder(Arc::clone(&self.config), session.user.as_str(), store)
            .start()
            .map_err(Problem::failed)?;
        clients.insert(session.user.clone(), client.clone());
        Ok(client)
    }
}

impl Gateway {
    /// Where each user was sent last, and in which browser.
    fn begun(&self) -> MutexGuard<'_, HashMap<String, (BrowserUrl, Vec<u8>)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_of_another_browser(&self, to: &Redirect, session: &Session) -> bool {
        let begun = self.begun();
        let last = begun.get(&session.user);
        last.is_some_and(|(url, proof)| *url == to.url && *proof != session.proof)
    }
}

type Shared = State<Arc<Gateway>>;

/// Stands for a real sign-in: it believes whoever says a name.
async fn login(State(gateway): Shared, Form(login): Form<Login>) -> Result<Response, Problem> {
    let session = gateway.keys.session(&login.user).map_err(Problem::failed)?;
    let secure = if gateway.secure { "; Secure" } else { "" };
    let cookie = format!("session={session}; Path=/; HttpOnly; SameSite=Lax{secure}");
    Ok((
        StatusCode::SEE_OTHER,
        [(SET_COOKIE, cookie), (LOCATION, "/".to_owned())],
    )
        .into_response())
}

/// Sends the user to the authorization server. The callback counts in this browser alone (CB-14).
async fn connect(State(gateway): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    let authorization = Authorization::new(seed().map_err(Problem::failed)?);
    let client = gateway.client(&session)?;
    let mut redirect = client.begin(authorization.browser(session.browser)).await?;
    if redirect
        .as_ref()
        .is_some_and(|to| gateway.is_of_another_browser(to, &session))
    {
        // One that was left there: it would come back to that browser alone.
        client.abandon(Abandon::Cancelled);
        let authorization = Authorization::new(seed().map_err(Problem::failed)?);
        redirect = client.begin(authorization.browser(session.browser)).await?;
    }
    if let Some(to) = &redirect {
        gateway
            .begun()
            .insert(session.user, (to.url.clone(), session.proof));
    }
    let place = redirect.map_or_else(|| "/".to_owned(), |to| to.url.as_str().to_owned());
    Ok((StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response())
}

/// Takes the callback, perhaps of a sign-in that began at another instance.
async fn callback(
    State(gateway): Shared,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    let callback = Callback::from_query(query.unwrap_or_default()).in_browser(session.browser);
    match gateway.client(&session)?.came_back(callback).await {
        Ok(true) => {}
        Ok(false) => eprintln!("a callback that belongs to no sign-in of this browser"),
        Err(stopped) => eprintln!("{stopped}"),
    }
    Ok(came_back())
}

/// Calls a tool of the MCP server for the user.
async fn call(
    State(gateway): Shared,
    headers: HeaderMap,
    Form(tool): Form<Tool>,
) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    let url = gateway.config.mcp_url().as_str();
    let params = json!({ "name": tool.tool, "arguments": { "text": tool.text } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let operation = format!("tools/call {}", tool.tool);
    let client = gateway.client(&session)?;
    let mut call = client.call(operation.as_str(), Method::POST, url);
    loop {
        let request = gateway.http.post(url).headers(call.headers().await?);
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(body.to_string());
        let answer = request.send().await.map_err(Problem::failed)?;
        if call.again(answer.status(), answer.headers()).await? {
            continue;
        }
        if !answer.status().is_success() {
            return Err(Problem::failed(answer.status()));
        }
        let text = answer.text().await.map_err(Problem::failed)?;
        return Ok(([(CONTENT_TYPE, "application/json")], text).into_response());
    }
}

async fn disconnect(State(gateway): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    gateway.client(&session)?.sign_out().await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response())
}
