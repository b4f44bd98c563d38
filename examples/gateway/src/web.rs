//! The web server of one instance: sessions, sign-ins, tool calls.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{DefaultBodyLimit, Query, RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use mcp_auth_client::asynchronous::{Accounts, Returned, Server, Stopped};
use mcp_auth_client::seed;
use mcp_auth_machine::Config;
use mcp_auth_machine::action::{BrowserUrl, NeedUser, Redirect};
use mcp_auth_machine::event::{Abandon, Authorization};
use mcp_auth_machine::wire::callback::Callback;
use serde::Deserialize;
use serde_json::json;

use crate::cookies::{Cookies, Name};
use crate::guard::check;
use crate::keys::{Browser, Keys, Session};
use crate::origins::Origins;
use crate::pages::{Problem, came_back, home, status};

/// The number of users whose questions and browsers this instance remembers. Their accounts are in the store.
const MAX_USERS: usize = 10_000;
/// The largest response of the MCP server that is passed on, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// The largest form, in bytes.
const MAX_FORM: usize = 16 * 1024;

/// A user and the number of an MCP server.
type Account = (String, usize);

pub(crate) struct Gateway {
    accounts: Accounts,
    servers: Vec<Server>,
    keys: Arc<Keys>,
    http: reqwest::Client,
    cookies: Cookies,
    /// The last redirect of each account, with its browser.
    begun: Recent<Account, (BrowserUrl, Browser)>,
    /// The question that the next sign-in answers, such as scopes that a tool needs.
    needs: Recent<Account, NeedUser>,
}

/// The latest values, in bounded space: a lost one costs its user one more click.
struct Recent<K, V>(Mutex<HashMap<K, V>>);

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).cloned()
    }

    fn insert(&self, key: K, value: V) {
        let mut known = self.lock();
        if known.len() >= MAX_USERS {
            known.clear();
        }
        known.insert(key, value);
    }

    fn remove(&self, key: &K) {
        self.lock().remove(key);
    }
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Deserialize)]
struct Login {
    user: String,
}

/// One of the MCP servers; the first unless named.
#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    server: usize,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    server: usize,
    tool: String,
    text: String,
}

pub(crate) fn router(gateway: Gateway, origins: Arc<Origins>) -> Router {
    // A HEAD request must not start or complete an authorization.
    let no_head = async || StatusCode::METHOD_NOT_ALLOWED;
    Router::new()
        .route("/", get(start))
        .route("/status", get(accounts))
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
        accounts: Accounts,
        configs: &[Arc<Config>],
        keys: Arc<Keys>,
        http: reqwest::Client,
        cookies: Cookies,
    ) -> Self {
        let servers = configs.iter();
        let servers = servers.map(|config| accounts.add_server(Arc::clone(config)));
        Self {
            servers: servers.collect(),
            accounts,
            keys,
            http,
            cookies,
            begun: Recent::default(),
            needs: Recent::default(),
        }
    }

    /// Returns the session. The principal is its user, and no other part of the request (ISO-12).
    fn session(&self, headers: &HeaderMap) -> Result<Session, Problem> {
        let session = self.cookies.get(headers, Name::Session);
        session
            .and_then(|session| self.keys.check(session))
            .ok_or(Problem::NoSession)
    }

    fn server(&self, number: usize) -> Result<&Server, Problem> {
        self.servers.get(number).ok_or(Problem::NoServer)
    }

    fn is_of_another_browser(&self, to: &Redirect, account: &Account, here: &Browser) -> bool {
        let last = self.begun.get(account);
        last.is_some_and(|(url, browser)| url == to.url && browser != *here)
    }

    /// Remembers the question to the user.
    fn stopped(&self, account: Account, stopped: Stopped) -> Problem {
        if let Stopped::NeedUser(need) = &stopped {
            self.needs.insert(account.clone(), need.clone());
        }
        Problem::stopped(stopped, account.1)
    }
}

type Shared = State<Arc<Gateway>>;

async fn start(State(gateway): Shared) -> Response {
    home(gateway.servers.iter().map(Server::url))
}

/// Shows the accounts of this user, and of no other.
async fn accounts(State(gateway): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    let mut found = Vec::new();
    for (number, server) in gateway.servers.iter().enumerate() {
        let grant = gateway.accounts.grant(server, &session.user).await;
        let grant = grant.map_err(|stopped| Problem::stopped(stopped, number))?;
        found.push((server.url().to_owned(), grant));
    }
    Ok(status(&found, gateway.accounts.counts()))
}

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
async fn connect(
    State(gateway): Shared,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    let server = gateway.server(which.server)?;
    let account = (session.user.clone(), which.server);
    let number = match gateway.cookies.get(&headers, Name::Browser) {
        Some(number) => number.to_owned(),
        None => gateway.keys.new_browser().map_err(Problem::failed)?,
    };
    let browser = gateway.keys.browser(&session, &number);
    let begin = async || {
        let authorization = Authorization::new(seed().map_err(Problem::failed)?);
        let mut authorization = authorization.browser(browser.binding());
        // The question of a tool call, perhaps of a machine that has ended since.
        if let Some(need) = gateway.needs.get(&account) {
            authorization = authorization.answering(&need);
        }
        let begun = gateway.accounts.begin(server, &session.user, authorization);
        let begun = begun.await;
        begun.map_err(|stopped| gateway.stopped(account.clone(), stopped))
    };
    let mut redirect = begin().await?;
    if redirect
        .as_ref()
        .is_some_and(|to| gateway.is_of_another_browser(to, &account, &browser))
    {
        // Cancels an authorization from another browser, which only that browser could complete.
        let how = Abandon::Cancelled;
        let abandoned = gateway.accounts.abandon(server, &session.user, how).await;
        abandoned.map_err(|stopped| Problem::stopped(stopped, which.server))?;
        redirect = begin().await?;
    }
    if let Some(to) = &redirect {
        gateway.begun.insert(account, (to.url.clone(), browser));
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
    match gateway.accounts.came_back(callback).await {
        Ok(Returned::SignedIn { server, principal }) => {
            let same = |known: &Server| known.url() == server.url();
            if let Some(number) = gateway.servers.iter().position(same) {
                gateway.needs.remove(&(principal.to_string(), number));
            }
        }
        Ok(Returned::Unknown) => {
            eprintln!("a callback that belongs to no sign-in of this browser");
        }
        Err(stopped) => match Problem::stopped(stopped, 0) {
            // The code was not used: the same callback may still succeed.
            away @ (Problem::StoreAway(_) | Problem::Busy) => return Err(away),
            Problem::Failed(why) => eprintln!("{why}"),
            Problem::Connect(..) => eprintln!("the callback did not connect the MCP server"),
            Problem::NoSession | Problem::NoServer => {}
        },
    }
    Ok(came_back())
}

/// Calls a tool of an MCP server for the user.
async fn call(
    State(gateway): Shared,
    headers: HeaderMap,
    Form(tool): Form<Tool>,
) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    let server = gateway.server(tool.server)?;
    let account = (session.user.clone(), tool.server);
    let params = json!({ "name": tool.tool, "arguments": { "text": tool.text } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let operation = format!("tools/call {}", tool.tool);
    let accounts = &gateway.accounts;
    let mut call = accounts.call(server, &session.user, operation.as_str(), Method::POST);
    let stopped = |stopped| gateway.stopped(account.clone(), stopped);
    loop {
        let headers = call.headers().await.map_err(stopped)?;
        let request = gateway.http.post(server.url()).headers(headers);
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(body.to_string());
        let mut answer = request.send().await.map_err(Problem::failed)?;
        let again = call.again(answer.status(), answer.headers()).await;
        if again.map_err(stopped)? {
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

async fn disconnect(
    State(gateway): Shared,
    headers: HeaderMap,
    Form(which): Form<Which>,
) -> Result<Response, Problem> {
    let session = gateway.session(&headers)?;
    let server = gateway.server(which.server)?;
    let ended = gateway.accounts.sign_out(server, &session.user).await;
    ended.map_err(|stopped| Problem::stopped(stopped, which.server))?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response())
}
