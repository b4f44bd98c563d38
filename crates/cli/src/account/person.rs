//! The person at the terminal: a browser, a listener, and questions.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};
use std::time::{Duration, Instant};

use mcp_auth_machine::action::Redirect;

use crate::listener::Listener;
use crate::problem::Problem;
use crate::runtime::{on, spawn_runtime};

pub(super) struct Person {
    listener: Listener,
    browser: bool,
    patience: Duration,
}

impl Person {
    /// Listens on the preferred port, or on a free one.
    pub(super) fn new(
        port: Option<u16>,
        browser: bool,
        patience: Duration,
    ) -> Result<Self, Problem> {
        let runtime = spawn_runtime()?;
        let listener = on(&runtime, Listener::start(port))??;
        let person = Self {
            listener,
            browser,
            patience,
        };
        if !browser {
            person.take_pasted();
        }
        Ok(person)
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Lines of standard input count as callbacks.
    fn take_pasted(&self) {
        let sender = self.listener.sender();
        std::thread::spawn(move || {
            for line in stdin().lock().lines().map_while(Result::ok) {
                let line = line.trim();
                if !line.is_empty() && sender.send(line.to_owned()).is_err() {
                    break;
                }
            }
        });
    }

    /// Shows the way to the authorization server.
    pub(super) fn send(&self, redirect: &Redirect) {
        let scopes: Vec<&str> = redirect.scopes.iter().collect();
        let scopes = match scopes.as_slice() {
            [] => "the scopes that the server chooses".to_owned(),
            some => some.join(" "),
        };
        eprintln!("Sign in at   {}", redirect.issuer);
        eprintln!("to use       {}", redirect.mcp_host);
        eprintln!("asking for   {scopes}");
        let opened = self.browser && webbrowser::open(redirect.url.as_str()).is_ok();
        if opened {
            eprintln!("Your browser is open there; waiting for it to come back …");
            return;
        }
        eprintln!(
            "\nOpen this URL in a browser:\n\n{}\n",
            redirect.url.as_str()
        );
        eprintln!(
            "Waiting for the browser on port {}; when it is on another machine, it ends at a page \
             that does not load.",
            self.port()
        );
        if !self.browser {
            eprintln!("Paste the address of that page here:");
        }
    }

    /// The time that the person has from now.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.patience)
    }

    /// The next callback.
    pub(super) fn come_back(&self, deadline: Option<Instant>) -> Option<String> {
        let left = deadline.map_or(self.patience, |end| {
            end.saturating_duration_since(Instant::now())
        });
        self.listener.wait(left).ok()
    }

    /// Whether this person agrees to another authorization server.
    pub(super) fn agrees(&self, from: &str, to: &str) -> bool {
        eprintln!("This MCP server used {from} before. Now it names {to}.");
        if !self.browser || !stdin().is_terminal() {
            eprintln!("To agree, run this in a terminal, with a browser.");
            return false;
        }
        eprint!("Sign in there? Nothing of the first server is shown to it. [y/N] ");
        let mut answer = String::new();
        let read = stderr()
            .flush()
            .and_then(|()| stdin().read_line(&mut answer));
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}
