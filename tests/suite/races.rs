//! Several processes on one store (REFR-05, REFR-06, D01, D02, D04, L05), and processes that die.

use std::sync::Arc;

use mcp_auth_machine::action::{PersistSlot, SendRequest, Why};
use mcp_auth_machine::error::Cause;
use mcp_auth_machine::slot::Stored;
use mcp_auth_machine::{Action, Config, Event};

use crate::sign_out::{revocable, signed_in_at};
use crate::support::*;

const HOUR: u64 = 3_600_000;

/// Two processes of one user on one store, with an expired token.
struct Pair {
    store: Store,
    a: Host,
    b: Host,
}

fn process(config: &Arc<Config>, store: &mut Store, like: &Host) -> Host {
    let manual = Store {
        mode: StoreMode::Manual,
        ..Store::default()
    };
    let mut host = Host::resumed(Arc::clone(config), manual, like.now, like.seeds + 50);
    host.share(store);
    host
}

fn pair() -> Pair {
    pair_of(Host::signed_in(config(), &renewable("at-1", "rt-1")))
}

fn pair_of(mut first: Host) -> Pair {
    // The server's document is read again in advance, so that the races are about the token alone.
    first.pass(HOUR - 30_000);
    let mut store = std::mem::take(&mut first.store);
    let config = Arc::new(config().build().unwrap());
    let mut a = process(&config, &mut store, &first);
    let mut b = process(&config, &mut store, &first);
    for host in [&mut a, &mut b] {
        host.ready();
        host.pass(30_001);
    }
    Pair { store, a, b }
}

impl Pair {
    /// Lets the machine work until it wants something that is not in the store; the server's document
    /// is served on the way.
    fn settle(host: &mut Host, store: &mut Store) {
        host.share(store);
        if let Some(Action::SendRequest(send)) = host.actions.front()
            && *send.request().uri() == META
        {
            host.serve(META, 200, &metadata());
            host.share(store);
        }
    }

    /// The same, up to the write by which the machine takes the right to renew.
    fn settle_but_the_lease(host: &mut Host, store: &mut Store) -> PersistSlot {
        loop {
            match host.next() {
                Action::LoadSlot(load) => {
                    let found = store.slots.get(&load.slot().to_string()).cloned();
                    host.handle(load.found(found));
                }
                Action::SendRequest(send) if *send.request().uri() == META => {
                    host.handle(send.response(response(200, &[], &metadata())));
                }
                Action::PersistSlot(lease) if lease.slot().to_string().starts_with("account/") => {
                    return lease;
                }
                // The cache.
                Action::PersistSlot(cache) => {
                    let event = store.persist(cache);
                    host.handle(event);
                }
                action => panic!("{action:?}"),
            }
        }
    }

    fn both_want(&mut self) {
        self.a.wanted("x");
        Self::settle(&mut self.a, &mut self.store);
        self.b.wanted("x");
        Self::settle(&mut self.b, &mut self.store);
    }
}

/// The process that waits while another one refreshes, from its request to its token.
pub(crate) fn beside_another_process() -> Host {
    let mut pair = pair();
    pair.b.playbook.clear();
    pair.both_want();
    let send = pair.a.request();
    pair.a
        .handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    pair.a.share(&mut pair.store);
    pair.b.wake();
    pair.b.share(&mut pair.store);
    pair.b.ready();
    pair.b
}

#[test]
fn d01_s19_l05_refr_05_quirk_18_of_two_that_are_due_one_sends_and_the_other_adopts() {
    let mut pair = pair();
    pair.both_want();
    let send = pair.a.request();
    pair.b.quiet();
    // The other one looks again, ever more slowly.
    for _ in 0..3 {
        pair.b.wake();
        pair.b.share(&mut pair.store);
        pair.b.quiet();
    }
    pair.a
        .handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    pair.a.share(&mut pair.store);
    pair.a.ready();
    pair.b.wake();
    pair.b.share(&mut pair.store);
    pair.b.ready();
    for host in [&mut pair.a, &mut pair.b] {
        assert_eq!(host.token().as_deref(), Some("Bearer at-2"));
        host.quiet();
    }
}

#[test]
fn d01_two_that_write_the_lease_at_once_are_told_apart_by_the_store() {
    let mut pair = pair();
    // Both have read the slot before either writes.
    pair.a.wanted("x");
    pair.b.wanted("x");
    let (Action::LoadSlot(load_a), Action::LoadSlot(load_b)) = (pair.a.next(), pair.b.next())
    else {
        panic!()
    };
    let held = pair.store.of_kind("account")[0].clone();
    pair.a.handle(load_a.found(Some(held.clone())));
    pair.b.handle(load_b.found(Some(held)));
    // The same millisecond on both clocks: even identical leases are one.
    Pair::settle(&mut pair.a, &mut pair.store);
    Pair::settle(&mut pair.b, &mut pair.store);
    let sends = |host: &Host| {
        host.actions
            .iter()
            .filter(|action| matches!(action, Action::SendRequest(_)))
            .count()
    };
    assert_eq!((sends(&pair.a), sends(&pair.b)), (1, 0));
}

#[test]
fn d04_d02_l01_a_process_that_died_is_waited_for_and_then_replaced() {
    let mut pair = pair();
    pair.both_want();
    let rotated = pair.a.request();
    drop(rotated);
    // The first process is gone, after the server rotated the token. Its lease ends.
    let mut waited = 0;
    while pair.b.actions.is_empty() {
        waited += pair.b.wake();
        pair.b.share(&mut pair.store);
        assert!(waited <= 36_000);
    }
    assert!(waited >= 34_000, "{waited}");
    // The old token is refused, once; the user signs in again, once.
    pair.b.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
    pair.b.share(&mut pair.store);
    assert_eq!(pair.b.need_user().why, Why::TokenOver);
    pair.b.quiet();
}

#[test]
fn d02_s20_refr_06_the_loser_does_not_erase_the_winner() {
    let mut pair = pair();
    pair.both_want();
    let slow = pair.a.request();
    // The first process hangs for longer than its lease; the second one takes over and succeeds.
    while pair.b.actions.is_empty() {
        pair.b.wake();
        pair.b.share(&mut pair.store);
    }
    pair.b.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    pair.b.share(&mut pair.store);
    pair.b.ready();
    // Now the first one is refused: it finds the winner's token and takes it.
    pair.a.now = pair.b.now;
    pair.a
        .handle(slow.response(response(400, &[], r#"{"error":"invalid_grant"}"#)));
    pair.a.share(&mut pair.store);
    pair.a.ready();
    pair.a.quiet();
    assert_eq!(pair.a.token().as_deref(), Some("Bearer at-2"));
    assert!(
        pair.store.of_kind("account")[0]
            .contents
            .expose()
            .contains("rt-2")
    );
}

#[test]
fn refr_05_a_late_success_does_not_replace_a_newer_account() {
    let mut pair = pair();
    pair.both_want();
    let slow = pair.a.request();
    while pair.b.actions.is_empty() {
        pair.b.wake();
        pair.b.share(&mut pair.store);
    }
    pair.b.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    pair.b.share(&mut pair.store);
    pair.b.ready();
    pair.a.now = pair.b.now;
    pair.a
        .handle(slow.response(response(200, &[], &renewable("at-late", "rt-late"))));
    pair.a.share(&mut pair.store);
    pair.a.ready();
    assert_eq!(pair.a.token().as_deref(), Some("Bearer at-2"));
    assert!(
        pair.store.of_kind("account")[0]
            .contents
            .expose()
            .contains("rt-2")
    );
}

#[test]
fn refr_12_signed_out_elsewhere_while_a_refresh_was_under_way() {
    let mut pair = pair();
    pair.a.wanted("x");
    Pair::settle(&mut pair.a, &mut pair.store);
    let send = pair.a.request();
    pair.b.handle(Event::SignedOut);
    pair.b.share(&mut pair.store);
    assert!(pair.store.of_kind("account").is_empty());
    pair.a
        .handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    pair.a.share(&mut pair.store);
    // The erased account is not restored.
    assert_eq!(pair.a.need_user().why, Why::NoCredentials);
    assert_eq!(pair.a.token(), None);
    assert!(pair.store.of_kind("account").is_empty());
}

#[test]
fn a_lease_from_a_clock_that_runs_far_ahead_does_not_block() {
    let mut pair = pair();
    pair.a.now = mcp_auth_testing::moment(pair.a.now.wall.0 + 10 * HOUR, pair.a.now.mono.0);
    pair.both_want();
    let _hangs = pair.a.request();
    // A lease ten hours ahead of this clock is invalid.
    assert_eq!(pair.b.request().request().uri().to_string(), TOKEN);
}

/// The clocks of two hosts differ by a little: the lease of the one that is ahead holds, for one lease length by the
/// clock of the one that waits.
#[test]
fn d01_refr_05_a_lease_from_a_clock_that_is_a_little_ahead_holds() {
    for ahead in [50, 2_000, 4 * 60_000] {
        let mut pair = pair();
        pair.a.now = mcp_auth_testing::moment(pair.a.now.wall.0 + ahead, pair.a.now.mono.0);
        pair.both_want();
        let _hangs = pair.a.request();
        let mut waited = 0;
        while pair.b.actions.is_empty() {
            waited += pair.b.wake();
            pair.b.share(&mut pair.store);
            assert!(waited <= 37_000, "{ahead}: {waited}");
        }
        assert!(waited >= 34_000, "{ahead}: {waited}");
        assert_eq!(pair.b.request().request().uri().to_string(), TOKEN);
    }
}

/// The wall clock of the process that waits is set while another process refreshes.
#[test]
fn d01_sec_35_a_lease_that_was_seen_outlasts_a_change_of_the_wall_clock() {
    for change in [-600_000_i64, -40_000, 40_000, 600_000] {
        let mut pair = pair();
        pair.both_want();
        let refresh = pair.a.request();
        assert!(pair.b.actions.is_empty(), "{change}");
        let wall = pair.b.now.wall.0.saturating_add_signed(change);
        pair.b.now = mcp_auth_testing::moment(wall, pair.b.now.mono.0);
        for _ in 0..3 {
            pair.b.wake();
            pair.b.share(&mut pair.store);
            // The refresh token is not sent a second time.
            assert!(pair.b.actions.is_empty(), "{change}");
        }
        pair.a
            .handle(refresh.response(response(200, &[], &renewable("at-2", "rt-2"))));
        pair.a.share(&mut pair.store);
        pair.a.ready();
        while pair.b.actions.is_empty() {
            pair.b.wake();
            pair.b.share(&mut pair.store);
        }
        if change.abs() < 60_000 {
            pair.b.ready();
            assert_eq!(pair.b.token().as_deref(), Some("Bearer at-2"), "{change}");
        } else if let Some(Action::SendRequest(_)) = pair.b.actions.front() {
            // By this clock the new token has expired, or is not yet issued: it is refreshed with the new refresh token.
            let form = body(pair.b.request().request());
            assert_eq!(
                get(&form, "refresh_token").as_deref(),
                Some("rt-2"),
                "{change}"
            );
        }
    }
}

/// A store that takes long leaves less of the lease: the request ends before the lease does, and no request is sent
/// with what is left of a lease that is nearly over.
#[test]
fn d01_refr_05_a_refresh_request_ends_before_its_lease() {
    for (slow, left) in [
        (0, Some(30)),
        (10_000, Some(23)),
        (29_000, Some(4)),
        (33_500, None),
    ] {
        let mut pair = pair();
        pair.a.wanted("x");
        let persist = Pair::settle_but_the_lease(&mut pair.a, &mut pair.store);
        let event = pair.store.persist(persist);
        pair.a.pass(slow);
        pair.a.handle(event);
        match left {
            Some(left) => assert_eq!(pair.a.request().time_limit().as_secs(), left, "{slow}"),
            // Written again when it has expired.
            None => {
                while pair.a.actions.is_empty() {
                    pair.a.wake();
                    pair.a.share(&mut pair.store);
                }
                assert_eq!(pair.a.request().time_limit().as_secs(), 30);
            }
        }
    }
}

/// A process that is suspended while it takes the right to renew looks at the clock before it sends.
#[test]
fn d01_refr_05_a_lease_that_ended_before_it_was_used_is_not_used() {
    let mut pair = pair();
    pair.a.wanted("x");
    let persist = Pair::settle_but_the_lease(&mut pair.a, &mut pair.store);
    let event = pair.store.persist(persist);
    // Suspended for two minutes; the other one renews meanwhile.
    pair.b.pass(120_000);
    pair.b.wanted("x");
    Pair::settle(&mut pair.b, &mut pair.store);
    pair.b.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    pair.b.share(&mut pair.store);
    pair.b.ready();
    pair.a.now = pair.b.now;
    pair.a.handle(event);
    Pair::settle(&mut pair.a, &mut pair.store);
    // Process A finds B's token and does not send its own refresh token.
    pair.a.ready();
    pair.a.quiet();
    assert_eq!(pair.a.token().as_deref(), Some("Bearer at-2"));
}

#[test]
fn s22_looking_at_leases_that_never_end_ends() {
    let mut pair = pair();
    pair.both_want();
    let _hangs = pair.a.request();
    // The wall clock stands still, so that no lease ends by it, and there is always another one.
    let wall = pair.b.now.wall.0;
    let mut looks = 0;
    while pair.b.actions.is_empty() {
        pair.b.wake();
        pair.b.now = mcp_auth_testing::moment(wall, pair.b.now.mono.0);
        let account = |(key, _): &(&String, &mut Stored)| key.starts_with("account/");
        let (_, stored) = pair.store.slots.iter_mut().find(account).unwrap();
        let text = stored.contents.expose();
        let json = spelled_out(text);
        let (before, _) = json.split_once("\"lease\":").unwrap();
        *stored = sealed(&format!("{before}\"lease\":{}}}", wall + 34_000 - looks));
        pair.b.share(&mut pair.store);
        looks += 1;
        assert!(looks <= 300);
    }
    assert!(looks >= 200, "{looks}");
    assert!(matches!(pair.b.error().cause, Cause::Unreachable(_)));
}

/// Restarts after every prefix of the saves of a refresh: a token is had without a loop (S25, L01).
#[test]
fn s25_crash_anywhere_in_a_refresh_and_go_on() {
    for saves in 0..4 {
        let mut host = Host::signed_in(config(), &renewable("at-1", "rt-1"));
        host.pass(HOUR);
        let mut store = std::mem::take(&mut host.store);
        store.mode = StoreMode::Manual;
        let mut host = Host {
            store: Store {
                mode: StoreMode::Manual,
                ..Store::default()
            },
            ..host
        };
        store.mode = StoreMode::Works;
        host.wanted("x");
        let mut done = 0;
        let mut server_rotated = false;
        // Until so many writes to the account were done; then the process dies.
        while let Some(action) = host.actions.pop_front() {
            match action {
                Action::LoadSlot(load) => {
                    let found = store.slots.get(&load.slot().to_string()).cloned();
                    host.handle(load.found(found));
                }
                Action::PersistSlot(persist) if persist.slot().to_string().starts_with("acc") => {
                    if done == saves {
                        break;
                    }
                    done += 1;
                    let event = store.persist(persist);
                    host.handle(event);
                }
                Action::PersistSlot(persist) => {
                    let event = store.persist(persist);
                    host.handle(event);
                }
                Action::SendRequest(send) if *send.request().uri() == META => {
                    host.handle(send.response(response(200, &[], &metadata())));
                }
                Action::SendRequest(send) => {
                    server_rotated = true;
                    let answer = renewable("at-2", "rt-2");
                    host.handle(send.response(response(200, &[], &answer)));
                }
                Action::Ready(_) => {}
                other => panic!("{other:?}"),
            }
        }
        // A new process.
        let kept = store.of_kind("account")[0]
            .contents
            .expose()
            .contains("rt-2");
        let (now, seeds) = (host.now, host.seeds);
        let mut later = Host::resumed(Arc::new(config().build().unwrap()), store, now, seeds);
        later.actions.clear();
        if kept {
            assert_eq!(later.token().as_deref(), Some("Bearer at-2"));
            continue;
        }
        later.wanted("x");
        let mut steps = 0;
        while later.token().is_none() {
            steps += 1;
            assert!(steps < 80, "no end after {saves} saves");
            match later.actions.pop_front() {
                None => {
                    later.wake();
                }
                Some(Action::SendRequest(send)) => {
                    let url = send.request().uri().to_string();
                    let form = body(send.request());
                    let answer = match url.as_str() {
                        META => (200, metadata()),
                        PRM => (200, prm()),
                        _ if get(&form, "refresh_token").is_some() && server_rotated => {
                            (400, r#"{"error":"invalid_grant"}"#.to_owned())
                        }
                        _ => (200, renewable("at-3", "rt-3")),
                    };
                    later.handle(send.response(response(answer.0, &[], &answer.1)));
                }
                Some(Action::NeedUser(_)) => later.authorize(),
                Some(Action::Redirect(redirect)) => {
                    later.callback(&format!("code=c&state={}", state_of(&redirect)));
                }
                Some(Action::Ready(_)) => {}
                Some(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(later.token().as_deref(), Some("Bearer at-3"), "{saves}");
    }
}

/// A refresh whose tokens could not be saved, and a callback that arrives after another process changed the
/// account: that account stays, and the sign-in continues.
fn comes_back_behind_an_unsaved_renewal(change: impl FnOnce(&mut Store)) -> (Host, Store) {
    let mut first = signed_in_at(config(), &revocable(""), &renewable("at-1", "rt-1"));
    first.accepted("tools/call x");
    let Pair {
        mut store,
        mut a,
        mut b,
    } = pair_of(first);
    b.authorize();
    b.share(&mut store);
    while let Some(Action::SendRequest(send)) = b.actions.front() {
        let url = send.request().uri().to_string();
        let body = if url == META { revocable("") } else { prm() };
        b.serve(&url, 200, &body);
        b.share(&mut store);
    }
    let redirect = b.redirect();
    a.wanted("x");
    a.share(&mut store);
    a.serve(META, 200, &revocable(""));
    a.share(&mut store);
    let send = a.request();
    store.mode = StoreMode::WritesFail;
    a.handle(send.response(response(200, &[], &renewable("at-2", "rt-2"))));
    a.share(&mut store);
    assert!(matches!(a.error().cause, Cause::NotPersisted(_)));
    store.mode = StoreMode::Works;
    change(&mut store);
    a.callback(&format!("code=c-9&state={}", state_of(&redirect)));
    a.share(&mut store);
    (a, store)
}

fn sent(send: &SendRequest) -> String {
    String::from_utf8_lossy(send.request().body()).into_owned()
}

fn finishes(mut a: Host, mut store: Store) {
    a.share(&mut store);
    let send = a.request();
    assert!(sent(&send).contains("code=c-9"), "{}", sent(&send));
    a.handle(send.response(response(200, &[], &renewable("at-9", "rt-9"))));
    a.share(&mut store);
    a.ready();
    assert_eq!(a.token().as_deref(), Some("Bearer at-9"));
    a.quiet();
}

#[test]
fn l04_d25_a_callback_behind_a_save_that_gives_way_is_not_lost() {
    let other = Host::signed_in(config(), &renewable("at-7", "rt-7"));
    let (a, store) = comes_back_behind_an_unsaved_renewal(|store| {
        let theirs = other.store.slots.into_iter();
        let account = theirs.filter(|(key, _)| key.starts_with("account/"));
        store.slots.extend(account);
    });
    finishes(a, store);
}

#[test]
fn l04_refr_12_a_callback_behind_a_save_that_the_user_undid_ends_with_it() {
    let (mut a, mut store) = comes_back_behind_an_unsaved_renewal(|store| {
        store.slots.retain(|key, _| !key.starts_with("account/"));
    });
    // The unsaved tokens are revoked first.
    for kind in ["refresh_token", "access_token"] {
        let send = a.request();
        assert_eq!(*send.request().uri(), "https://as.example/revoke");
        assert!(sent(&send).contains(kind), "{}", sent(&send));
        a.handle(send.response(response(200, &[], "")));
    }
    a.share(&mut store);
    // The authorization began before the user signed out.
    assert_eq!(a.error().cause, Cause::Abandoned);
    a.share(&mut store);
    a.quiet();
}

/// An authorization that could not be saved, while another process has got one that could: the newer one stands.
#[test]
fn iso_09_tok_16_a_save_that_succeeds_late_does_not_undo_a_later_authorization() {
    let mut first = Host::new(config());
    let redirect = first.to_redirect();
    first.callback(&format!("code=c-1&state={}", state_of(&redirect)));
    let send = first.request();
    first.store.mode = StoreMode::WritesFail;
    first.handle(send.response(response(200, &[], &renewable("at-1", "rt-1"))));
    assert!(matches!(first.error().cause, Cause::NotPersisted(_)));
    first.store.mode = StoreMode::Works;
    let mut other = Host::new(config());
    other.pass(60_000);
    let redirect = other.to_redirect();
    other.callback(&format!("code=c-2&state={}", state_of(&redirect)));
    other.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    other.ready();
    let theirs = other.store.slots.into_iter();
    let account = theirs.filter(|(key, _)| key.starts_with("account/"));
    first.store.slots.extend(account);
    first.pass(60_000);
    first.wanted("x");
    first.ready();
    assert_eq!(first.token().as_deref(), Some("Bearer at-2"));
    let kept = first.store.of_kind("account");
    assert!(kept[0].contents.expose().contains("rt-2"));
}
