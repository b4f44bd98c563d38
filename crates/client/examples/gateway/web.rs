//! One instance: its routes, and an MCP client per user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use mcp_auth_client::asynchronous::Client;
use mcp_auth_client::{Store, seed};
use mcp_auth_machine::Config;
use mcp_auth_machine::action::{BrowserUrl, Redirect};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::wire::callback::Callback;
use serde::Deserialize;
use serde_json::json;

use super::cookies::{Cookies, Name};
use super::guard::{Origins, check};
use super::keys::{Browser, Keys, Session};
use super::pages::{HOME, Problem, came_back, page};

/// The number of users with a client in this instance. Their tokens are in the store.
const MAX_CLIENTS: usize = 10_000;
/// The largest response of the MCP server that is passed on, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// The largest form, in bytes.
const MAX_FORM: usize = 16 * 1024;

pub(crate) type SharedStore = Arc<dyn Store + Send + Sync>;

pub(crate) struct Gateway {
    config: Arc<Config>,
    store: SharedStore,
    keys: Arc<Keys>,
    http: reqwest::Client,
    cookies: Cookies,
    clients: Mutex<HashMap<String, Client>>,
    begun: Mutex<HashMap<String, (BrowserUrl, Browser)>>,
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

pub(crate) fn router(gateway: Gateway, origins: Arc<Origins>) -> Router {
    // A HEAD request must not start or complete an authorization.
    let no_head = async || StatusCode::METHOD_NOT_ALLOWED;
    Router::new()
        .route("/", get(async || page(StatusCode::OK, HOME)))
        .route("/login", post(login))
        .route("/connect", get(connect).head(no_head))
        .route("/callback", get(callback).head(no_head))
        .route("/call", post(call))
        .route("/disconnect", post(disconnect))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn_with_state(origins, check))
        .with_state(Arc::new(gateway))
}

impl Gateway {
    pub(crate) fn new(
        config: Arc<Config>,
        store: SharedStore,
        keys: Arc<Keys>,
        http: reqwest::Client,
        cookies: Cookies,
    ) -> Self {
        Self {
            config,
            store,
            keys,
            http,
            cookies,
            clients: Mutex::default(),
            begun: Mutex::default(),
        }
    }

    /// Returns the session. The principal is its user, and no other part of the request (ISO-12).
    fn session(&self, headers: &HeaderMap) -> Result<Session, Problem> {
        let session = self.cookies.get(headers, Name::Session);
        session
            .and_then(|session| self.keys.check(session))
            .ok_or(Problem::NoSession)
    }

    fn client(&self, session: &Session) -> Result<Client, Problem> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&session.user) {
            return Ok(client.clone());
        }
        if clients.len() >= MAX_CLIENTS {
            // Requests in progress have their own handles.
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
    /// Returns the last redirect of each user, with its browser.
    fn begun(&self) -> MutexGuard<'_, HashMap<String, (BrowserUrl, Browser)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_of_another_browser(&self, to: &Redirect, session: &Session, here: &Browser) -> bool {
        let begun = self.begun();
        let last = begun.get(&session.user);
        last.is_some_and(|(url, browser)| *url == to.url && browser != here)
    }
}

type Shared = State<Arc<Gateway>>;

/// A placeholder for real authentication: it accepts any user name.
async fn login(State(gateway): Shared, Form(login): Form<Login>) -> Result<Response, Problem> {
    let session = gateway.keys.session(&login.user).map_err(Problem::failed)?;
    let cookie = gateway.cookies.set(Name::Session, &session);
    Ok((
        StatusCode::SEE_OTHER,
        [(SET_COOKIE, cookie), (LOCATION, "/".to_owned())],
    )
        .into_response())
}

/// Redirects the user to the authorization server. The callback is accepted from this browser only (CB-14).
async fn connect(State(gateway): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    let number = match gateway.cookies.get(&headers, Name::Browser) {
        Some(number) => number.to_owned(),
        None => gateway.keys.new_browser().map_err(Problem::failed)?,
    };
    let browser = gateway.keys.browser(&session, &number);
    let authorization = Authorization::new(seed().map_err(Problem::failed)?);
    let client = gateway.client(&session)?;
    let mut redirect = client
        .begin(authorization.browser(browser.binding()))
        .await?;
    if redirect
        .as_ref()
        .is_some_and(|to| gateway.is_of_another_browser(to, &session, &browser))
    {
        // Cancels an authorization from another browser, which only that browser could complete.
        client.abandon(Abandon::Cancelled);
        let authorization = Authorization::new(seed().map_err(Problem::failed)?);
        redirect = client
            .begin(authorization.browser(browser.binding()))
            .await?;
    }
    if let Some(to) = &redirect {
        gateway
            .begun()
            .insert(session.user, (to.url.clone(), browser));
    }
    let place = redirect.map_or_else(|| "/".to_owned(), |to| to.url.as_str().to_owned());
    let cookie = gateway.cookies.set(Name::Browser, &number);
    Ok((
        StatusCode::SEE_OTHER,
        [(SET_COOKIE, cookie), (LOCATION, place)],
    )
        .into_response())
}

/// Handles the callback, perhaps of a sign-in that started at another instance.
async fn callback(
    State(gateway): Shared,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    let number = gateway.cookies.get(&headers, Name::Browser);
    let browser = gateway.keys.browser(&session, number.unwrap_or_default());
    let callback = Callback::from_query(query.unwrap_or_default()).in_browser(browser.binding());
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
        let mut answer = request.send().await.map_err(Problem::failed)?;
        if call.again(answer.status(), answer.headers()).await? {
            continue;
        }
        if !answer.status().is_success() {
            return Err(Problem::failed(answer.status()));
        }
        let mut whole = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(Problem::failed)? {
            if whole.len().saturating_add(part.len()) > MAX_ANSWER {
                return Err(Problem::failed("the answer is too long"));
            }
            whole.extend_from_slice(&part);
        }
        return Ok(([(CONTENT_TYPE, "application/json")], whole).into_response());
    }
}

async fn disconnect(State(gateway): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    gateway.client(&session)?.sign_out().await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response())
}
