//! Clocks and entropy for the drivers of `mcp-auth-client`.

#[cfg(feature = "reqwest")]
use std::pin::Pin;
use std::sync::{Arc, Mutex};
#[cfg(feature = "reqwest")]
use std::task::{Poll, Waker};
use std::time::Duration;

use mcp_auth_client::{Clock, Entropy};
use mcp_auth_machine::Moment;
use mcp_auth_machine::time::UnixMillis;
use mcp_auth_machine::wire::pkce::Seed;

use super::lock;

/// A clock that a test moves, shared by its clones.
///
/// Where the blocking driver would sleep, the clock moves on by that time at once. The asynchronous driver waits
/// until the test moves the clock with [`advance`](Self::advance). Time limits of requests and of the store are
/// measured by the operating system nevertheless.
#[derive(Clone, Debug)]
pub struct VirtualClock(Arc<Mutex<Hands>>);

#[derive(Debug)]
struct Hands {
    now: Moment,
    slept: Duration,
    #[cfg(feature = "reqwest")]
    waiting: Vec<Waker>,
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualClock {
    /// Creates a clock that shows a fixed time of the year 2027.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Hands {
            now: crate::START,
            slept: Duration::ZERO,
            #[cfg(feature = "reqwest")]
            waiting: Vec::new(),
        })))
    }

    /// Moves both clocks, and wakes whatever waits.
    pub fn advance(&self, time: Duration) {
        let mut hands = lock(&self.0);
        hands.now = hands.now.plus(time);
        #[cfg(feature = "reqwest")]
        for waker in std::mem::take(&mut hands.waiting) {
            waker.wake();
        }
    }

    /// Sets the wall clock, as a user or a time server does; the monotonic clock is not affected.
    pub fn set_wall(&self, unix_millis: u64) {
        let mut hands = lock(&self.0);
        hands.now.wall = UnixMillis(unix_millis);
    }

    /// Returns the current time.
    pub fn moment(&self) -> Moment {
        lock(&self.0).now
    }

    /// Returns how long the blocking driver would have slept up to now.
    pub fn slept(&self) -> Duration {
        lock(&self.0).slept
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Moment {
        self.moment()
    }

    fn sleep(&self, time: Duration) {
        let mut hands = lock(&self.0);
        hands.slept = hands.slept.saturating_add(time);
        drop(hands);
        self.advance(time);
    }

    #[cfg(feature = "reqwest")]
    fn wait(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let end = self.moment().mono.0.saturating_add(millis);
        Box::pin(std::future::poll_fn(move |context| {
            let mut hands = lock(&clock.0);
            if hands.now.mono.0 >= end {
                return Poll::Ready(());
            }
            hands.waiting.push(context.waker().clone());
            Poll::Pending
        }))
    }
}

/// A random source whose bytes are the same at every run, for tests only. Clones continue the same sequence.
#[derive(Clone, Debug, Default)]
pub struct FixedEntropy(Arc<Mutex<u64>>);

impl FixedEntropy {
    /// Creates a source.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the entropy of one authorization, for hosts that pass `Authorize` in themselves.
    ///
    /// # Panics
    /// Never: the bytes differ from each other.
    pub fn seed(&self) -> Seed {
        let mut bytes = [0; 64];
        self.draw(&mut bytes);
        match Seed::with_key(bytes) {
            Ok(seed) => seed,
            Err(weak) => super::conversation::fail(&format!("a seed without entropy: {weak:?}")),
        }
    }

    fn draw(&self, bytes: &mut [u8]) {
        use sha2::Digest as _;
        let mut count = lock(&self.0);
        for part in bytes.chunks_mut(32) {
            *count = count.saturating_add(1);
            let digest = sha2::Sha256::digest(count.to_be_bytes());
            for (byte, drawn) in part.iter_mut().zip(digest) {
                *byte = drawn;
            }
        }
    }
}

impl Entropy for FixedEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), getrandom::Error> {
        self.draw(bytes);
        Ok(())
    }
}
