//! For each answer of each flow, one fault of every kind; then pairs. The operations of the store are among them,
//! each with each outcome.

use std::collections::{BTreeMap, BTreeSet};

use super::flows::{FLOWS, Run};
use super::{Case, judge};
use crate::effort::effort;
use crate::support::world::{How, Move};

/// Every place of every flow at which something is waited for, with each answer that is not the honest one.
fn singles() -> Vec<Case> {
    let mut cases = Vec::new();
    for flow in FLOWS {
        let mut run = Run::new(*flow);
        for steps in 0..400 {
            for first in run.world.faults() {
                cases.push(Case {
                    flow: *flow,
                    steps,
                    first,
                    then: None,
                });
            }
            if !run.step() {
                break;
            }
        }
    }
    cases
}

#[test]
fn s01_to_s39_l01_hold_after_each_fault_of_each_answer() {
    let cases = singles();
    let every = usize::try_from(effort(12, 1, 1)).unwrap();
    let cases: Vec<Case> = cases.into_iter().step_by(every).collect();
    let mut kinds: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for case in &cases {
        if let Move::Answer { how, .. } = case.first {
            let mut run = Run::after(case.flow, case.steps);
            let state = run.world.state(0);
            let kind = run.world.kind_of(case.first);
            kinds
                .entry(kind)
                .or_default()
                .insert(format!("{state} {how:?}"));
        }
    }
    let states: BTreeSet<&str> = kinds
        .values()
        .flatten()
        .filter_map(|met| met.split([',', ' ']).next())
        .collect();
    let counts: Vec<String> = kinds
        .iter()
        .map(|(kind, met)| format!("{} of {kind}", met.len()))
        .collect();
    let count = cases.len();
    println!(
        "answers: {count} cases in {} flows, in {} states; states and outcomes met: {}",
        FLOWS.len(),
        states.len(),
        counts.join(", ")
    );
    judge(&cases);
}

/// An operation of the store fails, and a person asks to sign in before anything else is tried: healing asks for a token
/// first, and so brings a new refusal before the redirect that would show a client which was to be forgotten (S39).
#[test]
fn s39_l01_hold_when_a_person_asks_after_each_failed_operation_of_the_store() {
    let fails = |case: &Case| {
        matches!(
            case.first,
            Move::Answer {
                how: How::Fails,
                ..
            }
        )
    };
    let mut cases = Vec::new();
    let every = usize::try_from(effort(6, 1, 1)).unwrap();
    for case in singles().into_iter().filter(fails).step_by(every) {
        let mut run = Run::after(case.flow, case.steps);
        let kind = run.world.kind_of(case.first);
        if !["loads", "writes"].contains(&kind) {
            continue;
        }
        // At once, and when what was under way has ended.
        run.world.apply(case.first);
        let mut rest = 0;
        while run.world.is_busy(0) && rest < 40 && run.step() {
            rest += 1;
        }
        for more in if rest == 0 { vec![0] } else { vec![0, rest] } {
            let then = Some((more, Move::Click(0)));
            cases.push(Case { then, ..case });
        }
    }
    println!("failed operations, and a person: {} cases", cases.len());
    judge(&cases);
}

/// Two faults, the second at one of the places that the first leads to.
#[test]
fn s01_to_s39_l01_hold_after_pairs_of_faults() {
    let singles = singles();
    let every = usize::try_from(effort(400, 40, 1)).unwrap();
    // How far apart the two are, at most, and how many of the second are tried.
    let (far, tried) = match effort(0, 1, 2) {
        2 => (24, usize::MAX),
        _ => (8, 2),
    };
    let mut cases = Vec::new();
    for (number, single) in singles.iter().enumerate().step_by(every) {
        let mut run = Run::after(single.flow, single.steps);
        let mut further = || {
            run.world.apply(single.first);
            for more in 0..far {
                // Other ones for each of the first, so that all are met.
                let faults = run.world.faults();
                let from = number.checked_rem(faults.len()).unwrap_or_default();
                for second in faults
                    .iter()
                    .cycle()
                    .skip(from)
                    .take(tried.min(faults.len()))
                {
                    cases.push(Case {
                        then: Some((more, *second)),
                        ..*single
                    });
                }
                if !run.step() {
                    break;
                }
            }
        };
        let _judged_by_the_other_sweep = crate::quiet::violation(&mut further);
    }
    println!("pairs: {} cases", cases.len());
    judge(&cases);
}
