use serde::Deserialize;
use std::alloc::*;
use std::sync::atomic::*;
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
#[derive(Deserialize)]
#[allow(dead_code)]
struct Prm {
    resource: String,
    authorization_servers: Vec<String>,
    scopes_supported: Option<Vec<String>>,
}
#[derive(Deserialize)]
#[allow(dead_code)]
struct Asm {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    registration_endpoint: Option<String>,
    response_types_supported: Vec<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
    grant_types_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: Option<bool>,
}
#[derive(Deserialize)]
#[allow(dead_code)]
struct Reg {
    client_id: String,
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
}
#[derive(Deserialize)]
#[allow(dead_code)]
struct Tok {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
    scope: Option<String>,
}
fn flow() -> usize {
    use base64::Engine;
    use sha2::Digest;
    let e = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut o = 0;
    let r = |m: &str, u: &str, b: Vec<u8>| {
        let r = http::Request::builder()
            .method(m)
            .uri(u)
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .body(bytes::Bytes::from(b))
            .unwrap();
        r.body().len()
    };
    let server = url::Url::parse("https://mcp.example.com/mcp").unwrap();
    o += r(
        "GET",
        "https://mcp.example.com/.well-known/oauth-protected-resource/mcp",
        vec![],
    );
    let p:Prm=serde_json::from_slice(br#"{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"],"scopes_supported":["files:read"]}"#).unwrap();
    let iss = url::Url::parse(&p.authorization_servers[0]).unwrap();
    o += iss.as_str().len() + server.as_str().len();
    o += r(
        "GET",
        "https://as.example.com/.well-known/oauth-authorization-server",
        vec![],
    );
    let a:Asm=serde_json::from_slice(br#"{"issuer":"https://as.example.com","authorization_endpoint":"https://as.example.com/authorize","token_endpoint":"https://as.example.com/token","registration_endpoint":"https://as.example.com/register","response_types_supported":["code"],"code_challenge_methods_supported":["S256"],"grant_types_supported":["authorization_code","refresh_token"],"token_endpoint_auth_methods_supported":["none"],"authorization_response_iss_parameter_supported":true}"#).unwrap();
    let _t = url::Url::parse(&a.token_endpoint).unwrap();
    let _g = url::Url::parse(a.registration_endpoint.as_ref().unwrap()).unwrap();
    o+=r("POST","https://as.example.com/register",br#"{"client_name":"x","redirect_uris":["http://127.0.0.1:3000/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"native"}"#.to_vec());
    let g:Reg=serde_json::from_slice(br#"{"client_id":"c1","redirect_uris":["http://127.0.0.1:3000/callback"],"token_endpoint_auth_method":"none"}"#).unwrap();
    let mut rnd = [0u8; 64];
    getrandom::fill(&mut rnd).unwrap();
    let v = e.encode(&rnd[..32]);
    let st = e.encode(&rnd[32..]);
    let ch = e.encode(sha2::Sha256::digest(v.as_bytes()));
    let mut au = url::Url::parse(&a.authorization_endpoint).unwrap();
    au.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &g.client_id)
        .append_pair("code_challenge", &ch)
        .append_pair("code_challenge_method", "S256")
        .append_pair("redirect_uri", "http://127.0.0.1:3000/callback")
        .append_pair("state", &st)
        .append_pair("scope", "files:read")
        .append_pair("resource", "https://mcp.example.com/mcp");
    o += au.as_str().len();
    let cb = format!("code=abc&state={st}&iss=https%3A%2F%2Fas.example.com");
    let mut code = String::new();
    for (k, val) in url::form_urlencoded::parse(cb.as_bytes()) {
        if k == "code" {
            code = val.into_owned()
        } else {
            o += val.len()
        }
    }
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("code", &code)
        .append_pair("code_verifier", &v)
        .append_pair("redirect_uri", "http://127.0.0.1:3000/callback")
        .append_pair("client_id", &g.client_id)
        .append_pair("resource", "https://mcp.example.com/mcp")
        .finish();
    o += r("POST", "https://as.example.com/token", body.into_bytes());
    let t:Tok=serde_json::from_slice(br#"{"access_token":"at","token_type":"Bearer","expires_in":3600,"refresh_token":"rt","scope":"files:read"}"#).unwrap();
    o + t.access_token.len()
}
fn main() {
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
        std::hint::black_box(flow());
    }
    ALLOCS.store(0, Ordering::Relaxed);
    let t = std::time::Instant::now();
    for _ in 0..n {
        std::hint::black_box(flow());
    }
    println!(
        "floor: {:.2} us/flow {} allocs",
        t.elapsed().as_secs_f64() * 1e6 / n as f64,
        ALLOCS.load(Ordering::Relaxed) / n
    );
}
