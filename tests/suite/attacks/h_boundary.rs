//! Hosts that are clumsy (1.H), beside `boundary`, `cells` and `rules`.

use std::marker::PhantomData;

use mcp_auth_machine::action::{
    LoadSlot, ObtainAssertion, PersistSlot, Prepared, SendRequest, Sign,
};
use mcp_auth_machine::event::{Authorization, Challenge};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{AuthMachine, Event};

use super::*;

#[test]
fn h08_events_before_anything_is_drained_wait_for_their_turn() {
    let now = mcp_auth_testing::moment(1_800_000_000_000, 1_000);
    let mut machine = AuthMachine::new(config().build().unwrap(), "alice", now);
    let challenge = || Challenge::new("x", 401, http::HeaderMap::new());
    machine.handle(now, Event::Challenged(challenge()));
    machine.handle(now, Event::Authorize(seed(1).into()));
    machine.handle(now, Event::Timer);
    machine.handle(now, Event::Challenged(challenge()));
    // The account slot is loaded first; events in the meantime are queued.
    let Some(Action::LoadSlot(account)) = machine.poll_action() else {
        panic!()
    };
    assert!(machine.poll_action().is_none());
    machine.handle(now, account.found(None));
    machine.handle(now, Event::Timer);
    let mut seen = Vec::new();
    while let Some(action) = machine.poll_action() {
        match action {
            Action::NeedUser(_) => seen.push("need user"),
            Action::LoadSlot(load) => {
                seen.push("load");
                machine.handle(now, load.found(None));
            }
            Action::SendRequest(_) => seen.push("send"),
            Action::Report(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["need user", "send"]);
}

#[test]
fn h09_entropy_that_is_short_or_plainly_missing_is_refused() {
    for byte in [0, 1, 0x41, 255] {
        assert!(Seed::new([byte; 48]).is_err(), "{byte}");
    }
    for length in [0, 16, 32, 47, 49, 63, 65] {
        let bytes: Vec<u8> = (0..length).collect();
        assert!(Seed::try_from(bytes.as_slice()).is_err(), "{length}");
    }
}

#[test]
fn h10_after_an_error_only_what_begins_something_does_anything() {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    let state = state_of(&redirect);
    host.callback(&format!("error=access_denied&state={state}"));
    host.error();
    host.callback(&format!("code=c&state={state}"));
    host.handle(Event::Timer);
    host.handle(Event::Abandoned(Default::default()));
    host.accepted("tools/call x");
    host.challenged(500, &["Bearer"]);
    host.quiet();
    assert_eq!(host.machine.deadline(), None);
    asked(&mut host);
    host.serve(PRM, 200, &prm());
    let again = host.redirect();
    assert_ne!(state_of(&again), state);
}

trait NotCloneable {
    const CLONES: bool = false;
}

struct Probe<T>(PhantomData<T>);

impl<T> NotCloneable for Probe<T> {}

impl<T: Clone> Probe<T> {
    const CLONES: bool = true;
}

#[test]
fn h01_d26_single_use_values_cannot_be_copied() {
    macro_rules! that_clone {
        ($($kind:ty),* $(,)?) => {
            [$((stringify!($kind), Probe::<$kind>::CLONES)),*]
                .into_iter()
                .filter_map(|(name, clones)| clones.then_some(name))
                .collect::<Vec<_>>()
        };
    }
    // Answers are made of actions, and attempts of seeds: each is there once.
    let found = that_clone![
        SendRequest,
        LoadSlot,
        PersistSlot,
        Sign,
        Prepared,
        ObtainAssertion,
        Action,
        Event,
        Seed,
        Authorization,
        Callback,
        AuthMachine,
        Challenge,
    ];
    assert_eq!(found, ["Challenge"]);
}
