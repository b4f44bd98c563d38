//! A listener on the loopback interface for the redirect of an authorization (RFC 8252 section 7.3).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest head of a request, in bytes. A callback with a code and a state takes a tenth of it.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long a browser may take for its request.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Connections at a time. A browser opens a few, and further ones are closed.
const CONNECTIONS: usize = 16;

/// The page without a result: the result is unknown when the page is served.
const PAGE: &str = "<!doctype html><title>Back to the application</title><p>You can close this page and return to the application.</p>";

/// The host of the redirect URI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoopbackHost {
    /// `127.0.0.1` (the default): RFC 8252 section 8.3 prefers it.
    #[default]
    Literal,
    /// `localhost`, for authorization servers that accept no address. Both loopback addresses are bound, because
    /// a browser may use either one.
    Localhost,
}

impl LoopbackHost {
    fn name(self) -> &'static str {
        match self {
            Self::Literal => "127.0.0.1",
            Self::Localhost => "localhost",
        }
    }
}

/// The port of the redirect URI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoopbackPort {
    /// Any free port (the default).
    #[default]
    Any,
    /// This port if it is free, otherwise any: a stored registration is then used again.
    Preferred(u16),
    /// This port only, for a client that is registered with it.
    Only(u16),
}

/// Settings of a [`LoopbackListener`].
#[derive(Clone, Debug)]
pub struct LoopbackBuilder {
    host: LoopbackHost,
    port: LoopbackPort,
    page: Box<str>,
}

impl LoopbackBuilder {
    /// Sets the host of the redirect URI; [`LoopbackHost::Literal`] unless set.
    #[must_use]
    pub fn host(mut self, host: LoopbackHost) -> Self {
        self.host = host;
        self
    }

    /// Sets the port; [`LoopbackPort::Any`] unless set.
    #[must_use]
    pub fn port(mut self, port: LoopbackPort) -> Self {
        self.port = port;
        self
    }

    /// Sets the HTML page that the browser shows after the redirect. It must be the same for every result and load
    /// nothing (CB-13).
    #[must_use]
    pub fn page(mut self, html: &str) -> Self {
        self.page = html.into();
        self
    }

    /// Binds the port, and passes the full URL of each callback to `handler`, on a thread of the listener.
    ///
    /// # Errors
    ///
    /// The error of the operating system, with the port in its text when [`LoopbackPort::Only`] cannot be bound.
    pub fn listen(
        self,
        handler: impl Fn(String) + Send + Sync + 'static,
    ) -> io::Result<LoopbackListener> {
        let sockets = match self.port {
            LoopbackPort::Any => bind(self.host, 0)?,
            LoopbackPort::Only(port) => bind(self.host, port).map_err(|error| {
                let said = format!("port {port} of the loopback interface cannot be used: {error}");
                io::Error::new(error.kind(), said)
            })?,
            LoopbackPort::Preferred(port) => match bind(self.host, port) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(self.host, 0)?,
                other => other?,
            },
        };
        let addresses: Vec<SocketAddr> = sockets
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()?;
        let port = match addresses.first() {
            Some(address) => address.port(),
            None => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        let shared = Arc::new(Shared {
            authority: format!("{}:{port}", self.host.name()),
            page: self.page,
            handler: Box::new(handler),
            closed: AtomicBool::new(false),
            open: AtomicUsize::new(0),
        });
        for socket in sockets {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("loopback listener".to_owned())
                .spawn(move || accept(&socket, &shared))?;
        }
        Ok(LoopbackListener {
            redirect_uri: format!("http://{}/callback", shared.authority),
            port,
            addresses,
            shared,
        })
    }
}

/// A listener for callbacks on the loopback interface (AUTHZ-10, CB-13). Dropping it closes the port.
///
/// It serves `GET /callback` only. The page is the same for every callback and reflects no part of the request; a
/// request for another host name is refused. Open it while an authorization is pending, and drop it afterwards.
///
/// ```
/// use mcp_auth_client::LoopbackListener;
///
/// let (sender, callbacks) = std::sync::mpsc::channel();
/// let listener = LoopbackListener::builder().listen(move |url| {
///     let _closed = sender.send(url);
/// })?;
/// // For `Config::builder`; open the browser, and pass what arrives to `Callback::from_url`.
/// assert!(listener.redirect_uri().starts_with("http://127.0.0.1:"));
/// # drop(callbacks);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A `tokio` host sends into a `tokio::sync::mpsc::UnboundedSender`, which needs no runtime to send.
pub struct LoopbackListener {
    redirect_uri: String,
    port: u16,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

impl LoopbackListener {
    /// Returns the default settings: any free port of `127.0.0.1`.
    pub fn builder() -> LoopbackBuilder {
        LoopbackBuilder {
            host: LoopbackHost::default(),
            port: LoopbackPort::default(),
            page: PAGE.into(),
        }
    }

    /// Returns the redirect URI, for the configuration and for the authorization.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Returns the port that is bound.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl std::fmt::Debug for LoopbackListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoopbackListener")
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

impl Drop for LoopbackListener {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // Ends the blocking accept.
        for address in &self.addresses {
            let _refused = TcpStream::connect_timeout(address, Duration::from_secs(1));
        }
    }
}

struct Shared {
    authority: String,
    page: Box<str>,
    handler: Box<dyn Fn(String) + Send + Sync>,
    closed: AtomicBool,
    /// Connections that are being served.
    open: AtomicUsize,
}

fn bind(host: LoopbackHost, port: u16) -> io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let port = first.local_addr()?.port();
    let mut sockets = vec![first];
    match host {
        LoopbackHost::Literal => {}
        LoopbackHost::Localhost => match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
            Ok(second) => sockets.push(second),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // The system has no IPv6.
            Err(_) => {}
        },
    }
    Ok(sockets)
}

fn accept(socket: &TcpListener, shared: &Arc<Shared>) {
    for stream in socket.incoming() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // Too many open files, for example: the next connection may succeed.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        if shared.open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            shared.open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let serving = Arc::clone(shared);
        let started = thread::Builder::new().spawn(move || {
            // The listener continues when a browser closes its connection early.
            let _gone = serve(stream, &serving);
            serving.open.fetch_sub(1, Ordering::SeqCst);
        });
        if started.is_err() {
            shared.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A request, as far as it decides about the response.
enum Asked {
    Callback(String),
    Elsewhere,
    OtherMethod,
    OtherHost,
    Malformed,
}

fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let asked = match head(&mut stream)? {
        Some(head) => read(&head, &shared.authority),
        None => Asked::Malformed,
    };
    let (status, body) = match asked {
        Asked::Callback(target) => {
            (shared.handler)(format!("http://{}{target}", shared.authority));
            ("200 OK", &*shared.page)
        }
        Asked::Elsewhere => ("404 Not Found", ""),
        Asked::OtherMethod => ("405 Method Not Allowed\r\nAllow: GET", ""),
        Asked::OtherHost => ("421 Misdirected Request", ""),
        Asked::Malformed => ("400 Bad Request", ""),
    };
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(response.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

/// Reads up to the end of the head; `None` when it is too long, too slow or cut off.
fn head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let start = Instant::now();
    stream.set_write_timeout(Some(READ_LIMIT))?;
    let mut head = Vec::new();
    let mut part = [0; 2048];
    loop {
        let left = READ_LIMIT.saturating_sub(start.elapsed());
        if left.is_zero() || head.len() > HEAD_LIMIT {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        let size = stream.read(&mut part)?;
        let Some(found) = part.get(..size).filter(|found| !found.is_empty()) else {
            return Ok(None);
        };
        head.extend_from_slice(found);
        if head.windows(4).any(|four| four == b"\r\n\r\n") {
            return Ok(Some(head));
        }
    }
}

fn read(head: &[u8], authority: &str) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut headers);
    if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
        return Asked::Malformed;
    }
    let mut hosts = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Asked::Malformed;
    };
    // Another name that resolves to this address is another origin to the browser.
    if !host.value.eq_ignore_ascii_case(authority.as_bytes()) {
        return Asked::OtherHost;
    }
    let target = request.path.unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    match (path, request.method) {
        ("/callback", Some("GET")) => Asked::Callback(target.to_owned()),
        ("/callback", Some(_) | None) => Asked::OtherMethod,
        (_, _) => Asked::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn start(host: LoopbackHost) -> (LoopbackListener, Receiver<String>) {
        let (sender, callbacks) = channel();
        let builder = LoopbackListener::builder().host(host).page("<p>done</p>");
        let listener = builder.listen(move |url| sender.send(url).unwrap());
        (listener.unwrap(), callbacks)
    }

    fn ask(listener: &LoopbackListener, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.port())).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn authz_10_cb_13_the_expected_path_alone_is_a_callback() {
        let (listener, callbacks) = start(LoopbackHost::Literal);
        let host = format!("127.0.0.1:{}", listener.port());
        let answer = ask(
            &listener,
            &format!("GET /callback?code=c&state=<b> HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        );
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n<p>done</p>"), "{answer}");
        for header in ["Cache-Control: no-store", "Referrer-Policy: no-referrer"] {
            assert!(answer.contains(header), "{answer}");
        }
        assert!(!answer.contains("<b>"));
        let expected = format!("http://{host}/callback?code=c&state=<b>");
        assert_eq!(callbacks.recv().unwrap(), expected);
        assert_eq!(listener.redirect_uri(), format!("http://{host}/callback"));

        for (request, status) in [
            (format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), "404"),
            (
                format!("GET /callback/x?code=c HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                "404",
            ),
            (
                format!("POST /callback HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                "405",
            ),
            (
                format!("HEAD /callback?code=c HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                "405",
            ),
            (
                "GET /callback?code=c HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
                "421",
            ),
            ("GET /callback?code=c HTTP/1.1\r\n\r\n".to_owned(), "400"),
            (
                format!("GET /callback HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"),
                "400",
            ),
            ("nonsense\r\n\r\n".to_owned(), "400"),
        ] {
            let answer = ask(&listener, &request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request}: {answer}"
            );
        }
        assert!(callbacks.try_recv().is_err());
    }

    /// A refusal leads to the same page as a success, so the page claims neither.
    #[test]
    fn cb_13_the_page_claims_no_result() {
        let (sender, _callbacks) = channel();
        let listener = LoopbackListener::builder().listen(move |url| drop(sender.send(url)));
        let listener = listener.unwrap();
        let host = format!("127.0.0.1:{}", listener.port());
        let request = format!("GET /callback?error=access_denied HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = ask(&listener, &request).to_ascii_lowercase();
        for word in ["signed in", "success", "denied", "failed"] {
            assert!(!answer.contains(word), "{answer}");
        }
    }

    #[test]
    fn a_long_head_ends_the_connection() {
        let (listener, callbacks) = start(LoopbackHost::Literal);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.port())).unwrap();
        let long = format!("GET /callback?{} HTTP/1.1\r\n", "a".repeat(HEAD_LIMIT));
        stream.write_all(long.as_bytes()).unwrap();
        let mut answer = String::new();
        // The system may reset the connection, because not all was read.
        let _reset = stream.read_to_string(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{answer}"
        );
        assert!(callbacks.try_recv().is_err());
    }

    #[test]
    fn the_port_is_the_hosts_choice_and_free_after_the_drop() {
        let (listener, _callbacks) = start(LoopbackHost::Localhost);
        let port = listener.port();
        assert_eq!(
            listener.redirect_uri(),
            format!("http://localhost:{port}/callback")
        );
        let again = || LoopbackListener::builder().port(LoopbackPort::Only(port));
        let refused = again().listen(|_| {}).unwrap_err();
        assert!(refused.to_string().contains(&port.to_string()), "{refused}");
        let other = LoopbackListener::builder().port(LoopbackPort::Preferred(port));
        assert_ne!(other.listen(|_| {}).unwrap().port(), port);
        drop(listener);
        let mut tries = 0;
        while again().listen(|_| {}).is_err() {
            tries += 1;
            assert!(tries < 100, "the port stays bound");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
