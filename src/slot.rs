//! Slots: the few places where the machine's durable facts live, kept by the host.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use siphasher::sip128::{SipHasher13, SipHasher24};
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

/// 16 bytes in base64url.
struct Text([u8; 22]);

impl Text {
    fn of(bytes: &[u8; 16]) -> Self {
        let mut text = [b'A'; 22];
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        debug_assert_eq!(written.ok(), Some(22));
        Self(text)
    }

    fn parse(text: &str) -> Option<[u8; 16]> {
        let mut bytes = [0; 16];
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes);
        matches!(read, Ok(16)).then_some(bytes)
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
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

impl SlotKind {
    /// The first part of a slot's name.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Pending => "pending",
            Self::Registration => "registration",
            Self::Metadata => "metadata",
        }
    }
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
        f.write_str(self.kind.as_str())?;
        f.write_str("/")?;
        f.write_str(&Text::of(&self.digest))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({self})")
    }
}

/// The key that revisions are made with where the host has lent entropy: 128 bits that no server learns. A server
/// that chooses the text of a record cannot choose its revision, nor make two records with the same one.
#[derive(Clone, Copy)]
pub(crate) struct RevisionKey {
    bytes: [u8; 16],
    /// The kind of record that it was made for, or found in.
    kind: Option<SlotKind>,
}

impl RevisionKey {
    pub(crate) fn new(bytes: [u8; 16]) -> Self {
        Self { bytes, kind: None }
    }

    pub(crate) fn parse(text: &str, kind: SlotKind) -> Option<Self> {
        let kind = Some(kind);
        Text::parse(text).map(|bytes| Self { bytes, kind })
    }

    pub(crate) fn push_to(&self, text: &mut String) {
        text.push_str(&Text::of(&self.bytes));
    }

    /// The key for records of one kind: it stands in them, and that of a public one says nothing about that of
    /// a secret one.
    pub(crate) fn for_kind(&self, kind: SlotKind) -> Self {
        if self.kind == Some(kind) {
            return *self;
        }
        let hash = SipHasher24::new_with_key(&self.bytes).hash(kind.as_str().as_bytes());
        Self {
            bytes: hash.as_bytes(),
            kind: Some(kind),
        }
    }
}

impl fmt::Debug for RevisionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[revision key]")
    }
}

/// A slot to be written, and the revision that was found there.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) slot: Slot,
    pub(crate) revision: Option<Revision>,
}

/// The revision of a slot's contents: a digest of them, kept by the store beside the contents. It differs
/// wherever contents differ, whoever wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision([u8; 16]);

impl Revision {
    /// A digest that every process can make.
    #[doc(hidden)]
    pub fn of(contents: &[u8]) -> Self {
        Self(short_digest(contents))
    }

    pub(crate) fn under(key: Option<&RevisionKey>, contents: &[u8]) -> Self {
        match key {
            Some(key) => Self(
                SipHasher13::new_with_key(&key.bytes)
                    .hash(contents)
                    .as_bytes(),
            ),
            None => Self::of(contents),
        }
    }

    /// The 22 characters of the text form.
    pub(crate) fn text(self) -> impl std::ops::Deref<Target = str> {
        Text::of(&self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
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
        Text::parse(text).map(Self).ok_or(NotARevision)
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
