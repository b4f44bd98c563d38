//! Sizes: a process may hold thousands of idle machines, and a store their records.

use std::mem::size_of;

use mcp_auth_machine::{Action, AuthMachine, Event};

use crate::support::*;

/// SEC-13
#[test]
fn a_machine_is_small() {
    let size = size_of::<AuthMachine>();
    assert!(size <= 1_024, "{size} bytes");
    assert!(size_of::<Action>() <= 304 && size_of::<Event>() <= 192);
}

#[test]
fn records_of_an_ordinary_flow_are_short() {
    let mut host = Host::new(config());
    host.to_redirect();
    let longest = |host: &Host, kind: &str| {
        let records = host.store.of_kind(kind);
        let lengths = records.iter().map(|record| record.contents.expose().len());
        lengths.max().unwrap()
    };
    assert!(longest(&host, "pending") <= 900);
    assert!(longest(&host, "registration") <= 320);
    let mut host = Host::new(config());
    host.sign_in();
    assert!(longest(&host, "account") <= 900);
}
