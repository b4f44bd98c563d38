//! A copy of the crate with edits, built beside the original.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// In this file, this text, which occurs once, becomes that.
pub(crate) struct Edit {
    pub(crate) file: &'static str,
    pub(crate) find: &'static str,
    pub(crate) put: &'static str,
}

pub(crate) struct Copy {
    root: PathBuf,
    proof: PathBuf,
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

impl Copy {
    pub(crate) fn make<'a>(edits: impl Iterator<Item = &'a Edit>) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or(from.join("target"), PathBuf::from);
        let root = target.join("planted");
        let _absent = fs::remove_dir_all(&root);
        for folder in ["src", "tests/support", "tests/proof"] {
            copy_folder(&from.join(folder), &root.join(folder));
        }
        for folder in ["src/bin", "src/driver"] {
            let _absent = fs::remove_dir_all(root.join(folder));
        }
        fs::create_dir_all(root.join("proptest-regressions")).expect("a folder");
        fs::copy(from.join("Cargo.lock"), root.join("Cargo.lock")).expect("Cargo.lock");
        let manifest = fs::read_to_string(from.join("Cargo.toml")).expect("Cargo.toml");
        fs::write(root.join("Cargo.toml"), reduced(&manifest)).expect("a manifest");
        fs::write(root.join("src/planted.rs"), SWITCH).expect("a module");
        for edit in edits {
            let path = root.join(edit.file);
            let text = fs::read_to_string(&path).expect(edit.file);
            let places = text.matches(edit.find).count();
            assert_eq!(
                places, 1,
                "{}: {places} places for {:?}",
                edit.file, edit.find
            );
            fs::write(&path, text.replacen(edit.find, edit.put, 1)).expect(edit.file);
        }
        let proof = build(&root, &target);
        Self { root, proof }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The engines, as one program.
    pub(crate) fn proof(&self) -> &Path {
        &self.proof
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).expect("a file");
        }
    }
}

/// The manifest with the library and its engines alone.
fn reduced(manifest: &str) -> String {
    let mut sections: Vec<String> = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') || sections.is_empty() {
            sections.push(String::new());
        }
        if let (false, Some(section)) = (line.starts_with("default-run"), sections.last_mut()) {
            section.push_str(line);
            section.push('\n');
        }
    }
    sections.retain(|section| !section.starts_with("[[") || section.contains("name = \"proof\""));
    sections.retain(|section| !section.starts_with("[lints"));
    // A package of its own, whatever lies above it.
    sections.push("[workspace]\n".to_owned());
    sections.concat()
}

fn build(root: &Path, target: &Path) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "test",
            "--release",
            "--test",
            "proof",
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
        let is_proof = message["target"]["name"] == "proof";
        let path = message["executable"].as_str().filter(|_| is_proof)?;
        Some(PathBuf::from(path))
    };
    stdout
        .lines()
        .find_map(executable)
        .expect("the program that was built")
}
