//! Scope lists: opaque, case-sensitive tokens in a stable order (RFC 6749 section 3.3).

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::text::{Untrusted, all_bytes};

/// Largest number of scopes in a list (SEC-29).
pub const MAX_SCOPES: usize = 256;
/// Longest list, in bytes (SEC-29).
pub const MAX_SCOPE_BYTES: usize = 8 * 1024;

/// A list of scopes without repetitions, in the order of first occurrence, kept as the text that is sent:
/// separated by single spaces. Items beyond the limits are dropped (SCOPE-11).
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Scopes(Arc<str>);

impl Scopes {
    /// Creates a list from a host's scopes, separated by single spaces, without dropping any.
    ///
    /// # Errors
    /// [`ScopeError`] with the first invalid item.
    pub fn new(text: &str) -> Result<Self, ScopeError> {
        let kept = Self::parse(text);
        let lost = |item: &&str| !item.is_empty() && !kept.contains(item);
        match text.split(' ').find(lost) {
            Some(item) => Err(ScopeError(Untrusted::new(item))),
            None => Ok(kept),
        }
    }

    /// Creates a list from text separated by spaces; invalid scopes are dropped (CHAL-12).
    pub fn parse(text: &str) -> Self {
        if is_scope(text) {
            return Self(text.into());
        }
        Self::collect(text.split(' '), text.len())
    }

    /// Same as [`parse`](Self::parse); the text is shared with a known list if it is the same.
    pub(crate) fn parse_like(known: Option<&Self>, text: &str) -> Self {
        match known {
            Some(known) if known.as_str() == text => known.clone(),
            Some(_) | None => Self::parse(text),
        }
    }

    /// Creates a list from single items; invalid scopes are dropped.
    pub fn from_items<'a>(items: impl IntoIterator<Item = &'a str>) -> Self {
        let mut items = items.into_iter();
        let (first, second) = (items.next(), items.next());
        match (first, second) {
            (None, _) => Self::default(),
            (Some(only), None) if is_scope(only) => Self(only.into()),
            (first, second) => Self::collect(first.into_iter().chain(second).chain(items), 64),
        }
    }

    /// Returns a list of single items, which shares its text with a known list if it is the same.
    pub(crate) fn like<'a>(
        known: Option<&Self>,
        items: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        let same = known.filter(|known| known.iter().eq(items.clone()));
        same.map_or_else(|| Self::from_items(items), Self::clone)
    }

    fn collect<'a>(items: impl Iterator<Item = &'a str>, expected: usize) -> Self {
        let mut text = String::with_capacity(expected.min(MAX_SCOPE_BYTES));
        // The set is created at the second item: most lists have one.
        let mut first = None;
        let mut known = BTreeSet::new();
        for item in items {
            if known.len() >= MAX_SCOPES {
                break;
            }
            let space = if text.is_empty() { "" } else { " " };
            let length = text
                .len()
                .saturating_add(space.len())
                .saturating_add(item.len());
            let fits = length <= MAX_SCOPE_BYTES;
            if !fits || !is_scope(item) || first == Some(item) {
                continue;
            }
            let new = match first {
                None => {
                    first = Some(item);
                    true
                }
                Some(first) => {
                    known.insert(sorted(first));
                    known.insert(sorted(item))
                }
            };
            if new {
                text.push_str(space);
                text.push_str(item);
            }
        }
        Self(text.into())
    }

    /// Returns true if the list has no items.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has_several(&self) -> bool {
        self.0.as_bytes().contains(&b' ')
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns the value of a `scope` parameter.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the items in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split(' ').filter(|item| !item.is_empty())
    }

    /// Returns true if the list contains exactly this item.
    pub fn contains(&self, scope: &str) -> bool {
        if scope.len() >= self.0.len() {
            return *self.0 == *scope && !scope.is_empty() && !self.has_several();
        }
        self.iter().any(|item| item == scope)
    }

    /// Returns these items, followed by the additional ones of the other list.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.is_empty() || self == other {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        let expected = self.0.len().saturating_add(other.0.len()).saturating_add(1);
        Self::collect(self.iter().chain(other.iter()), expected)
    }

    /// Same as [`union`](Self::union), for a list that is not needed any more.
    pub(crate) fn and(self, other: &Self) -> Self {
        if other.is_empty() || self == *other {
            self
        } else {
            self.union(other)
        }
    }

    /// Returns the list without one item.
    #[must_use]
    pub fn without(&self, scope: &str) -> Self {
        if self.contains(scope) {
            Self::from_items(self.iter().filter(|item| *item != scope))
        } else {
            self.clone()
        }
    }

    /// Returns the list without the items of the other list.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        if other.is_empty() || self.is_empty() {
            return self.clone();
        }
        // One scope in each, the usual case.
        if self == other {
            return Self::default();
        }
        if !self.has_several() && !other.has_several() {
            return self.clone();
        }
        let left_out: BTreeSet<_> = other.iter().map(sorted).collect();
        Self::from_items(self.iter().filter(|item| !left_out.contains(&sorted(item))))
    }

    /// Same as [`minus`](Self::minus), for a list that is not needed any more.
    pub(crate) fn less(self, other: &Self) -> Self {
        if other.is_empty() || self.is_empty() {
            self
        } else {
            self.minus(other)
        }
    }

    /// Returns true if the list contains all items of the other list.
    pub fn covers(&self, other: &Self) -> bool {
        if other.is_empty() || self == other {
            return true;
        }
        if !self.has_several() && !other.has_several() {
            return false;
        }
        let own: BTreeSet<_> = self.iter().map(sorted).collect();
        other.iter().all(|item| own.contains(&sorted(item)))
    }
}

/// The error for an invalid scope. RFC 6749 section 3.3 allows visible ASCII except `"` and `\`; a list has
/// at most 256 scopes and 8 KiB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a scope: a scope is visible ASCII without quotes and backslashes")]
pub struct ScopeError(pub Untrusted);

/// The sort key of a set of items: a number compares fast. A forced collision gains nothing.
fn sorted(item: &str) -> (u64, &str) {
    let mut hash = DefaultHasher::new();
    item.hash(&mut hash);
    (hash.finish(), item)
}

fn is_scope(item: &str) -> bool {
    (1..=MAX_SCOPE_BYTES).contains(&item.len()) && all_bytes(item.as_bytes(), is_scope_byte)
}

/// Returns true for a character of a scope (RFC 6749 section 3.3).
pub(crate) fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'"') & (byte != b'\\')
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
