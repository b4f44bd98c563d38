//! A valid token: from the accounts of `mcp-auth-client`, and from the manager of the official Rust SDK, after the same
//! sign-in with the same bodies.
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use mcp_auth_client::asynchronous::{Accounts, HostHttp, Limits, Network, Server, Undelivered};
use mcp_auth_client::{MemoryStore, SharedStore, seed};
use mcp_auth_machine::Config;
use mcp_auth_machine::wire::callback::Callback;
use rmcp::transport::auth::*;

struct Counting;
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(place, layout, size) }
    }
}
#[global_allocator]
static GLOBAL: Counting = Counting;

const READS: u32 = 1_000_000;
const ROUNDS: u32 = 5;
const MCP: &str = "https://mcp.example.com/mcp";
const REDIRECT: &str = "http://127.0.0.1:3000/callback";

/// Status and body of the servers.
fn answer(uri: &str) -> Response<Bytes> {
    let (status, body) = if uri.ends_with("/mcp") && !uri.contains("well-known") {
        (401, "")
    } else if uri.contains("oauth-protected-resource") {
        (
            200,
            r#"{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"],"scopes_supported":["files:read"]}"#,
        )
    } else if uri.contains("oauth-authorization-server") {
        (
            200,
            r#"{"issuer":"https://as.example.com","authorization_endpoint":"https://as.example.com/authorize","token_endpoint":"https://as.example.com/token","registration_endpoint":"https://as.example.com/register","response_types_supported":["code"],"code_challenge_methods_supported":["S256"],"grant_types_supported":["authorization_code","refresh_token"],"token_endpoint_auth_methods_supported":["none"],"authorization_response_iss_parameter_supported":true}"#,
        )
    } else if uri.ends_with("/register") {
        (
            201,
            r#"{"client_id":"c1","redirect_uris":["http://127.0.0.1:3000/callback"],"token_endpoint_auth_method":"none"}"#,
        )
    } else if uri.ends_with("/token") {
        (
            200,
            r#"{"access_token":"at","token_type":"Bearer","expires_in":3600,"refresh_token":"rt","scope":"files:read"}"#,
        )
    } else {
        (404, "")
    };
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    response.body(Bytes::from_static(body.as_bytes())).unwrap()
}

struct Servers;

impl HostHttp for Servers {
    async fn exchange(
        &self,
        request: Request<Bytes>,
        _: Limits,
    ) -> Result<Response<Bytes>, Undelivered> {
        Ok(answer(&request.uri().to_string()))
    }
}

impl OAuthHttpClient for Servers {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        let answer = answer(&request.request.uri().to_string());
        Box::pin(async move { Ok(answer.map(|body| body.to_vec().into())) })
    }
}

fn callback(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    let (_, state) = url.query_pairs().find(|(name, _)| name == "state").unwrap();
    format!("{REDIRECT}?code=abc&state={state}&iss=https%3A%2F%2Fas.example.com")
}

async fn ours() -> (Accounts, Server) {
    let accounts = Accounts::builder(SharedStore::new(MemoryStore::default()));
    let accounts = accounts.network(&Network::of(Servers)).start().unwrap();
    let config = Config::builder(MCP, REDIRECT).client_name("peers");
    let server = accounts.add_server(config.build().unwrap());
    let redirect = accounts.begin(&server, "alice", seed().unwrap()).await;
    let url = callback(redirect.unwrap().unwrap().url.as_str());
    accounts.came_back(Callback::from_url(&url)).await.unwrap();
    (accounts, server)
}

async fn rmcp() -> AuthorizationManager {
    let servers = Arc::new(Servers);
    let mut state = OAuthState::new_with_oauth_http_client(MCP, servers).await.unwrap();
    let challenge = r#"Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="files:read""#;
    let request = AuthorizationRequest::new(REDIRECT).with_challenge(challenge);
    state.start_authorization(request).await.unwrap();
    let url = callback(&state.get_authorization_url().await.unwrap());
    state.handle_callback_url(&url).await.unwrap();
    state.into_authorization_manager().unwrap()
}

fn row(name: &str, time: Duration, allocations: usize) {
    let allocations = allocations as f64 / f64::from(READS) / f64::from(ROUNDS);
    println!("{name:<44} {:>6} ns, {allocations:.1} allocations", time.as_nanos());
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (accounts, server) = ours().await;
    let manager = rmcp().await;
    assert!(accounts.token(&server, "alice").is_some());
    assert_eq!(manager.get_access_token().await.unwrap(), "at");
    let mut times = [Duration::MAX; 3];
    let mut counts = [0; 3];
    // In turns, so that other programs disturb all alike; the best counts.
    for _ in 0..ROUNDS {
        for (number, (best, count)) in times.iter_mut().zip(&mut counts).enumerate() {
            let (since, before) = (Instant::now(), ALLOCATIONS.load(Ordering::Relaxed));
            for _ in 0..READS {
                match number {
                    0 => drop(black_box(accounts.token(&server, "alice").unwrap())),
                    1 => {
                        let headers = accounts.authorize(&server, "alice", "read", &Method::POST);
                        drop(black_box(headers.await.unwrap()));
                    }
                    _ => drop(black_box(manager.get_access_token().await.unwrap())),
                }
            }
            *best = (since.elapsed() / READS).min(*best);
            *count += ALLOCATIONS.load(Ordering::Relaxed) - before;
        }
    }
    let [token, headers, peer] = times;
    row("Accounts::token", token, counts[0]);
    row("Accounts::authorize (a header map)", headers, counts[1]);
    row("rmcp AuthorizationManager::get_access_token", peer, counts[2]);
    let ratio = |own: Duration| peer.as_secs_f64() / own.as_secs_f64();
    println!("ratio: {:.2} x, {:.2} x", ratio(token), ratio(headers));
}
