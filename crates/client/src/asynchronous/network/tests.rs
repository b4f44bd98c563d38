//! One network with several policies.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use mcp_auth_machine::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::http::tests::{asked, elsewhere, here};
use super::*;

/// Answers any number of requests on each connection, and counts both.
#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

async fn server() -> (u16, Arc<Counts>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let counts = Arc::new(Counts::default());
    let counting = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counting.connections.fetch_add(1, Ordering::SeqCst);
            let counting = Arc::clone(&counting);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        counting.requests.fetch_add(1, Ordering::SeqCst);
                        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                        stream.write_all(answer).await.unwrap();
                    }
                }
            });
        }
    });
    (port, counts)
}

fn shared() -> Network {
    let settings = || reqwest::ClientBuilder::new().no_proxy();
    Network::builder().http(settings).build().unwrap()
}

async fn get(
    network: &Network,
    config: &Arc<Config>,
    url: &str,
) -> Result<StatusCode, Undelivered> {
    let (request, limits) = asked(config, url);
    let answer = network.exchange(&request, limits).await;
    answer.map(|answer| answer.status())
}

#[tokio::test]
async fn sec06_a_connection_that_one_policy_permits_serves_no_other() {
    let (port, counts) = server().await;
    let network = shared();
    let (permitted, forbidden) = (here(), elsewhere());
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("http://{host}:{port}/");
        assert_eq!(
            get(&network, &permitted, &url).await,
            Ok(StatusCode::NO_CONTENT)
        );
        let before = counts.requests.load(Ordering::SeqCst);
        let refused = get(&network, &forbidden, &url).await;
        assert_eq!(refused, Err(Undelivered::Blocked), "{host}");
        assert_eq!(counts.requests.load(Ordering::SeqCst), before);
    }
}

#[tokio::test]
async fn clients_of_one_network_share_its_connections() {
    let (port, counts) = server().await;
    let network = shared();
    for _client in 0..5 {
        // Another configuration with the same policy.
        let url = format!("http://127.0.0.1:{port}/");
        let answer = get(&network.clone(), &here(), &url).await;
        assert_eq!(answer, Ok(StatusCode::NO_CONTENT));
    }
    assert_eq!(counts.requests.load(Ordering::SeqCst), 5);
    assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_proxy_may_be_inside_because_the_host_named_it() {
    let (port, counts) = server().await;
    let behind = move || {
        let proxy = reqwest::Proxy::http(format!("http://localhost:{port}")).unwrap();
        reqwest::ClientBuilder::new().proxy(proxy)
    };
    let network = Network::builder().http(behind).build().unwrap();
    let answer = get(&network, &elsewhere(), "http://as.example/document").await;
    assert_eq!(answer, Ok(StatusCode::NO_CONTENT));
    assert_eq!(counts.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn sec06_a_connection_for_a_named_origin_serves_no_server_that_announces_it() {
    let (port, counts) = server().await;
    let network = shared();
    let of = |mcp_url: String| {
        let built = Config::builder(mcp_url, "http://127.0.0.1:9/callback").build();
        built.unwrap().url_policy().clone()
    };
    let url = format!("https://mcp.corp.test:{port}/");
    // The resolver and the pool are those of `https`; this server has no TLS.
    let request = Request::get(format!("http://mcp.corp.test:{port}/"));
    let request = request.body(Bytes::new()).unwrap();
    let named = of(url.clone()).addresses(&url.parse().unwrap());
    let announced = of("https://mcp.example/mcp".into()).addresses(&url.parse().unwrap());
    for (addresses, is_reached) in [(named, true), (announced, false), (named, true)] {
        let (_, limits) = asked(&here(), "http://localhost/");
        let limits = limits.with(addresses);
        let answer = network.exchange(&request, limits).await;
        assert_eq!(answer.is_ok(), is_reached);
    }
    assert_eq!(counts.requests.load(Ordering::SeqCst), 2);
}

/// Records the requests.
#[derive(Clone, Default)]
struct Own(Arc<Mutex<Vec<(String, bool)>>>);

impl HostHttp for Own {
    async fn exchange(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, Undelivered> {
        let inside = limits.permits([10, 0, 0, 1].into());
        let asked = (request.uri().to_string(), inside);
        self.0.lock().unwrap().push(asked);
        if limits.body() < 1024 || limits.time().is_zero() {
            return Err(Undelivered::TooLarge);
        }
        Ok(Response::new(Bytes::from_static(b"here")))
    }
}

#[tokio::test]
async fn sec06_the_client_of_the_host_gets_the_policy_and_no_forbidden_address() {
    let own = Own::default();
    let network = Network::of(own.clone());
    let answer = get(&network, &elsewhere(), "https://as.example/").await;
    assert_eq!(answer, Ok(StatusCode::OK));
    for literal in ["https://10.0.0.1/", "https://[fd00::1]/"] {
        let refused = get(&network, &elsewhere(), literal).await;
        assert_eq!(refused, Err(Undelivered::Blocked));
    }
    let asked = own.0.lock().unwrap().clone();
    assert_eq!(asked, [("https://as.example/".to_owned(), false)]);
}

#[test]
fn the_trust_anchors_are_read_when_the_network_is_built() {
    let broken = Network::builder().http(|| {
        // No client can be created with this user agent.
        reqwest::ClientBuilder::new().user_agent("\n")
    });
    assert!(matches!(broken.build(), Err(StartFlaw::Http(_))));
}
