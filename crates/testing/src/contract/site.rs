//! The servers of the contract: an MCP server that is its own authorization server, and a place that no driver visits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::http::{Answer, Received, Server};
use crate::{documents, lock};

/// The paths of the site.
pub(super) const PRM: &str = "/.well-known/oauth-protected-resource/mcp";
pub(super) const METADATA: &str = "/.well-known/oauth-authorization-server";
pub(super) const REGISTER: &str = "/register";
pub(super) const TOKEN: &str = "/token";

/// The redirect URI of every driver: no listener is there, the contract is the browser.
pub(super) const REDIRECT: &str = "http://127.0.0.1:9/callback";

pub(super) struct Site {
    server: Server,
    state: Arc<Mutex<State>>,
    /// The target of redirects; any request is a violation.
    pub(super) trap: Server,
}

type See = Box<dyn Fn(&Received) + Send>;

#[derive(Default)]
struct State {
    /// The next answers of a path, in place of the ordinary ones.
    answers: BTreeMap<String, VecDeque<Answer>>,
    origin: String,
    issued: usize,
    /// The refresh tokens that were spent.
    spent: Vec<String>,
    reused: bool,
    /// Called for each request, before its answer.
    sees: Option<See>,
}

impl Site {
    pub(super) fn start() -> std::io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let answers = Arc::clone(&state);
        let server = Server::start(move |request| lock(&answers).answer(request))?;
        lock(&state).origin = server.origin();
        Ok(Self {
            server,
            state,
            trap: Server::start(|_| Answer::json(200, "{}"))?,
        })
    }

    pub(super) fn origin(&self) -> String {
        self.server.origin()
    }

    pub(super) fn mcp(&self) -> String {
        format!("{}/mcp", self.server.origin())
    }

    /// The next request to this path is answered so.
    pub(super) fn once(&self, path: &str, answer: Answer) {
        let mut state = lock(&self.state);
        let answers = state.answers.entry(path.to_owned()).or_default();
        answers.push_back(answer);
    }

    pub(super) fn sees(&self, see: impl Fn(&Received) + Send + 'static) {
        lock(&self.state).sees = Some(Box::new(see));
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.server.requests()
    }

    pub(super) fn at(&self, path: &str) -> Vec<Received> {
        let mut requests = self.server.requests();
        requests.retain(|request| request.path() == path);
        requests
    }

    pub(super) fn streamed(&self) -> usize {
        self.server.streamed()
    }

    /// Whether a refresh token was sent twice.
    pub(super) fn reused(&self) -> bool {
        lock(&self.state).reused
    }

    /// The user agrees: the callback for this authorization URL.
    pub(super) fn agrees(&self, url: &str) -> Result<String, String> {
        let state = documents::parameter(url, "state").ok_or("the URL to open has no state")?;
        let redirect = documents::parameter(url, "redirect_uri")
            .ok_or("the URL to open has no redirect URI")?;
        let code: usize = {
            let mut state = lock(&self.state);
            state.issued = state.issued.saturating_add(1);
            state.issued
        };
        Ok(format!("{redirect}?code=code-{code}&state={state}"))
    }
}

impl State {
    fn answer(&mut self, request: &Received) -> Answer {
        if let Some(see) = &self.sees {
            see(request);
        }
        let planned = self.answers.get_mut(request.path());
        if let Some(answer) = planned.and_then(VecDeque::pop_front) {
            return answer;
        }
        let origin = &self.origin;
        match request.path() {
            PRM => {
                let mcp = format!("{origin}/mcp");
                Answer::json(200, &documents::resource_of(&mcp, origin))
            }
            METADATA => {
                let methods = json!(["none", "client_secret_post", "private_key_jwt"]);
                let more = json!({
                    "token_endpoint_auth_methods_supported": methods,
                    "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
                });
                Answer::json(200, &documents::metadata_of(origin, &more))
            }
            REGISTER => Answer::json(201, r#"{"client_id":"client-1"}"#),
            TOKEN => self.token(request),
            _ => Answer::json(404, "{}"),
        }
        // A driver must not send it back.
        .header("set-cookie", "session=of-the-contract; Path=/")
    }

    fn token(&mut self, request: &Received) -> Answer {
        if let Some(token) = request.parameter("refresh_token") {
            if self.spent.contains(&token) {
                self.reused = true;
                return Answer::json(400, r#"{"error":"invalid_grant"}"#);
            }
            self.spent.push(token);
        }
        self.issued = self.issued.saturating_add(1);
        let (access, refresh) = (format!("at-{}", self.issued), format!("rt-{}", self.issued));
        Answer::json(200, &documents::renewable(&access, &refresh, 3600))
    }
}
