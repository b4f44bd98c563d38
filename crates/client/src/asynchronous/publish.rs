//! The token of a machine, shown to readers outside its task.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use http::HeaderValue;

use super::accounts::{Key, Warm};
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::{AuthMachine, Moment, Phase};

/// How many refused values are remembered.
const REFUSED: usize = 16;

/// Publishes the token of one account whenever it changes, and withdraws it when it must not be used. Only the task
/// of the machine publishes, so a value that it withdraws stays withdrawn.
pub(super) struct Publisher {
    warm: Arc<Warm>,
    key: Key,
    /// Whether the account has been read.
    is_known: bool,
    /// The values that the MCP server refused, under a random key: refusals of older tokens arrive late.
    refused: VecDeque<u64>,
    hasher: RandomState,
    /// The value that was shown last, and its end by the monotonic clock.
    shown: Option<(u64, u64)>,
}

impl Publisher {
    pub(super) fn new(warm: Arc<Warm>, key: Key) -> Self {
        Self {
            warm,
            key,
            is_known: false,
            refused: VecDeque::new(),
            hasher: RandomState::new(),
            shown: None,
        }
    }

    fn is_refused(&self, value: &HeaderValue) -> bool {
        let hash = self.hasher.hash_one(value.as_bytes());
        self.refused.contains(&hash)
    }

    /// Returns the end of a value, which comes no later when the wall clock is set back (SEC-35).
    fn bounded(
        &mut self,
        value: &HeaderValue,
        expires: Option<UnixMillis>,
        now: Moment,
    ) -> Option<UnixMillis> {
        let expires = expires?;
        let hash = self.hasher.hash_one(value.as_bytes());
        let end = now
            .mono
            .0
            .saturating_add(expires.0.saturating_sub(now.wall.0));
        let end = match self.shown {
            Some((known, first)) if known == hash => first.min(end),
            Some(_) | None => end,
        };
        self.shown = Some((hash, end));
        let left = end.saturating_sub(now.mono.0);
        Some(UnixMillis(now.wall.0.saturating_add(left)))
    }

    /// Remembers a value, the most recent last. The value in use is among the last ones: each of its refusals counts.
    fn refuse(&mut self, value: &HeaderValue) {
        let hash = self.hasher.hash_one(value.as_bytes());
        self.refused.retain(|known| *known != hash);
        if self.refused.len() >= REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(hash);
    }

    /// Brings what is shown up to date. Only the machine of the account shows anything.
    pub(super) fn update(&mut self, machine: &mut AuthMachine, is_current: impl Fn() -> bool) {
        let now = self.warm.now();
        let Some(grant) = machine.grant() else {
            let is_read = self.is_known || !matches!(machine.phase(), Phase::Working(_));
            if is_read {
                self.warm.retract(&self.key);
            }
            return;
        };
        self.is_known = true;
        // A token that expired on receipt is for one request alone (TOK-13).
        if grant.expires.is_some_and(|expires| expires <= now.wall) {
            return self.warm.retract(&self.key);
        }
        match machine.bearer(now, &self.key.server) {
            Ok(value) if self.is_refused(&value) => self.warm.retract(&self.key),
            Ok(value) if self.warm.holds(&self.key, &value, grant.expires, now) => {}
            Ok(value) if is_current() => {
                let expires = self.bounded(&value, grant.expires, now);
                self.warm.publish(&self.key, &value, expires, now);
            }
            Ok(_) => {}
            Err(_) => self.warm.retract(&self.key),
        }
    }

    /// The MCP server refused this value: it is not shown again.
    pub(super) fn refused(&mut self, machine: &mut AuthMachine, sent: Option<&HeaderValue>) {
        let Some(sent) = sent else {
            return;
        };
        self.warm.refused(&self.key, sent);
        // The value in use does not leave the list because of the refusals of others.
        let current = machine.bearer(self.warm.now(), &self.key.server).ok();
        let current = current.filter(|current| self.is_refused(current));
        self.refuse(sent);
        if let Some(current) = current {
            self.refuse(&current);
        }
    }

    /// The account is not to be used as it is.
    pub(super) fn distrust(&mut self, machine: &mut AuthMachine) {
        if let Ok(value) = machine.bearer(self.warm.now(), &self.key.server) {
            self.refuse(&value);
        }
        self.warm.retract(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Surroundings;
    use mcp_auth_machine::time::MonoMillis;

    fn publisher() -> Publisher {
        let key = Key::new("https://mcp.example/mcp".into(), "alice".into());
        Publisher::new(Arc::new(Warm::new(10, Surroundings::default())), key)
    }

    #[test]
    fn sec35_the_end_of_a_token_does_not_move_with_the_wall_clock() {
        let mut publisher = publisher();
        let (token, other) = (
            HeaderValue::from_static("Bearer a"),
            HeaderValue::from_static("Bearer b"),
        );
        let hour = 3_600_000;
        let mut end = |value, expires, wall, mono| {
            publisher.bounded(
                value,
                Some(UnixMillis(expires)),
                Moment {
                    wall: UnixMillis(wall),
                    mono: MonoMillis(mono),
                },
            )
        };
        assert_eq!(end(&token, 2 * hour, hour, 0), Some(UnixMillis(2 * hour)));
        // Set back by half an hour after a quarter of an hour.
        let (wall, mono) = (hour - hour / 4, hour / 4);
        let left = hour - hour / 4;
        assert_eq!(
            end(&token, 2 * hour, wall, mono),
            Some(UnixMillis(wall + left))
        );
        // Another token counts by itself, and an earlier end is an end.
        assert_eq!(
            end(&other, 2 * hour, wall, mono),
            Some(UnixMillis(2 * hour))
        );
        assert_eq!(end(&other, hour, wall, mono), Some(UnixMillis(hour)));
        assert_eq!(
            publisher.bounded(
                &other,
                None,
                Moment {
                    wall: UnixMillis(0),
                    mono: MonoMillis(0)
                }
            ),
            None
        );
    }

    #[test]
    fn late_refusals_of_others_do_not_make_a_refused_token_good() {
        let mut publisher = publisher();
        let refused = HeaderValue::from_static("Bearer refused");
        publisher.refuse(&refused);
        for number in 0..REFUSED - 1 {
            let older = HeaderValue::from_str(&format!("Bearer {number}"));
            publisher.refuse(&older.unwrap_or_else(|_| refused.clone()));
        }
        assert!(publisher.is_refused(&refused));
        assert_eq!(publisher.refused.len(), REFUSED);
    }
}
