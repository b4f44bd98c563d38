//! The page as HTML. Templates escape; only [`Shown`] and fixed text go in.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::shown::Shown;
use super::steps::{Lane, Outcome, Part, Step, Story, Tone};

const STYLE: &str = include_str!("report.css");

const LANES: [(Lane, &str); 6] = [
    (Lane::Browser, "Browser"),
    (Lane::Host, "Host"),
    (Lane::Machine, "Machine"),
    (Lane::Store, "Store"),
    (Lane::McpServer, "MCP server"),
    (Lane::AuthorizationServer, "Authorization server"),
];

pub(super) fn page(title: &Shown, story: &Story) -> String {
    let last = story.outcomes.last();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
                meta name="referrer" content="no-referrer";
                title { "mcp-auth: " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    @if !story.settings.is_empty() { (rows(&story.settings)) }
                }
                main {
                    section aria-labelledby="outcome" {
                        h2 id="outcome" { "Outcome" }
                        @match last {
                            Some(outcome) => (result(outcome)),
                            None => p { "The transcript ends before an outcome." },
                        }
                        @let earlier: Vec<&Outcome> = story.outcomes.iter()
                            .filter(|outcome| outcome.tone == Tone::Bad)
                            .filter(|outcome| last.is_none_or(|last| !std::ptr::eq(*outcome, last)))
                            .collect();
                        @if !earlier.is_empty() {
                            h3 { "Failures before it" }
                            @for outcome in earlier { (result(outcome)) }
                        }
                    }
                    section aria-labelledby="steps" {
                        h2 id="steps" { "Steps" }
                        p.hint { "Each step opens: the request or the response with its secrets hidden, or the decision with its rule." }
                        (heads())
                        ol { @for step in &story.steps { li { (self::step(step)) } } }
                    }
                }
                footer {
                    p.hint {
                        "mcp-auth " (env!("CARGO_PKG_VERSION")) ". Host: the program that ran. Machine: its OAuth client. "
                        "Store: where accounts and registrations are kept. Codes such as META-08 name rules of the project's "
                        "docs/requirements.md, which gives the standard behind each."
                    }
                }
            }
        }
    }
    .into_string()
}

fn result(outcome: &Outcome) -> Markup {
    html! {
        div class={ "outcome " (tone(outcome.tone)) } {
            p { strong { (outcome.title) } }
            @if !outcome.rows.is_empty() { (rows(&outcome.rows)) }
        }
    }
}

fn heads() -> Markup {
    html! {
        div.heads aria-hidden="true" {
            span {}
            div.lanes { @for (_, name) in LANES { span { (name) } } }
            span {}
        }
    }
}

fn step(step: &Step) -> Markup {
    let (left, right) = (place(step.from.min(step.to)), place(step.from.max(step.to)));
    let way = match step.from.cmp(&step.to) {
        std::cmp::Ordering::Less => "right",
        std::cmp::Ordering::Equal => "own",
        std::cmp::Ordering::Greater => "left",
    };
    html! {
        details class=(tone(step.tone)) open[step.from == Lane::Machine && step.tone == Tone::Bad] {
            summary {
                time { (seconds(step.at)) }
                div.lanes aria-hidden="true" {
                    div class={ "arrow " (way) " a" (left) " z" (right) " w" (right.saturating_sub(left)) } {}
                }
                span.words {
                    span.way {
                        (name(step.from))
                        @if step.from != step.to { " to " (name(step.to)) }
                        ": "
                    }
                    (step.title)
                }
            }
            div.parts {
                @for part in &step.parts {
                    @match part {
                        Part::Rows(title, found) => {
                            h4 { (title) }
                            @if found.is_empty() { p { "none" } } @else { (rows(found)) }
                        }
                        Part::Text(title, text) => {
                            h4 { (title) }
                            pre { (text) }
                        }
                    }
                }
                @if step.parts.is_empty() { p.nothing { "No further details." } }
            }
        }
    }
}

fn rows(rows: &[(Shown, Shown)]) -> Markup {
    html! { dl { @for (name, value) in rows { dt { (name) } dd { (value) } } } }
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Decision => "decision",
        Tone::Good => "good",
        Tone::Bad => "bad",
    }
}

/// The column of a lane, from 1.
fn place(lane: Lane) -> u8 {
    match lane {
        Lane::Browser => 1,
        Lane::Host => 2,
        Lane::Machine => 3,
        Lane::Store => 4,
        Lane::McpServer => 5,
        Lane::AuthorizationServer => 6,
    }
}

fn name(lane: Lane) -> &'static str {
    let found = LANES.iter().find(|(known, _)| *known == lane);
    found.map_or("", |(_, name)| name)
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
