//! The servers, a user who agrees, and rmcp's client.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{CONTENT_TYPE, LOCATION};
use mcp_auth_client::MemoryStore;
use mcp_auth_client::asynchronous::{Callbacks, Client, Stopped, User};
use mcp_auth_machine::Config;
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::config::ConfigBuilder;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_rmcp::{AuthorizedClient, Error, stopped};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientConfig, ClientJsonRpcMessage, ClientRequest,
    RequestId,
};
use rmcp::service::{ClientInitializeError, NotificationContext, RunningService};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;
use rmcp::{ClientHandler, RoleClient, ServiceError, ServiceExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::guard::Guard;
use mcp_auth_testing::authorization::{self, AuthorizationServer, Iss, Options};

/// No listener: the callback is taken from the redirect itself.
const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";

pub(crate) struct World {
    pub(crate) server: AuthorizationServer,
    pub(crate) guard: Arc<Guard>,
    pub(crate) url: String,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with_tokens_for(300).await
    }

    pub(crate) async fn with_tokens_for(access_token_seconds: u64) -> Self {
        let server = authorization::start(Options {
            iss: Iss::Honest,
            access_token_seconds,
            ..Options::default()
        });
        let server = server.await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        server.allow_resource(url.clone());
        let guard = Guard::start(listener, server.issuer(), server.tokens()).await;
        Self { server, guard, url }
    }

    pub(crate) fn config(&self) -> ConfigBuilder {
        Config::builder(&self.url, REDIRECT_URI).client_name("rmcp tests")
    }

    pub(crate) fn authorization(&self, user: impl User) -> Client {
        let config = self.config().build().unwrap();
        let builder = Client::builder(config, "alice", MemoryStore::default());
        builder.user(user).start().unwrap()
    }

    /// Returns a connected rmcp client.
    pub(crate) async fn connect(&self, user: impl User) -> Connection {
        self.try_connect(self.authorization(user)).await.unwrap()
    }

    /// Returns once the server's own stream is open.
    pub(crate) async fn try_connect(
        &self,
        authorization: Client,
    ) -> Result<Connection, Box<ClientInitializeError>> {
        let transport = direct(authorization).transport(self.url.as_str());
        let changes = Arc::new(Notify::new());
        let listening = Listening(Arc::clone(&changes));
        let streams = &self.guard.streams;
        let before = streams.load(Ordering::SeqCst);
        let mcp = listening.serve(transport).await.map_err(Box::new)?;
        while streams.load(Ordering::SeqCst) == before {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Connection { mcp, changes })
    }

    /// Revokes the latest access token at the server; its refresh token stays valid.
    pub(crate) async fn revoke(&self, client_id: &str) -> String {
        let seen = self.guard.take_seen();
        let token = seen.iter().rev().find_map(|seen| seen.token.clone());
        let token = token.unwrap();
        let request = browser().post(format!("{}/revoke", self.server.issuer()));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.body(format!("token={token}&client_id={client_id}"));
        assert!(answer.send().await.unwrap().status().is_success());
        token
    }

    pub(crate) fn protect(&self, tool: &str, scope: &str) {
        let mut scopes = self.guard.tool_scopes.lock().unwrap();
        scopes.insert(tool.to_owned(), scope.to_owned());
    }
}

/// Returns a client that ignores the proxies of the environment.
pub(crate) fn direct(authorization: Client) -> AuthorizedClient {
    let settings = || reqwest::Client::builder().no_proxy();
    AuthorizedClient::with_settings(authorization, settings).unwrap()
}

pub(crate) struct Connection {
    pub(crate) mcp: RunningService<RoleClient, Listening>,
    /// Notified when the server reports that its tools have changed.
    pub(crate) changes: Arc<Notify>,
}

impl Connection {
    pub(crate) async fn call(&self, tool: &'static str) -> Result<String, ServiceError> {
        let called = self.mcp.call_tool(CallToolRequestParams::new(tool)).await?;
        Ok(called.content[0].as_text().unwrap().text.clone())
    }
}

/// Returns the error of rmcp's transport.
pub(crate) fn transport_error(error: &DynamicTransportError) -> &StreamableHttpError<Error> {
    error.error.downcast_ref().unwrap()
}

/// Returns the reason why a call had no token.
pub(crate) fn stopped_by(error: &ServiceError) -> &Stopped {
    let ServiceError::TransportSend(error) = error else {
        panic!("{error:?}");
    };
    stopped(error).unwrap()
}

#[derive(Clone)]
pub(crate) struct Listening(Arc<Notify>);

impl ClientHandler for Listening {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::default()
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.notify_one();
    }
}

/// A user who agrees to everything.
#[derive(Clone, Default)]
pub(crate) struct Agreeing {
    redirects: Arc<Mutex<Vec<Redirect>>>,
}

impl Agreeing {
    /// Returns how many times the user was redirected.
    pub(crate) fn trips(&self) -> usize {
        self.redirects.lock().unwrap().len()
    }

    pub(crate) fn client_id(&self) -> String {
        let redirects = self.redirects.lock().unwrap();
        redirects.last().unwrap().client_id.to_string()
    }
}

impl User for Agreeing {
    async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
        self.redirects.lock().unwrap().push(redirect.clone());
        let answer = browser().get(redirect.url.as_str()).send().await.unwrap();
        let callback = answer.headers()[LOCATION].to_str().unwrap().to_owned();
        assert!(callbacks.hand_in(Callback::from_url(callback)).await);
    }
}

pub(crate) fn browser() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap()
}

/// Returns a message for tests that act as the transport.
pub(crate) fn calling(tool: &'static str) -> ClientJsonRpcMessage {
    let call = CallToolRequest::new(CallToolRequestParams::new(tool));
    let call = ClientRequest::CallToolRequest(call);
    ClientJsonRpcMessage::request(call, RequestId::Number(1))
}
