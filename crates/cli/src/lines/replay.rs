//! `replay`: runs the input lines of a file again, and compares the output.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::members;
use super::record::Destination;
use super::session::Session;
use crate::output::plain;
use crate::problem::Problem;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The file: lines in, and the lines out that are expected. One with lines in alone is run, and
    /// the whole is printed
    file: PathBuf,
}

/// A line of the file.
struct Row {
    number: usize,
    text: String,
    kind: Kind,
}

enum Kind {
    In,
    Out(Value),
    /// A comment.
    Comment,
}

/// The first line with a different output.
#[derive(Debug)]
struct Difference {
    line: usize,
    expected: Option<Value>,
    got: Option<Value>,
}

pub(crate) fn run(
    options: &Options,
    as_json: bool,
    html: Option<&Destination>,
) -> Result<(), Problem> {
    let path = options.file.display();
    let text =
        std::fs::read_to_string(&options.file).map_err(|error| format!("{path}: {error}"))?;
    let rows = rows(&text).map_err(|flaw| format!("{path}: {flaw}"))?;
    if !rows.iter().any(|row| matches!(row.kind, Kind::In)) {
        return Err(format!("{path}: the file has no input line").into());
    }
    let (ins, difference) = follow(&rows)?;
    if let Some(html) = html {
        let name = options
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        crate::report::write(
            html,
            &name,
            ins.iter().map(String::as_str),
            crate::report::Ending::default(),
        )?;
    }
    if !rows.iter().any(|row| matches!(row.kind, Kind::Out(_))) {
        return transcript(&rows, as_json);
    }
    let Some(difference) = difference else {
        if as_json {
            println!("{}", json!({ "same": true, "lines": rows.len() }));
        } else {
            println!("{path}: the same");
        }
        return Ok(());
    };
    // The lines of these words are those of this program.
    let words = format!("{}: {}", plain(&path.to_string()), difference.words());
    if as_json {
        let Difference {
            line,
            expected,
            got,
        } = difference;
        println!(
            "{}",
            json!({ "same": false, "line": line, "expected": expected, "got": got, "message": words })
        );
    }
    Err(Problem::Differs(words))
}

fn rows(text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        let said = |flaw: &str| format!("line {number}: {flaw}");
        let found = members(text.as_bytes()).map_err(|flaw| said(&flaw.to_string()))?;
        let has = |name: &str| found.contains_key(name);
        let kind = match (has("config") || has("event"), has("action"), has("comment")) {
            (true, false, false) => Kind::In,
            (false, true, false) => Kind::Out(Value::Object(found)),
            (false, false, true) if found.len() == 1 => Kind::Comment,
            (_, _, _) => {
                return Err(said(
                    "one of `config`, `event`, `action`, `comment` expected",
                ));
            }
        };
        rows.push(Row {
            number,
            text: text.to_owned(),
            kind,
        });
    }
    Ok(rows)
}

/// Returns the output lines of an input line.
fn outs(session: &mut Session, line: &str) -> Result<Vec<Value>, Problem> {
    let lines = session.take(line.as_bytes());
    let values: Result<_, _> = lines.iter().map(serde_json::to_value).collect();
    Ok(values?)
}

fn transcript(rows: &[Row], as_json: bool) -> Result<(), Problem> {
    let mut session = Session::default();
    let mut all = Vec::new();
    for row in rows {
        all.push(row.text.clone());
        if matches!(row.kind, Kind::In) {
            for line in session.take(row.text.as_bytes()) {
                all.push(serde_json::to_string(&line)?);
            }
        }
    }
    if as_json {
        let lines: Result<Vec<Value>, _> = all.iter().map(|l| serde_json::from_str(l)).collect();
        println!("{}", json!({ "transcript": lines? }));
    } else {
        for line in all {
            println!("{line}");
        }
    }
    Ok(())
}

/// Records of an earlier format version in a user's recording. Hosts treat records as opaque, and this
/// version writes its own for the same data: from then on the recording's contents and revisions are mapped
/// to those of this version.
#[derive(Default)]
struct Rewritten(BTreeMap<String, Value>);

impl Rewritten {
    /// Returns a recorded line as this version would have written it.
    fn current(&self, line: &Value) -> Value {
        let mut line = line.clone();
        for name in ["contents", "revision", "expected"] {
            let now = line.get(name).and_then(Value::as_str);
            if let Some(now) = now.and_then(|text| self.0.get(text)).cloned()
                && let Some(member) = line.get_mut(name)
            {
                *member = now;
            }
        }
        line
    }

    /// Returns the text of an input line, unchanged if it contains no such record.
    fn line(&self, text: &str) -> Result<String, Problem> {
        let line: Value = serde_json::from_str(text)?;
        let current = self.current(&line);
        Ok(if current == line {
            text.to_owned()
        } else {
            serde_json::to_string(&current)?
        })
    }

    /// Maps a recorded write to the one of this version.
    fn learn(&mut self, recorded: &Value, got: &Value) {
        let version = |line: &Value| {
            let contents = line.get("contents")?.as_str()?;
            Some(contents.split_once('.')?.0.to_owned())
        };
        if version(recorded) == version(got) {
            return;
        }
        for name in ["contents", "revision"] {
            if let (Some(Value::String(old)), Some(new)) = (recorded.get(name), got.get(name)) {
                self.0.insert(old.clone(), new.clone());
            }
        }
    }
}

/// Runs the whole recording. Returns the input lines, with records of this version, and the first difference.
fn follow(rows: &[Row]) -> Result<(Vec<String>, Option<Difference>), Problem> {
    let mut session = Session::default();
    let mut rewritten = Rewritten::default();
    let mut due = Vec::new().into_iter();
    let mut ins = Vec::new();
    let mut difference = None;
    let mut end = 0;
    for row in rows {
        end = row.number;
        match &row.kind {
            Kind::Comment => {}
            Kind::In => {
                difference = difference.or_else(|| Difference::missing(row.number, due.next()));
                let line = rewritten.line(&row.text)?;
                due = outs(&mut session, &line)?.into_iter();
                ins.push(line);
            }
            Kind::Out(recorded) => {
                let got = due.next();
                if let Some(got) = &got {
                    rewritten.learn(recorded, got);
                }
                let expected = rewritten.current(recorded);
                let same = got.as_ref().map(unnamed) == Some(unnamed(&expected));
                if difference.is_none() && !same {
                    difference = Some(Difference {
                        line: row.number,
                        expected: Some(expected),
                        got,
                    });
                }
            }
        }
    }
    let after = end.saturating_add(1);
    let difference = difference.or_else(|| Difference::missing(after, due.next()));
    Ok((ins, difference))
}

/// Returns a line without the `User-Agent` of a request: it names the version of the software, and recordings outlive it.
fn unnamed(line: &Value) -> Value {
    let mut line = line.clone();
    if let Some(headers) = line.get_mut("headers").and_then(Value::as_array_mut) {
        headers.retain(|header| header.get(0).and_then(Value::as_str) != Some("user-agent"));
    }
    line
}

impl Difference {
    /// An output line that the recording lacks.
    fn missing(line: usize, got: Option<Value>) -> Option<Self> {
        got.map(|got| Self {
            line,
            expected: None,
            got: Some(got),
        })
    }

    fn words(&self) -> String {
        let line = self.line;
        let said = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        let (expected, got) = (said(&self.expected), said(&self.got));
        let mut words = format!("line {line} differs\n  expected {expected}\n  got      {got}");
        if let (Some(Value::Object(expected)), Some(Value::Object(got))) =
            (&self.expected, &self.got)
            && expected.get("action") == got.get("action")
        {
            let names = expected.keys().chain(got.keys());
            let mut other: Vec<&str> = names
                .filter(|name| expected.get(*name) != got.get(*name))
                .map(String::as_str)
                .collect();
            other.sort_unstable();
            other.dedup();
            words.push_str("\n  in ");
            words.push_str(&other.join(", "));
        }
        words
    }
}
