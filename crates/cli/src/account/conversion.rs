//! The form of the files of an account, sealed or open, and its change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mcp_auth_client::{DirectoryLock, StoreError};
use serde_json::Value;
use zeroize::Zeroizing;

use super::key::{self, Named};
use super::keyring::{self, KeyringError};
use super::profile::name;
use super::records;
use super::root::{Root, beginning};
use super::sealing;

/// Returns the identifier of the key that a file is sealed with: a record with its revision, or a typed secret.
pub(super) fn key_of_file(text: &str) -> Option<&str> {
    let contents = text.split_once('\n').map_or(text, |(_, rest)| rest);
    sealing::key_of(contents).or(sealing::key_of(text))
}

fn is_sealed(path: &Path) -> bool {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    text.is_ok_and(|text| key_of_file(&text).is_some())
}

/// Returns the stored settings of all accounts, as JSON; null for those that cannot be parsed.
fn profiles(root: &Root) -> io::Result<Vec<Value>> {
    let files = records::in_folder(&root.join("profiles"))?;
    let read = |path: PathBuf| {
        let text = fs::read(&path).map_err(records::at(&path))?;
        Ok(serde_json::from_slice(&text).unwrap_or_default())
    };
    files.into_iter().map(read).collect()
}

fn keyring_of(profile: &Value) -> bool {
    let set = profile.pointer("/settings/keyring");
    set.and_then(Value::as_bool).unwrap_or_default()
}

/// Returns true for settings that ask for the keyring, and for those that cannot be parsed.
fn may_seal(profile: &Value) -> bool {
    profile.is_null() || keyring_of(profile)
}

/// Returns true if the settings of an account ask for the keyring, or may do.
///
/// # Errors
/// When settings cannot be read.
pub(super) fn asks_for_keyring(root: &Root) -> io::Result<bool> {
    let profiles = profiles(root)?;
    Ok(profiles.iter().any(may_seal))
}

/// Returns what the stored settings of an account say, if there are any.
fn uses_keyring(root: &Root, name: &str) -> Option<bool> {
    let path = root.join("profiles").join(format!("{name}.json"));
    let profile: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(keyring_of(&profile))
}

/// Returns whether the records of an account are sealed, as its stored settings say. Where these cannot be read, or were set
/// aside as damaged, the record of the account tells, and without one the key that the directory names: the settings may
/// have asked for it. `None` without settings and record.
pub(super) fn seals_account(root: &Root, name: &str) -> Option<bool> {
    let record = root.slots().join("account").join(name);
    let by_record = || record.exists().then(|| is_sealed(&record));
    let is_damaged = || !beginning(&root.join("profiles"), name).is_empty();
    uses_keyring(root, name)
        .or_else(by_record)
        .or_else(|| is_damaged().then(|| key::id(root).is_some()))
}

/// Returns the files that do not have the form that the stored settings of an account ask for, and that form: records,
/// and typed secrets.
fn due(root: &Root, (url, account): (&str, &str)) -> Result<Option<Due>, StoreError> {
    let own = name(url, account).map_err(|problem| io::Error::other(problem.words()))?;
    let Some(sealed) = uses_keyring(root, &own) else {
        return Ok(None);
    };
    let is_other = |profile: &Value| {
        let name = || profile.get("account").and_then(Value::as_str);
        may_seal(profile) && (profile.is_null() || name() == Some(account))
    };
    // Settings that cannot be read may ask for it too.
    let others_seal = profiles(root).map_or(true, |profiles| profiles.iter().any(is_other));
    let mut records = vec![root.slots().join("account").join(&own)];
    // A registration stays sealed while another account of this name is.
    if sealed || !others_seal {
        let all = || records::registered_as(&root.slots(), account);
        // The user is not asked to unlock a keyring that this account does not use.
        records.extend(if sealed { all() } else { keyring::aside(all) });
    }
    records.extend(records::bindings(&root.slots(), url, account));
    let mut secrets = root.secrets(&own);
    for files in [&mut records, &mut secrets] {
        files.retain(|path| path.exists() && is_sealed(path) != sealed);
    }
    Ok(Some(Due {
        sealed,
        records,
        secrets,
    }))
}

struct Due {
    sealed: bool,
    records: Vec<PathBuf>,
    secrets: Vec<PathBuf>,
}

/// Rewrites what is stored for an account in the form that its stored settings ask for: its record, its
/// registrations, its typed secret. The revisions stay. A file that no one can open keeps its form.
pub(super) fn convert(
    root: &Root,
    locked: &DirectoryLock,
    account: (&str, &str),
) -> Result<(), StoreError> {
    let Some(due) = due(root, account)? else {
        return Ok(());
    };
    if due.records.is_empty() && due.secrets.is_empty() {
        return Ok(());
    }
    let key = due
        .sealed
        .then(|| key::under_lock(root, locked, None))
        .transpose()?;
    let slots = root.lock_slots()?;
    for path in &due.records {
        let text = Zeroizing::new(fs::read_to_string(path).map_err(records::at(path))?);
        if let Some((revision, contents)) = text.split_once('\n')
            && let Some(other) = reformed(key.as_ref(), path, contents)?
        {
            let text = Zeroizing::new(format!("{revision}\n{}", other.as_str()));
            slots.write(path, text.as_bytes())?;
        }
    }
    for path in &due.secrets {
        let text = Zeroizing::new(fs::read_to_string(path).map_err(records::at(path))?);
        if let Some(other) = reformed(key.as_ref(), path, &text)? {
            locked.write(path, other.as_bytes())?;
        }
    }
    Ok(())
}

/// Returns the text of a record's file as it may be put back: one that is sealed with a key that the directory does not name
/// any more is sealed with the present key. The text stays as it is where no one can open it, or no key is to be had.
pub(super) fn restored(
    root: &Root,
    locked: &DirectoryLock,
    path: &Path,
    text: &str,
) -> Zeroizing<String> {
    let as_it_is = || Zeroizing::new(text.to_owned());
    let sealed_with = key_of_file(text);
    if sealed_with.is_none() || sealed_with == key::id(root).as_deref() {
        return as_it_is();
    }
    let Some((head, contents)) = text.split_once('\n') else {
        return as_it_is();
    };
    let place = sealing::place_of(path);
    let sealed = keyring::aside(|| {
        let open = sealing::open(&place, contents)?;
        let (id, key) = key::under_lock(root, locked, None)?;
        Ok::<_, StoreError>(sealing::seal(&id, &key, &place, &open)?)
    });
    sealed.map_or_else(
        |_| as_it_is(),
        |sealed| Zeroizing::new(format!("{head}\n{sealed}")),
    )
}

/// Returns a text sealed with the key, or open without one; `None` if no one can open it.
fn reformed(
    key: Option<&Named>,
    path: &Path,
    text: &str,
) -> Result<Option<Zeroizing<String>>, KeyringError> {
    let place = sealing::place_of(path);
    let open = match sealing::open(&place, text) {
        Err(error) if error.is_final() => return Ok(None),
        open => open?,
    };
    Ok(Some(match key {
        Some((id, key)) => Zeroizing::new(sealing::seal(id, key, &place, &open)?),
        None => open,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// SEC-31: an account outside of the keyring rewrites no registration that another one may seal, also where the
    /// settings of that one are damaged.
    #[test]
    fn sec_31_settings_that_cannot_be_read_may_ask_for_the_keyring() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path().to_owned());
        let url = "https://mcp.example/mcp";
        let own = name(url, "default").ok().unwrap();
        for folder in ["profiles", "slots/registration"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let settings = r#"{"account":"default","settings":{"keyring":false}}"#;
        fs::write(root.join(format!("profiles/{own}.json")), settings).unwrap();
        let path = root.slots().join("registration").join("a");
        let (id, key) = sealing::new_key().unwrap();
        keyring::remember(&id, &key);
        let record = r#"v2.x.{"owner":"default"}"#;
        let sealed = sealing::seal(&id, &key, &sealing::place_of(&path), record).unwrap();
        fs::write(&path, format!("revision\n{sealed}")).unwrap();

        let rewrites = || {
            let due = due(&root, (url, "default")).unwrap().unwrap();
            due.records.contains(&path)
        };
        assert!(rewrites(), "no other account");
        let other = root.join("profiles/other.json");
        for (settings, is_free) in [
            (
                r#"{"account":"default","settings":{"keyring":true}}"#,
                false,
            ),
            (r#"{"account":"work","settings":{"keyring":true}}"#, true),
            ("{", false),
        ] {
            fs::write(&other, settings).unwrap();
            assert_eq!(rewrites(), is_free, "{settings}");
            assert!(asks_for_keyring(&root).unwrap(), "{settings}");
        }
        fs::remove_file(&other).unwrap();
        fs::create_dir(&other).unwrap();
        assert!(!rewrites(), "a file that cannot be read");
    }

    /// SEC-31: the settings of an account are damaged, and may have asked for the keyring: its new records are sealed where
    /// the directory names a key.
    #[test]
    fn sec_31_damaged_settings_may_have_asked_for_the_keyring() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path().to_owned());
        for folder in ["profiles", "slots/account"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let seals = || seals_account(&root, "own");
        assert_eq!(seals(), None, "no account");
        fs::write(root.join("profiles/own.json"), "{").unwrap();
        assert_eq!(seals(), Some(false), "no key");
        fs::write(root.join(key::KEY_FILE), "abc").unwrap();
        assert_eq!(seals(), Some(true));
        // Set aside, as the first command that reads them does.
        fs::rename(
            root.join("profiles/own.json"),
            root.join("profiles/own.json.damaged"),
        )
        .unwrap();
        assert_eq!(seals(), Some(true));
        // The record of the account tells.
        fs::write(root.join("slots/account/own"), "revision\nv2.x.{}").unwrap();
        assert_eq!(seals(), Some(false));
        fs::write(root.join("slots/account/own"), "revision\nkeyring1.abc.xyz").unwrap();
        assert_eq!(seals(), Some(true));
        let settings = r#"{"account":"default","settings":{"keyring":false}}"#;
        fs::write(root.join("profiles/own.json"), settings).unwrap();
        assert_eq!(seals(), Some(false), "settings that can be read");
    }

    /// SEC-31: a record that is put back is sealed with the key that the directory names, because its own one may be gone.
    #[test]
    fn sec_31_a_record_that_is_put_back_has_the_present_key() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path().to_owned());
        let locked = root.lock().unwrap();
        let path = root.slots().join("account/a");
        let place = sealing::place_of(&path);
        let sealed = |id: &str, key| sealing::seal(id, key, &place, "v2.x.{}").unwrap();
        let (former, former_key) = sealing::new_key().unwrap();
        let (present, present_key) = sealing::new_key().unwrap();
        keyring::remember(&former, &former_key);
        keyring::remember(&present, &present_key);
        fs::write(root.join(key::KEY_FILE), &present).unwrap();
        let back = |text: &str| restored(&root, &locked, &path, text).to_string();
        let text = back(&format!("revision\n{}", sealed(&former, &former_key)));
        let (head, contents) = text.split_once('\n').unwrap();
        assert_eq!(
            (head, sealing::key_of(contents)),
            ("revision", Some(&*present))
        );
        assert_eq!(sealing::open(&place, contents).unwrap().as_str(), "v2.x.{}");
        for same in [
            format!("revision\n{}", sealed(&present, &present_key)),
            "revision\nv2.x.{}".to_owned(),
            "revision\nkeyring1.gone.AAAA".to_owned(),
        ] {
            assert_eq!(back(&same), same);
        }
    }
}
