//! The algorithms of proofs of possession that a server promises to check (AS-19, RS-09).

/// Why a list of algorithms cannot be advertised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlgorithmError {
    /// No algorithm.
    #[error("no algorithm is named")]
    Empty,
    /// `none`, a symmetric one, or one that this crate does not know.
    #[error("{0:?} is not an asymmetric signature algorithm")]
    NotAsymmetric(String),
}

const ASYMMETRIC: &[&str] = &[
    "ES256", "ES384", "ES512", "ES256K", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "EdDSA", "Ed25519", "Ed448",
];

/// Signature algorithms for proofs: at least one, all of them asymmetric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpopAlgorithms(Vec<&'static str>);

impl DpopAlgorithms {
    /// From their registered names.
    ///
    /// # Errors
    /// [`AlgorithmError`].
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, AlgorithmError> {
        let mut known = Vec::new();
        for name in names {
            let Some(found) = ASYMMETRIC.iter().find(|known| **known == name) else {
                return Err(AlgorithmError::NotAsymmetric(name.to_owned()));
            };
            if !known.contains(found) {
                known.push(*found);
            }
        }
        if known.is_empty() {
            return Err(AlgorithmError::Empty);
        }
        Ok(Self(known))
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }

    /// Whether this one is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}
