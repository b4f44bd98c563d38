//! The driver contract: a loop as hosts write it passes, and each fault is caught by the rule for it.

use mcp_auth_testing::contract::{Rule, check, check_only};

use crate::own_driver::{Fault, OwnDriver};

#[test]
fn a_loop_of_a_host_passes() {
    let report = check(|config, store| OwnDriver::new(config, store, None)).unwrap();
    let kept = report.kept.len() + report.skipped.len();
    assert_eq!(kept, Rule::ALL.len(), "{report}");
}

/// Each fault, and the rule that catches it.
const FAULTS: [(Fault, Rule); 19] = [
    (Fault::FollowsRedirects, Rule::NoRedirects),
    (Fault::DropsFailedRequests, Rule::Answers),
    (Fault::RetriesRequests, Rule::CodeOnce),
    (Fault::IgnoresBodyLimit, Rule::BodyLimit),
    (Fault::IgnoresTimeLimit, Rule::TimeLimit),
    (Fault::IgnoresAddresses, Rule::Addresses),
    (Fault::SendsStaleBearer, Rule::FreshToken),
    (Fault::ForgetsSentToken, Rule::FreshToken),
    (Fault::KeepsSuccessToItself, Rule::FreshToken),
    (Fault::SendsBearerAnywhere, Rule::OwnResource),
    (Fault::SendsCookies, Rule::Exactly),
    (Fault::SendsFormWithoutType, Rule::Exactly),
    (Fault::PicksOutTheCode, Rule::WholeCallback),
    (Fault::ReportsWritesEarly, Rule::SlotOrder),
    (Fault::ReportsFailedWritesAsDone, Rule::FailedWrites),
    (Fault::IgnoresRevisions, Rule::CompareAndSwap),
    (Fault::DropsSignatures, Rule::MissingKeys),
    (Fault::RenewsEachTime, Rule::SignsIn),
    (Fault::NeverWakes, Rule::Timer),
];

#[test]
fn every_fault_is_caught() {
    let running: Vec<_> = FAULTS
        .into_iter()
        .map(|(fault, rule)| {
            std::thread::spawn(move || {
                let make = move |config, store| OwnDriver::new(config, store, Some(fault));
                (fault, rule, check_only(&[rule], make))
            })
        })
        .collect();
    let mut missed = Vec::new();
    for run in running {
        let (fault, rule, result) = run.join().unwrap();
        match result {
            Err(violations) => {
                assert!(violations.0.iter().all(|(found, _)| *found == rule));
                println!("{fault:?}: {violations}");
            }
            // The machine of the test may have no such name.
            Ok(report) if !report.skipped.is_empty() => println!("{fault:?}: {report}"),
            Ok(_) => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
