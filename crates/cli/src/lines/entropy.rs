//! Sixteen random bytes per signature, derived from those of the configuration, so that a replay uses the
//! same ones.

use sha2::{Digest, Sha256};

pub(super) struct Entropy {
    random: [u8; 32],
    drawn: u64,
}

impl Entropy {
    pub(super) fn new(random: [u8; 32]) -> Self {
        Self { random, drawn: 0 }
    }

    pub(super) fn draw(&mut self) -> [u8; 16] {
        self.drawn = self.drawn.saturating_add(1);
        let mut hash = Sha256::new();
        hash.update(self.random);
        hash.update(self.drawn.to_be_bytes());
        let digest = hash.finalize();
        digest.first_chunk::<16>().copied().unwrap_or_default()
    }
}
