//! When and where a callback is accepted: also at another instance, which has the record alone.

use std::sync::Arc;

use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event, Moment};

use crate::support::*;

const MINUTE: u64 = 60_000;

/// An authorization that one instance began.
struct Away {
    config: Arc<Config>,
    store: Store,
    state: String,
    began: u64,
    expires: u64,
}

fn away() -> Away {
    let config = Arc::new(config().build().unwrap());
    let mut host = Host::on(Arc::clone(&config), Store::default());
    let redirect = host.to_redirect();
    Away {
        config,
        state: state_of(&redirect),
        began: host.now.wall.0,
        expires: redirect.expires.0,
        store: host.store,
    }
}

/// The callback at another instance, whose wall clock shows this.
fn comes_back(away: Away, wall: u64) -> Host {
    let mut host = Host::resumed(
        away.config,
        away.store,
        mcp_auth_testing::moment(wall, 9),
        50,
    );
    host.callback(&format!("code=c-1&state={}", away.state));
    host
}

#[test]
fn another_instance_accepts_a_callback_until_the_authorization_ends() {
    let (first, last) = (away(), away());
    let mut in_time = comes_back(last, first.expires - 1);
    let form = body(in_time.request().request());
    assert_eq!(get(&form, "code").as_deref(), Some("c-1"));
    for late in [0, 1, MINUTE] {
        let expires = first.expires;
        let host = comes_back(away(), expires + late);
        host.quiet();
        assert_eq!(host.reported("callback_ignored"), 1, "{late}");
        assert!(host.store.of_kind("pending").is_empty(), "{late}");
    }
}

#[test]
fn another_instance_accepts_no_callback_of_an_authorization_yet_to_come() {
    for (ahead, accepted) in [(MINUTE, true), (5 * MINUTE, true), (6 * MINUTE, false)] {
        let away = away();
        let wall = away.began - ahead;
        let host = comes_back(away, wall);
        assert_eq!(!host.actions.is_empty(), accepted, "{ahead}");
        assert_eq!(host.reported("callback_ignored"), usize::from(!accepted));
    }
}

#[test]
fn the_normalised_redirect_uri_is_the_callback_target() {
    for (redirect_uri, target) in [
        (REDIRECT, REDIRECT),
        ("https://App.example/cb", "https://app.example/cb"),
        ("https://app.example:443/cb", "https://app.example/cb"),
    ] {
        let mut host = Host::new(Config::builder(MCP, redirect_uri));
        let redirect = host.to_redirect();
        let url = format!("{target}?code=c-1&state={}", state_of(&redirect));
        host.handle(Event::CallbackParams(Callback::from_url(url)));
        let form = body(host.request().request());
        assert_eq!(get(&form, "redirect_uri").as_deref(), Some(redirect_uri));
    }
}

/// In the process that sent the user away the monotonic clock alone counts: the wall clock may be set meanwhile
/// (SEC-35).
#[test]
fn sec_35_authz_17_a_wall_clock_that_is_set_ends_no_sign_in_of_this_process() {
    for (forward, back) in [(20 * 60_000, 0), (0, 20 * 60_000)] {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        let Moment { wall, mono } = host.now;
        host.now = mcp_auth_testing::moment(wall.0 + forward - back, mono.0 + 1_000);
        host.callback(&format!("code=c-1&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &token_answer("at-1"));
        host.ready();
    }
}
