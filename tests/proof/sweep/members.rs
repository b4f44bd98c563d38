//! For each member of each document and answer, each type of JSON that it should not have; and whether the table of
//! members is that of the codecs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::flows::{FLOWS, Run};
use super::{Case, judge};
use crate::effort::effort;
use crate::support::world::documents::{MEMBERS, ODD, members};
use crate::support::world::{How, Move};

/// The fields of the structs that read documents, by the file of the codec.
const CODECS: &[(&str, &[&str], &str)] = &[
    ("resource.rs", &["ResourceDocument"], "resource"),
    ("server.rs", &["ServerDocument"], "server"),
    ("registration.rs", &["RegistrationDocument"], "registration"),
    ("device.rs", &["DeviceDocument"], "device"),
    (
        "token.rs",
        &["TokenDocument", "WishDocument", "ExchangeDocument"],
        "token",
    ),
];

fn fields(text: &str, name: &str) -> BTreeSet<String> {
    let from = text.find(&format!("struct {name}<'a> {{")).expect(name);
    let body = text[from..].split("\n}").next().unwrap_or_default();
    let field = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
        let (name, _) = line.split_once(": ")?;
        let word = |c: char| c.is_ascii_lowercase() || c == '_';
        name.chars().all(word).then(|| name.to_owned())
    };
    body.lines().skip(1).filter_map(field).collect()
}

#[test]
fn every_member_that_a_codec_reads_is_in_the_table() {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire");
    for (file, structs, kind) in CODECS {
        let text = fs::read_to_string(wire.join(file)).expect(file);
        let read: BTreeSet<String> = structs
            .iter()
            .flat_map(|name| fields(&text, name))
            .collect();
        let (_, known) = MEMBERS.iter().find(|(name, _)| name == kind).expect(kind);
        let known: BTreeSet<String> = known.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(read, known, "{file}");
    }
    // A codec that no row names: every struct that reads a document is called so.
    for entry in fs::read_dir(&wire).expect("codecs") {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let is_document =
            |line: &&str| line.ends_with("Document<'a> {") && line.contains("struct ");
        let count = text.lines().filter(is_document).count();
        let known = CODECS.iter().find(|(file, _, _)| *file == name);
        let known = known.map_or(0, |(_, structs, _)| {
            structs
                .iter()
                .filter(|name| name.ends_with("Document"))
                .count()
        });
        assert_eq!(
            count, known,
            "{name}: a document that the table does not know"
        );
    }
}

#[test]
fn s01_to_s39_l01_hold_for_each_type_of_each_member() {
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    let mut cases = Vec::new();
    for flow in FLOWS {
        let mut run = Run::new(*flow);
        for steps in 0..400 {
            let asked = run.world.requested(0);
            if let Some(url) = asked.filter(|url| url.starts_with("https://")) {
                let members = members(&url);
                // Each address in each state once in a flow.
                let place = format!("{} {} {}", flow.name, run.world.state(0), url);
                let seen = met.entry(place).or_default();
                *seen += 1;
                for member in 0..members.len() * usize::from(*seen == 1) {
                    for kind in 0..ODD.len() {
                        let how = How::Odd {
                            member: u8::try_from(member).unwrap(),
                            kind: u8::try_from(kind).unwrap(),
                        };
                        let (at, action) = (0, 0);
                        cases.push(Case {
                            flow: *flow,
                            steps,
                            first: Move::Answer { at, action, how },
                            then: None,
                        });
                    }
                }
            }
            if !run.step() {
                break;
            }
        }
    }
    let all = cases.len();
    // A prime, so that every member and every type is met.
    let every = usize::try_from(effort(61, 3, 1)).unwrap();
    let cases: Vec<Case> = cases.into_iter().step_by(every).collect();
    println!(
        "members: {} answers of flows, {} types: {} of {all} cases",
        met.len(),
        ODD.len(),
        cases.len()
    );
    judge(&cases);
}
