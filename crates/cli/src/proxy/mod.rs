//! `proxy`: an MCP server on standard input and output, which relays to one behind HTTP.
//!
//! Messages pass through as they are. The bridge adds what the transport needs (sessions, streams,
//! headers) and the authorization.

mod authorization;
mod headers;
mod legacy;
mod message;
mod relay;
mod remote;
mod running;
mod standard_headers;
mod stream;

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};
use tokio::sync::mpsc;

use crate::account::{Place, account_name};
use crate::problem::Problem;
use authorization::Authorization;
use relay::Relay;
use remote::Remote;

/// Lines on their way to the client. Where the client does not read, the servers' streams wait.
const LINES_QUEUED: usize = 256;
/// A token request and the write of its answer may take this long at the end.
const ENDING: Duration = Duration::from_secs(35);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The URL of the MCP server
    url: String,
    /// A name for the account, where there is more than one at the same server
    #[arg(long, default_value = "default", value_name = "NAME", value_parser = account_name)]
    account: String,
    #[command(flatten)]
    place: Place,
    /// A header for every request to the MCP server, as `Name: value`; may be repeated. Keep secrets out of the
    /// arguments, which other processes see: `Name: ${VARIABLE}` takes the value from the environment, and `Name:
    /// @FILE` the first line of a file
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,
    /// Which transport the server has
    #[arg(long, value_enum, default_value_t = Transport::HttpFirst)]
    transport: Transport,
    /// Print the sign-in URL instead of opening a browser
    #[arg(long)]
    no_browser: bool,
    /// How long a message waits for the user to sign in, in seconds
    #[arg(long, alias = "timeout", default_value_t = 300, value_name = "SECONDS", value_parser = crate::account::seconds)]
    auth_timeout: u64,
}

/// The transports of MCP over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    /// Streamable HTTP, or HTTP with SSE (revision 2024-11-05) where the server has no other
    HttpFirst,
    /// Streamable HTTP
    HttpOnly,
    /// HTTP with SSE
    SseOnly,
}

pub(crate) fn run(options: &Options) -> Result<(), Problem> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Problem::system("no threads can be started"))?;
    let ended = runtime.block_on(serve(options));
    // A read of standard input cannot be cancelled: it is left behind.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match ended? {
        Some(number) => std::process::exit(128_i32.saturating_add(i32::from(number))),
        None => Ok(()),
    }
}

/// Relays until the client or a signal ends it; returns the number of the signal.
async fn serve(options: &Options) -> Result<Option<u8>, Problem> {
    let headers = headers::read(&options.header)?;
    let timeout = Duration::from_secs(options.auth_timeout);
    let selected = (options.url.as_str(), options.account.as_str());
    let authorization =
        Authorization::start(&options.place, selected, !options.no_browser, timeout)?;
    let client = authorization.client();
    let mut signals = Signals::listen().map_err(Problem::system("signals cannot be handled"))?;
    let remote = Remote::new(&options.url, headers, authorization)?;
    let (lines, mut outgoing) = mpsc::channel::<String>(LINES_QUEUED);
    let writer = tokio::spawn(async move {
        let mut out = stdout();
        while let Some(mut line) = outgoing.recv().await {
            line.push('\n');
            if out.write_all(line.as_bytes()).await.is_err() || out.flush().await.is_err() {
                break;
            }
        }
    });
    let sign_ins = remote.clone();
    let relay = Relay::new(remote, lines, options.transport);
    let mut input = BufReader::new(stdin()).lines();
    let mut gone = std::pin::pin!(async { drop(writer.await) });
    let signal = loop {
        let line = tokio::select! {
            line = input.next_line() => line.map_err(Problem::system("standard input cannot be read"))?,
            // The client reads no more.
            () = &mut gone => break None,
            number = signals.next() => break Some(number),
        };
        match line {
            Some(line) if line.trim().is_empty() => {}
            Some(line) => relay.take(line).await,
            None => break None,
        }
    };
    // A refresh under way ends with its tokens in the store, unless another signal comes.
    let ending = async {
        tokio::join!(relay.close(), sign_ins.close());
        let _late = tokio::time::timeout(ENDING, client.close()).await;
    };
    tokio::select! {
        () = ending => Ok(signal),
        number = signals.next() => Ok(Some(number)),
    }
}

/// The signals that end the proxy.
#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for a signal; returns its number.
    async fn next(&mut self) -> u8 {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            _ = hangup.recv() => 1,
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> u8 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        2
    }
}
