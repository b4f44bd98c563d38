//! Storms: one kind of mischief again and again, with honest progress between, for ever. However long it
//! lasts, the machine sends and asks no more than its budgets allow (S22, L03, L08), and heals after it.

use crate::support::world::{Client, How, Move, Said, Setup, World};

/// The response that a storm gives to every request of one kind, and the MCP server's constant answer.
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
        "d08 every token is wanted again",
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
/// How long a storm lasts, in seconds: as long as failures are remembered.
const SECONDS: u32 = 580;
/// Requests to authorization servers, and redirects, that a storm may cost: far fewer than a loop would
/// make. After a failure nothing comes from a cache, so the documents are among them. Two redirects cost the operation
/// nothing: one that ended because its client was forgotten, and the one that replaces it (STEP-07).
const REQUESTS: u32 = 80;
const REDIRECTS: u32 = 5;

#[test]
fn s22_l03_l08_storms_are_weathered() {
    let clients = [
        Client::Dynamic,
        Client::Document,
        Client::Registered,
        Client::Credentials,
    ];
    for client in clients {
        for storm in STORMS {
            for signed_in in [false, true] {
                weather(client, *storm, signed_in);
            }
        }
    }
}

fn weather(client: Client, storm: Storm, signed_in: bool) {
    let mut world = World::new(Setup::new(client, 1));
    if signed_in {
        while world.facts.count("ready at a") == 0 {
            let (at, said) = (0, Said::Honest);
            let next = world.honest().unwrap_or(Move::Resource { at, said });
            world.apply(next);
        }
    }
    let (mut requests, mut redirects, mut consents, mut seconds) = (0, 0, 0, 0);
    // The MCP server is asked every other second; everything in between takes no time.
    while seconds < SECONDS {
        let Some(next) = world.honest() else {
            let (at, said) = (0, storm.said);
            world.apply(Move::Wait(2));
            seconds += 2;
            world.apply(Move::Resource { at, said });
            continue;
        };
        let met = world.next_action(next);
        let next = match next {
            Move::Answer { at, action, how } => {
                let asks = met.starts_with("NeedUser");
                consents += u32::from(asks);
                // Requests for the resource's metadata follow from the MCP server's own challenges and do not count.
                let elsewhere = !met.contains("resource_metadata");
                requests += u32::from(met.starts_with("SendRequest") && elsewhere);
                redirects += u32::from(met.starts_with("Redirect"));
                // A loop without a pause would never advance the clock.
                seconds += u32::from(requests > REQUESTS);
                let how = match met.contains(storm.at) {
                    true => storm.how,
                    false if asks && consents > CONSENTS => How::Forgotten,
                    false => how,
                };
                if asks {
                    world.apply(Move::Wait(1));
                    seconds += 1;
                }
                Move::Answer { at, action, how }
            }
            other => other,
        };
        world.apply(next);
    }
    let name = storm.name;
    println!("{name}, {client:?}: {requests} requests, {redirects} redirects");
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
