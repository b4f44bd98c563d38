//! Clocks and random bytes of the drivers: those of the operating system, unless a test sets others.

#[cfg(feature = "reqwest")]
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use mcp_auth_machine::Moment;
use mcp_auth_machine::wire::pkce::Seed;

/// Returns the current time of both clocks.
pub fn now() -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Moment::new(SystemTime::now(), START.elapsed())
}

/// Returns a duration in whole milliseconds, saturating.
pub(super) fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// Returns entropy for one authorization, from the operating system (SEC-34).
///
/// # Errors
/// When the operating system has no random bytes.
pub fn seed() -> Result<Seed, getrandom::Error> {
    Surroundings::default().seed()
}

/// The clocks of a driver, for tests in which expiry and back-off take no time. A host in production leaves those
/// of the operating system (SEC-35).
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time of both clocks.
    fn now(&self) -> Moment;

    /// Waits in the blocking driver. Default: blocks this thread.
    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Waits in the asynchronous driver. Default: a timer of `tokio`.
    #[cfg(feature = "reqwest")]
    fn wait(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// The random source of a driver, for tests that repeat a run exactly. A host in production leaves that of the
/// operating system (SEC-34).
pub trait Entropy: Send + Sync + 'static {
    /// Fills the bytes.
    ///
    /// # Errors
    /// When no random bytes are available: the attempt fails then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), getrandom::Error>;
}

/// The clocks and the random source of one driver. Default: those of the operating system.
#[derive(Clone, Default)]
pub(super) struct Surroundings {
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) entropy: Option<Arc<dyn Entropy>>,
}

impl Surroundings {
    pub(super) fn now(&self) -> Moment {
        self.clock.as_ref().map_or_else(now, |clock| clock.now())
    }

    #[cfg(feature = "ureq")]
    pub(super) fn sleep(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.sleep(time),
            None => std::thread::sleep(time),
        }
    }

    #[cfg(feature = "reqwest")]
    pub(super) async fn wait(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.wait(time).await,
            None => tokio::time::sleep(time).await,
        }
    }

    fn fill(&self, bytes: &mut [u8]) -> Result<(), getrandom::Error> {
        match &self.entropy {
            Some(entropy) => entropy.fill(bytes),
            None => getrandom::fill(bytes),
        }
    }

    /// Returns the bytes that make one signature unique.
    pub(super) fn random(&self) -> Result<[u8; 16], getrandom::Error> {
        let mut bytes = [0; 16];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns entropy for one authorization (SEC-34).
    pub(super) fn seed(&self) -> Result<Seed, getrandom::Error> {
        let mut bytes = [0; 64];
        self.fill(&mut bytes)?;
        Seed::with_key(bytes).map_err(|_| getrandom::Error::UNEXPECTED)
    }
}
