//! The proof of each rule: `docs/requirements.toml` must agree with `docs/requirements.md`, the tests and the
//! documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The proof of one rule, or the reason why it needs none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Proof {
    tests: Vec<String>,
    document: Option<String>,
    scenario: Vec<String>,
    not_applicable: Option<String>,
    open: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Must,
    Should,
    May,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The other crates and the gate are not in the published package.
fn is_repository() -> bool {
    root().join(".ci/run").is_file()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rules of `docs/requirements.md`, in its order.
fn rules() -> Vec<(String, Level)> {
    let rule = |line: &str| {
        let (id, rest) = line.strip_prefix("- **")?.split_once("** [")?;
        let level = match rest.split_once(']')?.0 {
            "MUST" => Level::Must,
            "SHOULD" => Level::Should,
            "MAY" => Level::May,
            other => panic!("{id}: no such level: {other}"),
        };
        Some((id.to_owned(), level))
    };
    read("docs/requirements.md")
        .lines()
        .filter_map(rule)
        .collect()
}

/// `docs/requirements.toml`, in its order.
fn matrix() -> Vec<(String, Proof)> {
    let table: toml::Table = toml::from_str(&read("docs/requirements.toml")).unwrap();
    table
        .into_iter()
        .map(|(id, proof)| match proof.try_into() {
            Ok(proof) => (id, proof),
            Err(error) => panic!("{id}: {error}"),
        })
        .collect()
}

/// Every test of the workspace as `binary::module::name`: the suites, the proof, the command, and the
/// libraries themselves (`unit`).
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (directory, binary, main) in [
        ("tests/suite", "suite", "main.rs"),
        ("tests/proof", "proof", "main.rs"),
        ("crates/cli/tests/cli", "cli", "main.rs"),
        ("crates/client/tests/suite", "suite", "main.rs"),
        ("crates/server/tests/suite", "suite", "main.rs"),
        ("src", "unit", "lib.rs"),
        ("crates/client/src", "unit", "lib.rs"),
        ("crates/server/src", "unit", "lib.rs"),
    ] {
        let declared = read(Path::new(directory).join(main));
        for file in sources(&root().join(directory)) {
            let relative = file.strip_prefix(root().join(directory)).unwrap();
            let mut modules: Vec<String> = relative
                .with_extension("")
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            if let Some("main" | "lib" | "mod") = modules.last().map(String::as_str) {
                modules.pop();
            }
            // A file that no other file names is not compiled; programs are no part of the library.
            if let Some(first) = modules.first()
                && !declared.contains(&format!("mod {first};\n"))
            {
                continue;
            }
            modules.insert(0, binary.to_owned());
            collect(&fs::read_to_string(file).unwrap(), modules, &mut found);
        }
    }
    found
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The tests of one file that rustfmt has formatted.
fn collect(text: &str, mut modules: Vec<String>, found: &mut BTreeSet<String>) {
    let (mut ends, mut is_test) = (Vec::new(), false);
    for line in text.lines() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        if let Some(name) = inner_module(code) {
            modules.push(name.to_owned());
            ends.push(format!("{indent}}}"));
        } else if ends.last().is_some_and(|end| end == line) {
            modules.pop();
            ends.pop();
        } else if code == "#[test]" || code.starts_with("#[tokio::test") {
            is_test = true;
        } else if code.starts_with("#[ignore") {
            is_test = false;
        } else if let Some(name) = code
            .strip_prefix("async ")
            .unwrap_or(code)
            .strip_prefix("fn ")
        {
            if is_test {
                let name = name.split('(').next().unwrap();
                found.insert(format!("{}::{name}", modules.join("::")));
            }
            is_test = false;
        }
    }
}

fn inner_module(code: &str) -> Option<&str> {
    let code = code.strip_prefix("pub ").unwrap_or(code);
    code.strip_prefix("mod ")?.strip_suffix(" {")
}

/// The identifiers that the name of a test carries: `tok_18_d10_errors` carries TOK-18.
fn carried(test: &str, areas: &BTreeSet<String>) -> Vec<String> {
    let name = test.rsplit("::").next().unwrap();
    let words: Vec<&str> = name.split('_').collect();
    words
        .windows(2)
        .filter(|pair| pair[1].len() == 2 && pair[1].bytes().all(|b| b.is_ascii_digit()))
        .map(|pair| (pair[0].to_uppercase(), pair[1]))
        .filter(|(area, _)| areas.contains(area))
        .map(|(area, number)| format!("{area}-{number}"))
        .collect()
}

fn areas() -> BTreeSet<String> {
    let area = |(id, _): (String, Level)| id.split_once('-').unwrap().0.to_owned();
    rules().into_iter().map(area).collect()
}

/// Fails with everything that was found, a line for each.
fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_rule_is_in_the_matrix_and_nothing_else() {
    let rules: Vec<String> = rules().into_iter().map(|(id, _)| id).collect();
    let matrix: Vec<String> = matrix().into_iter().map(|(id, _)| id).collect();
    let distinct: BTreeSet<&String> = rules.iter().collect();
    assert_eq!(distinct.len(), rules.len(), "an identifier is used twice");
    let missing = rules.iter().filter(|id| !matrix.contains(id));
    let unknown = matrix.iter().filter(|id| !rules.contains(id));
    let missing = missing.map(|id| format!("{id} is not in the matrix"));
    none(
        missing
            .chain(unknown.map(|id| format!("{id} is not a rule")))
            .collect(),
    );
    assert_eq!(matrix, rules, "the order of the document");
}

#[test]
fn every_rule_is_proven_or_says_why_not() {
    let levels: BTreeMap<String, Level> = rules().into_iter().collect();
    let mut found = Vec::new();
    for (id, proof) in matrix() {
        let is_proven = !proof.tests.is_empty() || proof.document.is_some();
        let is_said = is_proven || proof.open.is_some();
        if is_said == proof.not_applicable.is_some() {
            found.push(format!(
                "{id}: either proofs, or a reason why there are none"
            ));
        }
        let mut reasons = proof.not_applicable.iter().chain(&proof.open);
        if reasons.any(|reason| reason.trim().is_empty()) {
            found.push(format!("{id}: an empty reason"));
        }
        if proof.open.is_some() && levels.get(&id) == Some(&Level::Must) {
            found.push(format!("{id}: a MUST that is open"));
        }
    }
    none(found);
}

#[test]
fn tests_and_matrix_name_each_other() {
    if !is_repository() {
        return;
    }
    let (tests, areas) = (tests(), areas());
    assert!(tests.len() > 300, "the tests are found: {}", tests.len());
    let matrix: BTreeMap<String, Proof> = matrix().into_iter().collect();
    let mut found = Vec::new();
    for (id, proof) in &matrix {
        let distinct: BTreeSet<&String> = proof.tests.iter().collect();
        if distinct.len() != proof.tests.len() {
            found.push(format!("{id}: a test is named twice"));
        }
        for test in &proof.tests {
            if !tests.contains(test) {
                found.push(format!("{id}: the test {test} does not exist"));
            } else if !carried(test, &areas).contains(id) {
                found.push(format!("{id}: not in the name of {test}"));
            }
        }
    }
    for test in &tests {
        for id in carried(test, &areas) {
            match matrix.get(&id) {
                None => found.push(format!("{test}: the rule {id} does not exist")),
                Some(proof) if !proof.tests.contains(test) => {
                    found.push(format!("{test} is not in the matrix for {id}"));
                }
                Some(_) => {}
            }
        }
    }
    none(found);
}

/// The sections of a document by the anchors of their headings, as far as the next heading that is
/// not below.
fn sections(document: &str) -> BTreeMap<String, String> {
    let depth = |line: &str| line.bytes().take_while(|b| *b == b'#').count();
    let is_heading = |line: &str| depth(line) > 0 && line[depth(line)..].starts_with(' ');
    let lines: Vec<&str> = document.lines().collect();
    let mut found = BTreeMap::new();
    for (at, heading) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| is_heading(line))
    {
        let below = lines[at + 1..]
            .iter()
            .take_while(|line| !is_heading(line) || depth(line) > depth(heading));
        let text: Vec<&str> = std::iter::once(heading).chain(below).copied().collect();
        found.insert(anchor(&heading[depth(heading)..]), text.join("\n"));
    }
    found
}

fn anchor(heading: &str) -> String {
    heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .flat_map(char::to_lowercase)
        .collect()
}

#[test]
fn rules_for_hosts_are_in_the_documents() {
    let mut found = Vec::new();
    for (id, proof) in matrix() {
        let Some(document) = proof.document else {
            continue;
        };
        let Some((file, heading)) = document.split_once('#') else {
            found.push(format!("{id}: no heading in {document}"));
            continue;
        };
        if !root().join(file).is_file() {
            found.push(format!("{id}: {file} does not exist"));
            continue;
        }
        match sections(&read(file)).get(heading) {
            None => found.push(format!("{id}: the heading {document} does not exist")),
            Some(text) if !text.contains(&id) => {
                found.push(format!("{id} is not named under {document}"));
            }
            Some(_) => {}
        }
    }
    none(found);
}

#[test]
fn scenarios_are_those_of_the_gate() {
    if !is_repository() {
        return;
    }
    let gate = read(".ci/run");
    let run: BTreeSet<&str> = gate.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (id, proof) in matrix() {
        for scenario in proof.scenario {
            if !run.contains(scenario.as_str()) {
                found.push(format!("{id}: {scenario} is not run"));
            }
        }
    }
    none(found);
}
