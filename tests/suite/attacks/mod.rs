//! The attacks of `docs/threats.md`, section 1: what is not shown elsewhere, and the list of all of them.

mod a_issuer;
mod b_callback;
mod b_overlap;
mod c_registration;
mod d_storage;
mod d_tokens;
mod e_challenges;
mod f_urls;
mod g_limits;
mod g_parsers;
mod h_boundary;
mod i_leakage;
mod i_sources;
mod list;

use mcp_auth_machine::Action;
use mcp_auth_machine::action::Redirect;
use mcp_auth_machine::wire::pkce::Verifier;

use crate::support::*;

pub const B: &str = "https://b.example";
pub const B_META: &str = "https://b.example/.well-known/oauth-authorization-server";
pub const B_REGISTER: &str = "https://b.example/register";
pub const B_TOKEN: &str = "https://b.example/token";
pub const ADVERTISED: &str = r#","authorization_response_iss_parameter_supported":true"#;
pub const HOUR: u64 = 3_600_000;

/// The resource names this issuer.
pub fn prm_of(issuer: &str) -> String {
    prm().replace(AS, issuer)
}

/// Refused, with the place of the metadata, and consent.
#[track_caller]
pub fn asked(host: &mut Host) {
    host.ask(&announcing());
}

/// The stored account record.
pub fn account(host: &Host) -> String {
    host.store.of_kind("account")[0]
        .contents
        .expose()
        .to_owned()
}

/// The requests that wait to be sent.
pub fn requests(host: &Host) -> usize {
    let is = |action: &&Action| matches!(action, Action::SendRequest(_));
    host.actions.iter().filter(is).count()
}

/// Whether a token request carries the verifier of this redirect, and of no other.
pub fn verifies(form: &[(String, String)], redirect: &Redirect) -> bool {
    let verifier = Verifier::from_text(&get(form, "code_verifier").unwrap()).unwrap();
    let challenge = get(&query(redirect.url.as_str()), "code_challenge").unwrap();
    verifier.challenge().as_str() == challenge
}
