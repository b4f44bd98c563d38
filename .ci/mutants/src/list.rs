//! The mutations of `cargo mutants --list`, with their places.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    pub file: PathBuf,
    pub genre: Genre,
    pub name: String,
    pub replacement: String,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArmGuard,
    #[serde(other)]
    Other,
}

/// Lines and columns from 1; the end is behind the last character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Span {
    pub start: Place,
    pub end: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// By the settings in `.cargo/mutants.toml`.
pub fn list(root: &Path, choice: &[String]) -> Vec<Mutant> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json"])
        .args(choice)
        .current_dir(root)
        .output()
        .expect("cargo-mutants runs: cargo install --locked cargo-mutants");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("a list of mutants")
}

/// The name without line and column, which change with every edit above.
pub fn without_place(name: &str) -> String {
    let mut parts = name.splitn(4, ':');
    let file = parts.next().unwrap_or_default();
    let rest = parts.nth(2).unwrap_or_default();
    format!("{file}:{rest}")
}
