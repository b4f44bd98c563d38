//! Proofs of possession (RS-09, RS-10, AS-19): each check of RFC 9449 section 4.3, nonces and replays.

use std::time::Duration;

use mcp_auth_server::{
    DpopAlgorithms, NonceKey, ProofChecker, ProofError, ProofSubject, ReplayWindow,
};
use serde_json::{Value, json};

use crate::issuer::{Key, NOW, ed25519, proof_claims};

const URL: &str = "https://mcp.example/mcp";

fn checker() -> ProofChecker {
    ProofChecker::new(&DpopAlgorithms::new(["ES256"]).unwrap()).unwrap()
}

const SUBJECT: ProofSubject<'_> = ProofSubject {
    method: "POST",
    url: URL,
    token: Some("at-1"),
};

fn claims() -> Value {
    proof_claims("POST", URL, Some("at-1"), "j-1")
}

fn with(name: &str, value: Value) -> Value {
    let mut all = claims();
    all[name] = value;
    all
}

#[test]
fn rs_09_as_19_each_check_of_a_proof() {
    let (key, other) = (Key::new("k"), Key::new("o"));
    let checker = checker();
    let proof = checker.check(&key.proof(&claims()), &SUBJECT, NOW).unwrap();
    assert_eq!(proof.thumbprint(), key.thumbprint());
    // Normalised, and without query and fragment.
    for url in [
        "https://MCP.example:443/mcp?x=1#f",
        "https://mcp.example/a/../mcp",
    ] {
        let proof = key.proof(&with("htu", json!(url)));
        assert!(checker.check(&proof, &SUBJECT, NOW).is_ok(), "{url}");
    }
    for (changed, error) in [
        (with("htm", json!("GET")), ProofError::Request),
        (with("htm", json!("post")), ProofError::Request),
        (
            with("htu", json!("https://mcp.example/mcp/")),
            ProofError::Request,
        ),
        (
            with("htu", json!("https://evil.example/mcp")),
            ProofError::Request,
        ),
        (
            with("htu", json!("http://mcp.example/mcp")),
            ProofError::Request,
        ),
        (with("htu", json!("not a URL")), ProofError::Request),
        (with("iat", json!(NOW.as_secs() - 301)), ProofError::Time),
        (with("iat", json!(NOW.as_secs() + 301)), ProofError::Time),
        (with("iat", json!("now")), ProofError::Time),
        (with("iat", Value::Null), ProofError::Time),
        (with("ath", json!("x")), ProofError::AccessToken),
        (with("ath", Value::Null), ProofError::AccessToken),
        (with("jti", json!("")), ProofError::Malformed),
        (with("jti", Value::Null), ProofError::Malformed),
    ] {
        let found = checker.check(&key.proof(&changed), &SUBJECT, NOW);
        assert_eq!(found.unwrap_err(), error, "{changed}");
    }
    let (_, ed) = ed25519();
    let mut private = key.jwk();
    private["d"] = json!("AAAA");
    for (header, error) in [
        (
            json!({ "alg": "ES256", "typ": "JWT", "jwk": key.jwk() }),
            ProofError::Malformed,
        ),
        (
            json!({ "alg": "ES256", "jwk": key.jwk() }),
            ProofError::Malformed,
        ),
        (
            json!({ "alg": "ES256", "typ": "dpop+jwt" }),
            ProofError::Malformed,
        ),
        (
            json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": private }),
            ProofError::Malformed,
        ),
        (
            json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": { "kty": "oct", "k": "AA" } }),
            ProofError::Malformed,
        ),
        (
            json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": key.jwk(), "crit": ["exp"] }),
            ProofError::Malformed,
        ),
        (
            json!({ "alg": "none", "typ": "dpop+jwt", "jwk": key.jwk() }),
            ProofError::Malformed,
        ),
        (
            json!({ "alg": "HS256", "typ": "dpop+jwt", "jwk": key.jwk() }),
            ProofError::Malformed,
        ),
        (
            json!({ "alg": "EdDSA", "typ": "dpop+jwt", "jwk": ed }),
            ProofError::Algorithm,
        ),
        (
            json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": other.jwk() }),
            ProofError::Signature,
        ),
    ] {
        let found = checker.check(&key.sign(&header, &claims()), &SUBJECT, NOW);
        assert_eq!(found.unwrap_err(), error, "{header}");
    }
    // An algorithm that is advertised is one that is verified.
    for name in ["ES512", "ES256K", "Ed448"] {
        let advertised = DpopAlgorithms::new(["ES256", name]).unwrap();
        assert!(ProofChecker::new(&advertised).is_none(), "{name}");
    }
}

#[test]
fn rs_10_nonces_are_of_this_server_and_current() {
    let key = Key::new("k");
    let nonces = || NonceKey::new(&[7; 32]);
    let checker = checker().with_nonces(nonces());
    let current = checker.nonce(NOW).unwrap();
    let current = current.header().to_str().unwrap();
    let ask = |nonce: Value, now| checker.check(&key.proof(&with("nonce", nonce)), &SUBJECT, now);
    assert!(ask(json!(current), NOW).is_ok());
    assert!(ask(json!(current), NOW + Duration::from_secs(299)).is_ok());
    for (nonce, now) in [
        (json!(current), NOW + Duration::from_secs(300)),
        (json!(current), NOW - Duration::from_secs(1)),
        (json!(""), NOW),
        (Value::Null, NOW),
        (
            json!(
                NonceKey::new(&[8; 32])
                    .issue(NOW)
                    .unwrap()
                    .header()
                    .to_str()
                    .unwrap()
            ),
            NOW,
        ),
    ] {
        assert_eq!(
            ask(nonce.clone(), now).unwrap_err(),
            ProofError::Nonce,
            "{nonce}"
        );
    }
    let missing = checker.check(&key.proof(&claims()), &SUBJECT, NOW);
    assert_eq!(missing.unwrap_err(), ProofError::Nonce);
}

#[test]
fn rs_10_a_proof_is_spent_once_in_bounded_space() {
    let key = Key::new("k");
    let checker = checker();
    let proof = |jti: &str| {
        let claims = proof_claims("POST", URL, Some("at-1"), jti);
        checker.check(&key.proof(&claims), &SUBJECT, NOW).unwrap()
    };
    let mut window = ReplayWindow::new(2);
    assert_eq!(window.spend(&proof("a"), NOW), Ok(()));
    assert_eq!(window.spend(&proof("a"), NOW), Err(ProofError::Replayed));
    // The same identifier of another key is another proof.
    let other = Key::new("o");
    let claims = proof_claims("POST", URL, Some("at-1"), "a");
    let theirs = checker.check(&other.proof(&claims), &SUBJECT, NOW).unwrap();
    assert_eq!(window.spend(&theirs, NOW), Ok(()));
    assert_eq!(window.spend(&proof("b"), NOW), Err(ProofError::Full));
    // Until it has expired, also for a request that came before and was verified since.
    let last = NOW + Duration::from_secs(300);
    assert_eq!(window.spend(&proof("a"), last), Err(ProofError::Replayed));
    let later = last + Duration::from_secs(30);
    assert_eq!(window.spend(&proof("b"), later), Err(ProofError::Full));
    assert_eq!(window.spend(&proof("a"), last), Err(ProofError::Replayed));
    let over = last + Duration::from_secs(61);
    assert_eq!(window.spend(&proof("b"), over), Ok(()));
}
