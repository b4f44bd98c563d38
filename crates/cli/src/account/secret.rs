//! A client secret that the user types or pipes in. It is never an argument, which other processes and the
//! shell's history could read.

use std::io::{self, IsTerminal};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::problem::Problem;
use crate::waits;

/// Prompts for the secret without echo; without a terminal, reads the first line of standard input.
pub(super) fn ask() -> Result<Zeroizing<String>, Problem> {
    let typed = if io::stdin().is_terminal() {
        rpassword::prompt_password("Client secret: ")
            .map_err(Problem::system("the terminal cannot be read"))?
    } else {
        piped()?
    };
    let typed = Zeroizing::new(typed);
    let secret = typed.trim();
    if secret.is_empty() {
        return Err("no client secret was given".into());
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// Reads the first line of standard input, within the time of the command.
fn piped() -> Result<String, Problem> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        // The receiver may have given up.
        let _sent = sender.send(read.map(|_| line));
    });
    let left = waits::end().map_or(Duration::MAX, |end| {
        end.saturating_duration_since(Instant::now())
    });
    let line = receiver
        .recv_timeout(left)
        .map_err(|_| Problem::OutOfTime {
            last: Some("standard input brought no client secret".to_owned()),
            lease: None,
        })?;
    line.map_err(Problem::system("standard input cannot be read"))
}
