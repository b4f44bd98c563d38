//! Two processes with one store and a short-lived token: one refresh.

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use mcp_auth_client::FileStore;

use super::client::{Client, Outcome};
use super::stage::Stage;
use crate::lines::record::Recorder;

/// The lifetime of an access token in this demo, in seconds.
pub(super) const TOKEN_SECONDS: u64 = 5;

/// The arguments of the second process.
#[derive(clap::Args, Clone)]
pub(super) struct Joining {
    #[arg(long, hide = true, requires = "join_store")]
    join: Option<String>,
    #[arg(long, hide = true)]
    join_store: Option<PathBuf>,
}

impl Joining {
    /// Returns the MCP server and the store, in the second process.
    pub(super) fn wanted(&self) -> Option<(&str, PathBuf)> {
        self.join.as_deref().zip(self.join_store.clone())
    }
}

/// Runs the second process, which finds the account in the store.
pub(super) fn join(url: &str, directory: PathBuf) -> Result<(), Box<dyn Error>> {
    // No sign-in happens here, so the redirect URI is never used.
    let store = Box::new(FileStore::open(directory)?);
    let mut client = Client::on_store(
        url,
        "http://127.0.0.1:9/callback",
        store,
        &Recorder::default(),
    )?;
    match client.list()? {
        Outcome::Answered(_) => Ok(()),
        Outcome::Failed(failure) => Err(failure),
        Outcome::Declined(why) => Err(format!("stopped: {}", why.as_str()).into()),
    }
}

pub(super) fn run(stage: &Stage, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let store = Box::new(FileStore::open(directory.path())?);
    let mut client = Client::with_listener(stage, store, recorder)?;
    if let Outcome::Failed(failure) = client.list()? {
        return Err(failure);
    }
    println!();
    println!("signed in; the token lives for {TOKEN_SECONDS} seconds");
    println!();
    sleep(Duration::from_secs(TOKEN_SECONDS));
    println!("the token has expired; two processes refresh from the same store");
    println!();
    let other = Command::new(std::env::current_exe()?)
        .args(["demo", "--join", stage.mcp_url(), "--join-store"])
        .arg(directory.path())
        .stdin(Stdio::null())
        .spawn()?;
    let mut other = Guard(other);
    let mine = client.list()?;
    let theirs = other.0.wait()?;
    if let Outcome::Failed(failure) = mine {
        return Err(failure);
    }
    let refreshes = stage.refreshes();
    println!();
    println!("2 processes have a new token; {refreshes} refresh request(s) reached the server");
    match (theirs.success(), refreshes) {
        (true, 1) => Ok(()),
        (true, _) => Err("there was not exactly one refresh".into()),
        (false, _) => Err("the other process had no token".into()),
    }
}

/// A process that is killed on drop.
struct Guard(std::process::Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}
