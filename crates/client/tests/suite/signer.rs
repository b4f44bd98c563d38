//! Software keys. Their signatures are verified with another library in `crates/cli/tests/npm/verify.mjs`.

use mcp_auth_client::signer::{SoftwareKey, SoftwareKeyFlaw};
use mcp_auth_machine::wire::words::SigningAlgorithm;

#[test]
fn dpop_19_keys_sign_with_what_they_are_made_for() {
    let key = SoftwareKey::generate("k").unwrap();
    assert_eq!(key.name(), "k");
    assert_eq!(key.sign(SigningAlgorithm::Es256, b"x").unwrap().len(), 64);
    for other in [
        SigningAlgorithm::EdDsa,
        SigningAlgorithm::Ed25519,
        SigningAlgorithm::Ps256,
        SigningAlgorithm::Rs256,
    ] {
        assert_eq!(
            key.sign(other, b"x").unwrap_err(),
            SoftwareKeyFlaw::Algorithm
        );
    }
    assert_eq!(key.describe().unwrap().name(), "k");
    // Keys differ, and `Debug` shows no key.
    let other = SoftwareKey::generate("k").unwrap();
    assert_ne!(key.describe().unwrap(), other.describe().unwrap());
    assert_eq!(format!("{key:?}"), "SoftwareKey(\"k\")");
}

#[test]
fn keys_that_are_none() {
    for (pem, flaw) in [
        ("", SoftwareKeyFlaw::Pem),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            SoftwareKeyFlaw::Pem,
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            SoftwareKeyFlaw::Kind,
        ),
    ] {
        assert_eq!(SoftwareKey::from_pem("k", pem).unwrap_err(), flaw, "{pem}");
    }
}
