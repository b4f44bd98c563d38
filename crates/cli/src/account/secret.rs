//! A client's secret that the user types, or pipes in: never an argument, where other processes and the
//! history of the shell could see it.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

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

/// Keeps it beside the accounts, readable by its owner alone. `name` is the account's.
pub(super) fn keep(directory: &Path, name: &str, secret: &str) -> io::Result<PathBuf> {
    let path = place(directory, name);
    let folder = path.parent().unwrap_or(directory);
    fs::create_dir_all(folder)?;
    // Temporary files are their owner's alone, and so is what they become.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(secret.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|failed| failed.error)?;
    std::path::absolute(path)
}

pub(super) fn forget(directory: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(place(directory, name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn place(directory: &Path, name: &str) -> PathBuf {
    directory.join("secrets").join(name)
}
