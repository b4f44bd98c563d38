//! The keys of one account, from files that the user named.

use std::path::Path;

use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_client::{Refused, Signer};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::wire::words::SigningAlgorithm;

use crate::problem::Problem;

#[derive(Default)]
pub(super) struct Keys(Vec<SoftwareKey>);

impl Keys {
    /// Reads a PKCS #8 key in PEM, named by its path.
    pub(super) fn read(&mut self, path: &Path) -> Result<SigningKey, Problem> {
        let pem = zeroize::Zeroizing::new(read(path)?);
        let name = path.display().to_string();
        let key = SoftwareKey::from_pem(name, &pem)
            .map_err(|flaw| format!("{}: {flaw}", path.display()))?;
        let described = key.describe()?;
        self.0.push(key);
        Ok(described)
    }

    /// Returns the description of the key with this name.
    pub(super) fn described(&self, name: &str) -> Option<SigningKey> {
        let key = self.0.iter().find(|key| key.name() == name)?;
        key.describe().ok()
    }
}

/// Reads a file that the user named; an error contains its path.
pub(super) fn read(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

impl Signer for Keys {
    fn sign(
        &mut self,
        key: &str,
        algorithm: SigningAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        let found = self.0.iter().find(|found| found.name() == key);
        let found = found.ok_or(Refused)?;
        found.sign(algorithm, input).map_err(|_| Refused)
    }
}
