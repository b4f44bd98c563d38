use serde::Deserialize;
use std::borrow::Cow;
#[derive(Deserialize)]
#[allow(dead_code)]
struct Prm<'a> {
    #[serde(borrow)]
    resource: Cow<'a, str>,
    #[serde(borrow)]
    authorization_servers: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    scopes_supported: Option<Vec<Cow<'a, str>>>,
}
#[derive(Deserialize)]
#[allow(dead_code)]
struct Asm<'a> {
    #[serde(borrow)]
    issuer: Cow<'a, str>,
    #[serde(borrow)]
    authorization_endpoint: Cow<'a, str>,
    #[serde(borrow)]
    token_endpoint: Cow<'a, str>,
    #[serde(borrow)]
    registration_endpoint: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code_challenge_methods_supported: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    token_endpoint_auth_methods_supported: Option<Vec<Cow<'a, str>>>,
    authorization_response_iss_parameter_supported: Option<bool>,
}
#[derive(Deserialize)]
#[allow(dead_code)]
struct Reg<'a> {
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    #[serde(borrow)]
    redirect_uris: Vec<Cow<'a, str>>,
}
#[derive(Deserialize)]
#[allow(dead_code)]
struct Tok<'a> {
    #[serde(borrow)]
    access_token: Cow<'a, str>,
    #[serde(borrow)]
    token_type: Cow<'a, str>,
    expires_in: Option<u64>,
    #[serde(borrow)]
    refresh_token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    scope: Option<Cow<'a, str>>,
}
fn enc(o: &mut String, k: &str, v: &str) {
    if !o.is_empty() {
        o.push('&')
    }
    o.push_str(k);
    o.push('=');
    for &b in v.as_bytes() {
        if b.is_ascii_alphanumeric() || b"-._*".contains(&b) {
            o.push(b as char)
        } else if b == b' ' {
            o.push('+')
        } else {
            o.push('%');
            const H: &[u8] = b"0123456789ABCDEF";
            o.push(H[(b >> 4) as usize] as char);
            o.push(H[(b & 15) as usize] as char)
        }
    }
}
fn req(m: http::Method, u: &str, b: Vec<u8>) -> usize {
    let mut r = http::Request::new(bytes::Bytes::from(b));
    *r.method_mut() = m;
    *r.uri_mut() = u.parse().unwrap();
    r.headers_mut().insert(
        http::header::ACCEPT,
        http::HeaderValue::from_static("application/json"),
    );
    r.body().len()
}
fn flow(seed: &[u8; 64]) -> usize {
    use base64::Engine;
    use sha2::Digest;
    let e = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut o = 0;
    o += req(
        http::Method::GET,
        "https://mcp.example.com/.well-known/oauth-protected-resource/mcp",
        vec![],
    );
    let p:Prm=serde_json::from_slice(br#"{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"],"scopes_supported":["files:read"]}"#).unwrap();
    let mut u = String::with_capacity(96);
    u.push_str(&p.authorization_servers[0]);
    u.push_str("/.well-known/oauth-authorization-server");
    o += req(http::Method::GET, &u, vec![]);
    let a:Asm=serde_json::from_slice(br#"{"issuer":"https://as.example.com","authorization_endpoint":"https://as.example.com/authorize","token_endpoint":"https://as.example.com/token","registration_endpoint":"https://as.example.com/register","response_types_supported":["code"],"code_challenge_methods_supported":["S256"],"grant_types_supported":["authorization_code","refresh_token"],"token_endpoint_auth_methods_supported":["none"],"authorization_response_iss_parameter_supported":true}"#).unwrap();
    o+=req(http::Method::POST,a.registration_endpoint.as_ref().unwrap(),br#"{"client_name":"x","redirect_uris":["http://127.0.0.1:3000/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"native"}"#.to_vec());
    let g:Reg=serde_json::from_slice(br#"{"client_id":"c1","redirect_uris":["http://127.0.0.1:3000/callback"],"token_endpoint_auth_method":"none"}"#).unwrap();
    let v = e.encode(&seed[..32]);
    let st = e.encode(&seed[32..]);
    let ch = e.encode(sha2::Sha256::digest(v.as_bytes()));
    let mut q = String::with_capacity(512);
    for (k, x) in [
        ("response_type", "code"),
        ("client_id", &*g.client_id),
        ("code_challenge", &ch),
        ("code_challenge_method", "S256"),
        ("redirect_uri", "http://127.0.0.1:3000/callback"),
        ("state", &st),
        ("scope", "files:read"),
        ("resource", &*p.resource),
    ] {
        enc(&mut q, k, x)
    }
    o += q.len();
    let cb = format!("code=abc&state={st}&iss=https%3A%2F%2Fas.example.com");
    let mut code = "";
    for kv in cb.split('&') {
        let (k, x) = kv.split_once('=').unwrap();
        if k == "code" { code = x } else { o += x.len() }
    }
    let mut b = String::with_capacity(512);
    for (k, x) in [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("code_verifier", &v),
        ("redirect_uri", "http://127.0.0.1:3000/callback"),
        ("client_id", &*g.client_id),
        ("resource", &*p.resource),
    ] {
        enc(&mut b, k, x)
    }
    o += req(http::Method::POST, &a.token_endpoint, b.into_bytes());
    let t:Tok=serde_json::from_slice(br#"{"access_token":"at","token_type":"Bearer","expires_in":3600,"refresh_token":"rt","scope":"files:read"}"#).unwrap();
    o + t.access_token.len()
}
fn main() {
    let n: usize = std::env::var("FLOWS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(200000);
    let s = [7u8; 64];
    let t = std::time::Instant::now();
    for _ in 0..n {
        std::hint::black_box(flow(std::hint::black_box(&s)));
    }
    println!(
        "lean: {:.2} us/flow",
        t.elapsed().as_secs_f64() * 1e6 / n as f64
    );
}
