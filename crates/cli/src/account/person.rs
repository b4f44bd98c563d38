//! The user at the terminal: browser, callback listener, and questions.

use std::io::{BufRead, IsTerminal, stdin};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mcp_auth_client::{LoopbackHost, LoopbackPort, now};
use mcp_auth_machine::action::{Redirect, ShowCode};
use mcp_auth_machine::slot::Slot;
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::scopes::Scopes;

use crate::advice;
use crate::listener::{Incoming, Listener};
use crate::pasted::{Line, Pasted};
use crate::problem::{Presented, Problem, of_error_page};
use crate::speaker;

pub(super) struct Person {
    listener: Listener,
    way: Way,
    /// Standard input is that of a user, rather than of the program that started this one.
    has_input: bool,
    end: Instant,
    reads: Once,
    /// The user was told what an error page means.
    hinted: AtomicBool,
}

/// How long a sign-in is waited for before an error page is supposed.
const HINT_AFTER: Duration = Duration::from_secs(20);

/// How the user reaches the authorization server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The command opens a browser.
    Browser,
    /// The user opens the URL.
    Url,
    /// The user enters a code in a browser of any device.
    Code,
}

impl Person {
    /// Listens on a loopback port until `end`. `has_input`: the user can type at standard input.
    pub(super) fn new(
        (host, port): (LoopbackHost, LoopbackPort),
        (way, has_input): (Way, bool),
        end: Instant,
    ) -> Result<Self, Problem> {
        Ok(Self {
            listener: Listener::start(host, port)
                .map_err(Problem::system("no callback can be received"))?,
            way,
            has_input,
            end,
            reads: Once::new(),
            hinted: AtomicBool::default(),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Returns true if the user, or a program, can type.
    fn can_type(&self) -> bool {
        self.has_input && (self.way != Way::Browser || stdin().is_terminal())
    }

    /// Forwards lines of standard input to the callback channel.
    fn read(&self) {
        self.reads.call_once(|| {
            let inbox = self.listener.inbox();
            std::thread::spawn(move || {
                for line in stdin().lock().lines().map_while(Result::ok) {
                    if !inbox.line(line) {
                        break;
                    }
                }
            });
        });
    }

    /// Shows the authorization URL, and opens it. `may_be_unknown`: an earlier sign-in registered the client.
    pub(super) fn send(&self, redirect: &Redirect, others: &[String], may_be_unknown: bool) {
        self.listener.expect(redirect.url.as_str());
        let scopes = named(&redirect.scopes);
        let url = redirect.url.as_str();
        eprintln!("Sign in at   {}", redirect.issuer);
        if !others.is_empty() {
            let option = speaker::with("--prefer-issuer");
            eprintln!("instead of   {} ({option})", others.join(", "));
        }
        eprintln!("to use       {}", redirect.mcp_host);
        eprintln!("asking for   {scopes}");
        show_url(url);
        if self.way == Way::Browser && has_display() && webbrowser::open(url).is_ok() {
            note!("Your browser should be open there.");
        }
        if may_be_unknown {
            note!(
                "If that server shows an error page instead, it may have forgotten this client. For a new one, stop this and \
                 run: {}",
                speaker::login("--new-client")
            );
        }
        note!("Waiting for it at {}", self.listener.redirect_uri());
        if self.can_type() {
            eprintln!(
                "When the browser is on another machine, or ends at a page that does not load, paste \
                 the address of that page here:"
            );
            self.read();
        } else if !self.has_input {
            let login = speaker::login("--no-browser");
            note!(
                "With a browser on another machine, sign in from a terminal of this one: {login}"
            );
        }
    }

    /// Returns true if a browser was to be opened where none would be visible.
    pub(super) fn lacks_display(&self) -> bool {
        self.way == Way::Browser && !has_display()
    }

    /// Returns true if the user enters a code in a browser of any device.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.way == Way::Code
    }

    /// Shows a code, and the page to enter it at.
    pub(super) fn show(&self, shown: &ShowCode) {
        let minutes = left_until(shown.expires).div_ceil(60);
        eprintln!("Sign in at   {}", shown.issuer);
        eprintln!("to use       {}", shown.mcp_host);
        eprintln!("asking for   {}", named(&shown.scopes));
        eprintln!();
        eprintln!("On any device, open   {}", shown.verification_uri.as_str());
        eprintln!("and enter the code    {}", shown.user_code.as_str());
        eprintln!();
        if let Some(url) = &shown.verification_uri_complete {
            eprintln!("This page has the code already; compare it with the one above:");
            eprintln!();
            eprintln!("{}", url.as_str());
            eprintln!();
        }
        note!("Waiting for that. The code is valid for {minutes} minutes.");
    }

    /// Returns the next callback; `None` after the deadline. `route`: that of the latest authorization. After a while it tells
    /// what an error page in the browser means.
    pub(super) fn come_back(&self, route: Slot, client: Presented) -> Option<String> {
        let mut pasted = Pasted::default();
        let begin = Instant::now();
        let hint = self
            .end
            .saturating_duration_since(begin)
            .div_f32(2.0)
            .min(HINT_AFTER);
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            let to_hint = hint.saturating_sub(begin.elapsed());
            let is_told = self.hinted.load(Ordering::Relaxed);
            let line = match self
                .listener
                .wait(if is_told { left } else { to_hint.min(left) })
            {
                Ok(Incoming::Callback(url)) => return Some(url),
                Ok(Incoming::Line(line)) => line,
                Err(_) if is_told || left <= to_hint => return None,
                Err(_) => {
                    self.hinted.store(true, Ordering::Relaxed);
                    note!("Still waiting. {}", of_error_page(client));
                    continue;
                }
            };
            match pasted.line(&line, self.listener.redirect_uri()) {
                Line::Callback(url) if is_of(&url, route) => return Some(url),
                Line::Callback(_) => eprintln!(
                    "that address belongs to another sign-in (its `state` differs), or is cut off: \
                     open the URL above, and paste where it ends"
                ),
                Line::No(flaw) => eprintln!("{flaw}"),
                Line::Nothing => {}
            }
        }
    }

    /// Asks whether the user knows the other host at which an authorization server signs users in. Without a terminal, no.
    pub(super) fn knows(&self, issuer: &str, origin: &str) -> bool {
        if !self.has_input || !stdin().is_terminal() {
            return false;
        }
        eprint!(
            "{}. Continue? [y/N] ",
            advice::elsewhere_words(issuer, origin)
        );
        self.says_yes()
    }

    /// Asks whether the user agrees to another authorization server.
    pub(super) fn agrees(&self, from: &str, to: &str) -> bool {
        eprintln!("This MCP server used {from} before. Now it names {to}.");
        if !self.has_input || !stdin().is_terminal() {
            if self.has_input {
                eprintln!("To agree, run this in a terminal.");
            } else {
                eprintln!("To agree, run in a terminal: {}", speaker::login(""));
            }
            return false;
        }
        eprint!("Sign in there? Nothing of the first server is shown to it. [y/N] ");
        self.says_yes()
    }

    /// Reads the answer to a question.
    fn says_yes(&self) -> bool {
        self.read();
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            match self.listener.wait(left) {
                Ok(Incoming::Line(answer)) => return matches!(answer.trim(), "y" | "Y" | "yes"),
                Ok(Incoming::Callback(_)) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Shows the URL that the user opens.
pub(super) fn show_url(url: &str) {
    eprintln!();
    eprintln!("Open this URL in a browser:");
    eprintln!();
    eprintln!("{url}");
    eprintln!();
}

/// Returns true if a browser would be visible on this system.
pub(crate) fn has_display() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(any(windows, target_os = "macos"))
        || ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"]
            .into_iter()
            .any(set)
}

fn named(scopes: &Scopes) -> String {
    if scopes.is_empty() {
        "the scopes that the server chooses".to_owned()
    } else {
        scopes.as_str().to_owned()
    }
}

/// Returns the seconds until a time.
fn left_until(time: UnixMillis) -> u64 {
    time.0.saturating_sub(now().wall.0) / 1_000
}

/// Returns true if a callback may be that of an authorization: its `state` is the same, or it has none.
fn is_of(url: &str, route: Slot) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let has_state = query.split('&').any(|pair| pair.starts_with("state="));
    !has_state || Callback::from_url(url).route() == Some(route)
}
