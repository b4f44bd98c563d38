//! `setup`: adds an MCP server to the configuration of a client.

mod client;
mod edit;
mod file;
mod json;
mod toml;
mod yaml;

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::account::{Place, account_name, server_url, settled};
use crate::output::is_special;
use crate::problem::Problem;
use crate::shell::quoted;
use crate::speaker;
use client::{Client, Entry};
use edit::Outcome;
use file::Replaced;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The client whose configuration gets the entry
    client: Client,
    /// The URL of the MCP server
    url: String,
    /// The name of the entry; by default the host of the URL, with its port if it has one
    #[arg(long)]
    name: Option<String>,
    /// Write the entry into the client's configuration file instead of printing it
    #[arg(long)]
    write: bool,
    /// Remove the entry from the client's configuration file, and nothing else
    #[arg(long, conflicts_with = "write")]
    remove: bool,
    /// The configuration file, where it is not at its usual place
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The command that the entry runs; by default the path of this program
    #[arg(long, value_name = "PATH")]
    command: Option<String>,
    /// The account that the entry uses
    #[arg(long, value_name = "NAME", value_parser = account_name)]
    account: Option<String>,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(options: &Options, as_json: bool) -> Result<(), Problem> {
    let entry = entry(options)?;
    let client = options.client;
    let file = match &options.file {
        Some(file) => file.clone(),
        None => client.file()?,
    };
    if !options.write && !options.remove {
        let text = edit::alone(client, &entry)?;
        if as_json {
            let object = json!({ "client": client.name(), "file": file, "entry": text });
            println!("{object}");
        } else {
            for line in text.trim_end().lines() {
                println!("{line}");
            }
            eprintln!(
                "put this into {}, or run this command again with --write",
                file.display()
            );
        }
        return Ok(());
    }
    let before = file::read(&file)?;
    let text = before.as_deref().unwrap_or_default();
    if edit::is_for_another(client, text, &entry) {
        let (shown, name) = (file.display(), &entry.name);
        let words = format!(
            "{shown} has an entry {name:?} that does not name {}: choose another name with --name, or remove that \
             entry first",
            entry.url
        );
        return Err(words.into());
    }
    let shown = file.display();
    let outcome = if options.remove {
        edit::remove(client, text, &entry.name)
    } else {
        edit::insert(client, text, &entry)
    };
    let outcome = outcome.map_err(|problem| format!("{shown}: {}", problem.words()))?;
    for member in edit::repeated(client, text) {
        eprintln!("mcp-auth: {shown} has the member {member:?} twice, of which a client reads one");
    }
    let replaced = match &outcome {
        Outcome::Unchanged => None,
        Outcome::Changed(text) => Some(file::replace(&file, before.as_deref(), text)?),
    };
    if as_json {
        let object = json!({
            "client": client.name(), "file": file, "name": entry.name, "changed": replaced.is_some(),
            "folder": replaced.as_ref().and_then(|replaced| replaced.folders.last()),
            "undo": replaced.as_ref().map(undo),
            "backup": replaced.as_ref().and_then(|replaced| replaced.backup.as_ref()),
        });
        println!("{object}");
        return Ok(());
    }
    match replaced {
        None if options.remove => {
            println!("{shown} has no entry {:?}; nothing was changed", entry.name);
        }
        None => println!("{shown} has this entry already; nothing was changed"),
        Some(replaced) => {
            let done = match replaced.backup {
                Some(_) if options.remove => "no longer has",
                Some(_) => "now has",
                None => "was created with",
            };
            println!("{shown} {done} the entry {:?}", entry.name);
            println!("to undo it: {}", undo(&replaced));
        }
    }
    if stdout().is_terminal() && !options.remove {
        println!("next: {}", speaker::login(""));
    }
    Ok(())
}

/// Returns the command that undoes a write.
fn undo(written: &Replaced) -> String {
    let word = |path: &Path| quoted(&path.display().to_string());
    let target = word(&written.target);
    if let Some(backup) = &written.backup {
        let mover = if cfg!(windows) { "move /Y" } else { "mv -f" };
        return format!("{mover} {} {target}", word(backup));
    }
    let (remove, leave) = if cfg!(windows) {
        ("del", "rmdir")
    } else {
        ("rm", "rmdir")
    };
    let mut command = format!("{remove} {target}");
    for folder in &written.folders {
        command.push_str(&format!(" && {leave} {}", word(folder)));
    }
    command
}

/// Returns the entry for the options.
fn entry(options: &Options) -> Result<Entry, Problem> {
    let url = server_url(&options.url)?;
    let url = url::Url::parse(&url).map_err(|error| error.to_string())?;
    let host = url.host_str().ok_or("the URL has no host")?;
    // Several servers of one machine have ports.
    let port = url.port().map(|port| format!("-{port}"));
    let of_url = || format!("{}{}", name_of(host), port.unwrap_or_default());
    let name = options.name.clone().unwrap_or_else(of_url);
    if name.is_empty() || name.chars().any(is_special) {
        return Err("the name of the entry must not be empty or hold control characters".into());
    }
    let command = match &options.command {
        // A name without a folder is looked up in `PATH`.
        Some(command) if command.contains(std::path::is_separator) => {
            let path = Path::new(command);
            let path = settled(path).map_err(Problem::at(path))?;
            let path = path.to_str().ok_or("the path of --command is not UTF-8")?;
            path.to_owned()
        }
        Some(command) => command.clone(),
        None => {
            let program =
                std::env::current_exe().map_err(Problem::system("the path of this program"))?;
            let program = program
                .to_str()
                .ok_or("the path of this program is not UTF-8")?;
            program.to_owned()
        }
    };
    // A client may clear the environment, so every setting is an argument.
    let mut arguments = vec![options.url.clone()];
    if let Some(account) = &options.account {
        arguments.extend(["--account".to_owned(), account.clone()]);
    }
    if let Some(store) = options.place.apart()? {
        let store = store.to_str().ok_or("the path of the store is not UTF-8")?;
        arguments.extend(["--store".to_owned(), store.to_owned()]);
    }
    Ok(Entry {
        name,
        url: options.url.clone(),
        command,
        arguments,
    })
}

/// Returns a name for a host: its letters, digits and hyphens.
fn name_of(host: &str) -> String {
    host.trim_matches(|c| matches!(c, '[' | ']'))
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod realistic_tests;
#[cfg(test)]
mod tests;
