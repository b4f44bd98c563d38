//! PostgreSQL, several Redis servers that know each other, and what every store is asked.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use mcp_auth_client::{AsyncStore, PostgresStore, Swap, contract};
use mcp_auth_machine::slot::{Slot, SlotContents, Stored};
use tempfile::TempDir;

use mcp_auth_testing::free_port;

pub(crate) fn slot(principal: &str) -> Slot {
    Slot::account(principal, "https://mcp.example/mcp")
}

pub(crate) fn stored(text: &str) -> Stored {
    Stored {
        revision: format!("{text:A<22.21}").parse().unwrap(),
        contents: SlotContents::new(text),
    }
}

pub(crate) fn done(swap: Swap) -> bool {
    matches!(swap, Swap::Done)
}

/// For one caller at a time, and for many through three handles.
pub(crate) async fn keeps_the_contract<S: AsyncStore + Clone>(store: S, other: S) {
    contract::check_async(store.clone()).await.unwrap();
    let handles = [store.clone(), store, other];
    contract::check_races_async(handles).await.unwrap();
}

/// A PostgreSQL server of its own, ended when it is dropped.
pub(crate) struct Postgres {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let mut initdb = program("initdb");
        if let Some(user) = server_user() {
            chown(directory.path(), Some(user), None).unwrap();
        }
        let made = initdb
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=mcp",
                "--encoding=UTF8",
            ])
            .args(["--locale=C", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let port = free_port().unwrap();
        let process = start(&data, port);
        let started = Self {
            process,
            port,
            directory,
        };
        started.answers();
        started
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://mcp@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn store(&self) -> PostgresStore {
        PostgresStore::open(&self.url()).unwrap()
    }

    /// Stops all its processes without ending them, or continues them: `-STOP`, `-CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let server = self.process.id().to_string();
        let sent = Command::new("pkill").args([signal, "-P", &server]).status();
        assert!(sent.unwrap().success());
    }

    /// Without a word to anybody.
    pub(crate) fn kill(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }

    pub(crate) fn start_again(&mut self) {
        // The processes of the old server let go of its memory one after the other.
        for _ in 0..50 {
            self.process = start(&self.directory.path().join("data"), self.port);
            sleep(Duration::from_millis(200));
            if self.process.try_wait().unwrap().is_none() {
                return self.answers();
            }
        }
        panic!("postgres does not start again");
    }

    fn answers(&self) {
        for _ in 0..200 {
            let mut ready = program("pg_isready");
            let port = self.port.to_string();
            let ready = ready.args(["-q", "-h", "127.0.0.1", "-p", &port]);
            if ready.status().unwrap().success() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        panic!("postgres does not answer");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(data: &Path, port: u16) -> Child {
    let mut server = program("postgres");
    server
        .arg("-D")
        .arg(data)
        .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""])
        // Killed processes lose nothing by this, only machines without power do.
        .args(["-c", "fsync=off", "-c", "log_min_messages=panic"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    server.spawn().unwrap()
}

/// PostgreSQL does not run as root: then as the user that Debian's package made for it.
fn server_user() -> Option<u32> {
    let id = |of: &[&str]| -> u32 {
        let output = Command::new("id").args(of).output().unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    (id(&["-u"]) == 0).then(|| id(&["-u", "postgres"]))
}

fn program(name: &str) -> Command {
    let path = find(name);
    if server_user().is_none() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(path);
    command
}

fn find(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<_> = versions
        .map(|version| version.unwrap().path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| {
        panic!("these tests need PostgreSQL: install the package postgresql (apt-get install postgresql)")
    })
}
