//! Recordings that users keep must replay with every later version.

use mcp_auth_machine::wire::pkce::Seed;

use crate::support::*;

/// A recording holds the seed of an attempt and the callback that answered it, so the way from one to the
/// other is part of the format: the first 32 of the 48 bytes are the verifier, the last 16 are the state, as
/// they are. A use of more entropy (such as a key that no server learns) takes more bytes, in a longer seed; it
/// does not derive the state from something else.
#[test]
fn the_state_of_a_recorded_seed_stays_what_it_was() {
    let mut host = Host::new(config());
    host.challenged(401, &[&announcing()]);
    host.need_user();
    let seed: [u8; 48] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    host.authorize_with(Seed::new(seed).unwrap().into());
    host.serve(PRM, 200, &prm());
    host.serve(META, 200, &metadata());
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    assert_eq!(state_of(&redirect), "ICEiIyQlJicoKSorLC0uLw");
}
