//! Histories and their judge: the machine passes, and layers of a host that break a property do not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::HeaderValue;
use mcp_auth_machine::time::MonoMillis;
use mcp_auth_machine::{Action, AuthMachine, Event, Moment};
use mcp_auth_testing::TestHost;
use mcp_auth_testing::histories::{History, Outside, Step, System, any_history, any_outside, run};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_machine_passes_every_history(history in any_history(60)) {
        run(&history, |config, now| AuthMachine::new(config, "alice", now));
    }
}

/// CHAL-07: a challenge may name any place for the metadata, and its scheme need not be known.
#[test]
fn a_place_that_a_challenge_names_is_asked() {
    for named in [
        r#"Basic realm="x"resource_metadata="https://elsewhere.example/metadata""#,
        "Bearer resource_metadata=/relativeBearer",
    ] {
        let challenged = Outside::Challenged {
            status: 401,
            www_authenticate: vec![named.to_owned()],
            sent: None,
        };
        let steps = [Step::Outside(challenged), Step::Authorize, Step::Next];
        let summary = run(&History(steps.into()), |config, now| {
            AuthMachine::new(config, "alice", now)
        });
        assert!(summary.requests > 1, "{named}: {summary:?}");
    }
}

#[test]
fn an_ordinary_history_ends_with_a_token() {
    let summary = run(&History::default(), |config, now| {
        AuthMachine::new(config, "alice", now)
    });
    assert_eq!(
        (summary.redirects, summary.ready, summary.failures),
        (1, 1, 0)
    );
    assert_eq!(summary.requests, 4);
}

/// Histories get somewhere: a judge that never sees a token proves nothing.
#[test]
fn histories_reach_tokens_refreshes_and_failures() {
    let mut runner = TestRunner::deterministic();
    let strategy = any_history(100);
    let mut reached = [0; 3];
    for _ in 0..200 {
        let history = strategy.new_tree(&mut runner).unwrap().current();
        let summary = run(&history, |config, now| {
            AuthMachine::new(config, "alice", now)
        });
        reached[0] += usize::from(summary.ready > 2);
        reached[1] += usize::from(summary.redirects > 2);
        reached[2] += usize::from(summary.failures > 0);
    }
    assert!(reached.iter().all(|count| *count > 30), "{reached:?}");
}

#[test]
fn bytes_are_histories() {
    for length in [0_usize, 1, 2, 77, 1_000] {
        let bytes: Vec<u8> = (0..length)
            .map(|at| u8::try_from(at * 37 % 251).unwrap())
            .collect();
        let history = History::from_bytes(&bytes);
        assert!(history.0.len() <= (length / 2).min(400));
        assert_eq!(history.0.is_empty(), length < 2);
        run(&history, |config, now| {
            AuthMachine::new(config, "alice", now)
        });
    }
}

/// Any bytes: those of a fuzzer, of which both generators make the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_u32;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(next).collect()
}

/// Steps with an event from outside, and events of each kind, are among those that noise leads to.
#[test]
fn histories_have_events_of_every_kind() {
    let bytes = noise(8_000);
    let mut kinds = std::collections::BTreeSet::new();
    for part in bytes.chunks(400) {
        for step in History::from_bytes(part).0 {
            if let Step::Outside(event) = step {
                let name = format!("{event:?}");
                kinds.insert(name.split([' ', '(']).next().unwrap().to_owned());
            }
        }
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

/// `arbitrary` and `from_bytes` make the same history of a fuzzer's bytes, and the machine passes it, whatever its length.
#[cfg(feature = "arbitrary")]
#[test]
fn arbitrary_reads_the_same_choices() {
    use arbitrary::{Arbitrary as _, Unstructured};

    let bytes = noise(3_000);
    for length in [0, 1, 2, 3, 50, 700, 3_000] {
        let bytes = &bytes[..length];
        let history = History::arbitrary_take_rest(Unstructured::new(bytes)).unwrap();
        assert_eq!(history, History::from_bytes(bytes));
        let mut rest = Unstructured::new(bytes);
        let steps: Vec<Step> = std::iter::from_fn(|| {
            (rest.len() >= 2 && length <= 700).then(|| Step::arbitrary(&mut rest).unwrap())
        })
        .collect();
        if length <= 700 {
            assert_eq!(steps, history.0);
        }
        let history = History::arbitrary(&mut Unstructured::new(bytes)).unwrap();
        run(&history, |config, now| {
            AuthMachine::new(config, "alice", now)
        });
        let event = Outside::arbitrary(&mut Unstructured::new(bytes)).unwrap();
        let mut machine = TestHost::new(mcp_auth_machine::Config::builder(
            mcp_auth_testing::documents::MCP,
            mcp_auth_testing::documents::REDIRECT,
        ));
        machine.handle(event.event());
        machine.actions.clear();
    }
}

proptest! {
    /// Events from outside alone lead to no request with a code, whatever came before.
    #[test]
    fn events_from_outside_bring_no_code_anywhere(
        events in proptest::collection::vec(any_outside(), 0..12)
    ) {
        let config = mcp_auth_machine::Config::builder(
            mcp_auth_testing::documents::MCP,
            mcp_auth_testing::documents::REDIRECT,
        );
        let mut host = TestHost::new(config);
        for event in &events {
            host.handle(event.event());
        }
        let text = host.playbook().text();
        host.actions.clear();
        prop_assert!(!text.contains("code="), "{text}");
    }
}

/// A fault of a layer around the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Clearing a slot is reported as done, and never reaches the store.
    KeepsRecords,
    /// The token is returned for any URL.
    AnyUrl,
    /// Events after the first failure of a request are lost.
    Deaf,
}

struct Layer {
    machine: AuthMachine,
    fault: Fault,
    is_deaf: bool,
}

impl System for Layer {
    fn handle(&mut self, now: Moment, event: Event) {
        if self.fault == Fault::Deaf {
            if let Event::HttpResponse(reply) = &event {
                self.is_deaf |= reply.response().is_none();
            }
            if self.is_deaf {
                return;
            }
        }
        self.machine.handle(now, event);
    }

    fn poll_action(&mut self) -> Option<Action> {
        loop {
            match self.machine.poll_action()? {
                Action::PersistSlot(persist)
                    if self.fault == Fault::KeepsRecords && persist.write().is_none() =>
                {
                    let now = mcp_auth_testing::moment(1_800_000_000_000, 1_000);
                    self.machine.handle(now, persist.done());
                }
                action => return Some(action),
            }
        }
    }

    fn deadline(&self) -> Option<MonoMillis> {
        self.machine.deadline()
    }

    fn bearer(&mut self, now: Moment, url: &str) -> Option<HeaderValue> {
        let url = match self.fault {
            Fault::AnyUrl => "https://mcp.example/mcp",
            _ => url,
        };
        self.machine.bearer(now, url).ok()
    }
}

/// Returns the findings of the first history that has any.
fn found(fault: Fault) -> Option<String> {
    let mut runner = TestRunner::deterministic();
    let strategy = any_history(60);
    for _ in 0..Config::default().cases * 8 {
        let history = strategy.new_tree(&mut runner).unwrap().current();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run(&history, |config, now| Layer {
                machine: AuthMachine::new(config, "alice", now),
                fault,
                is_deaf: false,
            })
        }));
        if let Err(payload) = outcome {
            return payload.downcast::<String>().ok().map(|text| *text);
        }
    }
    None
}

#[test]
fn a_layer_that_breaks_a_property_is_caught() {
    for (fault, property) in [
        (Fault::KeepsRecords, "S04: "),
        (Fault::AnyUrl, "S30: "),
        (Fault::Deaf, "L01: "),
    ] {
        let text = found(fault).unwrap_or_else(|| panic!("{fault:?} is not caught"));
        assert!(text.starts_with(property), "{fault:?}: {text}");
    }
}

#[test]
fn a_secret_of_one_server_at_another_is_found() {
    use mcp_auth_machine::Config;
    use mcp_auth_machine::config::PreRegistered;
    use mcp_auth_testing::histories::Oracle;
    use mcp_auth_testing::{TestHost, documents};

    let oracle = Oracle::new();
    oracle.callback(
        "https://client.example/?code=of-another-server",
        "https://other.example",
    );
    // A host that confuses its servers: the text of one is configured as the secret for the other.
    let client = PreRegistered::new("c1").secret("of-another-server");
    let config = Config::builder(documents::MCP, documents::REDIRECT)
        .pre_registered(documents::ISSUER, client);
    let mut host = TestHost::new(config);
    host.refused(401, "Bearer");
    host.need_user();
    host.authorize();
    host.serve(documents::PRM, 200, &documents::resource());
    let more =
        serde_json::json!({ "token_endpoint_auth_methods_supported": ["client_secret_basic"] });
    host.serve(
        documents::METADATA,
        200,
        &documents::metadata_of(documents::ISSUER, &more),
    );
    let redirect = host.redirect();
    host.callback(&redirect, "code=abcd");
    let action = host.next_action();
    oracle.action(&action);
    let findings = oracle.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].property, "S01");
}
