//! The reason why a request has no answer of the server.

use serde_json::{Value, json};

use super::super::authorization::Refused;
use super::super::remote::Unanswered;

/// Why a request has no answer of the server.
pub(super) struct Failed {
    pub(super) words: String,
    pub(super) data: Option<Value>,
}

impl Failed {
    pub(super) fn words(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            data: None,
        }
    }
}

impl From<Unanswered> for Failed {
    fn from(unanswered: Unanswered) -> Self {
        let data = match &unanswered {
            Unanswered::Refused(Refused::SignIn { url }) => Some(json!({ "url": url })),
            Unanswered::Refused(_)
            | Unanswered::Network { .. }
            | Unanswered::TooLong { .. }
            | Unanswered::Undelivered { .. }
            | Unanswered::Beside { .. } => None,
        };
        Self {
            words: unanswered.to_string(),
            data,
        }
    }
}
