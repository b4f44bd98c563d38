//! The frame of a record: version, revision and key around the JSON, checked before the JSON is parsed.

use serde::Deserialize;

use crate::slot::{Revision, RevisionKey, SlotKind, Stored};
use crate::wire::text::cut;

/// The version of the records that are written.
const VERSION: u32 = 3;

/// The flaw in a stored record (S26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFlaw {
    /// The contents were not written by this crate, or were altered.
    #[error("the contents are damaged or were altered")]
    Damaged,
    /// The contents were written by a newer version, and are kept.
    #[error("the contents were written by a newer version")]
    Newer,
    /// The contents belong to another user, MCP server or client (D23, TOK-17).
    #[error("the contents belong to another user, MCP server or client")]
    Foreign,
    /// The contents have a URL that the configuration does not allow.
    #[error("the contents hold a URL that is not acceptable here")]
    Url,
}

/// Contents with a verified revision; required to restore values.
pub(crate) struct Opened<'a> {
    json: &'a str,
    /// The key of the record, for the records written after it.
    pub(crate) key: Option<RevisionKey>,
}

/// The parts of unverified contents.
struct Frame<'a> {
    version: &'a str,
    revision: &'a str,
    key: Option<&'a str>,
    json: &'a str,
}

impl<'a> Frame<'a> {
    fn of(stored: &'a Stored) -> Option<Self> {
        let (version, rest) = cut(stored.contents.expose(), b'.');
        let (sealed, json) = cut(rest?, b'.');
        let (revision, key) = cut(sealed, b'~');
        Some(Self {
            version,
            revision,
            key,
            json: json?,
        })
    }
}

impl<'a> Opened<'a> {
    pub(crate) fn open(stored: &'a Stored, kind: SlotKind) -> Result<Self, RecordFlaw> {
        let frame = Frame::of(stored).ok_or(RecordFlaw::Damaged)?;
        let key = match (frame.version, frame.key) {
            ("v1" | "v2" | "v3", None) => None,
            ("v2" | "v3", Some(key)) => {
                Some(RevisionKey::parse(key, kind).ok_or(RecordFlaw::Damaged)?)
            }
            (version, _) => {
                let number = version.strip_prefix('v').map(str::parse::<u32>);
                let newer = matches!(number, Some(Ok(number)) if number > VERSION);
                return Err(if newer {
                    RecordFlaw::Newer
                } else {
                    RecordFlaw::Damaged
                });
            }
        };
        let revision = Revision::under(key.as_ref(), frame.json.as_bytes());
        if !revision.is_written(frame.revision) || stored.revision != revision {
            return Err(RecordFlaw::Damaged);
        }
        Ok(Self {
            json: frame.json,
            key,
        })
    }

    /// Returns the JSON of the record.
    pub(crate) fn json(&self) -> &'a str {
        self.json
    }

    pub(crate) fn read<T: Deserialize<'a>>(&self) -> Result<T, RecordFlaw> {
        serde_json::from_str(self.json).map_err(|_| RecordFlaw::Damaged)
    }
}
