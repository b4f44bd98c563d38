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
    /// When each was demanded last.
    times: Vec<MonoMillis>,
}

impl Demanded {
    /// Returns the scopes that the next authorization requests; `None` without a demand.
    pub(crate) fn all(&self) -> Option<&Scopes> {
        self.0.as_ref().map(|scoped| &scoped.all)
    }

    /// Returns the scopes that were demanded a short time ago, with these.
    pub(crate) fn recent_with(&self, scopes: &Scopes, now: MonoMillis) -> Scopes {
        let timed = self.0.iter().flat_map(|scoped| {
            let times = scoped.times.iter();
            scoped.all.iter().zip(times)
        });
        let recent = timed.filter(|(_, since)| is_recent(**since, now));
        Scopes::from_items(recent.map(|(scope, _)| scope)).union(scopes)
    }

    /// Adds scopes that are demanded now.
    pub(crate) fn add(&mut self, scopes: &Scopes, now: MonoMillis) {
        let before = self.0.take();
        let (all, mut times) = match before {
            Some(scoped) => (scoped.all.union(scopes), scoped.times),
            None => (scopes.clone(), Vec::new()),
        };
        times.resize(all.len(), now);
        for (scope, since) in all.iter().zip(&mut times) {
            if scopes.contains(scope) {
                *since = now;
            }
        }
        self.0 = Some(Box::new(Scoped { all, times }));
    }

    /// Replaces what was demanded before.
    pub(crate) fn replace(&mut self, scopes: &Scopes, now: MonoMillis) {
        self.clear();
        self.add(scopes, now);
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
