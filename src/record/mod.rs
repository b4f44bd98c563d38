//! Records: the contents of slots, as separate wire structs with version and checksum.
//!
//! `v3.<revision>~<key>.<json>`: the version is read first, and the revision is verified before the JSON is
//! parsed. Unknown members are rejected, and no member that binds a credential has a default. Without
//! entropy of the host the key is missing and the revision is a digest: `v3.<revision>.<json>`, as in all
//! records of version 1. Members have short names since version 3 (`names.rs`); every version is read.

mod account;
mod at_rest;
mod known;
mod metadata;
mod names;
mod pending;
mod registration;
mod shared;
mod text;

pub(crate) use account::{AccountAsRead, read_account, write_account};
pub(crate) use at_rest::read_at_rest;
pub(crate) use metadata::{
    ResourceFacts, ResourceMembers, read_resource, read_server, write_resource, write_server,
};
pub use names::full_member_name;
pub(crate) use pending::{read_pending, write_pending};
pub(crate) use registration::{read_binding, read_registration, write_binding, write_registration};

use crate::identity::Identity;
use crate::slot::{Revision, SlotContents, SlotKind, Stored};
use crate::wire::json_writer::JsonWriter;

/// The version of a record, before its revision.
const VERSION: &str = "v3.";
/// The length of a revision, in characters.
const REVISION_BYTES: usize = 22;

/// Writes a record with its revision.
fn seal(
    identity: &Identity,
    kind: SlotKind,
    capacity: usize,
    write: impl FnOnce(&mut JsonWriter),
) -> Stored {
    let key = identity.revision_key().map(|key| key.for_kind(kind));
    let mut text = String::with_capacity(capacity);
    text.push_str(VERSION);
    if let Some(key) = &key {
        text.push('~');
        key.push_to(&mut text);
    }
    text.push('.');
    let prefix = text.len();
    let mut json = JsonWriter::after(text);
    write(&mut json);
    // A text that grew at the insertion would leave a copy of itself behind (I06).
    json.make_room(REVISION_BYTES);
    let mut text = json.into_text();
    let body = text.as_bytes().get(prefix..).unwrap_or_default();
    let revision = Revision::under(key.as_ref(), body);
    text.insert_str(VERSION.len(), &revision.text());
    Stored {
        contents: SlotContents::new(text),
        revision,
    }
}
