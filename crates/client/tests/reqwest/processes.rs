//! Connections and signals to a Redis server, and this test program as another process.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use mcp_auth_testing::RedisServer;

/// Returns a blocking connection to the server.
pub(crate) fn connection(redis: &RedisServer) -> redis::Connection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_connection().unwrap()
}

/// Stops the server without ending it, or continues it: `-STOP`, `-CONT`.
pub(crate) fn signal(redis: &RedisServer, signal: &str) {
    let id = redis.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.unwrap().success());
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
