//! The scopes that an operation needs: read strictly, because a decision hangs on them (RS-05).

use std::fmt;

use mcp_auth_machine::wire::scopes::Scopes;

/// Most alternatives of one requirement.
pub const MAX_ALTERNATIVES: usize = 64;

/// Why a text cannot be a requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// A requirement without a scope would be met by every token.
    #[error("no scope is named; a requirement needs at least one")]
    Empty,
    /// A name with a character that RFC 6749 section 3.3 does not allow, or beyond the limits of a list.
    #[error(
        "{0:?} is not a scope, or one too many: printable ASCII without space, quote and backslash, \
         at most 256 in 8 KiB"
    )]
    NotAScope(String),
    /// `offline_access` asks for a refresh token; a resource never needs it (RS-07).
    #[error("offline_access is not a scope of a resource")]
    OfflineAccess,
    /// More than [`MAX_ALTERNATIVES`].
    #[error("more than {MAX_ALTERNATIVES} alternatives")]
    TooManyAlternatives,
}

/// A requirement: at least one alternative, each with at least one scope. A token meets it when it
/// holds every scope of one alternative.
///
/// A text that was misspelt is an error here; [`Scopes::parse`], which drops it, is for lists that
/// others send.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequiredScopes {
    first: Scopes,
    others: Vec<Scopes>,
}

impl RequiredScopes {
    /// Every one of these scopes.
    ///
    /// # Errors
    /// [`ScopeError`].
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

    /// At least one of these scopes. The first is the one that a challenge names.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn any_of<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Self, ScopeError> {
        let mut scopes = scopes.into_iter();
        let first = Self::all_of([scopes.next().ok_or(ScopeError::Empty)?])?;
        scopes.try_fold(first, |all, scope| all.or(Self::all_of([scope])?))
    }

    /// Every scope of a list that is separated by single spaces.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Err(ScopeError::Empty);
        }
        Self::all_of(text.split(' '))
    }

    /// Met when this or the other is met.
    ///
    /// # Errors
    /// [`ScopeError::TooManyAlternatives`].
    pub fn or(mut self, other: Self) -> Result<Self, ScopeError> {
        self.others.push(other.first);
        self.others.extend(other.others);
        if self.others.len() < MAX_ALTERNATIVES {
            Ok(self)
        } else {
            Err(ScopeError::TooManyAlternatives)
        }
    }

    /// Met when both are met.
    ///
    /// # Errors
    /// [`ScopeError::TooManyAlternatives`], and [`ScopeError::NotAScope`] when the joined list is too long.
    pub fn and(&self, other: &Self) -> Result<Self, ScopeError> {
        let pairs = self
            .alternatives()
            .flat_map(|one| other.alternatives().map(move |two| (one, two)));
        let mut joined = pairs.map(|(one, two)| Self::all_of(one.iter().chain(two.iter())));
        let first = joined.next().ok_or(ScopeError::Empty)??;
        joined.try_fold(first, |all, next| all.or(next?))
    }

    /// The alternative that challenges name.
    pub fn preferred(&self) -> &Scopes {
        &self.first
    }

    /// All alternatives, the preferred one first.
    pub fn alternatives(&self) -> impl Iterator<Item = &Scopes> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Whether a token with these scopes meets the requirement. `implies(held, needed)` says whether
    /// one scope includes another (RS-06); equal ones always do.
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
