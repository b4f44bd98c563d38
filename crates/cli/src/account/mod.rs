//! Accounts at MCP servers, stored between runs.

mod apply;
mod assumed;
pub(crate) mod bridge;
pub(crate) mod choice;
mod conversion;
pub(crate) mod discovery;
mod erasure;
pub(crate) mod headers;
mod host;
mod journal;
mod key;
mod keyring;
mod keys;
mod ledger;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod overruled;
pub(crate) mod person;
mod profile;
mod records;
mod revocation;
mod root;
mod sealing;
mod secret;
mod seen;
mod settings;
pub(crate) mod settle;
mod slots;
pub(crate) mod status;
pub(crate) mod tls;
pub(crate) mod token;
mod told;
mod turn;

pub(crate) use keyring::KeyringError;

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use crate::output::is_special;
use crate::problem::Problem;

/// The location of the accounts.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// The directory of the accounts; the user's data directory unless given. It holds tokens:
    /// readable by its owner alone, but not encrypted.
    #[arg(long, env = "MCP_AUTH_STORE", value_name = "DIR")]
    store: Option<PathBuf>,
    /// Print what the machine does, one line each, to standard error.
    #[arg(long, short)]
    verbose: bool,
}

impl Place {
    /// Returns the directory that was given, if any.
    pub(crate) fn chosen(&self) -> Option<&Path> {
        self.store.as_deref()
    }

    /// Returns the directory, unless it is found again where the environment has only the home directory.
    pub(crate) fn apart(&self) -> Result<Option<PathBuf>, Problem> {
        if let Some(directory) = &self.store {
            let directory = settled(directory).map_err(Problem::at(directory))?;
            return Ok(Some(directory));
        }
        let moved = std::env::var_os("XDG_DATA_HOME").is_some_and(|folder| !folder.is_empty());
        if moved && cfg!(all(unix, not(target_os = "macos"))) {
            return Ok(Some(Self::usual()?));
        }
        Ok(None)
    }

    /// Returns the directory in the user's data directory.
    fn usual() -> Result<PathBuf, Problem> {
        let found = directories::ProjectDirs::from("", "", "mcp-auth")
            .ok_or("the home directory is unknown; name a directory with --store")?;
        Ok(found.data_local_dir().to_owned())
    }

    fn root(&self) -> Result<root::Root, Problem> {
        if let Some(directory) = &self.store {
            return Ok(root::Root::open(directory.clone()));
        }
        Ok(root::Root::open(Self::usual()?))
    }
}

/// Returns the canonical URL of an MCP server.
///
/// # Errors
/// The flaw of the URL, and the URL that may be meant.
pub(crate) fn server_url(url: &str) -> Result<String, Problem> {
    profile::canonical(url)
}

/// Returns a path that is the same from every directory, without `..` and links, for the configuration of another program.
pub(crate) fn settled(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut settled = PathBuf::new();
    for part in path.components() {
        settled = match part {
            Component::ParentDir => {
                settled.pop();
                settled
            }
            Component::CurDir => settled,
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                let next = settled.join(part);
                // `..` behind a link is the parent of its target.
                next.canonicalize().unwrap_or(next)
            }
        };
    }
    Ok(settled)
}

/// Accepts the name of an account.
pub(crate) fn account_name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        return Err("an account has a name");
    }
    if text.chars().any(is_special) {
        return Err("the name of an account has no control characters");
    }
    Ok(text.to_owned())
}

/// An account at a server.
#[derive(clap::Args)]
pub(crate) struct Selected {
    /// The URL of the MCP server
    url: String,
    /// A name for the account, where there is more than one at the same server
    #[arg(long, default_value = "default", value_name = "NAME", value_parser = account_name)]
    account: String,
    #[command(flatten)]
    place: Place,
}

impl Selected {
    /// Returns the canonical URL of the MCP server.
    ///
    /// # Errors
    /// The flaw of the URL.
    pub(crate) fn canonical_url(&self) -> Result<String, Problem> {
        profile::canonical(&self.url)
    }

    /// Returns the certificates of the account's sign-in, and the servers and hosts that its options name, if
    /// its settings are readable.
    pub(crate) fn remembered_network(&self) -> (tls::Tls, discovery::Discovery) {
        let found = self.place.root();
        match found.and_then(|root| root.remembered(&self.url, &self.account)) {
            Ok(root::Remembered::Profile(profile)) => {
                let settings = profile.settings;
                let named = settings.servers();
                (settings.tls, settings.discovery.network(named))
            }
            Ok(root::Remembered::Nothing | root::Remembered::Damaged(_)) | Err(_) => {
                Default::default()
            }
        }
    }
}

/// Returns a duration as text.
fn in_words(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}

/// Accepts a time limit: a command without time does nothing.
pub(crate) fn seconds(text: &str) -> Result<u64, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number of seconds, at least 1"),
        Ok(seconds) => Ok(seconds),
    }
}

/// Returns the time this many seconds from now.
pub(crate) fn after(seconds: u64) -> Instant {
    let now = Instant::now();
    let week = 604_800;
    now.checked_add(Duration::from_secs(seconds.min(week)))
        .unwrap_or(now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_settled_path_is_the_same_from_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).unwrap();
        for (path, expected) in [
            ("a/../c", "c"),
            ("a/./b", "a/b"),
            ("link/../c", "a/c"),
            ("new/../../x/y", "../x/y"),
            ("link/new", "a/b/new"),
        ] {
            let expected = match expected.strip_prefix("../") {
                Some(beside) => root.parent().unwrap().join(beside),
                None => root.join(expected),
            };
            assert_eq!(settled(&root.join(path)).unwrap(), expected, "{path}");
        }
        assert!(settled(Path::new("../x")).unwrap().is_absolute());
    }
}
