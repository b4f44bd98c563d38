//! `--html FILE`: a page that shows the steps of a command, to diagnose a failure.
//!
//! The page is generated from a transcript. All its text passes through [`Redactor::show`], so it contains
//! no secret of the transcript. The page has no script and loads nothing.

mod decisions;
mod outcome;
mod owner;
mod parts;
mod render;
mod shown;
mod steps;

use mcp_auth_machine::error::Party;
use serde_json::Value;

use crate::lines::actions::Line;
use crate::lines::record::Destination;
use crate::lines::session::Session;
use crate::problem::Problem;
use shown::{Redactor, Shown};
use steps::Story;

/// One line of a transcript.
pub(crate) struct Entry {
    line: Value,
    advice: Option<Advice>,
}

/// The responsible party of a failure, and the options that may help.
struct Advice {
    party: Party,
    /// The options of `login` that may help.
    option: Option<String>,
}

/// The result of `doctor`, which takes the place of the machine's: the machine stops before a registration.
pub(crate) struct Examination {
    pub(crate) usable: bool,
    /// Its findings, each with its mark.
    pub(crate) findings: Vec<(&'static str, String)>,
}

/// The end of a command, beside its transcript.
#[derive(Default)]
pub(crate) struct Ending<'a> {
    pub(crate) failure: Option<&'a Problem>,
    pub(crate) examination: Option<Examination>,
}

/// Runs the input lines, and returns them with the output lines.
pub(crate) fn entries<'a>(ins: impl Iterator<Item = &'a str>) -> Result<Vec<Entry>, Problem> {
    let mut session = Session::default();
    let mut all = Vec::new();
    for text in ins {
        all.push(Entry {
            line: serde_json::from_str(text)?,
            advice: None,
        });
        for line in session.take(text.as_bytes()) {
            let advice = match &line {
                Line::Error(failed) => Some(Advice {
                    party: failed.party(),
                    option: failed.option().map(str::to_owned),
                }),
                Line::SendRequest(_)
                | Line::Redirect(_)
                | Line::ShowCode(_)
                | Line::LoadSlot { .. }
                | Line::PersistSlot(_)
                | Line::Sign { .. }
                | Line::ObtainAssertion(_)
                | Line::NeedUser(_)
                | Line::Ready(_)
                | Line::Present(_)
                | Line::Report(_)
                | Line::Idle { .. }
                | Line::ProtocolError { .. } => None,
            };
            all.push(Entry {
                advice,
                line: serde_json::to_value(&line)?,
            });
        }
    }
    Ok(all)
}

/// Writes the page for these input lines, and for the end of the command itself.
///
/// # Errors
///
/// When a line is not valid JSON, or when the file cannot be written.
pub(crate) fn write<'a>(
    to: &Destination,
    title: &str,
    ins: impl Iterator<Item = &'a str>,
    ending: Ending<'_>,
) -> Result<(), Problem> {
    to.write(&page(title, ins, ending)?)
}

fn page<'a>(
    title: &str,
    ins: impl Iterator<Item = &'a str>,
    ending: Ending<'_>,
) -> Result<String, Problem> {
    let entries = entries(ins)?;
    let redactor = Redactor::of(&entries);
    let mut story = Story::of(&entries, &redactor);
    if let Some(examination) = ending.examination {
        let findings = examination.findings.iter();
        let rows = findings.map(|(mark, words)| (Shown::fixed(mark), redactor.show(words)));
        story.examined(examination.usable, rows.collect());
    } else if let Some(problem) = ending.failure {
        let is_known = matches!(problem, Problem::Failed { .. });
        story.fail(
            redactor.show(&problem.words()),
            owner::of(problem),
            is_known,
        );
    }
    Ok(render::page(&redactor.show(title), &story))
}

#[cfg(test)]
mod tests;
