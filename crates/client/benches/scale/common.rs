//! Helpers of the benchmarks about scale.

use std::time::Duration;

use tokio::task::JoinSet;

/// How many requests are under way at a time where the rate is measured.
const AT_ONCE: usize = 64;

pub(crate) fn row(name: &str, found: &str, limit: &str) {
    println!("{name:<58} {found:>24}   {limit}");
}

/// Runs one piece of work for each number, up to [`AT_ONCE`] at a time.
pub(crate) async fn for_each<F: Future<Output = ()> + Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> F,
) {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if tasks.len() >= AT_ONCE {
            tasks.join_next().await.unwrap().unwrap();
        }
        tasks.spawn(work(number));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

pub(crate) fn user(number: usize) -> String {
    format!("user-{number:08}")
}

pub(crate) fn number(name: &str, default: usize) -> usize {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().unwrap())
}

/// How often a figure that other programs disturb is measured.
pub(crate) fn rounds() -> usize {
    number("SCALE_ROUNDS", 5)
}

/// The middle of several times.
pub(crate) fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    *times.get(times.len() / 2).unwrap()
}
