//! Storms: one kind of mischief again and again, with honest progress between, for ever. However long it
//! lasts, the machine sends and asks no more than its budgets allow (S22, L03, L08), and heals after it.

use crate::support::world::{Client, How, Move, Return, Said, Setup, World};

/// The answer that a storm gives to every request of one kind, and what the MCP server goes on saying.
#[derive(Clone, Copy, Debug)]
struct Storm {
    name: &'static str,
    /// Part of the URL of the requests that meet it.
    at: &'static str,
    how: How,
    said: Said,
}

const STORMS: &[Storm] = &[
    storm(
        "c08 every token request: invalid_client",
        "/token",
        How::Refused(1),
        Said::Unauthorized,
    ),
    storm(
        "every token request: invalid_grant",
        "/token",
        How::Refused(0),
        Said::Unauthorized,
    ),
    storm(
        "l10 every token request: 500",
        "/token",
        How::Busy(500),
        Said::Unauthorized,
    ),
    storm(
        "every token request: lost",
        "/token",
        How::Lost,
        Said::Wanted,
    ),
    storm(
        "every token request: redirected",
        "/token",
        How::Redirected,
        Said::Unauthorized,
    ),
    storm(
        "every registration: refused",
        "/register",
        How::Refused(4),
        Said::Unauthorized,
    ),
    storm(
        "every document: 500",
        "/.well-known/",
        How::Busy(500),
        Said::Unauthorized,
    ),
    storm(
        "every document: redirected",
        "/.well-known/",
        How::Redirected,
        Said::Unauthorized,
    ),
    storm(
        "every document: too large",
        "/.well-known/",
        How::TooLarge,
        Said::Unauthorized,
    ),
    storm(
        "e08 every token is refused",
        "/nowhere",
        How::Honest,
        Said::Unauthorized,
    ),
    storm(
        "e02 every token lacks scopes",
        "/nowhere",
        How::Honest,
        Said::Forbidden(2),
    ),
    storm(
        "d08 every token is wanted anew",
        "/nowhere",
        How::Honest,
        Said::Wanted,
    ),
];

const fn storm(name: &'static str, at: &'static str, how: How, said: Said) -> Storm {
    Storm {
        name,
        at,
        how,
        said,
    }
}

/// How often the user says yes.
const CONSENTS: u32 = 6;
/// Requests, and redirects, that ten minutes of a storm may cost: far fewer than a loop would make.
const REQUESTS: u32 = 400;
const REDIRECTS: u32 = 12;

#[test]
fn s22_l03_l08_storms_are_weathered() {
    for client in [
        Client::Dynamic,
        Client::Document,
        Client::Registered,
        Client::Credentials,
    ] {
        for storm in STORMS {
            weather(client, *storm);
        }
    }
}

fn weather(client: Client, storm: Storm) {
    let mut world = World::new(Setup {
        client,
        instances: 1,
    });
    let (mut requests, mut redirects, mut consents) = (0, 0, 0);
    // An event every other second or so, for ten minutes.
    for step in 0..3_000_u32 {
        let Some(next) = world.honest() else {
            let (at, said) = (0, storm.said);
            world.apply(Move::Resource { at, said });
            if step.is_multiple_of(2) {
                world.apply(Move::Wait(if step < 600 { 1 } else { 0 }));
            }
            continue;
        };
        let met = world.next_action(next);
        let next = match next {
            Move::Answer { at, action, how } => {
                let asks = met.starts_with("NeedUser");
                consents += u32::from(asks);
                let how = match met.contains(storm.at) {
                    true => storm.how,
                    false if asks && consents > CONSENTS => How::Forgotten,
                    false => how,
                };
                requests += u32::from(met.starts_with("SendRequest"));
                redirects += u32::from(met.starts_with("Redirect"));
                Move::Answer { at, action, how }
            }
            Move::Return { visit, at, .. } => {
                let how = Return::Honest;
                Move::Return { visit, at, how }
            }
            other => other,
        };
        world.apply(next);
    }
    let name = storm.name;
    assert!(
        requests <= REQUESTS,
        "S22: {name}, {client:?}: {requests} requests"
    );
    assert!(
        redirects <= REDIRECTS,
        "S22: {name}, {client:?}: {redirects} redirects"
    );
    world.heal();
}
