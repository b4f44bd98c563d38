//! An MCP server and an authorization server on one port, in this process, with configurable failures.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The behaviour of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Works,
    /// A status, a content type and a body.
    Answers(u16, &'static str, &'static str),
    /// The status and where it leads.
    Redirects(u16, &'static str),
    /// The connection is closed without an answer.
    Closes,
    /// The connection stays open without an answer.
    Hangs,
}

/// The header of an answer whose connection stays open.
pub(crate) const OPEN: &str = "x-stays-open: 1\r\n";

/// The header of an answer whose connection ends after a while.
pub(crate) const ENDS_LATE: &str = "x-ends-late: 1\r\n";

/// A status, headers and a body.
pub(crate) type Answer = (u16, String, String);
pub(crate) type Hook = Box<dyn FnMut(&Request, &str) -> Option<Answer> + Send>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) mcp: Mode,
    pub(crate) token: Mode,
    pub(crate) register: Mode,
    pub(crate) revoke: Mode,
    pub(crate) authorize: Mode,
    /// The documents at the well-known locations.
    pub(crate) documents: Mode,
    /// How long the token endpoint delays its response.
    pub(crate) delay: Duration,
    /// Whether the MCP server accepts requests without a token.
    pub(crate) open: bool,
    /// The answer in place of all else, with the issuer of this server.
    pub(crate) hook: Option<Hook>,
    /// A server whose tokens the MCP server takes, too.
    pub(crate) trusts: Option<Arc<Mutex<State>>>,
    /// The authorization server in the resource metadata, instead of this one.
    pub(crate) announces: Option<String>,
    /// The scopes that are granted regardless of the request.
    pub(crate) grants: Option<&'static str>,
    /// The clients that are known, with their secrets.
    pub(crate) clients: BTreeMap<String, Option<String>>,
    pub(crate) registrations: u32,
    codes: BTreeMap<String, (String, String)>,
    refresh: BTreeMap<String, (String, String)>,
    pub(crate) access: BTreeSet<String>,
    pub(crate) token_seconds: u64,
    /// Refresh tokens are issued only after an authorization request with `access_type=offline`, as at Google.
    pub(crate) online: bool,
    offline: bool,
    /// Connections are kept for further requests, except that the MCP server leaves one soon after it refused a
    /// request there, and says nothing about that.
    pub(crate) leaves: bool,
    /// How many connections that stay open were closed by the other end.
    pub(crate) closed: u32,
    /// The requests, by path.
    pub(crate) requests: Vec<String>,
    next: u32,
}

impl State {
    fn fresh(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}-{}-of-the-fake", self.next)
    }

    /// Invalidates every token.
    pub(crate) fn forget_tokens(&mut self) {
        self.access.clear();
        self.refresh.clear();
    }

    pub(crate) fn forget_access(&mut self) {
        self.access.clear();
    }

    pub(crate) fn knows_access(&self, token: &str) -> bool {
        self.access.contains(token)
    }

    pub(crate) fn knows_refresh(&self, token: &str) -> bool {
        self.refresh.contains_key(token)
    }

    fn grant(&mut self, client: &str, scope: &str) -> Value {
        let (access, refresh) = (self.fresh("access"), self.fresh("refresh"));
        self.access.insert(access.clone());
        let mut granted = json!({
            "access_token": access, "token_type": "Bearer",
            "expires_in": self.token_seconds, "scope": self.grants.unwrap_or(scope),
        });
        if self.offline || !self.online {
            granted["refresh_token"] = refresh.clone().into();
            self.refresh
                .insert(refresh, (client.to_owned(), scope.to_owned()));
        }
        granted
    }
}

pub(crate) struct Fake {
    issuer: String,
    state: Arc<Mutex<State>>,
}

#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    host: String,
    pub(crate) authorization: Option<String>,
    /// The MCP session.
    pub(crate) session: Option<String>,
    pub(crate) form: BTreeMap<String, String>,
    /// All headers, by their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// Whether it was sent to this name of the server.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        self.host.split(':').next() == Some(host)
    }
}

impl Fake {
    pub(crate) fn start() -> Self {
        Self::on("http", "127.0.0.1", "127.0.0.1", |stream, issuer, state| {
            serve(stream, issuer, state);
        })
    }

    /// Over TLS, at this address of the machine and under this name.
    pub(crate) fn start_tls(address: &str, host: &str, tls: Arc<rustls::ServerConfig>) -> Self {
        Self::on("https", address, host, move |stream, issuer, state| {
            let connection = rustls::ServerConnection::new(Arc::clone(&tls));
            let mut stream = rustls::StreamOwned::new(connection.expect("TLS settings"), stream);
            serve(&mut stream, issuer, state);
            stream.conn.send_close_notify();
            let _gone = stream.flush();
        })
    }

    fn on(
        scheme: &str,
        address: &str,
        host: &str,
        serve: impl Fn(TcpStream, &str, &Mutex<State>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(format!("{address}:0")).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let issuer = format!("{scheme}://{host}:{port}");
        let state = Arc::new(Mutex::new(State {
            token_seconds: 3_600,
            ..State::default()
        }));
        let shared = (Arc::clone(&state), issuer.clone(), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, issuer, serve) = shared.clone();
                thread::spawn(move || serve(stream, &issuer, &state));
            }
        });
        Self { issuer, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/mcp", self.issuer)
    }

    pub(crate) fn issuer(&self) -> String {
        self.issuer.clone()
    }

    pub(crate) fn share(&self) -> Arc<Mutex<State>> {
        Arc::clone(&self.state)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the state")
    }
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let found = url::form_urlencoded::parse(text.as_bytes());
    found.into_owned().collect()
}

fn read(stream: &mut impl Read) -> Option<Request> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut authorization, mut session, mut host) = (0, None, None, String::new());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            "mcp-session-id" => session = Some(value.trim().to_owned()),
            "host" => host = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
    Some(Request {
        method,
        path: path.to_owned(),
        query: pairs(query),
        host,
        authorization,
        session,
        form: pairs(&String::from_utf8_lossy(&body)),
        headers,
    })
}

fn serve(mut stream: impl Read + Write, issuer: &str, shared: &Mutex<State>) {
    while one(&mut stream, issuer, shared) {}
}

/// Answers one request; returns true if the connection is kept.
fn one(stream: &mut (impl Read + Write), issuer: &str, shared: &Mutex<State>) -> bool {
    let Some(request) = read(stream) else {
        return false;
    };
    let mode = {
        let mut state = shared.lock().expect("the state");
        state
            .requests
            .push(format!("{} {}", request.method, request.path));
        match request.path.as_str() {
            "/mcp" => state.mcp.clone(),
            "/token" => state.token.clone(),
            "/register" => state.register.clone(),
            "/revoke" => state.revoke.clone(),
            "/authorize" => state.authorize.clone(),
            path if path.starts_with("/.well-known/") => state.documents.clone(),
            _ => Mode::Works,
        }
    };
    let (status, headers, body) = match mode {
        Mode::Works => {
            let mut state = shared.lock().expect("the state");
            let mut hook = state.hook.take();
            let hooked = hook.as_mut().and_then(|hook| hook(&request, issuer));
            state.hook = hook;
            hooked.unwrap_or_else(|| answer(&request, issuer, &mut state))
        }
        Mode::Answers(status, kind, body) => {
            (status, format!("content-type: {kind}\r\n"), body.to_owned())
        }
        Mode::Redirects(status, to) => (status, format!("location: {to}\r\n"), String::new()),
        Mode::Closes => return false,
        Mode::Hangs => {
            thread::sleep(Duration::from_secs(120));
            return false;
        }
    };
    if request.path == "/token" {
        let delay = shared.lock().expect("the state").delay;
        thread::sleep(delay);
    }
    if headers.contains(OPEN) || headers.contains(ENDS_LATE) {
        let _gone = write!(
            stream,
            "HTTP/1.1 {status} X\r\n{headers}connection: close\r\n\r\n{body}"
        );
        let _gone = stream.flush();
        if headers.contains(ENDS_LATE) {
            thread::sleep(Duration::from_millis(600));
            return false;
        }
        // Until the other end closes it.
        let mut rest = [0; 64];
        while stream.read(&mut rest).is_ok_and(|read| read > 0) {}
        shared.lock().expect("the state").closed += 1;
        return false;
    }
    let length = body.len();
    let leaves = shared.lock().expect("the state").leaves;
    let close = if leaves { "" } else { "connection: close\r\n" };
    let _gone = write!(
        stream,
        "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n{close}\r\n{body}"
    );
    let refused = leaves && request.path == "/mcp" && status == 401;
    if refused {
        thread::sleep(Duration::from_millis(400));
    }
    leaves && !refused
}

pub(crate) fn object(status: u16, value: &Value) -> Answer {
    let kind = "content-type: application/json\r\n".to_owned();
    (status, kind, value.to_string())
}

pub(crate) fn refused(error: &str) -> Answer {
    object(400, &json!({ "error": error }))
}

fn answer(request: &Request, issuer: &str, state: &mut State) -> Answer {
    match request.path.as_str() {
        "/mcp" => {
            let token = request.authorization.as_deref();
            let token = token.and_then(|value| value.strip_prefix("Bearer "));
            let is_of = |other: &Arc<Mutex<State>>, token: &str| {
                other.lock().expect("the state").access.contains(token)
            };
            let trusted = |token| {
                state.access.contains(token)
                    || state
                        .trusts
                        .as_ref()
                        .is_some_and(|other| is_of(other, token))
            };
            if state.open || token.is_some_and(trusted) {
                return object(200, &json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
            }
            let place = format!("{issuer}/.well-known/oauth-protected-resource/mcp");
            let challenge = format!("www-authenticate: Bearer resource_metadata=\"{place}\"\r\n");
            (401, challenge, String::new())
        }
        "/.well-known/oauth-protected-resource/mcp" if !state.open => object(
            200,
            &json!({
                "resource": format!("{issuer}/mcp"),
                "authorization_servers": [state.announces.as_deref().unwrap_or(issuer)],
            }),
        ),
        "/.well-known/oauth-authorization-server" if !state.open => object(
            200,
            &json!({
                "issuer": state.announces.as_deref().unwrap_or(issuer),
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "registration_endpoint": format!("{issuer}/register"),
                "revocation_endpoint": format!("{issuer}/revoke"),
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
                "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
                "revocation_endpoint_auth_methods_supported": ["none", "client_secret_post"],
            }),
        ),
        "/register" => {
            let id = state.fresh("client");
            state.registrations += 1;
            state.clients.insert(id.clone(), None);
            // Every redirect URI that is asked for is registered: the body is JSON, in one pair.
            let asked = request.form.keys().next().cloned().unwrap_or_default();
            let asked: Value = serde_json::from_str(&asked).unwrap_or_default();
            object(
                201,
                &json!({
                    "client_id": id, "redirect_uris": asked["redirect_uris"],
                    "token_endpoint_auth_method": "none",
                    "grant_types": ["authorization_code", "refresh_token"],
                    "response_types": ["code"],
                }),
            )
        }
        "/authorize" => authorize(request, issuer, state),
        "/token" => token(request, state),
        "/revoke" => {
            let token = request.form.get("token").cloned().unwrap_or_default();
            state.access.remove(&token);
            state.refresh.remove(&token);
            (200, String::new(), String::new())
        }
        _ => (404, String::new(), String::new()),
    }
}

fn authorize(request: &Request, issuer: &str, state: &mut State) -> Answer {
    let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
    let client = get("client_id");
    if !state.clients.contains_key(&client) {
        let page = "content-type: text/html\r\n".to_owned();
        return (400, page, "<h1>unknown client</h1>".to_owned());
    }
    state.offline = get("access_type") == "offline";
    let code = state.fresh("code");
    let scope = request.query.get("scope").cloned();
    let scope = scope.unwrap_or_else(|| "base".to_owned());
    state.codes.insert(code.clone(), (client, scope));
    let mut back = url::Url::parse(&get("redirect_uri")).expect("a redirect URI");
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &get("state"))
        .append_pair("iss", issuer);
    (302, format!("location: {back}\r\n"), String::new())
}

/// The client of an assertion (RFC 7523).
fn subject(assertion: &str) -> String {
    let claims = assertion.split('.').nth(1).unwrap_or_default();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&claims).unwrap_or_default();
    claims["sub"].as_str().unwrap_or_default().to_owned()
}

fn token(request: &Request, state: &mut State) -> Answer {
    let get = |name: &str| request.form.get(name).cloned().unwrap_or_default();
    let named = request.form.get("client_id").cloned();
    let client = named.unwrap_or_else(|| subject(&get("client_assertion")));
    let secret = request.form.get("client_secret").cloned();
    if state.clients.get(&client) != Some(&secret) {
        return object(401, &json!({ "error": "invalid_client" }));
    }
    let grant = match get("grant_type").as_str() {
        "authorization_code" => state.codes.remove(&get("code")),
        "refresh_token" => state.refresh.remove(&get("refresh_token")),
        "client_credentials" => Some((client.clone(), get("scope"))),
        _ => return refused("unsupported_grant_type"),
    };
    match grant {
        Some((of, scope)) if of == client => object(200, &state.grant(&client, &scope)),
        Some(_) | None => refused("invalid_grant"),
    }
}
