//! The scopes that the MCP server demanded, for the next authorization. Those of several operations are requested at once
//! (STEP-12); one that was demanded long ago belongs to no operation that still waits (SCOPE-04).

use crate::budget::FAILURE_MEMORY;
use crate::time::MonoMillis;
use crate::wire::scopes::Scopes;

/// The demanded scopes. Boxed, because most machines have none.
#[derive(Default)]
pub(crate) struct Demanded(Option<Box<Scoped>>);

/// Demanded scopes, in the order in which they were demanded first.
struct Scoped {
    all: Scopes,
    /// When all of them were demanded last, unless `times` says more.
    last: MonoMillis,
    /// When each was demanded last; empty if all were demanded at once, as usual.
    times: Vec<MonoMillis>,
}

impl Scoped {
    /// Returns the scopes with the time when each was demanded last.
    fn timed(&self) -> impl Iterator<Item = (&str, MonoMillis)> {
        let times = self.times.iter().copied();
        let times = times.chain(std::iter::repeat(self.last));
        self.all.iter().zip(times)
    }
}

impl Demanded {
    /// Returns the scopes that the next authorization requests; `None` without a demand.
    pub(crate) fn all(&self) -> Option<&Scopes> {
        self.0.as_ref().map(|scoped| &scoped.all)
    }

    /// Returns the scopes that were demanded a short time ago, with these.
    pub(crate) fn recent_with(&self, scopes: &Scopes, now: MonoMillis) -> Scopes {
        match &self.0 {
            None => scopes.clone(),
            Some(scoped) if scoped.times.is_empty() && is_recent(scoped.last, now) => {
                scoped.all.union(scopes)
            }
            Some(scoped) => {
                let recent = scoped.timed().filter(|(_, since)| is_recent(*since, now));
                Scopes::from_items(recent.map(|(scope, _)| scope)).union(scopes)
            }
        }
    }

    /// Adds scopes that are demanded now.
    pub(crate) fn add(&mut self, scopes: &Scopes, now: MonoMillis) {
        match &mut self.0 {
            Some(scoped) if scoped.all != *scopes => {
                let mut times: Vec<_> = scoped.timed().map(|(_, since)| since).collect();
                scoped.all = scoped.all.union(scopes);
                times.resize(scoped.all.len(), now);
                for (scope, since) in scoped.all.iter().zip(&mut times) {
                    if scopes.contains(scope) {
                        *since = now;
                    }
                }
                scoped.times = times;
            }
            Some(_) | None => self.replace(scopes, now),
        }
    }

    /// Replaces what was demanded before.
    pub(crate) fn replace(&mut self, scopes: &Scopes, now: MonoMillis) {
        let demanded = Scoped {
            all: scopes.clone(),
            last: now,
            times: Vec::new(),
        };
        match &mut self.0 {
            Some(scoped) => **scoped = demanded,
            None => self.0 = Some(Box::new(demanded)),
        }
    }

    /// Drops what was demanded longer ago than attempts are remembered.
    pub(crate) fn forget_old(&mut self, now: MonoMillis) {
        let all = self.recent_with(&Scopes::default(), now);
        if let Some(scoped) = &mut self.0 {
            scoped.times.retain(|since| is_recent(*since, now));
            scoped.all = all;
        }
        if self.all().is_some_and(Scopes::is_empty) {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

fn is_recent(since: MonoMillis, now: MonoMillis) -> bool {
    now < since.plus(FAILURE_MEMORY)
}
