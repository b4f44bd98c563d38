//! A thread for asynchronous work: the built-in servers and the callback listener.

use std::io;
use std::sync::mpsc::channel;
use std::thread;

use tokio::runtime::{Builder, Handle};

/// Starts the thread, which runs until the process exits.
pub(crate) fn spawn_runtime() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}

/// Runs a future on that thread and waits for it.
pub(crate) fn on<T: Send + 'static>(
    runtime: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = channel();
    runtime.spawn(async move { sender.send(future.await) });
    receiver
        .recv()
        .map_err(|_| io::Error::other("the servers' thread has ended"))
}
