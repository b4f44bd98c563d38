//! The diagrams of docs/pictures.md, made from the playbooks and from the table of states and events.
//!
//! A change of a snapshot changes its diagram. `UPDATE_PICTURES=1 cargo test --test suite pictures` writes the page, and the same
//! diagrams as SVG for the documentation of the crate.

mod svg;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::cells::asked as asked_for;

const COLD: &str =
    include_str!("snapshots/suite__playbooks__cold_flows_by_each_kind_of_client.snap");
const HELD: &str = include_str!("snapshots/suite__playbooks__living_with_a_token.snap");
const RESTART: &str =
    include_str!("snapshots/suite__playbooks__a_restart_at_every_point_of_a_cold_flow.snap");
const CELLS: &str =
    include_str!("snapshots/suite__cells__h04_s24_every_event_in_every_state_has_its_outcome.snap");

/// The sections of the page: a heading, the snapshot, and the heading of the conversation in it.
const SEQUENCES: [(&str, &str, &str); 11] = [
    (
        "Sign-in with dynamic registration",
        COLD,
        "dynamic registration",
    ),
    (
        "Sign-in with a client ID metadata document",
        COLD,
        "client ID metadata document",
    ),
    (
        "Sign-in with a registered client",
        COLD,
        "registered beforehand",
    ),
    ("Sign-in on another device", COLD, "another device"),
    ("Client credentials", COLD, "acts for itself"),
    ("Callback at another process", RESTART, "code sent"),
    ("Refresh", HELD, "refresh"),
    (
        "Refresh beside another process",
        HELD,
        "refresh beside another process",
    ),
    ("Step-up", HELD, "step-up, and its cap"),
    (
        "Another authorization server",
        HELD,
        "another authorization server",
    ),
    ("Sign-out", HELD, "sign-out"),
];

/// The lines of one conversation, up to its first comment.
fn conversation<'a>(snapshot: &'a str, heading: &str) -> Vec<&'a str> {
    let start = format!("## {heading}");
    let lines: Vec<&str> = snapshot
        .lines()
        .skip_while(|line| **line != start)
        .skip(1)
        .take_while(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert!(lines.len() > 1, "no conversation is called {heading}");
    lines
}

/// One message of a diagram: sender, arrow, receiver, text. The answers of the store have none.
fn message(line: &str, asked: &mut &'static str) -> Option<(&'static str, &'static str, String)> {
    // Characters that Mermaid reads as syntax.
    let plain = |text: &str| text.replace([';', '#', '"', '<', '>'], "");
    if let Some(action) = asked_for(line) {
        let text = plain(&action);
        let to = match action.split_once(' ') {
            Some(("GET" | "POST", url)) => {
                *asked = match url.starts_with("https://mcp.") {
                    true => "R",
                    false => "A",
                };
                *asked
            }
            Some(("redirect", _)) => "B",
            Some(("load" | "write" | "clear", _)) => "S",
            _ => "H",
        };
        return Some(("M", to, text));
    }
    let event = line.strip_prefix("> ").expect("an event");
    let word = event.split(' ').next().unwrap_or_default();
    let (from, text) = match word {
        "Challenge" => {
            let status = event.split("status: ").nth(1).expect("a status");
            let status = status.split(',').next().unwrap_or_default();
            ("R", format!("{status} for an operation"))
        }
        "loaded" | "persisted" => return None,
        "callback" => ("B", event.to_owned()),
        _ if word.parse::<u16>().is_ok() => (*asked, word.to_owned()),
        _ => ("H", plain(event)),
    };
    Some((from, "M", text))
}

const PARTICIPANTS: [(&str, &str); 6] = [
    ("B", "Browser"),
    ("H", "Host"),
    ("M", "AuthMachine"),
    ("S", "Store"),
    ("R", "MCP server"),
    ("A", "Authorization server"),
];

/// A conversation: who takes part, and the messages.
struct Sequence {
    participants: Vec<(&'static str, &'static str)>,
    messages: Vec<(&'static str, &'static str, String)>,
}

impl Sequence {
    fn of(lines: &[&str]) -> Self {
        let mut asked = "A";
        let messages: Vec<_> = lines
            .iter()
            .filter_map(|line| message(line, &mut asked))
            .collect();
        let takes_part = |id: &str| {
            messages
                .iter()
                .any(|(from, to, _)| *from == id || *to == id)
        };
        Self {
            participants: PARTICIPANTS
                .into_iter()
                .filter(|(id, _)| takes_part(id))
                .collect(),
            messages,
        }
    }
}

fn mermaid(sequence: &Sequence) -> String {
    let mut drawn = "```mermaid\nsequenceDiagram\n".to_owned();
    for (id, name) in &sequence.participants {
        writeln!(drawn, "    participant {id} as {name}").expect("a text");
    }
    for (from, to, text) in &sequence.messages {
        let arrow = if *to == "M" { "-->>" } else { "->>" };
        writeln!(drawn, "    {from}{arrow}{to}: {text}").expect("a text");
    }
    drawn.push_str("```\n");
    drawn
}

/// Events that end every state alike, or change none: the table has them.
const ELSEWHERE: [&str; 8] = [
    "cancelled",
    "signed out",
    "registration reset",
    "clocks at their ends",
    "stray callback",
    "timer, early",
    "answer to another machine",
    "callback without state",
];

/// The events that lead from one state to another.
type Edges = BTreeMap<(String, String), Vec<String>>;

fn edges() -> Edges {
    let name = |text: &str| text.split(',').next().unwrap_or_default().trim().to_owned();
    let mut edges = Edges::new();
    let mut state = String::new();
    for line in CELLS.lines().skip(4) {
        let Some(row) = line.strip_prefix("    ") else {
            state = name(line);
            continue;
        };
        // Columns are apart by two spaces or more.
        let mut columns = row
            .split("  ")
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let event = columns.next().expect("an event");
        let next = row.get(27..59).map(name).unwrap_or_default();
        if next.is_empty() || next == state || ELSEWHERE.contains(&event) {
            continue;
        }
        let events = edges.entry((state.clone(), next)).or_default();
        if !events.iter().any(|known| known == event) {
            events.push(event.to_owned());
        }
    }
    assert!(edges.len() > 30, "{edges:?}");
    edges
}

fn states() -> String {
    let mut drawn = "```mermaid\nstateDiagram-v2\n".to_owned();
    for ((from, to), events) in edges() {
        let mut shown = events
            .iter()
            .take(3)
            .cloned()
            .collect::<Vec<_>>()
            .join(" / ");
        if events.len() > 3 {
            shown.push_str(" / …");
        }
        writeln!(drawn, "    {from} --> {to}: {shown}").expect("a text");
    }
    drawn.push_str("```\n");
    drawn
}

fn page() -> String {
    let mut page = "# Pictures\n\nGenerated from the snapshots of the tests: `UPDATE_PICTURES=1 cargo test --test suite \
        pictures` writes this page.\n\nA solid arrow is an action of the machine, a dashed arrow an event or the answer \
        to an action. Answers of the store are left out.\n"
        .to_owned();
    for (title, snapshot, heading) in SEQUENCES {
        let drawn = mermaid(&Sequence::of(&conversation(snapshot, heading)));
        write!(page, "\n## {title}\n\n{drawn}").expect("a text");
    }
    let drawn = states();
    write!(
        page,
        "\n## States\n\nEach edge names up to three of the events that lead along it. Cancelling, signing out, resetting the \
        registration and events that belong to no state are left out; `tests/suite/snapshots` has the whole table.\n\n{drawn}"
    )
    .expect("a text");
    page
}

fn is_kept(file: &str, drawn: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        std::fs::write(&path, drawn).expect("written");
    }
    let kept = std::fs::read_to_string(&path).expect("the file");
    assert!(
        kept == drawn,
        "{file} is stale: UPDATE_PICTURES=1 cargo test --test suite pictures"
    );
}

#[test]
fn pictures_show_the_snapshots() {
    is_kept("docs/pictures.md", &page());
    is_kept("docs/pictures.svg.html", &svg::page());
}
