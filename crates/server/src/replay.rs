//! The memory of proofs of possession: each is accepted once (RS-10).

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::proof::{Proof, ProofError};

/// The longest time from the arrival of a request to the check of its proof.
const VERIFIED_WITHIN: Duration = Duration::from_secs(60);

/// The largest number of remembered proofs.
pub const MAX_PROOFS: usize = 1_000_000;

/// A memory of proofs. [`MemoryReplays`] is that of one process, so that each process accepts a
/// proof once; a service of several instances shares one, for example in Redis:
///
/// ```
/// use std::time::Duration;
/// use mcp_auth_server::{Proof, ProofError, ReplayStore};
///
/// # struct Redis;
/// # impl Redis {
/// #     async fn set_if_absent(&self, _key: &[u8], _seconds: u64) -> Result<bool, ()> { Ok(true) }
/// # }
/// impl ReplayStore for Redis {
///     async fn spend(&self, proof: &Proof, now: Duration) -> Result<(), ProofError> {
///         // SET key 1 NX EX seconds
///         let seconds = proof.until().saturating_sub(now).as_secs().saturating_add(60);
///         match self.set_if_absent(&proof.id(), seconds).await {
///             Ok(true) => Ok(()),
///             Ok(false) => Err(ProofError::Replayed),
///             Err(_) => Err(ProofError::Unavailable),
///         }
///     }
/// }
/// ```
pub trait ReplayStore: Send + Sync + 'static {
    /// Remembers a proof until [`Proof::until`], in one step: of two calls with the same [`Proof::id`], one
    /// must be [`ProofError::Replayed`]. A store that does not answer is [`ProofError::Unavailable`]; the
    /// request is then refused with 503. `now` is the time since the Unix epoch.
    fn spend(
        &self,
        proof: &Proof,
        now: Duration,
    ) -> impl Future<Output = Result<(), ProofError>> + Send;
}

impl<R: ReplayStore> ReplayStore for Arc<R> {
    fn spend(
        &self,
        proof: &Proof,
        now: Duration,
    ) -> impl Future<Output = Result<(), ProofError>> + Send {
        R::spend(self, proof, now)
    }
}

/// The proofs of this process; clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryReplays(Arc<Mutex<ReplayWindow>>);

impl MemoryReplays {
    /// Remembers so many proofs at a time, and takes no further ones while it is full.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(ReplayWindow::new(most))))
    }
}

impl ReplayStore for MemoryReplays {
    async fn spend(&self, proof: &Proof, now: Duration) -> Result<(), ProofError> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.spend(proof, now)
    }
}

/// The recently used proofs. Add only proofs of requests with a valid token, because creating a proof alone
/// costs nothing.
#[derive(Debug)]
pub struct ReplayWindow {
    seen: HashMap<[u8; 32], Duration>,
    most: usize,
    swept: Duration,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new(MAX_PROOFS)
    }
}

impl ReplayWindow {
    /// Creates a window for this many proofs; a full one accepts no further proofs.
    pub fn new(most: usize) -> Self {
        Self {
            seen: HashMap::new(),
            most,
            swept: Duration::ZERO,
        }
    }

    /// Marks a proof as used; a second use is an error.
    ///
    /// # Errors
    /// [`ProofError::Replayed`] and [`ProofError::Full`].
    pub fn spend(&mut self, proof: &Proof, now: Duration) -> Result<(), ProofError> {
        let due = now.saturating_sub(self.swept) >= Duration::from_secs(10);
        if due || now < self.swept {
            // The time of a request is read before its token is verified, which may take a while.
            self.seen
                .retain(|_, until| until.saturating_add(VERIFIED_WITHIN) >= now);
            self.swept = now;
        }
        if self.seen.contains_key(&proof.id()) {
            return Err(ProofError::Replayed);
        }
        if self.seen.len() >= self.most {
            return Err(ProofError::Full);
        }
        self.seen.insert(proof.id(), proof.until());
        Ok(())
    }
}
