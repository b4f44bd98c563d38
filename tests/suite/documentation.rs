//! The README and the pages under `docs/`: their program is an example, and the files that they name exist.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The published package lacks the other crates and the gate.
fn is_repository() -> bool {
    root().join(".ci/run").is_file()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    for name in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ] {
        pages.push(root().join(name));
    }
    pages
}

/// The text between each pair of `open` and `close` on one line.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    let parts = text.lines().flat_map(|line| {
        let (mut rest, mut found) = (line, Vec::new());
        while let Some((part, after)) = rest
            .split_once(open)
            .and_then(|(_, after)| after.split_once(close))
        {
            found.push(part);
            rest = after;
        }
        found
    });
    parts.collect()
}

/// A path from the root of the repository that has no placeholder.
fn is_path(text: &str) -> bool {
    let folders = [
        ".ci/",
        ".github/",
        "benches/",
        "crates/",
        "docs/",
        "examples/",
        "fuzz/",
        "src/",
        "tests/",
    ];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
    folders.iter().any(|folder| text.starts_with(folder)) && text.chars().all(is_plain)
}

fn missing(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let links = between(&text, "](", ")").into_iter();
    let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
    let links = links.map(|link| {
        let file = link.split_once('#').map_or(link, |(file, _)| file);
        (page.parent().unwrap().join(file), link)
    });
    let named = between(&text, "`", "`").into_iter();
    let named = named.filter(|name| is_path(name));
    let named = named.map(|name| (root().join(name), name));
    links
        .chain(named)
        .filter(|(path, _)| !path.exists())
        .map(|(_, name)| format!("{}: {name}", page.display()))
        .collect()
}

#[test]
fn the_program_of_the_readme_is_an_example() {
    if is_repository() {
        let program = read("crates/client/examples/blocking_sign_in.rs");
        assert!(read("README.md").contains(&format!("```rust,ignore\n{program}```")));
    }
}

#[test]
fn files_named_in_the_documentation_exist() {
    if is_repository() {
        let missing: Vec<String> = pages().iter().flat_map(|page| missing(page)).collect();
        assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
    }
}

/// The paths in a tree of folders: entries at the left margin, and theirs indented by two.
fn tree(text: &str) -> Vec<String> {
    let (mut folder, mut found) = (String::new(), Vec::new());
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let is_name = |name: &&str| name.ends_with('/') || name.contains('.');
        let names = line.split_whitespace().take_while(is_name);
        match indent {
            0 => {
                folder = line
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                found.extend(names.map(str::to_owned));
            }
            2 => found.extend(names.map(|name| format!("{folder}{name}"))),
            _ => {}
        }
    }
    found
}

#[test]
fn the_layout_in_the_design_exists() {
    if is_repository() {
        let design = read("docs/design.md");
        let (_, layout) = design.split_once("## 6. Layout").unwrap();
        let paths = tree(layout.split("```").nth(1).unwrap());
        let missing: Vec<&String> = paths
            .iter()
            .filter(|path| !root().join(path).exists())
            .collect();
        assert!(
            paths.len() > 40 && missing.is_empty(),
            "missing of {}: {missing:?}",
            paths.len()
        );
    }
}

#[test]
fn a_missing_file_is_found() {
    assert_eq!(between("a `b` c `d`", "`", "`"), ["b", "d"]);
    assert!(is_path("src/lib.rs") && is_path("tests/suite"));
    assert_eq!(
        tree("a.md\nsrc/   code\n  b.rs c/   d\n       e.rs"),
        ["a.md", "src/", "src/b.rs", "src/c/"]
    );
    assert!(!is_path("src/*.rs") && !is_path("cargo test") && !is_path("machine.rs"));
}
