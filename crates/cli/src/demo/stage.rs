//! The built-in servers, on their own thread.

use std::io;

use mcp_auth_client::{LoopbackHost, LoopbackPort};
use tokio::runtime::Handle;

use crate::listener::Listener;
use crate::runtime::{on, spawn_runtime};
use mcp_auth_testing::authorization::{self, AuthorizationServer, Iss, Options};
use mcp_auth_testing::resource::{ECHO, McpServer, start_mcp};

/// The behaviour of the first authorization server.
pub(super) enum Wish {
    Honest,
    /// It responds with a wrong `iss`.
    WrongIss,
    /// It issues short-lived tokens.
    ShortTokens,
}

/// The lifetime of the demo's access tokens, in seconds.
const TOKEN_SECONDS: u64 = 300;

/// The demo's client without a user.
pub(super) const SERVICE: (&str, &str) = ("demo service", "a secret of the demo");

pub(super) struct Stage {
    runtime: Handle,
    mcp: McpServer,
    mcp_url: String,
    server: AuthorizationServer,
}

impl Stage {
    /// Starts an MCP server and its authorization server.
    pub(super) fn set(wish: Wish, token_seconds: Option<u64>) -> io::Result<Self> {
        let iss = match wish {
            Wish::Honest | Wish::ShortTokens => Iss::Honest,
            Wish::WrongIss => Iss::Wrong("https://attacker.example".to_owned()),
        };
        let seconds = token_seconds.unwrap_or(match wish {
            Wish::Honest | Wish::WrongIss => TOKEN_SECONDS,
            Wish::ShortTokens => super::refresh::TOKEN_SECONDS,
        });
        let runtime = spawn_runtime()?;
        let mcp = on(&runtime, start_mcp(&[ECHO]))??;
        let server = on(&runtime, authorization_server(iss, seconds))??;
        let mcp_url = mcp.url();
        server.allow_resource(mcp_url.clone());
        mcp.trust(server.issuer(), server.tokens())?;
        Ok(Self {
            runtime,
            mcp,
            mcp_url,
            server,
        })
    }

    pub(super) fn mcp_url(&self) -> &str {
        &self.mcp_url
    }

    pub(super) fn issuer(&self) -> &str {
        self.server.issuer()
    }

    /// Returns the number of refresh requests at the authorization server.
    pub(super) fn refreshes(&self) -> u64 {
        self.server.refreshes()
    }

    pub(super) fn listener(&self) -> io::Result<Listener> {
        Listener::start(LoopbackHost::Literal, LoopbackPort::Any)
    }

    /// Prints a line for each further token request.
    pub(super) fn log(&self) {
        self.server.log();
    }

    /// Makes the user decline at the next consent.
    pub(super) fn decline_once(&self) {
        self.server.decline_once();
    }

    /// Makes a tool require its own scope.
    pub(super) fn protect_tool(&self, tool: &str, scope: &str) -> io::Result<()> {
        self.mcp
            .set_tool_scope(tool, scope)
            .map_err(io::Error::other)
    }

    /// Makes the MCP server name another authorization server from now on.
    pub(super) fn move_to_another(&self) -> io::Result<String> {
        let server = on(
            &self.runtime,
            authorization_server(Iss::Honest, TOKEN_SECONDS),
        )??;
        server.allow_resource(self.mcp_url.clone());
        self.mcp
            .trust(server.issuer(), server.tokens())
            .map_err(io::Error::other)?;
        Ok(server.issuer().to_owned())
    }
}

async fn authorization_server(iss: Iss, seconds: u64) -> io::Result<AuthorizationServer> {
    authorization::start(Options {
        iss,
        access_token_seconds: seconds,
        service: Some((SERVICE.0.to_owned(), SERVICE.1.to_owned())),
        ..Options::default()
    })
    .await
}
