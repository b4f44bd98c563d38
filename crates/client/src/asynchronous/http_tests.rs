//! One request against real sockets.
#![allow(clippy::unwrap_used)]

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
fn config(mcp_url: &str) -> Arc<Config> {
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
        addresses: config.url_policy().addresses(request.uri().host()),
        time: Duration::from_secs(30),
        body: 256 * 1024,
    };
    (request, limits)
}

pub(super) async fn outcome(
    config: &Arc<Config>,
    (request, limits): (Request<Bytes>, Limits),
) -> Result<Response<Bytes>, Undelivered> {
    let http = Network::own(
        reqwest::ClientBuilder::new().no_proxy(),
        &Trust::new(),
        config,
    );
    http.unwrap().exchange(&request, limits).await
}

#[tokio::test]
async fn sec08_the_answer_is_taken_as_it_is_and_no_redirect_followed() {
    let mut server = Server::says(
        "HTTP/1.1 302 Found\r\nlocation: /stolen\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nno",
    )
    .await;
    let config = here();
    let outcome = outcome(&config, asked(&config, &server.url("localhost"))).await;
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
    let outcome = outcome(&config, asked(&config, &server.url("localhost"))).await;
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
    assert_eq!(
        outcome(&config, asked).await.unwrap_err(),
        Undelivered::MaybeSent
    );
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
    assert_eq!(
        outcome(&config, asked).await.unwrap_err(),
        Undelivered::MaybeSent
    );
}

#[tokio::test]
async fn tok20_what_may_have_arrived_is_told_from_what_did_not() {
    let server = Server::start(async move |stream| drop(stream)).await;
    let config = here();
    let cut = outcome(&config, asked(&config, &server.url("localhost"))).await;
    assert_eq!(cut.unwrap_err(), Undelivered::MaybeSent);
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let nobody = asked(&config, &format!("http://127.0.0.1:{port}/"));
    assert_eq!(
        outcome(&config, nobody).await.unwrap_err(),
        Undelivered::NeverSent
    );
}

#[tokio::test]
async fn sec07_a_name_that_resolves_to_a_forbidden_address_is_blocked() {
    let mut server = Server::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let config = elsewhere();
    let outcome = outcome(&config, asked(&config, &server.url("localhost"))).await;
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
        Judge::Config(Arc::clone(&config)),
    )
    .unwrap();
    assert!(http.get(&literal).send().await.is_ok());
    server.met.recv().await.unwrap();
    let blocked = outcome(&config, asked(&config, &literal)).await;
    assert_eq!(blocked.unwrap_err(), Undelivered::Blocked);
    assert!(server.met.try_recv().is_err());
    for url in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
    ] {
        assert!(config.url_policy().check(url).is_err());
        let blocked = outcome(&config, asked(&config, url)).await;
        assert_eq!(blocked.unwrap_err(), Undelivered::Blocked, "{url}");
    }
}

#[tokio::test]
async fn sec07_behind_a_proxy_the_name_of_the_proxy_is_judged() {
    let mut server = Server::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let behind = |proxy: String| {
        let proxy = reqwest::Proxy::http(proxy).unwrap();
        reqwest::ClientBuilder::new().proxy(proxy)
    };
    let mut listed = Config::builder("https://mcp.example/mcp", "http://127.0.0.1:9/callback");
    listed = listed.allow_host("localhost");
    let listed = Arc::new(listed.build().unwrap());
    for (config, proxy, is_blocked) in [
        (elsewhere(), "localhost", true),
        (listed, "localhost", false),
        // An address literal of the host passes no resolver.
        (elsewhere(), "127.0.0.1", false),
    ] {
        let http = Network::own(behind(server.url(proxy)), &Trust::new(), &config).unwrap();
        let (request, limits) = asked(&config, "http://as.example/document");
        let outcome = http.exchange(&request, limits).await;
        assert_eq!(
            outcome.is_err_and(|why| why == Undelivered::Blocked),
            is_blocked
        );
        assert_eq!(server.met.try_recv().is_err(), is_blocked);
    }
}

#[tokio::test]
async fn requests_to_this_machine_go_through_no_proxy() {
    let mut proxy = Server::says("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n").await;
    let mut server = Server::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let config = here();
    let settings = reqwest::ClientBuilder::new();
    let settings = settings.proxy(reqwest::Proxy::all(proxy.url("127.0.0.1")).unwrap());
    let http = Network::own(settings, &Trust::new(), &config).unwrap();
    // No name server resolves the last one (RFC 6761).
    for host in ["127.0.0.1", "localhost", "app.localhost"] {
        let (request, limits) = asked(&config, &server.url(host));
        let answer = http.exchange(&request, limits).await.unwrap();
        assert!(answer.status().is_success(), "{host}");
        assert!(server.met.recv().await.unwrap().contains(host));
    }
    assert!(proxy.met.try_recv().is_err());
}
