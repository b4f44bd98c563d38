//! Tokens that the store did not take: they are saved again, with back-off, for as long as their machine exists.

use std::time::Duration;

use crate::clock::{Surroundings, millis};
use mcp_auth_machine::time::MonoMillis;

/// How long the end of a machine may take for that, unless set.
pub(super) const SAVE_TIME: Duration = Duration::from_secs(30);

/// The first wait after a save that failed, and the longest one.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The longest wait at the end, when callers wait for it.
const LAST_WAITS: Duration = Duration::from_secs(1);

/// The error when the driver ends and the store did not take tokens: they are lost, and their users may have to sign in
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store did not take the tokens of {accounts} accounts in time: they are lost")]
pub struct Unsaved {
    /// The number of accounts.
    pub accounts: usize,
}

impl Unsaved {
    pub(super) fn check(accounts: usize) -> Result<(), Self> {
        if accounts == 0 {
            Ok(())
        } else {
            Err(Self { accounts })
        }
    }
}

/// When to save again.
pub(super) struct Saver {
    around: Surroundings,
    save_time: Duration,
    /// The wait, and its end.
    next: Option<(Duration, MonoMillis)>,
    /// When the driver was to end, at the latest.
    end: Option<MonoMillis>,
}

impl Saver {
    pub(super) fn new(save_time: Duration, around: Surroundings) -> Self {
        Self {
            around,
            save_time,
            next: None,
            end: None,
        }
    }

    /// Takes notice of what the machine holds. `true`: that has changed.
    pub(super) fn see(&mut self, is_unsaved: bool) -> bool {
        let was = self.next.is_some();
        if is_unsaved && !was {
            self.wait(WAITS.0);
        } else if !is_unsaved {
            self.next = None;
        }
        is_unsaved != was
    }

    fn now(&self) -> MonoMillis {
        self.around.now().mono
    }

    fn after(&self, wait: Duration) -> MonoMillis {
        MonoMillis(self.now().0.saturating_add(millis(wait)))
    }

    fn wait(&mut self, wait: Duration) {
        let longest = if self.end.is_some() {
            LAST_WAITS
        } else {
            WAITS.1
        };
        let wait = wait.min(longest);
        self.next = Some((wait, self.after(wait)));
    }

    /// Returns the time until the next save, or the end.
    pub(super) fn rest(&self) -> Option<Duration> {
        let (_, at) = self.next?;
        let next = self.end.map_or(at, |end| end.min(at));
        let left = next.0.saturating_sub(self.now().0);
        Some(Duration::from_millis(left))
    }

    /// Returns true when it is time to save, and waits longer after that.
    pub(super) fn is_due(&mut self) -> bool {
        match self.next {
            Some((wait, at)) if at <= self.now() => {
                self.wait(wait.saturating_mul(2));
                true
            }
            Some(_) | None => false,
        }
    }

    /// The driver ends as soon as it can.
    pub(super) fn ends(&mut self) {
        if self.end.is_none() {
            self.end = Some(self.after(self.save_time));
            if self.next.is_some() {
                self.wait(WAITS.0);
            }
        }
    }

    /// The driver continues after all.
    pub(super) fn goes_on(&mut self) {
        self.end = None;
    }

    /// Returns true while the end waits for the store.
    pub(super) fn is_at_it(&self) -> bool {
        self.next.is_some() && self.end.is_none_or(|end| self.now() < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_and_are_short_at_the_end() {
        let mut saver = Saver::new(Duration::from_secs(30), Surroundings::default());
        assert!(!saver.see(false));
        assert!(saver.see(true) && !saver.see(true));
        let waits = |saver: &Saver| saver.next.map(|(wait, _)| wait);
        assert_eq!(waits(&saver), Some(WAITS.0));
        assert!(!saver.is_due());
        for _ in 0..10 {
            saver.next = saver.next.map(|(wait, _)| (wait, saver.now()));
            assert!(saver.is_due() && !saver.is_due());
        }
        assert_eq!(waits(&saver), Some(WAITS.1));
        saver.ends();
        assert!(saver.is_at_it());
        saver.next = saver.next.map(|_| (WAITS.1, saver.now()));
        assert!(saver.is_due());
        assert_eq!(waits(&saver), Some(LAST_WAITS));
        saver.end = Some(saver.now());
        assert_eq!(saver.rest(), Some(Duration::ZERO));
        assert!(!saver.is_at_it());
        assert!(saver.see(false) && saver.rest().is_none());
    }
}
