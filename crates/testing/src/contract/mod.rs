//! A contract for drivers: the duties of `docs/hosts.md` that can be seen from outside.
//!
//! A host that performs the machine's actions itself implements [`TestedDriver`] for its driver, in a test, and runs
//! [`check`]. Each rule has a part of its own, with a new driver, a new store and new servers on loopback; all run
//! at the same time, and the longest takes some ten seconds, because it waits for a time limit.
//!
//! ```no_run
//! use http::{HeaderMap, HeaderValue, Method};
//! use mcp_auth_machine::Config;
//! use mcp_auth_testing::TestStore;
//! use mcp_auth_testing::contract::{Step, TestedDriver, check};
//! # struct MyDriver;
//! # impl MyDriver {
//! #     fn new(_: Config, _: TestStore) -> Self { Self }
//! # }
//!
//! impl TestedDriver for MyDriver {
//!     fn headers(&mut self, method: &Method, url: &str) -> Step {
//!         todo!("a token for this request: refreshed, or with a new sign-in up to its redirect")
//!     }
//!     fn accepted(&mut self) {
//!         todo!("the MCP server answered with success")
//!     }
//!     fn refused(&mut self, status: u16, headers: HeaderMap, sent: Option<HeaderValue>) -> Step {
//!         todo!("the MCP server answered with this to a request with `sent`")
//!     }
//!     fn callback(&mut self, url: &str) -> Step {
//!         todo!("the browser was redirected to this URL")
//!     }
//! }
//!
//! let report = check(|config, store| MyDriver::new(config, store)).unwrap();
//! println!("{report}"); // the rules that could not be checked here, if any
//! ```
//!
//! The contract cannot see whether TLS is verified (SEC-03), whether entropy is random (SEC-34), whether a write is
//! durable when it is reported as done, and how the browser and the loopback listener are handled.

mod cases;
mod http;
mod rule;
mod site;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method};
use mcp_auth_machine::Config;

pub use rule::Rule;

use crate::TestStore;
use cases::Part;

/// The longest time of one part. A driver that is still at work then waits for an answer that it has dropped.
const LIMIT: Duration = Duration::from_secs(75);

/// A host's own driver for one principal, as the contract uses it. An asynchronous driver blocks on its futures.
pub trait TestedDriver {
    /// Returns the headers of the next request to this URL, as the host would for each request. Where the user is
    /// needed, the user agrees, and the driver returns the URL to open.
    fn headers(&mut self, method: &Method, url: &str) -> Step;

    /// The MCP server accepted a request with the last headers.
    fn accepted(&mut self);

    /// The MCP server answered with this status and these headers. `sent` is the `Authorization` of the request.
    /// Returns the headers for a repetition, or the URL to open.
    fn refused(&mut self, status: u16, headers: HeaderMap, sent: Option<HeaderValue>) -> Step;

    /// The browser requested this URL at the redirect URI. Returns the headers of the next request after a sign-in,
    /// and [`Step::Waiting`] after a callback that the machine ignored.
    fn callback(&mut self, url: &str) -> Step;
}

/// The result of a call of a driver.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// The headers of a request.
    Headers(HeaderMap),
    /// The URL to open in a browser.
    Open(String),
    /// No token is available: the error of the driver.
    Failed(String),
    /// The driver waits for the user.
    Waiting,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Headers(headers) => {
                let names: Vec<&str> = headers.keys().map(::http::HeaderName::as_str).collect();
                write!(f, "headers [{}]", names.join(" "))
            }
            Self::Open(_) => f.write_str("a URL to open"),
            Self::Failed(error) => write!(f, "the failure \"{error}\""),
            Self::Waiting => f.write_str("that it waits for the user"),
        }
    }
}

/// Runs every part of the contract. The factory makes a driver with this configuration for one principal, on this
/// store; each part calls it in a thread of its own.
///
/// # Errors
/// [`Violations`]: the broken rules.
pub fn check<D: TestedDriver + 'static>(
    factory: impl Fn(Config, TestStore) -> D + Send + Sync + 'static,
) -> Result<Report, Violations> {
    check_only(&Rule::ALL, factory)
}

/// Same as [`check`], for some of the rules.
///
/// # Errors
/// [`Violations`]: the broken rules.
pub fn check_only<D: TestedDriver + 'static>(
    rules: &[Rule],
    factory: impl Fn(Config, TestStore) -> D + Send + Sync + 'static,
) -> Result<Report, Violations> {
    let factory = Arc::new(factory);
    let mut running = Vec::new();
    for (rule, part) in cases::parts::<D>() {
        if !rules.contains(&rule) {
            continue;
        }
        let (sender, receiver) = channel();
        let factory = Arc::clone(&factory);
        thread::spawn(move || {
            let make = move |config, store| factory(config, store);
            // The contract gave up waiting.
            drop(sender.send(run(part, Arc::new(make))));
        });
        running.push((rule, receiver));
    }
    let mut report = Report::default();
    let mut violations = Violations::default();
    let begun = std::time::Instant::now();
    for (rule, receiver) in running {
        let left = LIMIT.saturating_sub(begun.elapsed());
        match receiver.recv_timeout(left) {
            Ok(Ok(())) => report.kept.push(rule),
            Ok(Err(Why::Skipped(why))) => report.skipped.push((rule, why)),
            Ok(Err(Why::Broken(why))) => violations.0.push((rule, why)),
            Err(RecvTimeoutError::Timeout) => {
                let why = "the driver does not return: an action has no answer".to_owned();
                violations.0.push((rule, why));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let why = "the driver panicked".to_owned();
                violations.0.push((rule, why));
            }
        }
    }
    if violations.0.is_empty() {
        Ok(report)
    } else {
        Err(violations)
    }
}

type Make<D> = Arc<dyn Fn(Config, TestStore) -> D + Send + Sync>;

fn run<D: TestedDriver + 'static>(part: Part<D>, make: Make<D>) -> Result<(), Why> {
    let stage = cases::Stage::set(make)?;
    part(&stage)
}

/// The reason why a part does not end well.
enum Why {
    Broken(String),
    Skipped(String),
}

impl<T: Into<String>> From<T> for Why {
    fn from(why: T) -> Self {
        Self::Broken(why.into())
    }
}

/// The rules that a driver keeps.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The rules that were checked and hold.
    pub kept: Vec<Rule>,
    /// The rules that could not be checked on this machine, with the reason.
    pub skipped: Vec<(Rule, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules of the driver contract hold", self.kept.len())?;
        for (rule, why) in &self.skipped {
            write!(f, "\nnot checked: {rule}: {why}")?;
        }
        Ok(())
    }
}

/// The error for a driver that breaks rules of the contract, with what was seen of each.
#[derive(Clone, Default)]
pub struct Violations(pub Vec<(Rule, String)>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver breaks the contract")?;
        for (rule, why) in &self.0 {
            write!(f, "\n- {rule}: {why}")?;
        }
        Ok(())
    }
}

/// The text of `Display`, which `unwrap` prints.
impl fmt::Debug for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Violations {}
