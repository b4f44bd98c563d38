//! The scopes that the MCP server demanded, for the next authorization. Those of several operations are requested at once
//! (STEP-12); one that was demanded long ago belongs to no operation that still waits (SCOPE-04).

use crate::budget::FAILURE_MEMORY;
use crate::time::MonoMillis;
use crate::wire::scopes::Scopes;

/// The demanded scopes, in the order in which they were demanded first.
#[derive(Default)]
pub(crate) struct Demanded {
    all: Option<Scopes>,
    /// When all of them were demanded last, unless `times` says more.
    last: MonoMillis,
    /// When each was demanded last, if not all were demanded at once, as usual.
    times: Option<Box<Times>>,
}

struct Times(Vec<MonoMillis>);

impl Demanded {
    /// Returns the scopes that the next authorization requests; `None` without a demand.
    pub(crate) fn all(&self) -> Option<&Scopes> {
        self.all.as_ref()
    }

    /// Returns the scopes with the time when each was demanded last.
    fn timed(&self) -> impl Iterator<Item = (&str, MonoMillis)> {
        let times = self.times.iter().flat_map(|times| times.0.iter().copied());
        let times = times.chain(std::iter::repeat(self.last));
        self.all.iter().flat_map(Scopes::iter).zip(times)
    }

    /// Returns the scopes that were demanded a short time ago, with these.
    pub(crate) fn recent_with(&self, scopes: &Scopes, now: MonoMillis) -> Scopes {
        match &self.all {
            None => scopes.clone(),
            Some(all) if self.times.is_none() && is_recent(self.last, now) => all.union(scopes),
            Some(_) => {
                let recent = self.timed().filter(|(_, since)| is_recent(*since, now));
                Scopes::from_items(recent.map(|(scope, _)| scope)).union(scopes)
            }
        }
    }

    /// Adds scopes that are demanded now.
    pub(crate) fn add(&mut self, scopes: &Scopes, now: MonoMillis) {
        match &self.all {
            Some(known) if known != scopes => {
                let all = known.union(scopes);
                let mut times: Vec<_> = self.timed().map(|(_, since)| since).collect();
                times.resize(all.len(), now);
                for (scope, since) in all.iter().zip(&mut times) {
                    if scopes.contains(scope) {
                        *since = now;
                    }
                }
                self.all = Some(all);
                self.times = Some(Box::new(Times(times)));
            }
            Some(_) => {
                self.last = now;
                self.times = None;
            }
            None => self.replace(scopes, now),
        }
    }

    /// Replaces what was demanded before.
    pub(crate) fn replace(&mut self, scopes: &Scopes, now: MonoMillis) {
        *self = Self {
            all: Some(scopes.clone()),
            last: now,
            times: None,
        };
    }

    /// Drops what was demanded longer ago than attempts are remembered.
    pub(crate) fn forget_old(&mut self, now: MonoMillis) {
        let recent = self.recent_with(&Scopes::default(), now);
        if self.all.is_none() || recent.is_empty() {
            return self.clear();
        }
        self.all = Some(recent);
        if let Some(times) = &mut self.times {
            times.0.retain(|since| is_recent(*since, now));
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn is_recent(since: MonoMillis, now: MonoMillis) -> bool {
    now < since.plus(FAILURE_MEMORY)
}
