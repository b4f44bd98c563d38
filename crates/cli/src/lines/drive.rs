//! `drive`: lines from standard input, lines to standard output.

use std::io::{self, BufRead, ErrorKind, Write};

use super::actions::Line;
use super::session::Session;
use crate::problem::Problem;

pub(crate) fn run() -> Result<(), Problem> {
    let mut session = Session::default();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut line = Vec::new();
    let unread = Problem::system("standard input cannot be read");
    while input.read_until(b'\n', &mut line).map_err(&unread)? > 0 {
        match write(&mut output, &session.take(&line)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Problem::Output(error)),
        }
        line.clear();
    }
    Ok(())
}

fn write(output: &mut impl Write, lines: &[Line]) -> io::Result<()> {
    for line in lines {
        serde_json::to_writer(&mut *output, line)?;
        output.write_all(b"\n")?;
    }
    output.flush()
}
