//! `drive`: lines from standard input, lines to standard output.

use std::io::{self, BufRead, Write};

use super::actions::Line;
use super::session::Session;
use crate::problem::Problem;

pub(crate) fn run() -> Result<(), Problem> {
    let mut session = Session::default();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        write(&mut output, &session.take(&line))?;
        line.clear();
    }
    Ok(())
}

fn write(output: &mut impl Write, lines: &[Line]) -> Result<(), Problem> {
    for line in lines {
        serde_json::to_writer(&mut *output, line)?;
        output.write_all(b"\n")?;
    }
    output.flush()?;
    Ok(())
}
