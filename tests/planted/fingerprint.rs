//! The fingerprint of a situation: the whole of every machine, its outstanding actions, the store, the servers, the
//! browser and the clocks. Serial numbers are taken relative to their counter.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::World;

impl World {
    pub fn fingerprint(&self, more: &str) -> u128 {
        let mut text = String::with_capacity(8_192);
        text.push_str(more);
        for instance in &self.instances {
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
    let (events, ids) = (counter("event: "), counter("next_id: "));
    let find = |name: &str, from: usize| part[from..].find(name).map(|at| from + at);
    let mut places = RELATIVE.map(|name| find(name, 0));
    let mut copied = 0;
    loop {
        let next = places.iter().enumerate();
        let next = next.filter_map(|(which, place)| place.map(|at| (at, which)));
        let Some((at, which)) = next.min() else { break };
        let name = RELATIVE[which];
        let after = at + name.len();
        places[which] = find(name, after);
        text.push_str(&part[copied..after]);
        copied = after;
        if let Some((number, length)) = digits(&part, after) {
            let newest = if name == "id: " { ids } else { events };
            let _fits = write!(text, "-{}", newest.wrapping_sub(number));
            copied = after + length;
        }
    }
    text.push_str(&part[copied..]);
}
