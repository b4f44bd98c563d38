//! Signs in to an MCP server with the browser, lists its tools and calls one.

use std::error::Error;
use std::future::IntoFuture as _;
use std::process::ExitCode;

use axum::Router;
use axum::http::Uri;
use axum::http::header::{CACHE_CONTROL, REFERRER_POLICY};
use axum::routing::get;
use mcp_auth_client::MemoryStore;
use mcp_auth_client::asynchronous::{Callbacks, Client, User};
use mcp_auth_machine::Config;
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_rmcp::AuthorizedClient;
use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

/// The user of this program, and the callback URLs of the browser.
struct Me(Mutex<mpsc::Receiver<String>>);

impl User for Me {
    async fn redirect(&self, redirect: Redirect, callbacks: Callbacks) {
        println!("sign in with the browser: {}", redirect.url.as_str());
        let mut urls = self.0.lock().await;
        while let Some(url) = urls.recv().await {
            if callbacks.hand_in(Callback::from_url(url)).await {
                return;
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: sign_in URL [TOOL]")?;

    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let callback = format!("{origin}/callback");
    let (came_back, urls) = mpsc::channel(8);
    let page = get(move |uri: Uri| async move {
        let _dropped = came_back.try_send(format!("{origin}{uri}"));
        let headers = [
            (CACHE_CONTROL, "no-store"),
            (REFERRER_POLICY, "no-referrer"),
        ];
        (headers, "You can close this page.")
    });
    tokio::spawn(axum::serve(listener, Router::new().route("/callback", page)).into_future());

    let config = Config::builder(&url, callback).client_name("My rmcp client");
    let authorization = Client::builder(config.build()?, "me", MemoryStore::default())
        .user(Me(Mutex::new(urls)))
        .start()?;
    let transport = AuthorizedClient::new(authorization.clone())?.transport(url);
    let mcp = ().serve(transport).await?;
    for tool in mcp.list_all_tools().await? {
        println!("tool {}", tool.name);
    }
    if let Some(tool) = arguments.next() {
        let text = json!({ "text": "hello" }).as_object().cloned();
        let call = CallToolRequestParams::new(tool).with_arguments(text.unwrap_or_default());
        println!("{:?}", mcp.call_tool(call).await?.content);
    }
    mcp.cancel().await?;
    authorization.close().await?;
    Ok(())
}
