// Memory of machines: idle without an account, with a pending authorization, with a token.
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use mcp_auth_machine::time::{MonoMillis, UnixMillis};
use mcp_auth_machine::{
    Action, AuthMachine, Config, Event, Moment,
    event::Challenge,
    wire::{callback::Callback, pkce::Seed},
};
use std::alloc::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
struct A;
static LIVE: AtomicI64 = AtomicI64::new(0);
unsafe impl GlobalAlloc for A {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        LIVE.fetch_add(l.size() as i64, Ordering::Relaxed);
        unsafe { System.alloc(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        LIVE.fetch_sub(l.size() as i64, Ordering::Relaxed);
        unsafe { System.dealloc(p, l) }
    }
    unsafe fn realloc(&self, p: *mut u8, l: Layout, n: usize) -> *mut u8 {
        LIVE.fetch_add(n as i64 - l.size() as i64, Ordering::Relaxed);
        unsafe { System.realloc(p, l, n) }
    }
}
#[global_allocator]
static G: A = A;
const MCP: &str = "https://mcp.example.com/mcp";
const CH: &str = r#"Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="files:read""#;
const B: [&str; 4] = [
    r#"{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"],"scopes_supported":["files:read"]}"#,
    r#"{"issuer":"https://as.example.com","authorization_endpoint":"https://as.example.com/authorize","token_endpoint":"https://as.example.com/token","registration_endpoint":"https://as.example.com/register","response_types_supported":["code"],"code_challenge_methods_supported":["S256"],"grant_types_supported":["authorization_code","refresh_token"],"token_endpoint_auth_methods_supported":["none"],"authorization_response_iss_parameter_supported":true}"#,
    r#"{"client_id":"c1","redirect_uris":["http://127.0.0.1:3000/callback"],"token_endpoint_auth_method":"none"}"#,
    r#"{"access_token":"at","token_type":"Bearer","expires_in":3600,"refresh_token":"rt","scope":"files:read"}"#,
];
fn run(c: &Arc<Config>, stop_at_redirect: bool) -> (AuthMachine, Vec<usize>) {
    let now = Moment { wall: UnixMillis(1_800_000_000_000), mono: MonoMillis(1000) };
    let mut m = AuthMachine::new(Arc::clone(c), "alice", now);
    let mut h = HeaderMap::new();
    h.insert("www-authenticate", HeaderValue::from_static(CH));
    m.handle(now, Event::Challenged(Challenge::new("tools/call", 401, h)));
    let mut n = 0;
    let mut rec = vec![];
    while let Some(a) = m.poll_action() {
        match a {
            Action::LoadSlot(l) => m.handle(now, l.found(None)),
            Action::PersistSlot(p) => {
                if let Some(w) = p.write() {
                    rec.push(w.contents.expose().len())
                }
                m.handle(now, p.done())
            }
            Action::SendRequest(s) => {
                let mut r = Response::new(Bytes::from_static(B[n].as_bytes()));
                *r.status_mut() = if n == 2 { 201 } else { 200 }.try_into().unwrap();
                n += 1;
                m.handle(now, s.response(r))
            }
            Action::NeedUser(_) => m.handle(
                now,
                Event::Authorize(Seed::with_key(std::array::from_fn(|i| i as u8)).unwrap().into()),
            ),
            Action::Redirect(r) => {
                if stop_at_redirect {
                    return (m, rec);
                }
                let u = r.url.as_str();
                let st = u.split("state=").nth(1).unwrap().split('&').next().unwrap();
                let cb = format!(
                    "http://127.0.0.1:3000/callback?code=abc&state={st}&iss=https%3A%2F%2Fas.example.com"
                );
                m.handle(now, Event::CallbackParams(Callback::from_url(cb)))
            }
            Action::Ready(_) => break,
            Action::Error(e) => panic!("{e}"),
            _ => {}
        }
    }
    (m, rec)
}
fn main() {
    let c = Arc::new(
        Config::builder(MCP, "http://127.0.0.1:3000/callback")
            .client_name("x")
            .build()
            .unwrap(),
    );
    println!(
        "size_of AuthMachine {} Action {} Event {}",
        size_of::<AuthMachine>(),
        size_of::<Action>(),
        size_of::<Event>()
    );
    for (name, f) in [("waiting", true), ("token held", false)] {
        let (_m, r) = run(&c, f);
        println!("{name}: records {r:?}");
        drop(_m);
        let n = 1000;
        let b = LIVE.load(Ordering::Relaxed);
        let v: Vec<_> = (0..n).map(|_| run(&c, f).0).collect();
        println!(
            "{name}: {} bytes heap+inline each",
            (LIVE.load(Ordering::Relaxed) - b) / n
        );
        drop(v);
    }
}
