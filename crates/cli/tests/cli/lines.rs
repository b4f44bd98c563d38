//! `replay`, and the attacks that are kept as transcripts.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Desk, text};

/// The files of the attacks.
fn attacks() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let files = fs::read_dir(folder).expect("the folder of the attacks");
    let mut found: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    found.sort();
    found
}

#[test]
fn every_attack_that_is_kept_ends_as_it_did() {
    let desk = Desk::new();
    let files = attacks();
    assert!(files.len() >= 8);
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy();
        let output = desk.run(&["replay", file.to_str().expect("a path")]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let kept = fs::read_to_string(&file).expect("a file");
        assert!(!kept.contains("protocol_error"), "{name}");
    }
}

#[test]
fn a_difference_is_found_and_named() {
    let desk = Desk::new();
    let file = desk.path().join("changed.jsonl");
    let path = file.to_str().expect("a path");
    let kept = fs::read_to_string(&attacks()[0]).expect("a file");
    let lines: Vec<&str> = kept.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains(r#""action":"error""#));
    let at = at.expect("an error");

    let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    changed[at] = changed[at].replace("resource_mismatch", "no_resource");
    fs::write(&file, changed.join("\n")).expect("written");
    let output = desk.run(&["replay", path]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let place = format!("line {} differs", at + 1);
    for words in [
        place.as_str(),
        "no_resource",
        "resource_mismatch",
        "in cause",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let (status, answer) = desk.json(&["replay", path]);
    assert_eq!(
        (status, &answer["same"], &answer["line"]),
        (Some(1), &json!(false), &json!(at + 1))
    );
    assert_eq!(answer["got"]["cause"], "resource_mismatch");

    // A missing output line, and an additional one.
    let mut fewer = lines.clone();
    fewer.remove(at);
    fs::write(&file, fewer.join("\n")).expect("written");
    let (_, answer) = desk.json(&["replay", path]);
    assert_eq!(
        (&answer["line"], &answer["got"]["action"]),
        (&json!(at + 1), &json!("error"))
    );
    let last = lines.last().expect("a line");
    fs::write(&file, [kept.as_str(), last].concat()).expect("written");
    let (_, answer) = desk.json(&["replay", path]);
    assert_eq!(
        (&answer["line"], &answer["got"]),
        (&json!(lines.len() + 1), &Value::Null)
    );

    fs::write(&file, "{\"comment\":\"nothing to run\"}\n").expect("written");
    let output = desk.run(&["replay", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no input line"));
    fs::write(&file, "{\"action\":\"idle\"}\nnonsense\n").expect("written");
    let output = desk.run(&["replay", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("line 2: not JSON"));
}

#[test]
fn a_file_of_lines_in_makes_a_transcript() {
    let desk = Desk::new();
    let file = desk.path().join("in.jsonl");
    let path = file.to_str().expect("a path");
    let kept = fs::read_to_string(&attacks()[0]).expect("a file");
    // The recording does not say which version made it.
    let named = r#"["accept","application/json"],["accept-encoding","identity"],["user-agent","mcp-auth-machine/"#.to_owned()
        + env!("CARGO_PKG_VERSION")
        + r#""]"#;
    let kept = kept.replace(
        r#"["accept","application/json"],["accept-encoding","identity"]"#,
        &named,
    );
    let ins: Vec<&str> = kept
        .lines()
        .filter(|line| !line.contains(r#""action""#))
        .collect();
    fs::write(&file, ins.join("\n")).expect("written");
    let output = desk.run(&["replay", path]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), kept.trim());
    let (_, answer) = desk.json(&["replay", path]);
    let lines = answer["transcript"].as_array().expect("lines").len();
    assert_eq!(lines, kept.lines().count());
}
