//! A text of a record.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use serde::Deserialize;

use crate::secret::Secret;

/// A text of a record, borrowed from it unless it has escapes. A plain `Cow` is always copied where it is optional or in
/// a list.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Text<'a> {
    pub(super) fn into_cow(self) -> Cow<'a, str> {
        self.0
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Text<'_>> for Arc<str> {
    fn from(text: Text<'_>) -> Self {
        text.0.into()
    }
}

impl From<Text<'_>> for Secret {
    fn from(text: Text<'_>) -> Self {
        Self::new(text.0)
    }
}
