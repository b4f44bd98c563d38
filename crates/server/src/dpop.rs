//! The algorithms of DPoP proofs that a server advertises (AS-19, RS-09).

/// The reason why a list of algorithms is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlgorithmError {
    /// The list is empty.
    #[error("no algorithm is named")]
    Empty,
    /// An algorithm is `none`, symmetric, or unknown.
    #[error("{0:?} is not an asymmetric signature algorithm")]
    NotAsymmetric(String),
}

const ASYMMETRIC: &[&str] = &[
    "ES256", "ES384", "ES512", "ES256K", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "EdDSA", "Ed25519", "Ed448",
];

/// Signature algorithms for DPoP proofs: at least one, all asymmetric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpopAlgorithms(Vec<&'static str>);

impl DpopAlgorithms {
    /// Creates a list from registered names.
    ///
    /// # Errors
    /// [`AlgorithmError`] with the first invalid name.
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

    /// Returns the names in order.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }

    /// Returns true if the list contains this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}
