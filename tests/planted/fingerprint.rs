//! What makes two situations the same: the whole of every machine, what it has asked for, the store, the
//! servers, the browser and the clocks. Numbers that only count are taken relative to their counter.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::World;

impl World {
    pub fn fingerprint(&self, more: &str) -> u128 {
        let mut text = String::with_capacity(8_192);
        text.push_str(more);
        for instance in self.instances.iter().flatten() {
            let from = text.len();
            let _fits = write!(text, "{:?}|{:?}", instance.machine, instance.actions);
            relative(&mut text, from);
        }
        let _fits = write!(
            text,
            "{:?}{:?}{:?}{:?}{}{}",
            self.shelf, self.servers, self.visits, self.now, self.named, self.seeds
        );
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            text.hash(&mut hasher);
            u128::from(hasher.finish())
        };
        hash(0) << 64 | hash(1)
    }
}

const COUNTERS: [(&str, &str); 2] = [("event: ", "event: "), ("id: ", "next_id: ")];
const RELATIVE: [&str; 5] = [
    "event: ",
    "read_at: Some(",
    "resource_read: Some(",
    "said_ready: Some(",
    "id: ",
];

fn digits(text: &str, at: usize) -> Option<(u64, usize)> {
    let rest = text.get(at..)?;
    let length = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some((rest.get(..length)?.parse().ok()?, length))
}

/// Rewrites the numbers of events and questions as distances from the newest.
fn relative(text: &mut String, from: usize) {
    let part = text.split_off(from);
    let counter = |name: &str| {
        part.find(name)
            .and_then(|at| digits(&part, at + name.len()))
            .map_or(0, |(n, _)| n)
    };
    let (events, ids) = (counter(COUNTERS[0].1), counter(COUNTERS[1].1));
    let mut rest = part.as_str();
    loop {
        let next = RELATIVE
            .iter()
            .filter_map(|name| rest.find(name).map(|at| (at, *name)))
            .min();
        let Some((at, name)) = next else { break };
        let after = at + name.len();
        text.push_str(&rest[..after]);
        match digits(rest, after) {
            Some((number, length)) => {
                let newest = if name == "id: " { ids } else { events };
                let _fits = write!(text, "-{}", newest.wrapping_sub(number));
                rest = &rest[after + length..];
            }
            None => rest = &rest[after..],
        }
    }
    text.push_str(rest);
}
