//! Every attack of `docs/threats.md` has a test that carries its identifier, or a place that says why
//! there is none: `tests/attacks.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where tests are, and what cargo prints before their paths.
const BINARIES: [(&str, &str); 8] = [
    ("tests/suite", "suite"),
    ("tests/proof", "proof"),
    ("crates/cli/tests/cli", "cli"),
    ("crates/client/tests/suite", "suite"),
    ("crates/server/tests/suite", "suite"),
    ("src", "unit"),
    ("crates/client/src", "unit"),
    ("crates/server/src", "unit"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    tests: Vec<String>,
    document: Option<String>,
}

/// The inputs of the check: the list, and the documents and tests that it must agree with.
#[derive(Clone)]
struct Project {
    list: String,
    threats: String,
    /// The paths of all tests.
    tests: BTreeSet<String>,
    /// The headings of documents, as the last part of a link spells them.
    headings: BTreeMap<String, BTreeSet<String>>,
}

impl Project {
    fn read() -> Self {
        let text = |path: &str| fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
        let mut tests = BTreeSet::new();
        for (folder, binary) in BINARIES {
            collect(&Path::new(ROOT).join(folder), binary, &mut tests);
        }
        let documents = ["SECURITY.md", "docs/hosts.md", "docs/threats.md"];
        Self {
            list: text("tests/attacks.toml"),
            threats: text("docs/threats.md"),
            tests,
            headings: documents
                .map(|path| (path.to_owned(), headings(&text(path))))
                .into(),
        }
    }

    fn flaws(&self) -> Vec<String> {
        let wanted = catalogue(&self.threats);
        let found: BTreeMap<String, Entry> = toml::from_str(&self.list).unwrap();
        let mut flaws = Vec::new();
        let order: Vec<&str> = self
            .list
            .lines()
            .filter_map(|line| Some(line.split_once(" = {")?.0))
            .collect();
        if !order.is_sorted() || order.len() != found.len() {
            flaws.push("the list is not in order, or not one line each".to_owned());
        }
        for (id, name) in &wanted {
            match found.get(id) {
                None => flaws.push(format!("{id} is not in the list")),
                Some(entry) if entry.name != *name => flaws.push(format!("{id} is named {name}")),
                Some(entry) => self.judge(id, entry, &mut flaws),
            }
        }
        for id in found.keys().filter(|id| !wanted.contains_key(*id)) {
            flaws.push(format!("{id} is not an attack"));
        }
        for test in &self.tests {
            for id in words(test).filter(|word| wanted.contains_key(word)) {
                if found
                    .get(&id)
                    .is_some_and(|entry| !entry.tests.contains(test))
                {
                    flaws.push(format!("{test} carries {id} and is not listed"));
                }
            }
        }
        flaws
    }

    fn judge(&self, id: &str, entry: &Entry, flaws: &mut Vec<String>) {
        match &entry.document {
            None if entry.tests.is_empty() => flaws.push(format!("{id} has no test")),
            None => {}
            Some(place) => {
                let (path, heading) = place.split_once('#').unwrap_or((place, ""));
                let known = self.headings.get(path);
                if !known.is_some_and(|known| known.contains(heading)) {
                    flaws.push(format!("{id}: {place} does not exist"));
                }
            }
        }
        for test in &entry.tests {
            if !self.tests.contains(test) {
                flaws.push(format!("{id}: the test {test} does not exist"));
            }
            if !words(test).any(|word| word == id) {
                flaws.push(format!("{test} does not carry {id}"));
            }
        }
    }
}

/// Identifier and name of each row of the catalogue.
fn catalogue(threats: &str) -> BTreeMap<String, String> {
    let (_, rest) = threats.split_once("\n## 1. ").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (id, name) = (cells.next()?, cells.next()?);
        let is_id = id.len() == 3 && id[1..].bytes().all(|byte| byte.is_ascii_digit());
        is_id.then(|| (id.to_owned(), name.to_owned()))
    };
    section.lines().filter_map(row).collect()
}

/// The words of a test's name, as identifiers are spelled.
fn words(test: &str) -> impl Iterator<Item = String> {
    let name = test.rsplit("::").next().unwrap();
    name.split('_').map(str::to_uppercase)
}

fn collect(folder: &Path, module: &str, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inside = match stem {
            "mod" | "main" | "lib" => module.to_owned(),
            _ => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            collect(&path, &inside, tests);
        } else if path.extension().is_some_and(|found| found == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            tests.extend(test_names(&text).map(|name| format!("{inside}::{name}")));
        }
    }
}

/// The functions that follow `#[test]`, or the attribute of asynchronous tests.
fn test_names(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().map(str::trim).filter_map(move |line| {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if is_test && !line.starts_with("#[") {
            is_test = false;
            let line = line.strip_prefix("async ").unwrap_or(line);
            return line.strip_prefix("fn ")?.split('(').next();
        }
        None
    })
}

fn headings(text: &str) -> BTreeSet<String> {
    let slug = |line: &str| {
        let heading = line.trim_start_matches('#').strip_prefix(' ')?;
        let kept = heading.to_lowercase().replace(
            |c: char| !(c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')),
            "",
        );
        line.starts_with('#').then(|| kept.replace(' ', "-"))
    };
    text.lines().filter_map(slug).collect()
}

/// The other crates, whose tests count too, are not in the published package.
fn is_repository() -> bool {
    Path::new(ROOT).join("crates").is_dir()
}

#[test]
fn every_attack_has_its_tests_and_every_such_test_its_attack() {
    if !is_repository() {
        return;
    }
    let flaws = Project::read().flaws();
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
}

#[test]
fn a_list_that_is_wrong_is_noticed() {
    if !is_repository() {
        return;
    }
    let project = Project::read();
    assert_eq!(catalogue(&project.threats).len(), 158);
    let noticed = |change: fn(&mut Project), flaw: &str| {
        let mut changed = project.clone();
        change(&mut changed);
        let flaws = changed.flaws();
        assert!(
            flaws.iter().any(|found| found.contains(flaw)),
            "{flaw}: {flaws:?}"
        );
    };
    const CARRIES: &str = "suite::token::tok_01_sec_09_s15_d12_redirects_are_errors";
    noticed(
        |p| p.list = p.list.replace("\nD12 = ", "\nD99 = "),
        "D12 is not in the list",
    );
    noticed(
        |p| p.list = p.list.replace("\nD12 = ", "\nD99 = "),
        "D99 is not an attack",
    );
    noticed(
        |p| p.threats = p.threats.replace("| D12 |", "| D99 |"),
        "D99 is not in the list",
    );
    noticed(
        |p| p.threats = p.threats.replace("redirect on token POST", "x"),
        "D12 is named x",
    );
    noticed(
        |p| p.list = p.list.replacen("\nD12 = ", "\nA00 = ", 1),
        "not in order",
    );
    noticed(
        |p| p.list = p.list.replace(&format!("\"{CARRIES}\""), ""),
        "D12 has no test",
    );
    noticed(|p| _ = p.tests.remove(CARRIES), "D12: the test ");
    noticed(
        |p| p.list = p.list.replace(CARRIES, "suite::token::renamed"),
        "does not carry D12",
    );
    noticed(
        |p| _ = p.tests.insert("unit::more_d12_of_it".to_owned()),
        "carries D12 and is not listed",
    );
    noticed(
        |p| {
            _ = p
                .headings
                .insert("docs/hosts.md".to_owned(), BTreeSet::new())
        },
        "C11: docs/hosts.md#",
    );
}

/// The transcripts of attacks and of answers of real servers, which the tests of the command replay.
#[test]
fn every_transcript_is_named_after_an_attack_or_a_rule() {
    if !is_repository() {
        return;
    }
    let attacks = catalogue(&Project::read().threats);
    let rules = fs::read_to_string(Path::new(ROOT).join("docs/requirements.md")).unwrap();
    let folder = Path::new(ROOT).join("crates/cli/tests/attacks");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let (id, _) = name.split_once('_').unwrap();
        let is_rule = rules.contains(&format!("\n- **{id}** "));
        assert!(attacks.contains_key(id) || is_rule, "{name}");
        count += 1;
    }
    assert!(count >= 16, "{count} transcripts");
}

#[test]
fn tests_are_found_as_they_are_written() {
    let source = "#[test]\nfn one() {}\n  #[test]\n  #[cfg(x)]\n  fn two(a in b) {}\nfn three() {}\n#[tokio::test]\nasync fn four() {}\n";
    assert_eq!(
        test_names(source).collect::<Vec<_>>(),
        ["one", "two", "four"]
    );
    let found = headings("# A b\ntext\n### C-1, d: `e` x\n");
    assert_eq!(
        found,
        BTreeSet::from(["a-b".to_owned(), "c-1-d-e-x".to_owned()])
    );
}
