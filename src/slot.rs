//! Slots: the few places where the machine's durable facts live, kept by the host.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The first 16 bytes of SHA-256.
pub(crate) fn short_digest(bytes: &[u8]) -> [u8; 16] {
    shorten(&Sha256::digest(bytes))
}

fn shorten(digest: &[u8]) -> [u8; 16] {
    digest.first_chunk::<16>().copied().unwrap_or_default()
}

/// The length in eight bytes, on every machine: a store may be shared by several kinds.
fn length(part: &str) -> [u8; 8] {
    u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes()
}

fn digest_of_parts(parts: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(length(part));
        hash.update(part.as_bytes());
    }
    shorten(&hash.finalize())
}

fn write_digest(digest: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; 22];
    let written = URL_SAFE_NO_PAD.encode_slice(digest, &mut text).unwrap_or(0);
    let text = text.get(..written).unwrap_or_default();
    f.write_str(std::str::from_utf8(text).unwrap_or_default())
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotKind {
    /// The account at the authenticated-at issuer; secret.
    Account,
    /// One authorization under way at the redirected-to issuer; secret.
    Pending,
    /// A dynamic registration, or the issuer to which a client without one was bound; secret.
    Registration,
    /// Public metadata of a resource or of a server.
    Metadata,
}

/// Names one slot. The text form (its `Display`) is stable, holds no secret, and is safe as a
/// file name after its `/` and as a key of any store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    kind: SlotKind,
    digest: [u8; 16],
}

impl Slot {
    /// The account slot of a principal at an MCP server.
    pub fn account(principal: &str, mcp_url: &str) -> Self {
        Self::named(SlotKind::Account, &[principal, mcp_url])
    }

    pub(crate) fn pending(principal: &str, state: &crate::wire::pkce::State) -> Self {
        let mut hash = Sha256::new();
        hash.update(length(principal));
        hash.update(principal.as_bytes());
        hash.update(state.digest());
        Self {
            kind: SlotKind::Pending,
            digest: shorten(&hash.finalize()),
        }
    }

    pub(crate) fn registration(owner: &str, issuer: &str, redirect_uri: &str) -> Self {
        Self::named(SlotKind::Registration, &[owner, issuer, redirect_uri])
    }

    pub(crate) fn binding(principal: &str, mcp_url: &str, client_id: &str) -> Self {
        Self::named(
            SlotKind::Registration,
            &["binding", principal, mcp_url, client_id],
        )
    }

    pub(crate) fn resource_metadata(mcp_url: &str) -> Self {
        Self::named(SlotKind::Metadata, &["resource", mcp_url])
    }

    pub(crate) fn server_metadata(issuer: &str) -> Self {
        Self::named(SlotKind::Metadata, &["server", issuer])
    }

    fn named(kind: SlotKind, parts: &[&str]) -> Self {
        Self {
            kind,
            digest: digest_of_parts(parts),
        }
    }

    /// What the slot holds.
    pub fn kind(&self) -> SlotKind {
        self.kind
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            SlotKind::Account => "account/",
            SlotKind::Pending => "pending/",
            SlotKind::Registration => "registration/",
            SlotKind::Metadata => "metadata/",
        })?;
        write_digest(&self.digest, f)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({self})")
    }
}

/// The revision of a slot's contents: a digest of them, kept by the store beside the contents.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision([u8; 16]);

impl Revision {
    /// For the contract of stores alone.
    #[doc(hidden)]
    pub fn of(json: &[u8]) -> Self {
        Self(short_digest(json))
    }

    /// Writes the 22 characters of the text form.
    pub(crate) fn write_to(self, place: &mut [u8]) {
        let written = URL_SAFE_NO_PAD.encode_slice(self.0, place);
        debug_assert_eq!(written.ok(), Some(22));
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_digest(&self.0, f)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({self})")
    }
}

/// The text is not a revision that this crate wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a revision written by this crate")]
pub struct NotARevision;

impl FromStr for Revision {
    type Err = NotARevision;

    fn from_str(text: &str) -> Result<Self, NotARevision> {
        let mut bytes = [0; 16];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(16) => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err(NotARevision),
        }
    }
}

/// The contents of a slot: opaque to the host, and secret unless the slot is a metadata slot. Hosts
/// encrypt them at rest (SEC-31).
#[derive(Clone)]
pub struct SlotContents(Zeroizing<String>);

impl SlotContents {
    /// Contents as the store kept them.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text to be stored. It holds secrets: not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Compares in time that depends on the lengths only (SEC-33).
impl PartialEq for SlotContents {
    fn eq(&self, other: &Self) -> bool {
        crate::secret::same_bytes(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl Eq for SlotContents {}

impl fmt::Debug for SlotContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[slot contents]")
    }
}

/// What a store holds in a slot: contents and the revision that came with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The contents.
    pub contents: SlotContents,
    /// The revision that was persisted with them.
    pub revision: Revision,
}
