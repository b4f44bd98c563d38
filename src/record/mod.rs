//! Records: what slots hold, as separate wire structs, versioned and checksummed.
//!
//! `v1.<digest>.<json>`: the version is read first, the digest must hold before the JSON is read,
//! unknown members are refused, and nothing that binds a credential has a default.

mod account;
mod metadata;
mod pending;
mod registration;
mod shared;

pub(crate) use account::{read_account, write_account};
pub(crate) use metadata::{
    ResourceFacts, read_resource, read_server, write_resource, write_server,
};
pub(crate) use pending::{read_pending, write_pending};
pub(crate) use registration::{read_binding, read_registration, write_binding, write_registration};

use serde::{Deserialize, Serialize};

use crate::slot::{Revision, SlotContents, Stored};

const VERSION: &str = "v1";
const PREFIX_BYTES: usize = 26;

/// Why stored contents are no usable record (S26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFlaw {
    /// Not something this crate wrote, or altered since.
    #[error("the contents are damaged or were altered")]
    Damaged,
    /// Written by a newer version; it is left as it is.
    #[error("the contents were written by a newer version")]
    Newer,
    /// Belongs to another user, MCP server or client (D23, TOK-17).
    #[error("the contents belong to another user, MCP server or client")]
    Foreign,
    /// Holds a URL that must not be contacted from here.
    #[error("the contents hold a URL that is not acceptable here")]
    Url,
}

/// Contents whose checksum held: the witness that restoring needs.
pub(crate) struct Opened<'a> {
    json: &'a str,
}

impl<'a> Opened<'a> {
    pub(crate) fn open(stored: &'a Stored) -> Result<Self, RecordFlaw> {
        let text = stored.contents.expose();
        let mut parts = text.splitn(3, '.');
        let (version, digest, json) = match (parts.next(), parts.next(), parts.next()) {
            (Some(version), Some(digest), Some(json)) => (version, digest, json),
            (_, _, _) => return Err(RecordFlaw::Damaged),
        };
        if version != VERSION {
            let newer = version
                .strip_prefix('v')
                .is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 1));
            return Err(if newer {
                RecordFlaw::Newer
            } else {
                RecordFlaw::Damaged
            });
        }
        let revision = Revision::of(json.as_bytes());
        if digest.parse() != Ok(revision) || stored.revision != revision {
            return Err(RecordFlaw::Damaged);
        }
        Ok(Self { json })
    }

    fn read<T: Deserialize<'a>>(&self) -> Result<T, RecordFlaw> {
        serde_json::from_str(self.json).map_err(|_| RecordFlaw::Damaged)
    }
}

/// Writes a record with its checksum; the checksum is its revision.
fn seal<T: Serialize>(record: &T) -> Stored {
    let mut json = Vec::with_capacity(1_024);
    json.extend_from_slice(b"v1.AAAAAAAAAAAAAAAAAAAAAA.");
    // Records are plain structs of texts and numbers: writing them to memory does not fail.
    let written = serde_json::to_writer(&mut json, record);
    debug_assert!(written.is_ok());
    let revision = Revision::of(json.get(PREFIX_BYTES..).unwrap_or_default());
    if let Some(place) = json.get_mut(3..PREFIX_BYTES.saturating_sub(1)) {
        revision.write_to(place);
    }
    Stored {
        contents: SlotContents::new(String::from_utf8(json).unwrap_or_default()),
        revision,
    }
}
