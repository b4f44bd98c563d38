//! rmcp's streamable HTTP server behind the layer of `mcp-auth-server`, with an authorization server on
//! loopback that agrees to everything:
//!
//! ```sh
//! cargo run -p mcp-auth-rmcp --example protected_server
//! ```
//!
//! The tool `echo` needs the scope `mcp:echo` besides the one of every request.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use mcp_auth_server::{Guard, ProtectLayer, ProtectedResource, RequiredScopes, ScopePolicy};
use mcp_auth_testing::BASE_SCOPE;
use mcp_auth_testing::authorization::{self, Iss, Options};
use mcp_auth_testing::resource::RegistryVerifier;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

/// The MCP server: it knows nothing of tokens.
struct Echo;

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({
            "type": "object",
            "properties": { "text": { "type": "string" } },
            "required": ["text"],
        });
        let schema = schema.as_object().cloned().unwrap_or_default();
        let tool = Tool::new("echo", "Returns the text it is given.", schema);
        Ok(ListToolsResult::with_all_items(vec![tool]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let text = arguments.get("text").and_then(Value::as_str);
        let text = text.ok_or_else(|| ErrorData::invalid_params("text is missing", None))?;
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
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
    let server = authorization::start(Options {
        iss: Iss::Honest,
        access_token_seconds: 300,
        ..Options::default()
    })
    .await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    server.allow_resource(url.clone());

    let resource = ProtectedResource::new(&url, server.issuer())?.scopes(BASE_SCOPE)?;
    let policy = ScopePolicy::new(RequiredScopes::parse(BASE_SCOPE)?)
        .tool("echo", RequiredScopes::parse("mcp:echo")?);
    let verifier = RegistryVerifier::new(server.issuer(), &url, server.tokens());
    let layer = ProtectLayer::new(Guard::new(resource, policy)?, verifier);
    let service: StreamableHttpService<Echo, LocalSessionManager> = StreamableHttpService::new(
        || Ok(Echo),
        Arc::default(),
        StreamableHttpServerConfig::default(),
    );
    let router = Router::new().nest_service("/mcp", service).layer(layer);

    println!("MCP server            {url}");
    println!("authorization server  {}", server.issuer());
    println!("serving until interrupted");
    Ok(axum::serve(listener, router).await?)
}
