//! The authorization server: its state, its tokens and its handle.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use mcp_auth_server as helpers;
use mcp_auth_server::{
    CodeChallenge, MAX_REGISTRATION_BYTES, RedirectUri, VerifyingKey, parse_keys,
};

use super::client::Now;
use super::device::Devices;
use super::proof::Proofs;
use super::{device, endpoints, lock, registration};

/// The lifetime of an authorization code (AS-09: short, single use).
const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// How long a redeemed code is remembered, to detect its reuse (AS-09).
const CODE_MEMORY: Duration = Duration::from_secs(600);
/// How long a rotated refresh token is accepted for concurrent use. It returns the same successor again, so
/// that a family never has two branches (AS-11).
const ROTATION_GRACE: Duration = Duration::from_secs(5);
/// The largest number of registered clients; the demo removes none.
pub(super) const MAX_CLIENTS: usize = 1_000;
/// The largest number of stored codes and tokens.
const MAX_KEPT: usize = 100_000;

/// The `iss` of the server's authorization responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Iss {
    /// Its own issuer (AS-01).
    Honest,
    /// Another issuer, as in a mix-up attack; the metadata stays correct.
    Wrong(String),
}

/// The behaviour of the authorization server.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `iss` of authorization responses.
    pub iss: Iss,
    /// The lifetime of access tokens in seconds (AS-12).
    pub access_token_seconds: u64,
    /// A client for the client credentials grant: identifier and secret.
    pub service: Option<(String, String)>,
    /// A client for the client credentials grant with `private_key_jwt`: identifier and JSON Web Key Set.
    pub service_keys: Option<(String, String)>,
    /// Whether clients may register for `private_key_jwt`, with their `jwks`.
    pub registers_keys: bool,
}

impl Options {
    /// Returns the client without a user that signs assertions.
    fn keyed_service(&self) -> std::io::Result<Option<(String, Client)>> {
        let Some((id, keys)) = &self.service_keys else {
            return Ok(None);
        };
        let client = Client {
            redirect_uris: Vec::new(),
            grants: vec!["client_credentials".to_owned()],
            dpop: false,
            keys: parse_keys(keys.as_bytes()).map_err(std::io::Error::other)?,
        };
        Ok(Some((id.clone(), client)))
    }

    /// Returns true if a client can authenticate with `private_key_jwt`.
    pub(super) const fn takes_assertions(&self) -> bool {
        self.registers_keys || self.service_keys.is_some()
    }
}

/// A running authorization server, until its runtime ends.
#[derive(Debug, Clone)]
pub struct AuthorizationServer {
    shared: Arc<Shared>,
}

/// The state that the handlers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server: helpers::AuthorizationServer,
    /// The server named in `iss`.
    pub(super) responder: helpers::AuthorizationServer,
    pub(super) options: Options,
    pub(super) refreshes: AtomicU64,
    /// Whether each token request is printed.
    pub(super) logs: AtomicBool,
    pub(super) proofs: Proofs,
    pub(super) now: Now,
    pub(super) state: Arc<Mutex<State>>,
}

impl Default for Options {
    /// An honest server whose tokens live for five minutes, without a client for itself.
    fn default() -> Self {
        Self {
            iss: Iss::Honest,
            access_token_seconds: 300,
            service: None,
            service_keys: None,
            registers_keys: false,
        }
    }
}

/// Starts an authorization server on a free port of 127.0.0.1.
pub async fn start(options: Options) -> std::io::Result<AuthorizationServer> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let issuer = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    let (server, router) = AuthorizationServer::at(&issuer, options, Now::default())?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(server)
}

async fn no_method() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

impl AuthorizationServer {
    /// Creates a server with this issuer, and its endpoints.
    pub(super) fn at(issuer: &str, options: Options, now: Now) -> std::io::Result<(Self, Router)> {
        // AS-02: created once; metadata, `iss` and all other uses share this value.
        let server = helpers::AuthorizationServer::new(issuer).map_err(std::io::Error::other)?;
        let responder = match &options.iss {
            Iss::Honest => server.clone(),
            Iss::Wrong(other) => {
                helpers::AuthorizationServer::new(other).map_err(std::io::Error::other)?
            }
        };
        let paths = server.metadata_paths();
        let lifetime = Duration::from_secs(options.access_token_seconds);
        let mut state = State::new(lifetime);
        state.clients.extend(options.keyed_service()?);
        let shared = Arc::new(Shared {
            server,
            responder,
            options,
            refreshes: AtomicU64::new(0),
            logs: AtomicBool::new(false),
            proofs: Proofs::default(),
            now,
            state: Arc::new(Mutex::new(state)),
        });
        let mut router = Router::new();
        // AS-04: all locations that clients may request.
        for path in paths {
            router = router.route(&path, get(registration::metadata));
        }
        let router = router
            .route("/register", post(registration::register))
            // A HEAD request must not issue a code.
            .route("/authorize", get(endpoints::authorize).head(no_method))
            .route("/token", post(endpoints::token))
            .route("/device_authorization", post(device::authorize))
            .route("/device", get(device::page).post(device::answer))
            .route("/revoke", post(endpoints::revoke))
            .layer(DefaultBodyLimit::max(MAX_REGISTRATION_BYTES))
            .with_state(Arc::clone(&shared));
        Ok((Self { shared }, router))
    }

    /// Returns the issuer, `http://127.0.0.1:PORT`.
    pub fn issuer(&self) -> &str {
        self.shared.server.issuer()
    }

    /// Returns the issued tokens, for lookups by a resource server.
    pub fn tokens(&self) -> TokenRegistry {
        TokenRegistry {
            state: Arc::clone(&self.shared.state),
        }
    }

    /// Returns the number of refresh requests.
    pub fn refreshes(&self) -> u64 {
        self.shared.refreshes.load(Ordering::Relaxed)
    }

    /// Returns how many times a refresh token was presented after its successor was used, or long after it was rotated.
    /// Each ends its family.
    pub fn reuses(&self) -> u64 {
        lock(&self.shared.state).reuses
    }

    /// Returns the number of accepted client assertions that have not expired.
    pub fn assertions(&self) -> usize {
        lock(&self.shared.state).assertions.len()
    }

    /// Prints a line for each further token request.
    pub fn log(&self) {
        self.shared.logs.store(true, Ordering::Relaxed);
    }

    /// Declines the next consent.
    pub fn decline_once(&self) {
        lock(&self.shared.state).declines = true;
    }

    /// Allows tokens for `resource`; any other resource is `invalid_target` (AS-13).
    pub fn allow_resource(&self, resource: String) {
        lock(&self.shared.state).resources.insert(resource);
    }
}

/// The access tokens of one authorization server, shared by its clones.
#[derive(Debug, Clone)]
pub struct TokenRegistry {
    state: Arc<Mutex<State>>,
}

impl TokenRegistry {
    /// Returns the grant of a token; `None` when the token is unknown, expired or revoked.
    pub fn lookup(&self, token: &str) -> Option<TokenInfo> {
        let state = lock(&self.state);
        let access = state.access.get(token)?;
        (access.issued.elapsed() < state.lifetime).then(|| access.info.clone())
    }
}

/// The grant of an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// The client that the token was issued to.
    pub client_id: String,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// The resource of the token.
    pub resource: String,
    /// The thumbprint of the key that the token is bound to.
    pub key: Option<String>,
}

/// A registered client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) redirect_uris: Vec<RedirectUri>,
    /// The registered grants.
    pub(super) grants: Vec<String>,
    /// Whether the client registered `dpop_bound_access_tokens`, and needs a proof for every token (AS-19).
    pub(super) dpop: bool,
    /// The keys of its assertions; none for a client that signs none.
    pub(super) keys: Vec<VerifyingKey>,
}

/// An authorization code with its grant (AS-09).
#[derive(Debug)]
struct Code {
    grant: CodeGrant,
    issued: Instant,
    /// The token family that the code was redeemed for.
    family: Option<String>,
}

/// The grant of an authorization code.
#[derive(Debug, Clone)]
pub(super) struct CodeGrant {
    pub(super) info: TokenInfo,
    pub(super) redirect_uri: String,
    pub(super) challenge: CodeChallenge,
}

#[derive(Debug)]
struct Access {
    info: TokenInfo,
    issued: Instant,
    family: String,
}

#[derive(Debug)]
struct Refresh {
    info: TokenInfo,
    family: String,
    rotated: Option<(Instant, String)>,
}

/// An error of the token endpoint: `error` and `error_description`.
pub(super) type Refusal = (&'static str, &'static str);

/// The error without random bytes of the system.
pub(super) const NO_RANDOM: Refusal = ("server_error", "no random bytes");

/// The error when a limit is reached.
pub(super) const FULL: Refusal = ("temporarily_unavailable", "too much is kept already");

/// The tokens issued for a grant.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) scopes: Vec<String>,
    /// Whether the access token is bound to a key.
    pub(super) bound: bool,
}

/// A redemption of a code, as received from the client.
#[derive(Debug)]
pub(super) struct Redemption<'a> {
    pub(super) code: &'a str,
    pub(super) client_id: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) verifier: &'a str,
    pub(super) resource: Option<&'a str>,
    /// The key of the client's proof.
    pub(super) key: Option<&'a str>,
}

/// The state of the server.
#[derive(Debug)]
pub(super) struct State {
    pub(super) clients: HashMap<String, Client>,
    pub(super) resources: HashSet<String>,
    /// Whether the next consent is declined.
    pub(super) declines: bool,
    /// The accepted client assertions, with their expiry since the Unix epoch.
    pub(super) assertions: HashMap<[u8; 32], Duration>,
    pub(super) devices: Devices,
    lifetime: Duration,
    reuses: u64,
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
}

/// Removes what has expired, before a map grows: each insertion would otherwise cost as much as there is in the map.
fn make_room<V>(map: &mut HashMap<String, V>, is_valid: impl Fn(&V) -> bool) {
    if map.len() == map.capacity() || map.len() >= MAX_KEPT {
        map.retain(|_, value| is_valid(value));
    }
}

impl State {
    fn new(lifetime: Duration) -> Self {
        Self {
            clients: HashMap::new(),
            resources: HashSet::new(),
            declines: false,
            assertions: HashMap::new(),
            devices: Devices::default(),
            reuses: 0,
            lifetime,
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
        }
    }

    /// Issues a code for a grant.
    pub(super) fn issue_code(&mut self, grant: CodeGrant) -> Result<String, Refusal> {
        let code = random()?;
        make_room(&mut self.codes, |code| code.issued.elapsed() < CODE_MEMORY);
        if self.codes.len() >= MAX_KEPT {
            return Err(FULL);
        }
        self.codes.insert(
            code.clone(),
            Code {
                grant,
                issued: Instant::now(),
                family: None,
            },
        );
        Ok(code)
    }

    /// Redeems a code once, by its client, with its redirect URI, verifier and resource (AS-09).
    pub(super) fn redeem(&mut self, asked: &Redemption<'_>) -> Result<Issued, Refusal> {
        let Some(code) = self.codes.get(asked.code) else {
            return Err(("invalid_grant", "unknown code"));
        };
        if code.grant.info.client_id != asked.client_id {
            return Err(("invalid_grant", "the code is another client's"));
        }
        if let Some(family) = code.family.clone() {
            self.revoke_family(&family);
            return Err(("invalid_grant", "the code was used before"));
        }
        if code.issued.elapsed() >= CODE_LIFETIME {
            return Err(("invalid_grant", "the code has expired"));
        }
        if code.grant.redirect_uri != asked.redirect_uri {
            return Err(("invalid_grant", "redirect_uri differs"));
        }
        if let Err(error) = code.grant.challenge.check(asked.verifier) {
            return Err((error.code(), "code_verifier does not match"));
        }
        if asked.resource != Some(code.grant.info.resource.as_str()) {
            return Err(("invalid_target", "resource differs or is missing"));
        }
        // A code that was requested with a key must be redeemed with that key (DPOP-17).
        if code.grant.info.key.is_some() && code.grant.info.key.as_deref() != asked.key {
            return Err(("invalid_grant", "the code is bound to another key"));
        }
        let info = TokenInfo {
            key: asked.key.map(str::to_owned),
            ..code.grant.info.clone()
        };
        let family = random()?;
        let issued = self.issue(&family, &info, info.scopes.clone(), None)?;
        if let Some(code) = self.codes.get_mut(asked.code) {
            code.family = Some(family);
        }
        Ok(issued)
    }

    /// Rotates a refresh token; reuse of a rotated one revokes its family (AS-11).
    pub(super) fn rotate(
        &mut self,
        token: &str,
        client_id: &str,
        resource: Option<&str>,
        scopes: Option<Vec<String>>,
        key: Option<&str>,
    ) -> Result<Issued, Refusal> {
        let Some(held) = self.refresh.get(token) else {
            return Err(("invalid_grant", "unknown refresh token"));
        };
        if held.info.client_id != client_id {
            return Err(("invalid_grant", "the refresh token is another client's"));
        }
        if held.info.key.as_deref() != key {
            return Err(("invalid_grant", "the refresh token is bound to a key"));
        }
        let family = held.family.clone();
        let successor = match &held.rotated {
            None => None,
            Some((at, next)) => {
                // A used successor rules out a race of two processes.
                let unused = self
                    .refresh
                    .get(next)
                    .is_some_and(|next| next.rotated.is_none());
                if at.elapsed() > ROTATION_GRACE || !unused {
                    self.reuses = self.reuses.saturating_add(1);
                    self.revoke_family(&family);
                    return Err(("invalid_grant", "the refresh token was used before"));
                }
                Some(next.clone())
            }
        };
        if resource != Some(held.info.resource.as_str()) {
            return Err(("invalid_target", "resource differs or is missing"));
        }
        let info = held.info.clone();
        let scopes = scopes.unwrap_or_else(|| info.scopes.clone());
        if !scopes.iter().all(|scope| info.scopes.contains(scope)) {
            return Err(("invalid_scope", "more scope than was granted"));
        }
        let issued = self.issue(&family, &info, scopes, successor)?;
        if let Some(held) = self.refresh.get_mut(token)
            && let Some(next) = &issued.refresh_token
        {
            held.rotated
                .get_or_insert_with(|| (Instant::now(), next.clone()));
        }
        Ok(issued)
    }

    /// Returns true if a client registered a grant.
    pub(super) fn allows(&self, client_id: &str, grant: &str) -> bool {
        let client = self.clients.get(client_id);
        client.is_some_and(|client| client.grants.iter().any(|known| known == grant))
    }

    /// Issues tokens of a new family: for the client credentials grant (M2M), or for an approved device code.
    pub(super) fn serve(&mut self, info: &TokenInfo) -> Result<Issued, Refusal> {
        if !self.resources.contains(&info.resource) {
            return Err(("invalid_target", "the resource is unknown"));
        }
        let family = random()?;
        self.issue(&family, info, info.scopes.clone(), None)
    }

    /// Revokes a client's access token, or the family of its refresh token (RFC 7009).
    pub(super) fn revoke(&mut self, token: &str, client_id: &str) {
        let owns = |info: &TokenInfo| info.client_id == client_id;
        if self.access.get(token).is_some_and(|held| owns(&held.info)) {
            self.access.remove(token);
        } else if let Some(held) = self.refresh.get(token)
            && owns(&held.info)
        {
            let family = held.family.clone();
            self.revoke_family(&family);
        }
    }

    fn revoke_family(&mut self, family: &str) {
        self.access.retain(|_, held| held.family != family);
        self.refresh.retain(|_, held| held.family != family);
    }

    /// Issues an access token with `scopes` and, to a client registered for it, a refresh token with all
    /// scopes of `info`: a new one, or the successor already issued in a race.
    fn issue(
        &mut self,
        family: &str,
        info: &TokenInfo,
        scopes: Vec<String>,
        successor: Option<String>,
    ) -> Result<Issued, Refusal> {
        let lifetime = self.lifetime;
        make_room(&mut self.access, |token| token.issued.elapsed() < lifetime);
        if self.access.len() >= MAX_KEPT || self.refresh.len() >= MAX_KEPT {
            return Err(FULL);
        }
        let access_token = random()?;
        let refreshes = self.allows(&info.client_id, "refresh_token");
        let refresh_token = match successor {
            Some(known) => Some(known),
            None if refreshes => Some(random()?),
            None => None,
        };
        self.access.insert(
            access_token.clone(),
            Access {
                info: TokenInfo {
                    scopes: scopes.clone(),
                    ..info.clone()
                },
                issued: Instant::now(),
                family: family.to_owned(),
            },
        );
        if let Some(token) = &refresh_token {
            self.refresh
                .entry(token.clone())
                .or_insert_with(|| Refresh {
                    info: info.clone(),
                    family: family.to_owned(),
                    rotated: None,
                });
        }
        Ok(Issued {
            access_token,
            refresh_token,
            scopes,
            bound: info.key.is_some(),
        })
    }
}

/// Returns 256 random bits in base64url.
pub(super) fn random() -> Result<String, Refusal> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|_| NO_RANDOM)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
