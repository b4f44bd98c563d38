//! The scopes that an operation requires, parsed strictly because decisions depend on them (RS-05).

use std::fmt;

use mcp_auth_machine::wire::scopes::Scopes;

/// The largest number of alternatives in a requirement.
pub const MAX_ALTERNATIVES: usize = 64;

/// The reason why a requirement is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// The requirement has no scope, so that every token would satisfy it.
    #[error("no scope is named; a requirement needs at least one")]
    Empty,
    /// A scope has a character that RFC 6749 section 3.3 does not allow, or exceeds the limits of a list.
    #[error(
        "{0:?} is not a scope, or one too many: printable ASCII without space, quote and backslash, \
         at most 256 in 8 KiB"
    )]
    NotAScope(String),
    /// `offline_access` requests a refresh token; a resource never requires it (RS-07).
    #[error("offline_access is not a scope of a resource")]
    OfflineAccess,
    /// The requirement has more than [`MAX_ALTERNATIVES`].
    #[error("more than {MAX_ALTERNATIVES} alternatives")]
    TooManyAlternatives,
}

/// A requirement: at least one alternative, each with at least one scope. A token satisfies it with every
/// scope of one alternative.
///
/// A misspelt scope is an error here. [`Scopes::parse`], which drops it, is for lists from other parties.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequiredScopes {
    first: Scopes,
    others: Vec<Scopes>,
}

impl RequiredScopes {
    /// Creates a requirement for all of these scopes.
    ///
    /// # Errors
    /// [`ScopeError`] with the first flaw.
    pub fn all_of<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Self, ScopeError> {
        let named: Vec<&str> = scopes.into_iter().collect();
        let first = Scopes::from_items(named.iter().copied());
        if first.is_empty() && named.is_empty() {
            return Err(ScopeError::Empty);
        }
        if let Some(dropped) = named.iter().find(|name| !first.contains(name)) {
            return Err(ScopeError::NotAScope((*dropped).to_owned()));
        }
        if first.contains("offline_access") {
            return Err(ScopeError::OfflineAccess);
        }
        Ok(Self {
            first,
            others: Vec::new(),
        })
    }

    /// Creates a requirement for at least one of these scopes. Challenges name the first.
    ///
    /// # Errors
    /// [`ScopeError`] with the first flaw.
    pub fn any_of<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Self, ScopeError> {
        let mut scopes = scopes.into_iter();
        let first = Self::all_of([scopes.next().ok_or(ScopeError::Empty)?])?;
        scopes.try_fold(first, |all, scope| all.or(Self::all_of([scope])?))
    }

    /// Creates a requirement for all scopes of a list, separated by single spaces.
    ///
    /// # Errors
    /// [`ScopeError`] with the first flaw.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Err(ScopeError::Empty);
        }
        Self::all_of(text.split(' '))
    }

    /// Returns a requirement that is satisfied if either is.
    ///
    /// # Errors
    /// [`ScopeError::TooManyAlternatives`] beyond the limit.
    pub fn or(mut self, other: Self) -> Result<Self, ScopeError> {
        self.others.push(other.first);
        self.others.extend(other.others);
        if self.others.len() < MAX_ALTERNATIVES {
            Ok(self)
        } else {
            Err(ScopeError::TooManyAlternatives)
        }
    }

    /// Returns a requirement that is satisfied if both are.
    ///
    /// # Errors
    /// [`ScopeError::TooManyAlternatives`] beyond the limit, and [`ScopeError::NotAScope`] when a joined
    /// list is too long.
    pub fn and(&self, other: &Self) -> Result<Self, ScopeError> {
        let pairs = self
            .alternatives()
            .flat_map(|one| other.alternatives().map(move |two| (one, two)));
        let mut joined = pairs.map(|(one, two)| Self::all_of(one.iter().chain(two.iter())));
        let first = joined.next().ok_or(ScopeError::Empty)??;
        joined.try_fold(first, |all, next| all.or(next?))
    }

    /// Returns the alternative that challenges name.
    pub fn preferred(&self) -> &Scopes {
        &self.first
    }

    /// Returns all alternatives, the preferred one first.
    pub fn alternatives(&self) -> impl Iterator<Item = &Scopes> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Returns true if a token with these scopes satisfies the requirement. `implies(held, needed)` returns
    /// true if one scope includes another; equal ones always do (RS-06).
    pub fn is_met_by(&self, held: &Scopes, implies: impl Fn(&str, &str) -> bool) -> bool {
        let has =
            |scope: &str| held.contains(scope) || held.iter().any(|held| implies(held, scope));
        self.alternatives().any(|all| all.iter().all(has))
    }
}

impl fmt::Debug for RequiredScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.alternatives()).finish()
    }
}
