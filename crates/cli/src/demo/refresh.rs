//! Two processes on one store, and a token that lives for seconds: one refresh.

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use mcp_auth_client::FileStore;

use super::client::{Client, Outcome};
use super::stage::Stage;
use crate::lines::record::Recorder;

/// Lifetime of an access token in this demo.
pub(super) const TOKEN_SECONDS: u64 = 5;

/// What the second process needs to know.
#[derive(clap::Args, Clone)]
pub(super) struct Joining {
    #[arg(long, hide = true, requires = "join_store")]
    join: Option<String>,
    #[arg(long, hide = true)]
    join_store: Option<PathBuf>,
}

impl Joining {
    /// The MCP server and the store, in the second process.
    pub(super) fn wanted(&self) -> Option<(&str, PathBuf)> {
        self.join.as_deref().zip(self.join_store.clone())
    }
}

/// The second process: the account is found in the store.
pub(super) fn join(url: &str, directory: PathBuf) -> Result<(), Box<dyn Error>> {
    // Nobody signs in here, so nobody comes back to this address.
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
    println!("\nsigned in; the token lives for {TOKEN_SECONDS} seconds\n");
    sleep(Duration::from_secs(TOKEN_SECONDS));
    println!("it is over; two processes want one from the same store\n");
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
    println!("\n2 processes have a new token; {refreshes} refresh request(s) reached the server");
    match (theirs.success(), refreshes) {
        (true, 1) => Ok(()),
        (true, _) => Err("there was not exactly one refresh".into()),
        (false, _) => Err("the other process had no token".into()),
    }
}

/// A process that does not outlive the demo.
struct Guard(std::process::Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}
