//! A Redis server for the tests of a store.

use std::fs::{create_dir, remove_dir_all};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The delay between two readiness checks; 200 are made.
const PACE: Duration = Duration::from_millis(50);

/// How often a server begins on another port, because another process took its port meanwhile.
const PORTS: usize = 5;

/// A process of `redis-server` on a free port of 127.0.0.1: empty, without persistence, killed when it is dropped.
///
/// ```no_run
/// let redis = mcp_auth_testing::RedisServer::start()?;
/// println!("{}", redis.url());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct RedisServer {
    process: Child,
    port: u16,
    folder: PathBuf,
}

impl RedisServer {
    /// Starts a server, and waits until it answers.
    ///
    /// # Errors
    /// `redis-server` is not installed, does not start, or gives no answer within ten seconds.
    pub fn start() -> std::io::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with more options on its command line, such as `--cluster-enabled yes`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(options: &[&str]) -> std::io::Result<Self> {
        for _ in 0..PORTS {
            let port = free_port()?;
            let folder = folder(port)?;
            match process(port, &folder, options) {
                Ok(Some(process)) => {
                    return Ok(Self {
                        process,
                        port,
                        folder,
                    });
                }
                Ok(None) => remove_dir_all(folder)?,
                Err(error) => {
                    remove_dir_all(folder)?;
                    return Err(error);
                }
            }
        }
        Err(std::io::Error::other("redis-server exits when it starts"))
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of its first database: `redis://127.0.0.1:PORT/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Returns the process ID, for signals.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills the server: connections end, and new ones are refused.
    pub fn stop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }

    /// Starts the server again on the same port, empty and without the options of its first start.
    ///
    /// # Errors
    /// As [`start`](Self::start); also when another process has the port.
    pub fn start_again(&mut self) -> std::io::Result<()> {
        self.stop();
        let process = process(self.port, &self.folder, &[])?;
        self.process = process.ok_or_else(|| std::io::Error::from(ErrorKind::AddrInUse))?;
        Ok(())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
        let _removed = remove_dir_all(&self.folder);
    }
}

/// Returns a port of 127.0.0.1 that nothing listens on now.
///
/// # Errors
/// No port is free.
pub fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Creates the working directory of a server: a cluster keeps a file there.
fn folder(port: u16) -> std::io::Result<PathBuf> {
    let name = format!("redis-server-{}-{port}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    create_dir(&folder)?;
    Ok(folder)
}

/// Returns `None` when the server exits at once, as it does when the port is taken.
fn process(port: u16, folder: &Path, options: &[&str]) -> std::io::Result<Option<Child>> {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(options)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut process = command.spawn().map_err(|error| {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        let text =
            "redis-server is not on the PATH: install it (Debian: apt-get install redis-server)";
        std::io::Error::new(ErrorKind::NotFound, text)
    })?;
    for _ in 0..200 {
        if process.try_wait()?.is_some() {
            return Ok(None);
        }
        if answers(port).unwrap_or(false) {
            return Ok(Some(process));
        }
        sleep(PACE);
    }
    let _gone = process.kill();
    let _reaped = process.wait();
    Err(std::io::Error::new(
        ErrorKind::TimedOut,
        "redis-server does not answer",
    ))
}

fn answers(port: u16) -> std::io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, PACE)?;
    connection.set_read_timeout(Some(PACE))?;
    connection.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    connection.read_exact(&mut answer)?;
    Ok(answer == *b"+PONG")
}
