//! SIGINT, SIGTERM and SIGHUP end the command at once, except between a token request and the write of its
//! result. A second signal ends it without delay.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::problem::Problem;
use crate::runtime::{on, spawn_runtime};
use crate::style;

struct State {
    /// A server may have issued tokens that are not stored yet.
    holds: bool,
    caught: Option<Signal>,
    /// Run before the process ends, the last one first.
    undo: Vec<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone, Copy)]
struct Signal(u8);

static STATE: Mutex<State> = Mutex::new(State {
    holds: false,
    caught: None,
    undo: Vec::new(),
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to handle signals.
pub(crate) fn listen() -> io::Result<()> {
    let runtime = spawn_runtime()?;
    on(&runtime, async { start() })?
}

#[cfg(unix)]
fn start() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    for (kind, number) in [
        (SignalKind::interrupt(), 2),
        (SignalKind::terminate(), 15),
        (SignalKind::hangup(), 1),
    ] {
        if is_ignored(number) {
            continue;
        }
        let mut stream = signal(kind)?;
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                caught(Signal(number));
            }
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn start() -> io::Result<()> {
    tokio::spawn(async {
        while tokio::signal::ctrl_c().await.is_ok() {
            caught(Signal(2));
        }
    });
    Ok(())
}

/// Returns true if the process was started with the signal ignored, as by `nohup`; it stays ignored.
#[cfg(unix)]
fn is_ignored(number: u8) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = 1_u64.checked_shl(u32::from(number).saturating_sub(1));
    mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
}

/// Treats the end of standard input as SIGTERM from now on. The input is discarded.
pub(crate) fn stop_with_input() {
    std::thread::spawn(|| {
        let _closed = io::copy(&mut io::stdin().lock(), &mut io::sink());
        caught(Signal(15));
    });
}

fn caught(signal: Signal) {
    let mut state = state();
    if state.holds && state.caught.is_none() {
        state.caught = Some(signal);
        eprintln!(
            "mcp-auth: waiting for the server's answer, so that what it grants is stored; again to \
             stop at once"
        );
        return;
    }
    end(state, signal);
}

/// Ends the process. The state stays locked, so no further request is sent.
fn end(mut state: MutexGuard<'_, State>, Signal(number): Signal) -> ! {
    while let Some(undo) = state.undo.pop() {
        undo();
    }
    let problem = Problem::Interrupted { signal: number };
    // People know that they stopped it; a program reads the object.
    if let Some(object) = problem.json().filter(|_| style::is_json()) {
        println!("{object}");
    }
    std::process::exit(128_i32.saturating_add(i32::from(number)))
}

/// Ends the process with success after this closure, unless a token request is under way: another process has done its
/// work. Returns the closure then.
pub(crate) fn finish<F: FnOnce()>(undo: F) -> F {
    let state = state();
    if state.holds {
        return undo;
    }
    undo();
    // The state stays locked, so no further request is sent.
    std::process::exit(0)
}

/// Adds a closure that runs before a signal ends the process, ahead of those that were added before.
pub(crate) fn before_the_end(undo: impl FnOnce() + Send + 'static) {
    state().undo.push(Box::new(undo));
}

/// Delays signals during a token request, until [`release`].
pub(crate) fn hold() {
    state().holds = true;
}

/// Returns true while a server may have issued tokens that are not stored yet.
pub(crate) fn is_held() -> bool {
    state().holds
}

/// Ends the delay: the result is stored, or there is none. A pending signal ends the process.
pub(crate) fn release() {
    let mut state = state();
    state.holds = false;
    if let Some(signal) = state.caught {
        eprintln!("mcp-auth: stopped; what the server granted is stored");
        end(state, signal);
    }
}
