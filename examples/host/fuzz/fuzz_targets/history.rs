//! Random histories of the host's own layer around the machine.

#![no_main]

use example_host::Session;
use http::HeaderValue;
use mcp_auth_machine::time::MonoMillis;
use mcp_auth_machine::{Action, Event, Moment};
use mcp_auth_testing::histories::System;

struct Fuzzed(Session);

impl System for Fuzzed {
    fn handle(&mut self, now: Moment, event: Event) {
        self.0.handle(now, event);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.0.poll_action()
    }

    fn deadline(&self) -> Option<MonoMillis> {
        self.0.deadline()
    }

    fn bearer(&mut self, now: Moment, url: &str) -> Option<HeaderValue> {
        self.0.machine().bearer(now, url).ok()
    }
}

mcp_auth_testing::fuzz_history!(|config, now| Fuzzed(Session::new(config, now)));
