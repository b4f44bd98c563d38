//! For each state, with and without a token, each event on top of each that waits already.

use std::collections::BTreeMap;

use mcp_auth_machine::Phase;

use super::flows::{FLOWS, Flow, Run};
use super::{Case, judge};
use crate::effort::effort;
use crate::support::world::EVENTS;

/// The first place in the flows at which each state is met.
fn places() -> BTreeMap<String, (Flow, usize, usize)> {
    let mut places = BTreeMap::new();
    for flow in FLOWS {
        let mut run = Run::new(*flow);
        for steps in 0..400 {
            let at = run.world.busy();
            let state = run.world.state(at);
            places.entry(state).or_insert((*flow, steps, at));
            if !run.step() {
                break;
            }
        }
    }
    places
}

#[test]
fn s01_to_s39_l01_hold_for_each_event_on_each_that_waits_in_each_state() {
    let places = places();
    let unmet = |name: &&&str| !places.keys().any(|place| place.starts_with(**name));
    let unmet: Vec<_> = Phase::NAMES.iter().filter(unmet).collect();
    assert!(unmet.is_empty(), "in no flow: {unmet:?}");
    let every = usize::try_from(effort(12, 1, 1)).unwrap();
    let mut cases = Vec::new();
    for (flow, steps, at) in places.values() {
        for first in EVENTS {
            cases.push(Case {
                flow: *flow,
                steps: *steps,
                first: first.at(*at),
                then: None,
            });
            for second in EVENTS {
                let then = Some((0, second.at(*at)));
                cases.push(Case {
                    flow: *flow,
                    steps: *steps,
                    first: first.at(*at),
                    then,
                });
            }
        }
    }
    let all = cases.len();
    let cases: Vec<Case> = cases.into_iter().step_by(every).collect();
    println!(
        "events: {} states, {} events, alone and on each other: {} of {all} cases",
        places.len(),
        EVENTS.len(),
        cases.len(),
    );
    judge(&cases);
}

/// With another event between two, or after some steps: on demand.
#[test]
fn s01_to_s39_l01_hold_for_events_some_steps_apart() {
    let every = usize::try_from(effort(2_000, 150, 7)).unwrap();
    let mut cases = Vec::new();
    for (flow, steps, at) in places().values() {
        for first in EVENTS {
            for second in EVENTS {
                for apart in 1..12 {
                    cases.push(Case {
                        flow: *flow,
                        steps: *steps,
                        first: first.at(*at),
                        then: Some((apart, second.at(*at))),
                    });
                }
            }
        }
    }
    let cases: Vec<Case> = cases.into_iter().step_by(every).collect();
    println!("events apart: {} cases", cases.len());
    judge(&cases);
}
