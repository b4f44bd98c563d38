//! A copy of the crate with edits, built beside the original.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::reveal::reveal;

/// In this file, this text, which occurs once, becomes that.
pub(crate) struct Edit {
    pub(crate) file: &'static str,
    pub(crate) find: &'static str,
    pub(crate) put: &'static str,
}

/// The program that the copy is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The engines of `tests/proof`.
    Proof,
    /// The exhaustive search, for which every type can be cloned and shown.
    Search,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Proof => "proof",
            Self::Search => "search",
        }
    }
}

pub(crate) struct Planted {
    root: PathBuf,
    program: PathBuf,
}

const SWITCH: &str = "//! Which bug is switched on.
#![allow(missing_docs, unreachable_pub, clippy::all)]
pub fn on(number: u8) -> bool {
    static ON: std::sync::LazyLock<u8> = std::sync::LazyLock::new(|| {
        std::env::var(\"PLANTED\").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    });
    *ON == number
}
thread_local! {
    pub static VERIFIER: std::cell::RefCell<Option<crate::wire::pkce::Verifier>> = const { std::cell::RefCell::new(None) };
    pub(crate) static CLIENT: std::cell::RefCell<Option<crate::grant::Client>> = const { std::cell::RefCell::new(None) };
}
";

/// The files of a copy, by their places in it.
#[derive(Default)]
pub(crate) struct Tree(BTreeMap<PathBuf, String>);

impl Tree {
    /// The crate with these edits.
    pub(crate) fn of<'a>(kind: Kind, edits: impl Iterator<Item = &'a Edit>) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut tree = Self::default();
        for folder in ["src", "crates/testing/src", "tests/proof"] {
            tree.take(&from.join(folder), Path::new(folder));
        }
        tree.put("Cargo.lock", &read(&from.join("Cargo.lock")));
        tree.put(
            "Cargo.toml",
            &reduced(&read(&from.join("Cargo.toml")), kind),
        );
        let kit = "crates/testing/Cargo.toml";
        tree.put(kit, &reduced_kit(&read(&from.join(kit))));
        tree.put("src/planted.rs", SWITCH);
        edits.for_each(|edit| tree.change(edit));
        if kind == Kind::Search {
            let own = from.join("tests/planted");
            tree.put("tests/search.rs", &read(&own.join("search.rs")));
            let fingerprint = read(&own.join("fingerprint.rs"));
            tree.put(
                "crates/testing/src/machine_tests/world/fingerprint.rs",
                &fingerprint,
            );
            for folder in ["src", "crates/testing/src/machine_tests/world"] {
                tree.reveal(folder);
            }
            FOR_SEARCH.iter().for_each(|edit| tree.change(edit));
        }
        tree
    }

    fn take(&mut self, from: &Path, to: &Path) {
        for entry in fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            let place = to.join(entry.file_name());
            if entry.path().is_dir() {
                self.take(&entry.path(), &place);
            } else {
                self.put(place, &read(&entry.path()));
            }
        }
    }

    fn put(&mut self, place: impl Into<PathBuf>, text: &str) {
        self.0.insert(place.into(), text.to_owned());
    }

    /// In one file, the one place that an edit names.
    fn change(&mut self, edit: &Edit) {
        let (file, find) = (edit.file, edit.find);
        let text = self.0.get_mut(Path::new(file)).expect(file);
        let places = text.matches(find).count();
        assert_eq!(places, 1, "{file}: {places} places for {find:?}");
        *text = text.replacen(find, edit.put, 1);
    }

    fn reveal(&mut self, folder: &str) {
        for (_, text) in self.0.iter_mut().filter(|(at, _)| at.starts_with(folder)) {
            *text = reveal(text);
        }
    }

    /// Makes a folder the same. A file that is so already is left alone, so that nothing is built again for it.
    fn write(&self, root: &Path) {
        let mut there = Self::default();
        for folder in ["src", "crates", "tests"].map(|name| root.join(name)) {
            if folder.is_dir() {
                there.take(&folder, &folder);
            }
        }
        for place in there.0.keys() {
            let own = place.strip_prefix(root).expect("in the folder");
            if !self.0.contains_key(own) {
                fs::remove_file(place).expect("a file that is left over");
            }
        }
        for (place, text) in &self.0 {
            let place = root.join(place);
            if fs::read_to_string(&place).ok().as_deref() != Some(text) {
                fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
                fs::write(place, text).expect("a file");
            }
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

impl Planted {
    pub(crate) fn make<'a>(kind: Kind, edits: impl Iterator<Item = &'a Edit>) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or(from.join("target"), PathBuf::from);
        let root = target.join("planted").join(kind.name());
        Tree::of(kind, edits).write(&root);
        let program = build(&root, &target, kind);
        Self { root, program }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The engines, as one program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }
}

/// Edits that remove what the search does not need: texts for people, and the configuration, which never changes.
const FOR_SEARCH: &[Edit] = &[
    Edit {
        file: "crates/testing/src/machine_tests/world/mod.rs",
        find: "mod facts;\n",
        put: "mod facts;\nmod fingerprint;\n",
    },
    Edit {
        file: "crates/testing/src/machine_tests/world/mod.rs",
        find: "        scanner::diagnostic(\"an event\", &format!(\"{event:?}\"));\n",
        put: "",
    },
    Edit {
        file: "crates/testing/src/machine_tests/world/instance.rs",
        find: "                scanner::diagnostic(\"the machine\", &format!(\"{:?}\", instance.machine));\n",
        put: "",
    },
    Edit {
        file: "crates/testing/src/machine_tests/world/instance.rs",
        find: "            let text = format!(\"{action:?}\");\n            scanner::diagnostic(\"an action\", &text);\n            text.hash(&mut self.digest);\n",
        put: "",
    },
    Edit {
        file: "crates/testing/src/machine_tests/world/scanner.rs",
        find: "pub fn diagnostic(place: &str, text: &str) {\n",
        put: "pub fn diagnostic(place: &str, text: &str) {\n    if cfg!(not(miri)) {\n        return;\n    }\n",
    },
    Edit {
        file: "src/identity.rs",
        find: "#[derive(Clone, Debug)]\npub(crate) struct Identity {",
        put: "impl std::fmt::Debug for Identity {\n    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {\n        f.write_str(&self.principal)\n    }\n}\n#[derive(Clone)]\npub(crate) struct Identity {",
    },
];

/// The sections of a manifest.
fn sections(manifest: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') || sections.is_empty() {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push_str(line);
            section.push('\n');
        }
    }
    sections
}

/// The manifest of the kit with what the engines use of it: without the other crates of this repository.
fn reduced_kit(manifest: &str) -> String {
    let mut kept = String::new();
    for section in sections(manifest) {
        let name = section.lines().next().unwrap_or_default().to_owned();
        let is_kept = |line: &&str| match name.as_str() {
            "[features]" => line.starts_with('[') || line.starts_with("machine-tests "),
            "[dependencies]" => !line.contains("optional = true") || line.starts_with("serde "),
            name => name == "[package]",
        };
        for line in section.lines().filter(is_kept) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The manifest with the library, its engines and the kit alone.
fn reduced(manifest: &str, kind: Kind) -> String {
    let mut sections = sections(manifest);
    sections.retain(|section| !section.starts_with("[[") || section.contains("name = \"proof\""));
    sections.retain(|section| !section.starts_with("[lints"));
    // Keeps the values that the package inherits from its workspace, without the other members.
    sections.retain(|section| !section.starts_with("[workspace]\n"));
    sections.retain(|section| !section.starts_with("[workspace.lints"));
    if kind == Kind::Search {
        sections.retain(|section| !section.starts_with("[["));
        sections.push("[[test]]\nname = \"search\"\npath = \"tests/search.rs\"\n".to_owned());
    }
    // Cargo names its build products after name and version, not after the path: another version keeps the
    // copies apart, and from the original.
    let version = concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"");
    let own = format!(
        "version = \"{}+{}\"",
        env!("CARGO_PKG_VERSION"),
        kind.name()
    );
    for section in &mut sections {
        if section.starts_with("[workspace.package]") {
            *section = section.replace(version, &own);
        }
    }
    // A package of its own, whatever lies above it.
    sections.push("[workspace]\nmembers = [\"crates/testing\"]\n".to_owned());
    sections.concat()
}

fn build(root: &Path, target: &Path, kind: Kind) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "test",
            "--release",
            "--test",
            kind.name(),
            "--no-run",
            "--message-format=json",
        ])
        .current_dir(root)
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", "")
        .stderr(Stdio::piped())
        .output()
        .expect("cargo runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let rendered = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_error = message["message"]["level"] == "error";
        let text = message["message"]["rendered"]
            .as_str()
            .filter(|_| is_error)?;
        Some(text.to_owned())
    };
    let errors: String = stdout.lines().filter_map(rendered).collect();
    assert!(output.status.success(), "{stderr}\n{errors}");
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == kind.name();
        let path = message["executable"].as_str().filter(|_| is_it)?;
        Some(PathBuf::from(path))
    };
    stdout
        .lines()
        .find_map(executable)
        .expect("the program that was built")
}
