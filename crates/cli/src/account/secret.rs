//! A client's secret that the user types, or pipes in: never an argument, where other processes and the
//! history of the shell could see it.

use std::io::{self, IsTerminal};

use zeroize::Zeroizing;

use crate::problem::Problem;

/// Asks at the terminal without showing what is typed; where there is none, takes the first line of
/// standard input.
pub(super) fn ask() -> Result<Zeroizing<String>, Problem> {
    let typed = if io::stdin().is_terminal() {
        rpassword::prompt_password("Client secret: ")?
    } else {
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        line
    };
    let typed = Zeroizing::new(typed);
    let secret = typed.trim();
    if secret.is_empty() {
        return Err("no client secret was given".into());
    }
    Ok(Zeroizing::new(secret.to_owned()))
}
