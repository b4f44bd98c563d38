//! Slots: the records of durable state, which the host stores.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use siphasher::sip128::{SipHasher13, SipHasher24};

use crate::secret::Cleared;

/// Returns the first 16 bytes of SHA-256.
pub(crate) fn short_digest(bytes: &[u8]) -> [u8; 16] {
    shorten(&Sha256::digest(bytes))
}

/// A digest that names the slot of a `state` without revealing it.
#[derive(Clone, Copy)]
pub(crate) struct StateDigest([u8; 16]);

impl StateDigest {
    pub(crate) fn of(state: &[u8]) -> Self {
        Self(short_digest(state))
    }
}

fn shorten(digest: &[u8]) -> [u8; 16] {
    digest.first_chunk::<16>().copied().unwrap_or_default()
}

/// Returns the length in eight bytes on every platform, because platforms may share a store.
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

/// Returns bytes as base64url text of a known length without padding, such as 22 characters for 16 bytes and 43 for 32.
pub(crate) fn base64url<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut text = [b'A'; N];
    let (groups, last) = bytes.as_chunks::<3>();
    let (places, rest) = text.as_chunks_mut::<4>();
    for (place, group) in places.iter_mut().zip(groups) {
        *place = digits(*group);
    }
    let last = match *last {
        [a, b] => digits([a, b, 0]),
        [a] => digits([a, 0, 0]),
        _ => return text,
    };
    rest.iter_mut()
        .zip(last)
        .for_each(|(to, digit)| *to = digit);
    text
}

#[inline]
fn digits([a, b, c]: [u8; 3]) -> [u8; 4] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u8| DIGITS.get(usize::from(bits & 63)).copied().unwrap_or(b'A');
    [a >> 2, a << 4 | b >> 4, b << 2 | c >> 6, c].map(digit)
}

/// 16 bytes as base64url text.
struct Text([u8; 22]);

impl Text {
    fn of(bytes: &[u8; 16]) -> Self {
        Self(base64url(bytes))
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

/// The kind of a slot's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotKind {
    /// The account at the authenticated-at issuer; secret.
    Account,
    /// A pending authorization at the redirected-to issuer; secret.
    Pending,
    /// A dynamic registration, or the issuer that a client without a configured one is bound to; secret.
    Registration,
    /// Public metadata of a resource or an authorization server.
    Metadata,
}

impl SlotKind {
    /// Returns the first part of a slot's name.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Pending => "pending",
            Self::Registration => "registration",
            Self::Metadata => "metadata",
        }
    }
}

/// The name of one slot. Its text form (`Display`) is stable, contains no secret, and is safe as a file
/// name after the `/` and as a key of any store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    kind: SlotKind,
    digest: [u8; 16],
}

impl Slot {
    /// Returns the account slot of a principal at an MCP server.
    pub fn account(principal: &str, mcp_url: &str) -> Self {
        Self::named(SlotKind::Account, &[principal, mcp_url])
    }

    pub(crate) fn pending(principal: &str, state: StateDigest) -> Self {
        let mut hash = Sha256::new();
        hash.update(length(principal));
        hash.update(principal.as_bytes());
        hash.update(state.0);
        Self {
            kind: SlotKind::Pending,
            digest: shorten(&hash.finalize()),
        }
    }

    /// Where a host may keep whose sign-in a state belongs to.
    pub(crate) fn route(state: StateDigest) -> Self {
        Self {
            kind: SlotKind::Pending,
            digest: state.0,
        }
    }

    /// A slot for a host with many principals: where it may keep a mark that ends the pending authorizations of a principal
    /// at an MCP server. The machine never uses it.
    pub fn sign_ins(principal: &str, mcp_url: &str) -> Self {
        Self::named(SlotKind::Pending, &["sign-ins", principal, mcp_url])
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

    /// Returns the kind of the slot's contents.
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

/// An identifier of one authorization, by which an account names where its tokens came from (AUTHZ-18): the first 8
/// bytes of the digest in the key of its pending slot (principal and `state`), or of the digest of its device code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuthorizationId(pub(crate) NonZeroU64);

impl AuthorizationId {
    /// Returns the name of the authorization with this pending slot.
    pub(crate) fn of(slot: &Slot) -> Self {
        Self::half_of(&slot.digest)
    }

    /// Returns the name of a device authorization, which has no slot.
    pub(crate) fn of_device_code(code: &str) -> Self {
        Self::half_of(&short_digest(code.as_bytes()))
    }

    fn half_of(digest: &[u8; 16]) -> Self {
        let half = digest.first_chunk().copied().unwrap_or_default();
        let number = NonZeroU64::new(u64::from_le_bytes(half));
        Self(number.unwrap_or(NonZeroU64::MIN))
    }
}

/// The key of revisions, from the host's entropy: 128 bits unknown to all servers. A server that controls
/// the text of a record can neither choose its revision nor create two records with the same one.
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

    /// Derives the key for records of one kind, which contain it. The key of public records reveals nothing
    /// about that of secret ones.
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

/// A slot to be written, with the revision that was read.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) slot: Slot,
    pub(crate) revision: Option<Revision>,
}

/// The revision of a slot's contents: a digest, which the store keeps beside the contents. Different
/// contents have different revisions, whichever process wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision([u8; 16]);

impl Revision {
    /// Returns an unkeyed digest.
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

    /// Returns true if this is the text form.
    pub(crate) fn is_written(self, text: &str) -> bool {
        base64url::<22>(&self.0) == *text.as_bytes()
    }

    /// Returns the 22 characters of the text form.
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

/// The error for a text that is not a revision written by this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a revision written by this crate")]
pub struct NotARevision;

impl FromStr for Revision {
    type Err = NotARevision;

    fn from_str(text: &str) -> Result<Self, NotARevision> {
        Text::parse(text).map(Self).ok_or(NotARevision)
    }
}

/// The contents of a slot: opaque to the host, and secret unless the slot is a metadata slot. Encrypt them
/// at rest (SEC-31).
#[derive(Clone)]
pub struct SlotContents(Cleared);

impl SlotContents {
    /// Creates contents from stored text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Cleared::new(text.into()))
    }

    /// Returns the text to store. It contains secrets and must not be logged.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

/// Compares in time that depends on the lengths only (SEC-33).
impl PartialEq for SlotContents {
    fn eq(&self, other: &Self) -> bool {
        crate::secret::same_bytes(self.expose().as_bytes(), other.expose().as_bytes())
    }
}

impl Eq for SlotContents {}

impl fmt::Debug for SlotContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[slot contents]")
    }
}

/// The contents of a slot, with their revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The contents.
    pub contents: SlotContents,
    /// The revision of the contents.
    pub revision: Revision,
}
