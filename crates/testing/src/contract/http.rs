//! A small HTTP server on loopback for the contract: threads of the standard library, answers that break off,
//! never end or never come, and a record of every request as it arrived.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::lock;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Received {
    /// Returns the values of a header.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let of = self.headers.iter().filter(|(known, _)| known == name);
        of.map(|(_, value)| value.as_str()).collect()
    }

    /// Returns a parameter of the form in the body.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        crate::documents::parameter(&format!("?{}", self.body), name)
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// The behaviour of the server for one request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Send {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// A body of this many bytes, as fast as the client reads.
    Stream(usize),
    /// No answer, until the client hangs up.
    Hang,
    /// The connection is closed after the request has arrived.
    Cut,
}

impl Answer {
    pub(super) fn json(status: u16, body: &str) -> Self {
        Self::Send {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_owned(),
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Send { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

type Handler = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// The server, until it is dropped.
pub(super) struct Server {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Received>>,
    /// The number of streams that the client read to the end.
    streamed: Mutex<usize>,
    ended: AtomicBool,
}

impl Server {
    pub(super) fn start(
        handler: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Self::on(listener, handler)
    }

    pub(super) fn on(
        listener: TcpListener,
        handler: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let (handler, at): (Handler, _) = (Arc::new(handler), Arc::clone(&shared));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if at.ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    let (handler, at) = (Arc::clone(&handler), Arc::clone(&at));
                    thread::spawn(move || drop(connection(stream, &handler, &at)));
                }
            }
        });
        Ok(Self { port, shared })
    }

    pub(super) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        lock(&self.shared.requests).clone()
    }

    pub(super) fn streamed(&self) -> usize {
        *lock(&self.shared.streamed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

/// Serves requests until the client or the server hangs up.
fn connection(stream: TcpStream, handler: &Handler, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read(&mut reader)? {
        lock(&shared.requests).push(request.clone());
        match handler(&request) {
            Answer::Send {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} Status\r\n");
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
                writer.write_all(head.as_bytes())?;
                writer.write_all(body.as_bytes())?;
            }
            Answer::Stream(bytes) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n"
                );
                writer.write_all(head.as_bytes())?;
                let part = [b' '; 65_536];
                let mut left = bytes;
                while left > 0 {
                    let next = part.get(..left.min(part.len())).unwrap_or(&part);
                    writer.write_all(next)?;
                    left = left.saturating_sub(next.len());
                }
                let mut streamed = lock(&shared.streamed);
                *streamed = streamed.saturating_add(1);
            }
            Answer::Hang => {
                let mut byte = [0; 1];
                let _hung_up = reader.read(&mut byte)?;
                return Ok(());
            }
            Answer::Cut => return Ok(()),
        }
    }
    Ok(())
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Received>> {
    let Some(first) = line(reader)? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    while let Some(line) = line(reader)? {
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut request = Received {
        method,
        target,
        headers,
        body: String::new(),
    };
    let length = request
        .all("content-length")
        .first()
        .and_then(|text| text.parse().ok());
    let mut body = Vec::new();
    if let Some(length) = length {
        reader.take(length).read_to_end(&mut body)?;
    } else if request.all("transfer-encoding").contains(&"chunked") {
        while let Some(size) = line(reader)? {
            let size = u64::from_str_radix(size.trim(), 16).unwrap_or_default();
            reader.by_ref().take(size).read_to_end(&mut body)?;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    }
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}

/// Returns the next line without its end; `None` at the end of the connection.
fn line(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    let read = reader.take(65_536).read_line(&mut text)?;
    Ok((read > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned()))
}
