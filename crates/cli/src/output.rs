//! Standard output and standard error of the whole command.
//!
//! The macros of the standard library panic when a pipe is closed. These replacements ignore a closed pipe,
//! and turn any other failure into the command's exit status.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::Mutex;

macro_rules! println {
    () => { $crate::output::line(format_args!("")) };
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::output::message(format_args!($($text)*)) };
}

macro_rules! eprint {
    ($($text:tt)*) => { $crate::output::part(format_args!($($text)*)) };
}

/// The first error on standard output.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes a line to standard output.
pub(crate) fn line(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush())
        && let Ok(mut failed) = FAILED.lock()
    {
        failed.get_or_insert(error);
    }
}

/// Writes a line to standard error. A message that cannot be written is dropped.
pub(crate) fn message(text: Arguments<'_>) {
    let _unheard = writeln!(io::stderr().lock(), "{text}");
}

/// The same, without an end of line.
pub(crate) fn part(text: Arguments<'_>) {
    let _unheard = write!(io::stderr().lock(), "{text}");
}

/// Returns the error on standard output, except a closed pipe.
pub(crate) fn failure() -> Option<io::Error> {
    let failed = FAILED.lock().ok()?.take()?;
    (failed.kind() != io::ErrorKind::BrokenPipe).then_some(failed)
}
