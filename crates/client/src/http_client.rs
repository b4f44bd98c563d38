//! The HTTP client of the blocking driver, on `ureq`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, TcpConnector};
use ureq::{AsSendBody, Body, Proxy, ProxyProtocol};

use super::connect::TlsConnector;
use super::policy::{is_blocked, is_loopback_host};
use super::resolver::PolicyResolver;
use super::trust::Trust;
use mcp_auth_machine::wire::url::UrlPolicy;

/// Sends single requests: without redirects and retries, with TLS according to [`Trust`] and the proxies of
/// the environment.
///
/// `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` name proxies (`http://` or `https://`); `NO_PROXY` lists
/// hosts without one. Requests to loopback never use a proxy. `localhost` and names under it resolve to
/// this device without a name server (RFC 6761).
#[derive(Clone, Debug)]
pub struct HttpClient {
    agent: ureq::Agent,
    proxies: Arc<Matcher>,
}

impl HttpClient {
    /// Creates a client for the host's own requests, to servers that the user named. No address is denied.
    pub fn new(trust: Trust) -> Self {
        Self::with(trust, None)
    }

    /// Creates a client for the machine's requests, which only connects to addresses that the policy
    /// allows.
    pub(super) fn judged(trust: Trust, policy: UrlPolicy) -> Self {
        Self::with(trust, Some(policy))
    }

    fn with(trust: Trust, policy: Option<UrlPolicy>) -> Self {
        let settings = ureq::Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            // The response is not decompressed (QUIRK-35).
            .accept_encoding("identity")
            .proxy(None)
            .build();
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(TlsConnector::new(trust, policy.clone()));
        let resolver = PolicyResolver::new(policy);
        Self {
            agent: ureq::Agent::with_parts(settings, connector, resolver),
            proxies: Arc::new(Matcher::from_env()),
        }
    }

    /// Sends one request. `time` limits the whole exchange.
    ///
    /// # Errors
    /// Those of `ureq`. An HTTP error status is not an error.
    pub fn run(
        &self,
        request: Request<impl AsSendBody>,
        time: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        let proxy = self.proxy(request.uri())?;
        let request = self
            .agent
            .configure_request(request)
            .proxy(proxy)
            .timeout_global(Some(time))
            .build();
        self.agent.run(request)
    }

    /// Returns an error of [`run`](Self::run) in words for a user.
    pub fn words(error: &ureq::Error) -> String {
        use std::io::ErrorKind;
        if let ureq::Error::Timeout(_) = error {
            return "no answer came in time".to_owned();
        }
        if let ureq::Error::HostNotFound = error {
            return "the name of the host does not resolve".to_owned();
        }
        if let ureq::Error::Io(error) = error {
            let detail = error.to_string();
            let kind = error.kind();
            return if is_blocked(error) {
                detail
            } else if kind == ErrorKind::ConnectionRefused {
                "the connection was refused".to_owned()
            } else if kind == ErrorKind::TimedOut {
                "no answer came in time".to_owned()
            } else if kind == ErrorKind::UnexpectedEof || detail == "Peer disconnected" {
                "the connection was closed without an answer".to_owned()
            } else if kind == ErrorKind::ConnectionReset || kind == ErrorKind::BrokenPipe {
                "the connection was broken off".to_owned()
            } else if detail.contains("lookup address") {
                format!("the name of the host does not resolve ({detail})")
            } else {
                detail
            };
        }
        if let ureq::Error::Other(error) = error {
            return error.to_string();
        }
        error.to_string()
    }

    /// Returns the proxy for requests to this URL.
    fn proxy(&self, uri: &Uri) -> Result<Option<Proxy>, ureq::Error> {
        proxy_for(&self.proxies, uri)
    }
}

fn proxy_for(proxies: &Matcher, uri: &Uri) -> Result<Option<Proxy>, ureq::Error> {
    if uri.host().is_some_and(is_loopback_host) {
        return Ok(None);
    }
    let found = proxies.intercept(uri);
    found.map(|proxy| read(&proxy)).transpose()
}

fn read(found: &Intercept) -> Result<Proxy, ureq::Error> {
    let protocol = match found.uri().scheme_str() {
        Some("http") => ProxyProtocol::Http,
        Some("https") => ProxyProtocol::Https,
        // SOCKS is not supported: connecting directly would bypass the proxy.
        Some(_) | None => return Err(ureq::Error::InvalidProxyUrl),
    };
    let mut proxy = Proxy::builder(protocol).host(found.uri().host().unwrap_or_default());
    if let Some(port) = found.uri().port_u16() {
        proxy = proxy.port(port);
    }
    let header = found.basic_auth().and_then(|value| value.to_str().ok());
    if let Some(encoded) = header.and_then(|value| value.strip_prefix("Basic ")) {
        let pair = STANDARD.decode(encoded).unwrap_or_default();
        let pair = String::from_utf8(pair).map_err(|_| ureq::Error::InvalidProxyUrl)?;
        let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
        proxy = proxy.username(user).password(password);
    }
    proxy.build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn through(proxies: &Matcher, url: &str) -> Option<String> {
        let proxy = proxy_for(proxies, &url.parse().unwrap()).unwrap()?;
        Some(proxy.uri().to_string())
    }

    #[test]
    fn each_scheme_has_its_proxy_and_loopback_has_none() {
        let proxies = Matcher::builder()
            .https("http://user:p%40ss@10.0.0.1:3128")
            .http("http://plain.example:8080")
            .no("inside.example, 192.168.0.0/16, .dot.example")
            .build();
        let found = |url| through(&proxies, url);
        let secure = found("https://as.example/token").unwrap();
        assert!(secure.ends_with("10.0.0.1:3128/"), "{secure}");
        let plain = found("http://as.example/token").unwrap();
        assert!(plain.ends_with("plain.example:8080/"), "{plain}");
        for direct in [
            "https://inside.example/",
            "https://a.inside.example/",
            "https://a.dot.example/",
            "https://192.168.3.4/",
            "http://127.0.0.1:3000/",
            "http://localhost:3000/",
            "https://LOCALHOST/",
            "http://app.localhost:3000/",
            "http://[::1]:3000/",
        ] {
            assert_eq!(found(direct), None, "{direct}");
        }
        let proxy = proxy_for(&proxies, &"https://as.example/".parse().unwrap());
        let proxy = proxy.unwrap().unwrap();
        assert_eq!(
            (proxy.username(), proxy.password()),
            (Some("user"), Some("p@ss"))
        );
    }

    #[test]
    fn errors_are_in_words_for_a_user() {
        let http = HttpClient::new(Trust::new());
        let said = |url: &str, time: u64| {
            let request = Request::get(url).body(()).unwrap();
            HttpClient::words(&http.run(request, Duration::from_millis(time)).unwrap_err())
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(
            said(&format!("http://127.0.0.1:{port}/"), 200),
            "no answer came in time"
        );
        let closes = std::thread::spawn(move || drop((listener.accept(), listener.accept())));
        assert!(said(&format!("http://127.0.0.1:{port}/"), 9_000).contains("the connection was "));
        closes.join().unwrap();
        assert_eq!(
            said(&format!("http://127.0.0.1:{port}/"), 9_000),
            "the connection was refused"
        );
        let unknown = said("http://no-such-host.invalid/", 9_000);
        assert!(
            unknown.starts_with("the name of the host does not resolve"),
            "{unknown}"
        );
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_not_gone_around() {
        let proxies = Matcher::builder().all("socks5://10.0.0.1:1080").build();
        let refused = proxy_for(&proxies, &"https://as.example/".parse().unwrap());
        assert!(matches!(refused, Err(ureq::Error::InvalidProxyUrl)));
    }

    #[test]
    fn sec06_the_origin_that_the_user_named_may_be_inside_and_what_a_server_announces_may_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (policy, _) =
            UrlPolicy::for_mcp_url(&format!("https://mcp.corp.test:{port}/mcp")).unwrap();
        let http = HttpClient::judged(Trust::new(), policy);
        let asked = |url: String| {
            let request = Request::get(url).body(()).unwrap();
            http.run(request, Duration::from_secs(10)).unwrap_err()
        };
        let is_blocked = |error| matches!(error, ureq::Error::Io(error) if is_blocked(&error));
        // It is reached, and answers no TLS.
        let meets = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let reached = asked(format!("https://mcp.corp.test:{port}/"));
        assert!(!is_blocked(reached));
        meets.join().unwrap();
        for other in ["https://login.corp.test/", "https://mcp.corp.test/"] {
            assert!(is_blocked(asked(other.to_owned())), "{other}");
        }
    }
}
