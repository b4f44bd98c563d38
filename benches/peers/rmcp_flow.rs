use rmcp::transport::auth::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
struct A;
static ALLOCS: AtomicUsize = AtomicUsize::new(0);
unsafe impl GlobalAlloc for A {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        ALLOCS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        unsafe { System.dealloc(p, l) }
    }
    unsafe fn realloc(&self, p: *mut u8, l: Layout, n: usize) -> *mut u8 {
        ALLOCS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(p, l, n) }
    }
}
#[global_allocator]
static G: A = A;
static N: AtomicUsize = AtomicUsize::new(0);
struct Mem;
impl OAuthHttpClient for Mem {
    fn execute(&self, r: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        N.fetch_add(1, Ordering::Relaxed);
        let u = r.request.uri().to_string();
        if std::env::var_os("TRACE").is_some() {
            eprintln!("{} {}", r.request.method(), u);
        }
        let (s, b): (u16, &'static str) = if u.ends_with("/mcp") && !u.contains("well-known") {
            (401, "")
        } else if u.contains("oauth-protected-resource") {
            (
                200,
                r#"{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"],"scopes_supported":["files:read"]}"#,
            )
        } else if u.contains("oauth-authorization-server") {
            (
                200,
                r#"{"issuer":"https://as.example.com","authorization_endpoint":"https://as.example.com/authorize","token_endpoint":"https://as.example.com/token","registration_endpoint":"https://as.example.com/register","response_types_supported":["code"],"code_challenge_methods_supported":["S256"],"grant_types_supported":["authorization_code","refresh_token"],"token_endpoint_auth_methods_supported":["none"],"authorization_response_iss_parameter_supported":true}"#,
            )
        } else if u.ends_with("/register") {
            (
                201,
                r#"{"client_id":"c1","redirect_uris":["http://127.0.0.1:3000/callback"],"token_endpoint_auth_method":"none"}"#,
            )
        } else if u.ends_with("/token") {
            (
                200,
                r#"{"access_token":"at","token_type":"Bearer","expires_in":3600,"refresh_token":"rt","scope":"files:read"}"#,
            )
        } else {
            (404, "")
        };
        Box::pin(async move {
            Ok(http::Response::builder()
                .status(s)
                .header("content-type", "application/json")
                .body(b.as_bytes().to_vec().into())
                .unwrap())
        })
    }
}
async fn flow(c: &Arc<Mem>) {
    let mut st = OAuthState::new_with_oauth_http_client("https://mcp.example.com/mcp", c.clone())
        .await
        .unwrap();
    st.start_authorization(AuthorizationRequest::new("http://127.0.0.1:3000/callback").with_challenge(r#"Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="files:read""#)).await.unwrap();
    let url = st.get_authorization_url().await.unwrap();
    let url = url::Url::parse(&url).unwrap();
    let state = url
        .query_pairs()
        .find(|p| p.0 == "state")
        .unwrap()
        .1
        .to_string();
    st.handle_callback_url(&format!(
        "http://127.0.0.1:3000/callback?code=abc&state={state}&iss=https%3A%2F%2Fas.example.com"
    ))
    .await
    .unwrap();
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let c = Arc::new(Mem);
    if std::env::var_os("TRACE").is_some() {
        flow(&c).await;
        return;
    }
    let n: usize = std::env::var("FLOWS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(5000);
    let w = if std::env::var_os("FLOWS").is_some() {
        1
    } else {
        500
    };
    for _ in 0..w {
        flow(&c).await;
    }
    N.store(0, Ordering::Relaxed);
    ALLOCS.store(0, Ordering::Relaxed);
    let t = std::time::Instant::now();
    for _ in 0..n {
        flow(&c).await;
    }
    println!(
        "rmcp cold flow: {:.2} us/flow, {} http requests, {} allocs",
        t.elapsed().as_secs_f64() * 1e6 / n as f64,
        N.load(Ordering::Relaxed) / n,
        ALLOCS.load(Ordering::Relaxed) / n
    );
}
