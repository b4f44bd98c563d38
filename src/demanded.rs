//! The scopes that the MCP server demanded, for the next authorization. Those of several operations are requested at once
//! (STEP-12); one that was demanded long ago belongs to no operation that still waits (SCOPE-04).

use crate::budget::FAILURE_MEMORY;
use crate::time::MonoMillis;
use crate::wire::scopes::Scopes;

/// The demanded scopes, in the order in which they were demanded first.
#[derive(Default)]
pub(crate) struct Demanded {
    all: Option<Scopes>,
    /// When each was demanded last.
    times: Vec<MonoMillis>,
}

impl Demanded {
    /// Returns the scopes that the next authorization requests; `None` without a demand.
    pub(crate) fn all(&self) -> Option<&Scopes> {
        self.all.as_ref()
    }

    fn timed(&self) -> impl Iterator<Item = (&str, MonoMillis)> {
        let scopes = self.all.iter().flat_map(Scopes::iter);
        scopes.zip(self.times.iter().copied())
    }

    /// Returns the scopes that were demanded a short time ago, with these.
    pub(crate) fn recent_with(&self, scopes: &Scopes, now: MonoMillis) -> Scopes {
        let recent = self.timed().filter(|(_, since)| is_recent(*since, now));
        Scopes::from_items(recent.map(|(scope, _)| scope)).union(scopes)
    }

    /// Adds scopes that are demanded now.
    pub(crate) fn add(&mut self, scopes: &Scopes, now: MonoMillis) {
        let before = self.all.take().unwrap_or_default();
        let all = before.union(scopes);
        self.times.resize(all.len(), now);
        for (scope, since) in all.iter().zip(&mut self.times) {
            if scopes.contains(scope) {
                *since = now;
            }
        }
        self.all = Some(all);
    }

    /// Replaces what was demanded before.
    pub(crate) fn replace(&mut self, scopes: &Scopes, now: MonoMillis) {
        *self = Self::default();
        self.add(scopes, now);
    }

    /// Drops what was demanded longer ago than attempts are remembered.
    pub(crate) fn forget_old(&mut self, now: MonoMillis) {
        if self.times.iter().all(|since| is_recent(*since, now)) {
            return;
        }
        let kept = self.recent_with(&Scopes::default(), now);
        self.times.retain(|since| is_recent(*since, now));
        self.all = Some(kept).filter(|kept| !kept.is_empty());
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn is_recent(since: MonoMillis, now: MonoMillis) -> bool {
    now < since.plus(FAILURE_MEMORY)
}
