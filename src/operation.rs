//! The name of an operation of the host.

use std::fmt;
use std::sync::Arc;

/// The name of a caller's operation, such as `tools/call search`. Attempts are counted per operation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation(Arc<str>);

impl Operation {
    /// Creates an operation from a name, of which the first 256 characters count.
    pub fn new(name: &str) -> Self {
        let end = name
            .char_indices()
            .nth(256)
            .map_or(name.len(), |(at, _)| at);
        Self(name.get(..end).unwrap_or_default().into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Operation {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
