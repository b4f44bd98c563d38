//! The user at the terminal: browser, callback listener, and questions.

use std::io::{BufRead, IsTerminal, stdin};
use std::sync::Once;
use std::time::Instant;

use mcp_auth_client::{LoopbackHost, LoopbackPort};
use mcp_auth_machine::action::Redirect;

use crate::listener::{Incoming, Listener};
use crate::pasted::{Line, Pasted};
use crate::problem::Problem;

pub(super) struct Person {
    listener: Listener,
    browser: bool,
    end: Instant,
    reads: Once,
}

impl Person {
    /// Listens on a loopback port until `end`.
    pub(super) fn new(
        host: LoopbackHost,
        port: LoopbackPort,
        browser: bool,
        end: Instant,
    ) -> Result<Self, Problem> {
        Ok(Self {
            listener: Listener::start(host, port)?,
            browser,
            end,
            reads: Once::new(),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Returns true if the user, or a program, can type.
    fn can_type(&self) -> bool {
        !self.browser || stdin().is_terminal()
    }

    /// Forwards lines of standard input to the callback channel.
    fn read(&self) {
        self.reads.call_once(|| {
            let sender = self.listener.sender();
            std::thread::spawn(move || {
                for line in stdin().lock().lines().map_while(Result::ok) {
                    if sender.send(Incoming::Line(line)).is_err() {
                        break;
                    }
                }
            });
        });
    }

    /// Shows the authorization URL, and opens it.
    pub(super) fn send(&self, redirect: &Redirect, others: &[String]) {
        let scopes: Vec<&str> = redirect.scopes.iter().collect();
        let scopes = match scopes.as_slice() {
            [] => "the scopes that the server chooses".to_owned(),
            some => some.join(" "),
        };
        let url = redirect.url.as_str();
        eprintln!("Sign in at   {}", redirect.issuer);
        if !others.is_empty() {
            eprintln!("instead of   {} (--prefer-issuer)", others.join(", "));
        }
        eprintln!("to use       {}", redirect.mcp_host);
        eprintln!("asking for   {scopes}");
        eprintln!("\nOpen this URL in a browser:\n\n{url}\n");
        if self.browser && webbrowser::open(url).is_ok() {
            eprintln!("Your browser should be open there.");
        }
        eprintln!("Waiting for it at {}", self.listener.redirect_uri());
        if self.can_type() {
            eprintln!(
                "When the browser is on another machine, or ends at a page that does not load, paste \
                 the address of that page here:"
            );
            self.read();
        }
    }

    /// Returns the next callback; `None` after the deadline. `state`: that of the latest authorization.
    pub(super) fn come_back(&self, state: Option<&str>) -> Option<String> {
        let mut pasted = Pasted::default();
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            let line = match self.listener.wait(left).ok()? {
                Incoming::Callback(url) => return Some(url),
                Incoming::Line(line) => line,
            };
            match pasted.line(&line, self.listener.redirect_uri()) {
                Line::Callback(url) if is_of(&url, state) => return Some(url),
                Line::Callback(_) => eprintln!(
                    "that address belongs to another sign-in (its `state` differs), or is cut off: \
                     open the URL above, and paste where it ends"
                ),
                Line::No(flaw) => eprintln!("{flaw}"),
                Line::Nothing => {}
            }
        }
    }

    /// Asks whether the user agrees to another authorization server.
    pub(super) fn agrees(&self, from: &str, to: &str) -> bool {
        eprintln!("This MCP server used {from} before. Now it names {to}.");
        if !stdin().is_terminal() {
            eprintln!("To agree, run this in a terminal.");
            return false;
        }
        eprint!("Sign in there? Nothing of the first server is shown to it. [y/N] ");
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

/// Returns true if a callback has this `state`.
fn is_of(url: &str, state: Option<&str>) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let found = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("state="));
    match (found, state) {
        (Some(found), Some(state)) => found == state,
        (_, _) => true,
    }
}

/// Returns the `state` of an authorization URL, undecoded.
pub(super) fn state_of(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("state="))
}
