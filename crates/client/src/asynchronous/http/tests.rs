//! One request against real sockets.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use mcp_auth_machine::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::asynchronous::network::Network;

/// Answers every connection in the same way, and counts them.
struct Server {
    address: std::net::SocketAddr,
    met: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start<F: Future<Output = ()> + Send>(
        answer: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (meets, met) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else {
                        break;
                    };
                    head.push(byte);
                }
                let _ = meets.send(String::from_utf8_lossy(&head).into_owned());
                answer(stream).await;
            }
        });
        Self { address, met }
    }

    async fn says(text: &'static str) -> Self {
        Self::start(async move |mut stream| {
            let _ = stream.write_all(text.as_bytes()).await;
        })
        .await
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/document", self.address.port())
    }
}

/// A configuration for an MCP server on loopback, or for one that must not connect there.
pub(super) fn config(mcp_url: &str) -> Arc<Config> {
    let built = Config::builder(mcp_url, "http://127.0.0.1:9/callback").build();
    Arc::new(built.unwrap())
}

pub(in crate::asynchronous) fn here() -> Arc<Config> {
    config("http://localhost:1/mcp")
}

pub(in crate::asynchronous) fn elsewhere() -> Arc<Config> {
    config("https://mcp.example/mcp")
}

/// A request for a document, with the machine's limits.
pub(in crate::asynchronous) fn asked(config: &Arc<Config>, url: &str) -> (Request<Bytes>, Limits) {
    let request = Request::builder().uri(url).body(Bytes::new()).unwrap();
    let limits = Limits {
        addresses: config.url_policy().addresses(request.uri()),
        time: Duration::from_secs(30),
        body: 256 * 1024,
    };
    (request, limits)
}

/// A network without a proxy.
pub(super) fn direct(trust: &Trust) -> Network {
    let settings = || reqwest::ClientBuilder::new().no_proxy();
    let network = Network::builder().http(settings).trust(trust.clone());
    network.build().unwrap()
}

pub(super) async fn outcome(
    (request, limits): (Request<Bytes>, Limits),
) -> Result<Response<Bytes>, Undelivered> {
    direct(&Trust::new()).exchange(&request, limits).await
}

#[tokio::test]
async fn sec08_the_answer_is_taken_as_it_is_and_no_redirect_followed() {
    let mut server = Server::says(
        "HTTP/1.1 302 Found\r\nlocation: /stolen\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nno",
    )
    .await;
    let config = here();
    let outcome = outcome(asked(&config, &server.url("localhost"))).await;
    let response = outcome.unwrap();
    assert_eq!(response.status().as_u16(), 302);
    assert_eq!(response.headers()["location"], "/stolen");
    assert_eq!(response.body(), "no");
    let head = server.met.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /document http/1.1\r\n"), "{head}");
    for unwanted in ["user-agent", "cookie", "referer", "content-length"] {
        assert!(!head.contains(unwanted), "{head}");
    }
    assert!(server.met.try_recv().is_err());
}

#[tokio::test]
async fn sec13_an_endless_body_is_cut() {
    let (hangs_up, mut hung_up) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let hangs_up = hangs_up.clone();
        async move {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b' '; 4096]).await.is_ok() {}
            let _ = hangs_up.send(());
        }
    })
    .await;
    let config = here();
    let outcome = outcome(asked(&config, &server.url("localhost"))).await;
    assert_eq!(outcome.unwrap_err(), Undelivered::TooLarge);
    hung_up.recv().await.unwrap();
}

#[tokio::test]
async fn sec15_a_server_that_says_nothing_meets_the_time_limit() {
    let server = Server::start(async move |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let config = here();
    let mut asked = asked(&config, &server.url("localhost"));
    asked.1.time = Duration::from_millis(50);
    assert_eq!(outcome(asked).await.unwrap_err(), Undelivered::MaybeSent);
}

#[tokio::test]
async fn sec15_a_body_that_does_not_end_meets_the_time_limit() {
    let server = Server::start(async move |mut stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{";
        let _ = stream.write_all(head.as_bytes()).await;
        std::future::pending::<()>().await;
    })
    .await;
    let config = here();
    let mut asked = asked(&config, &server.url("localhost"));
    asked.1.time = Duration::from_millis(50);
    assert_eq!(outcome(asked).await.unwrap_err(), Undelivered::MaybeSent);
}

#[tokio::test]
async fn tok20_what_may_have_arrived_is_told_from_what_did_not() {
    let server = Server::start(async move |stream| drop(stream)).await;
    let config = here();
    let cut = outcome(asked(&config, &server.url("localhost"))).await;
    assert_eq!(cut.unwrap_err(), Undelivered::MaybeSent);
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let nobody = asked(&config, &format!("http://127.0.0.1:{port}/"));
    assert_eq!(outcome(nobody).await.unwrap_err(), Undelivered::NeverSent);
}

#[tokio::test]
async fn sec07_a_name_that_resolves_to_a_forbidden_address_is_blocked() {
    let mut server = Server::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let config = elsewhere();
    let outcome = outcome(asked(&config, &server.url("localhost"))).await;
    assert_eq!(outcome.unwrap_err(), Undelivered::Blocked);
    assert!(server.met.try_recv().is_err());
}

#[tokio::test]
async fn sec07_an_address_literal_passes_no_resolver_and_is_blocked_all_the_same() {
    let mut server = Server::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let config = elsewhere();
    let literal = server.url("127.0.0.1");
    // The HTTP client alone would connect; the machine and the driver do not.
    let http = client(
        reqwest::ClientBuilder::new().no_proxy(),
        &Trust::new(),
        Presents::Nothing,
    )
    .unwrap();
    assert!(http.get(&literal).send().await.is_ok());
    server.met.recv().await.unwrap();
    let blocked = outcome(asked(&config, &literal)).await;
    assert_eq!(blocked.unwrap_err(), Undelivered::Blocked);
    assert!(server.met.try_recv().is_err());
    for url in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
    ] {
        assert!(config.url_policy().check(url).is_err());
        let blocked = outcome(asked(&config, url)).await;
        assert_eq!(blocked.unwrap_err(), Undelivered::Blocked, "{url}");
    }
}

#[tokio::test]
async fn a_proxy_may_be_inside_because_the_user_named_it() {
    let mut proxy = Server::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let config = elsewhere();
    for host in ["localhost", "proxy.localhost", "127.0.0.1"] {
        let there = proxy.url(host);
        let settings = move || {
            let proxy = reqwest::Proxy::http(&there).unwrap();
            reqwest::ClientBuilder::new().proxy(proxy)
        };
        let http = Network::builder().http(settings).build().unwrap();
        let (request, limits) = asked(&config, "http://as.example/document");
        let answer = http.exchange(&request, limits).await.unwrap();
        assert!(answer.status().is_success(), "{host}");
        let head = proxy.met.recv().await.unwrap();
        assert!(
            head.starts_with("GET http://as.example/document "),
            "{head}"
        );
    }
}

#[tokio::test]
async fn requests_to_this_machine_go_through_no_proxy() {
    let mut proxy = Server::says("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n").await;
    let mut server = Server::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let config = here();
    let there = proxy.url("127.0.0.1");
    let settings = move || {
        let proxy = reqwest::Proxy::all(&there).unwrap();
        reqwest::ClientBuilder::new().proxy(proxy)
    };
    let http = Network::builder().http(settings).build().unwrap();
    // No name server resolves the last one (RFC 6761).
    for host in ["127.0.0.1", "localhost", "app.localhost"] {
        let (request, limits) = asked(&config, &server.url(host));
        let answer = http.exchange(&request, limits).await.unwrap();
        assert!(answer.status().is_success(), "{host}");
        assert!(server.met.recv().await.unwrap().contains(host));
    }
    assert!(proxy.met.try_recv().is_err());
}

#[tokio::test]
async fn sec06_the_host_that_the_user_named_may_be_inside_and_what_a_server_announces_may_not() {
    let mut server = Server::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let port = server.address.port();
    // The resolver is the same for `https`; this server has no TLS.
    let named = config(&format!("https://mcp.corp.test:{port}/mcp"));
    let permits = |url: &str| named.url_policy().addresses(&url.parse().unwrap());
    let http = direct(&Trust::new());
    for (host, is_reached) in [
        ("mcp.corp.test", true),
        ("login.corp.test", false),
        // After a connection was made for the other one.
        ("mcp.corp.test", true),
    ] {
        let (request, mut limits) = asked(&named, &server.url(host));
        limits.addresses = permits(&format!("https://{host}:{port}/"));
        let answer = http.exchange(&request, limits).await;
        assert_eq!(answer.is_ok(), is_reached, "{host}");
        assert_eq!(server.met.try_recv().is_ok(), is_reached, "{host}");
    }
    // Another port of the same host, without a connection of before.
    let http = direct(&Trust::new());
    let (request, mut limits) = asked(&named, &server.url("mcp.corp.test"));
    limits.addresses = permits("https://mcp.corp.test:8443/");
    let blocked = http.exchange(&request, limits).await;
    assert_eq!(blocked.unwrap_err(), Undelivered::Blocked);
}

#[tokio::test]
async fn sec07_without_a_request_a_judged_client_connects_nowhere() {
    let mut server = Server::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let alone = client(
        reqwest::ClientBuilder::new().no_proxy(),
        &Trust::new(),
        Presents::Nothing,
    )
    .unwrap();
    let blocked = alone.get(server.url("mcp.corp.test")).send().await;
    assert!(is_blocked(&blocked.unwrap_err()));
    assert!(server.met.try_recv().is_err());
}
