use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response};
use mcp_auth_machine::time::{MonoMillis, UnixMillis};
use mcp_auth_machine::{
    Action, AuthMachine, Config, Event, Moment,
    event::Challenge,
    wire::{callback::Callback, pkce::Seed},
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
struct A;
static ALLOCS: AtomicUsize = AtomicUsize::new(0);
static REALLOCS: AtomicUsize = AtomicUsize::new(0);
unsafe impl GlobalAlloc for A {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        ALLOCS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        unsafe { System.dealloc(p, l) }
    }
    unsafe fn realloc(&self, p: *mut u8, l: Layout, n: usize) -> *mut u8 {
        REALLOCS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(p, l, n) }
    }
}
#[global_allocator]
static G: A = A;
const MCP: &str = "https://mcp.example.com/mcp";
const CH: &str = r#"Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="files:read""#;
const PRM: &str = r#"{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"],"scopes_supported":["files:read"]}"#;
const ASM: &str = r#"{"issuer":"https://as.example.com","authorization_endpoint":"https://as.example.com/authorize","token_endpoint":"https://as.example.com/token","registration_endpoint":"https://as.example.com/register","response_types_supported":["code"],"code_challenge_methods_supported":["S256"],"grant_types_supported":["authorization_code","refresh_token"],"token_endpoint_auth_methods_supported":["none"],"authorization_response_iss_parameter_supported":true}"#;
const REG: &str = r#"{"client_id":"c1","redirect_uris":["http://127.0.0.1:3000/callback"],"token_endpoint_auth_method":"none"}"#;
const TOK: &str = r#"{"access_token":"at","token_type":"Bearer","expires_in":3600,"refresh_token":"rt","scope":"files:read"}"#;
fn ok(s: u16, b: &'static str) -> Response<Bytes> {
    let mut r = Response::new(Bytes::from_static(b.as_bytes()));
    *r.status_mut() = s.try_into().unwrap();
    r.headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    r
}
fn flow(c: &Arc<Config>, seed: [u8; 64]) -> usize {
    let now = Moment { wall: UnixMillis(1_800_000_000_000), mono: MonoMillis(1000) };
    let mut m = AuthMachine::new(Arc::clone(c), "alice", now);
    let mut h = HeaderMap::new();
    h.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CH));
    m.handle(now, Event::Challenged(Challenge::new("tools/call", 401, h)));
    let mut n = 0;
    while let Some(a) = m.poll_action() {
        match a {
            Action::LoadSlot(l) => m.handle(now, l.found(None)),
            Action::PersistSlot(p) => {
                std::hint::black_box(p.write());
                m.handle(now, p.done())
            }
            Action::SendRequest(s) => {
                n += 1;
                let r = match n {
                    1 => ok(200, PRM),
                    2 => ok(200, ASM),
                    3 => ok(201, REG),
                    _ => ok(200, TOK),
                };
                std::hint::black_box(s.request());
                m.handle(now, s.response(r))
            }
            Action::NeedUser(_) => m.handle(now, Event::Authorize(Seed::with_key(seed).unwrap().into())),
            Action::Redirect(r) => {
                let u = r.url.as_str();
                // In place of the authorization server.
                let mut pairs = u.split('&');
                let st = pairs.find_map(|p| p.strip_prefix("state=")).unwrap();
                let cb = format!(
                    "http://127.0.0.1:3000/callback?code=abc&state={st}&iss=https%3A%2F%2Fas.example.com"
                );
                m.handle(now, Event::CallbackParams(Callback::from_url(cb)))
            }
            Action::Ready(_) => break,
            Action::Error(e) => panic!("{e}"),
            Action::Report(_) => {}
            _ => panic!(),
        }
    }
    m.bearer(now, MCP).unwrap().len()
}
fn main() {
    let c = Arc::new(
        Config::builder(MCP, "http://127.0.0.1:3000/callback")
            .client_name("x")
            .reports(std::env::var_os("REPORTS").is_some())
            .build()
            .unwrap(),
    );
    let mut seed = [0u8; 64];
    for (i, b) in seed.iter_mut().enumerate() {
        *b = i as u8
    }
    let n: usize = std::env::var("FLOWS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(20000);
    let w = if std::env::var_os("FLOWS").is_some() {
        1
    } else {
        1000
    };
    for _ in 0..w {
        std::hint::black_box(flow(&c, seed));
    }
    ALLOCS.store(0, Ordering::Relaxed);
    REALLOCS.store(0, Ordering::Relaxed);
    let t = std::time::Instant::now();
    for _ in 0..n {
        std::hint::black_box(flow(&c, seed));
    }
    println!(
        "ours: {:.2} us/flow {} allocs {} reallocs",
        t.elapsed().as_secs_f64() * 1e6 / n as f64,
        ALLOCS.load(Ordering::Relaxed) / n,
        REALLOCS.load(Ordering::Relaxed) / n
    );
}
