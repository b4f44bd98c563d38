//! A client secret that the user types or pipes in. It is never an argument, which other processes and the
//! shell's history could read.

use std::io::{self, IsTerminal};

use zeroize::Zeroizing;

use crate::problem::Problem;

/// Prompts for the secret without echo; without a terminal, reads the first line of standard input.
pub(super) fn ask() -> Result<Zeroizing<String>, Problem> {
    let typed = if io::stdin().is_terminal() {
        rpassword::prompt_password("Client secret: ")
            .map_err(Problem::system("the terminal cannot be read"))?
    } else {
        let mut line = String::new();
        io::stdin()
            .read_line(&mut line)
            .map_err(Problem::system("standard input cannot be read"))?;
        line
    };
    let typed = Zeroizing::new(typed);
    let secret = typed.trim();
    if secret.is_empty() {
        return Err("no client secret was given".into());
    }
    Ok(Zeroizing::new(secret.to_owned()))
}
