//! A Redis server, and this test program as another process.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// A server without persistence, stopped on drop.
pub(crate) struct Redis {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more settings on its command line.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            // Another process may take the port meanwhile.
            let port = free_port();
            if let Some(process) = start(port, &directory, settings) {
                return Self {
                    process,
                    port,
                    directory,
                };
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_connection().unwrap()
    }

    pub(crate) fn stop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }

    /// Stops it without ending it, or continues it: `-STOP`, `-CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Starts again on the same port, empty.
    pub(crate) fn start_again(&mut self) {
        self.process = start(self.port, &self.directory, &[]).expect("redis-server starts again");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Returns `None` when the server exits at once, as it does when the port is taken.
fn start(port: u16, directory: &TempDir, settings: &[&str]) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(settings)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut process = match command.spawn() {
        Ok(process) => process,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "these tests need redis-server on the PATH: install the package redis-server \
             (apt-get install redis-server)"
        ),
        Err(error) => panic!("redis-server: {error}"),
    };
    let client = redis::Client::open(("127.0.0.1", port)).unwrap();
    for _ in 0..200 {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        if let Ok(mut connection) = client.get_connection()
            && redis::cmd("PING").exec(&mut connection).is_ok()
        {
            return Some(process);
        }
        sleep(Duration::from_millis(50));
    }
    let _gone = process.kill();
    let _reaped = process.wait();
    panic!("redis-server does not answer");
}

/// This test program as another process, which runs one ignored test. Killed on drop.
pub(crate) struct Part {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Part {
    pub(crate) fn start(test: &str, settings: &[(&str, &str)]) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// Returns the rest of the next line that contains these words.
    pub(crate) fn says(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the process ended before it said: {words}");
            // The test harness prints its own text first.
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn go_on(&mut self) {
        let stdin = self.process.stdin.as_mut().unwrap();
        writeln!(stdin).unwrap();
    }

    /// Kills the process, and returns the rest of what it said.
    pub(crate) fn killed(mut self) -> String {
        self.process.kill().unwrap();
        let mut said = String::new();
        self.lines.read_to_string(&mut said).unwrap();
        said
    }

    pub(crate) fn ends_well(mut self) {
        std::io::copy(&mut self.lines, &mut std::io::sink()).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
