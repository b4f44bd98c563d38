//! The servers, and the client side that signs users in there.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Request, Response};
use mcp_auth_client::asynchronous::{Accounts, HostHttp, Limits, Network, Server, Undelivered};
use mcp_auth_client::{SharedStore, seed};
use mcp_auth_machine::Config;
use mcp_auth_machine::config::RegistrationSharing;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_testing::authorization::{self, AuthorizationServer, Iss, Options};
use mcp_auth_testing::resource::{McpServer, Tool, start_mcp};

/// The servers, and a gateway to them in the same process.
pub(crate) struct World {
    pub(crate) mcp: McpServer,
    pub(crate) server: AuthorizationServer,
    gateway: Gateway,
}

/// The client side.
pub(crate) struct Gateway {
    pub(crate) http: reqwest::Client,
    network: Network,
    config: Arc<Config>,
}

impl Deref for World {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

/// The client of a host whose servers are not on the same machine.
struct Distant {
    http: reqwest::Client,
    away: Duration,
}

impl HostHttp for Distant {
    async fn exchange(
        &self,
        request: Request<Bytes>,
        _limits: Limits,
    ) -> Result<Response<Bytes>, Undelivered> {
        tokio::time::sleep(self.away).await;
        let request = reqwest::Request::try_from(request).unwrap();
        let answer = self.http.execute(request).await.unwrap();
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = answer.bytes().await.unwrap();
        Ok(response)
    }
}

impl World {
    pub(crate) async fn start() -> Arc<Self> {
        let tool = Tool {
            name: "read",
            description: "Reads.",
        };
        let mcp = start_mcp(&[tool]).await.unwrap();
        let server = authorization::start(Options {
            iss: Iss::Honest,
            access_token_seconds: 3_600,
            ..Options::default()
        });
        let server = server.await.unwrap();
        server.allow_resource(mcp.url());
        mcp.trust(server.issuer(), server.tokens()).unwrap();
        Arc::new(Self {
            gateway: Gateway::to(&mcp.url()),
            mcp,
            server,
        })
    }

    pub(crate) async fn revoke(&self, token: &HeaderValue, client_id: &str) {
        let token = token.to_str().unwrap().trim_start_matches("Bearer ");
        let body = format!("token={token}&client_id={client_id}");
        let request = self.http.post(format!("{}/revoke", self.server.issuer()));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(body).send().await.unwrap();
    }
}

impl Gateway {
    pub(crate) fn to(mcp_url: &str) -> Self {
        let config = Config::builder(mcp_url, "http://127.0.0.1:9/callback")
            .client_name("scale")
            .registration_sharing(RegistrationSharing::AcrossPrincipals);
        let settings = || reqwest::ClientBuilder::new().no_proxy();
        Self {
            config: Arc::new(config.build().unwrap()),
            http: settings()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            network: Network::builder().http(settings).build().unwrap(),
        }
    }

    /// Reaches the servers over a network that takes this long for each request.
    pub(crate) fn distant(mcp_url: &str, away: Duration) -> Self {
        let near = Self::to(mcp_url);
        let http = near.http.clone();
        Self {
            network: Network::of(Distant { http, away }),
            ..near
        }
    }

    pub(crate) fn accounts(
        &self,
        store: SharedStore,
        idle: Duration,
        tokens: usize,
    ) -> (Accounts, Server) {
        let accounts = Accounts::builder(store)
            .network(&self.network)
            .idle(idle)
            .machines(200_000)
            .tokens(tokens)
            .start()
            .unwrap();
        let server = accounts.add_server(Arc::clone(&self.config));
        (accounts, server)
    }

    /// Signs a user in; returns the name of the client.
    pub(crate) async fn sign_in(&self, accounts: &Accounts, server: &Server, user: &str) -> String {
        let redirect = accounts.begin(server, user, seed().unwrap()).await;
        let redirect = redirect.unwrap().unwrap();
        let answer = self.http.get(redirect.url.as_str()).send().await.unwrap();
        let callback = answer.headers().get(LOCATION).unwrap().to_str().unwrap();
        let callback = Callback::from_url(callback);
        accounts.came_back(callback).await.unwrap();
        redirect.client_id.to_string()
    }
}
