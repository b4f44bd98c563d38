//! Tokens of a refresh that could not be stored in time: an entry for the next command.

use std::io::{self, Write};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::super::root::Root;
use super::{Bound, Entry, file};

/// Keeps the text of a record's file, relative to `slots/`, which could not be written in time, and the revision that it
/// replaces: the next command writes it. Takes no lock, which another program may hold. Returns the file.
pub(crate) fn keep(
    root: &Root,
    (slot, expected): (String, Option<String>),
    text: &str,
) -> io::Result<PathBuf> {
    let name = slot.rsplit('/').next().unwrap_or_default().to_owned();
    let bound = Bound {
        slot,
        written: expected,
        former: Some(text.to_owned()),
    };
    let entry = Entry {
        bound: vec![bound],
        ..Entry::default()
    };
    let text = Zeroizing::new(serde_json::to_vec(&entry).map_err(io::Error::other)?);
    // Until this one is written, no process refreshes the account.
    let path = root.join(file(&format!("kept-{name}"), "json"));
    let folder = root.join("journal");
    // Other commands remove a half-written file of this name.
    let mut half = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(folder)?;
    half.write_all(&text)?;
    half.as_file().sync_all()?;
    half.persist(&path).map_err(|failed| failed.error)?;
    Ok(path)
}
