//! Properties that only the sources show: how values are compared, cleared and stored.

use std::fs;
use std::path::Path;

/// The files of the core, comments left out.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 60);
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap().to_owned();
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        found.push((name, code.collect::<Vec<_>>().join("\n")));
    }
}

/// The attributes and the definition of a type.
fn definition(name: &str) -> String {
    let sources = sources();
    let text = sources.iter().find(|(_, text)| {
        text.contains(&format!("struct {name}(")) || text.contains(&format!("struct {name} {{"))
    });
    let text = &text.unwrap_or_else(|| panic!("no struct {name}")).1;
    let at = text.find(&format!("struct {name}")).unwrap();
    let from = text[..at].rfind("\n\n").unwrap_or(0);
    let to = text[at..].find("\n\n").map_or(text.len(), |end| at + end);
    text[from..to].to_owned()
}

#[test]
fn i05_secrets_are_compared_in_constant_time_or_not_at_all() {
    let secret = sources()
        .into_iter()
        .find(|(name, _)| Path::new(name).ends_with("src/secret.rs"));
    assert!(secret.unwrap().1.contains("a.ct_eq(b).into()"));
    for name in [
        "Secret",
        "State",
        "Verifier",
        "Seed",
        "Callback",
        "SlotContents",
    ] {
        let text = definition(name);
        for derived in ["PartialEq", "Hash", "PartialOrd"] {
            assert!(!text.contains(derived), "{name} derives {derived}");
        }
    }
    for (name, text) in sources() {
        for (_, own) in text
            .match_indices("impl PartialEq for S")
            .map(|(at, _)| text.split_at(at))
        {
            let body = own.split("\n}").next().unwrap();
            assert!(body.contains("same_bytes("), "{name}: {body}");
        }
        for comparison in ["expose() ==", "expose() !=", "== self.expose()"] {
            assert!(!text.contains(comparison), "{name}: {comparison}");
        }
    }
}

#[test]
fn i06_secrets_are_cleared_on_drop() {
    for name in [
        "Secret",
        "Verifier",
        "State",
        "Seed",
        "SlotContents",
        "Callback",
    ] {
        let text = definition(name);
        let cleared = text.contains("Zeroizing<") || text.contains("Cleared");
        assert!(cleared, "{name}");
    }
    let (_, source) = sources()
        .into_iter()
        .find(|(name, _)| Path::new(name).ends_with("src/secret.rs"))
        .unwrap();
    let (_, dropped) = source.split_once("impl Drop for Cleared").unwrap();
    let body = dropped.split("\n}").next().unwrap();
    assert!(body.contains(".resize(bytes.capacity(), 0)") && body.contains(".zeroize()"));
    assert!(!definition("Seed").contains("Clone"));
    assert!(!definition("Callback").contains("Clone"));
    // A record that grows while it is written leaves no copy, and a token that is read from one is not copied.
    let source = |file: &str| {
        let found = sources().into_iter();
        let mut found = found.filter(|(name, _)| Path::new(name).ends_with(file));
        found.next().unwrap().1
    };
    let writer = source("src/wire/json_writer.rs");
    assert_eq!(writer.matches("self.text.push").count(), 1);
    assert!(writer.contains("Cleared::new(std::mem::replace(&mut self.text, larger))"));
    assert!(source("src/record/account.rs").contains("access: Text<'a>"));
    assert!(source("src/record/text.rs").contains("Text<'a>(#[serde(borrow)] Cow<'a, str>)"));
}

#[test]
fn g12_no_map_is_keyed_by_hashes_of_what_peers_send() {
    for (name, text) in sources() {
        assert!(
            !text.contains("HashMap") && !text.contains("HashSet"),
            "{name}"
        );
    }
}

#[test]
fn i09_no_panic_has_a_message_of_its_own() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    // `cargo package` writes what a package takes from its workspace into the manifest of the package.
    let shared = manifest.get("workspace").and_then(|all| all.get("lints"));
    let lints = match shared {
        Some(shared) => {
            assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true));
            &shared["clippy"]
        }
        None => &manifest["lints"]["clippy"],
    };
    for lint in [
        "unwrap_used",
        "expect_used",
        "panic",
        "indexing_slicing",
        "string_slice",
        "arithmetic_side_effects",
        "unreachable",
        "todo",
        "unimplemented",
    ] {
        assert_eq!(lints[lint].as_str(), Some("deny"), "{lint}");
    }
    for (name, text) in sources() {
        for exception in [
            "allow(clippy",
            "expect(clippy",
            ".unwrap()",
            ".expect(",
            "panic!(",
            " assert!(",
        ] {
            assert!(!text.contains(exception), "{name}: {exception}");
        }
    }
}
