//! The diagrams as SVG, in the colour of the text around them.

use std::fmt::Write;

use layout::backends::svg::SVGWriter;
use layout::gv::{DotParser, GraphBuilder};

use super::{SEQUENCES, Sequence, conversation, edges};

/// The distance of two participants, and of two messages.
const ACROSS: usize = 190;
const DOWN: usize = 26;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn sequence(title: &str, sequence: &Sequence) -> String {
    let names: Vec<_> = sequence.participants.iter().map(|(id, _)| *id).collect();
    let place = |id: &str| {
        let column = names
            .iter()
            .position(|name| *name == id)
            .expect("a participant");
        90 + column * ACROSS
    };
    let (width, height) = (names.len() * ACROSS, 60 + sequence.messages.len() * DOWN);
    let mut drawn = format!(
        "<svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {width} {height}\" style=\"width:100%\" fill=\"currentColor\" \
         stroke=\"none\" font-family=\"sans-serif\" font-size=\"10\">\n",
        escaped(title)
    );
    for (id, name) in &sequence.participants {
        let x = place(id);
        writeln!(
            drawn,
            "<text x=\"{x}\" y=\"16\" text-anchor=\"middle\" font-weight=\"bold\">{name}</text>"
        )
        .expect("a text");
        writeln!(
            drawn,
            "<line x1=\"{x}\" x2=\"{x}\" y1=\"24\" y2=\"{height}\" stroke=\"currentColor\" stroke-opacity=\"0.3\"/>"
        )
        .expect("a text");
    }
    for (row, (from, to, text)) in sequence.messages.iter().enumerate() {
        let (start, end, y) = (place(from), place(to), 56 + row * DOWN);
        let left = start.min(end) + 8;
        writeln!(
            drawn,
            "<text x=\"{left}\" y=\"{}\">{}</text>",
            y - 5,
            escaped(text)
        )
        .expect("a text");
        let dashes = if *to == "M" {
            " stroke-dasharray=\"4 3\""
        } else {
            ""
        };
        writeln!(drawn, "<line x1=\"{start}\" x2=\"{end}\" y1=\"{y}\" y2=\"{y}\" stroke=\"currentColor\"{dashes}/>").expect("a text");
        let (base, tip) = if start < end {
            (end - 7, end)
        } else {
            (end + 7, end)
        };
        writeln!(
            drawn,
            "<path d=\"M{tip} {y} L{base} {} L{base} {} Z\"/>",
            y - 4,
            y + 4
        )
        .expect("a text");
    }
    drawn.push_str("</svg>\n");
    drawn
}

/// The states. Each of them can end in `resting`; these edges are left out.
fn states() -> String {
    let mut dot = "digraph states {\n rankdir=LR;\n".to_owned();
    for (from, to) in edges().keys().filter(|(_, to)| to != "resting") {
        writeln!(dot, " {from} -> {to};").expect("a text");
    }
    dot.push('}');
    let graph = DotParser::new(&dot).process().expect("a graph");
    let mut builder = GraphBuilder::new();
    builder.visit_graph(&graph);
    let mut writer = SVGWriter::new();
    builder.get().do_it(false, false, false, &mut writer);
    let drawn = writer.finalize();
    let from = drawn.find("<svg").expect("a picture");
    let lines = drawn[from..]
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let drawn = lines.collect::<Vec<_>>().join("\n");
    // The colours of the page, light or dark.
    let drawn = drawn
        .replace("black", "currentColor")
        .replace("white", "none");
    drawn.replacen("<svg ", "<svg role=\"img\" aria-label=\"States\" style=\"width:100%;height:auto\" fill=\"currentColor\" ", 1) + "\n"
}

/// The page for the documentation of the crate. A diagram has no empty line, which would end it in Markdown.
pub(super) fn page() -> String {
    let mut page = "A solid arrow is an action of the machine, a dashed arrow an event or the answer to an action. Answers of the \
        store are left out.\n"
        .to_owned();
    for (title, snapshot, heading) in SEQUENCES {
        let drawn = sequence(title, &Sequence::of(&conversation(snapshot, heading)));
        write!(page, "\n# {title}\n\n{drawn}").expect("a text");
    }
    let drawn = states();
    write!(
        page,
        "\n# States\n\nEach state can also end in `resting`.\n\n{drawn}"
    )
    .expect("a text");
    page
}
