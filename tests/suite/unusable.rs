//! Answers with tokens that cannot be used: they are revoked where the server can, and a refresh token that was spent for them is
//! not sent again (REFR-14, DPOP-13).

use mcp_auth_machine::config::DpopPolicy;
use mcp_auth_machine::error::{Cause, Violation};
use mcp_auth_machine::wire::token::UnexpectedToken;
use mcp_auth_machine::{Action, Event};

use crate::dpop::{LISTED, with};
use crate::sign_out::{REVOKE, revocable, signed_in_at};
use crate::support::*;

const HOUR: u64 = 3_600_000;

fn of_another_type(flaw: UnexpectedToken) -> Cause {
    Cause::Violation(Violation::Token(flaw))
}

fn signed_in() -> Host {
    let answer = renewable("at-1", "rt-1");
    let mut host = signed_in_at(config(), &revocable(""), &answer);
    host.accepted("tools/call x");
    host
}

fn account(host: &Host) -> String {
    spelled_out(host.store.of_kind("account")[0].contents.expose())
}

/// These tokens are revoked, in this order, and nothing else is.
#[track_caller]
fn revokes(host: &mut Host, tokens: &[&str]) {
    for token in tokens {
        let form = body(&host.serve(REVOKE, 200, ""));
        assert_eq!(get(&form, "token").as_deref(), Some(*token));
    }
    host.quiet();
}

#[test]
fn refr_14_a_refresh_token_that_was_spent_for_an_unusable_token_is_not_sent_again() {
    let mac = renewable("at-2", "rt-2").replace("Bearer", "mac");
    let no_access = r#"{"refresh_token":"rt-2","token_type":"Bearer"}"#;
    let no_header = renewable("at 2", "rt-2");
    for (answer, flaw, revoked) in [
        (&*mac, UnexpectedToken::TokenType, &["rt-2", "at-2"][..]),
        (no_access, UnexpectedToken::NoToken, &[]),
        (&no_header, UnexpectedToken::TokenText, &[]),
    ] {
        let mut host = signed_in();
        host.pass(HOUR);
        host.wanted("x");
        host.serve(META, 200, &revocable(""));
        host.serve(TOKEN, 200, answer);
        assert_eq!(host.renewal_refused(), of_another_type(flaw));
        revokes(&mut host, revoked);
        assert!(!account(&host).contains("rt-1"), "{answer}");
        assert!(!account(&host).contains("rt-2"), "{answer}");
        host.wanted("x");
        host.need_user();
        host.quiet();
    }
}

/// An access token that is still valid stays in use: a server may end it with the refresh token of the same grant, so nothing is
/// revoked beside it.
#[test]
fn refr_14_refr_07_the_access_token_that_is_still_valid_is_used() {
    let mut host = signed_in();
    host.pass(HOUR - 30_000);
    host.wanted("x");
    let mac = renewable("at-2", "rt-2").replace("Bearer", "mac");
    host.serve(TOKEN, 200, &mac);
    host.ready();
    assert_eq!(host.token().as_deref(), Some("Bearer at-1"));
    host.quiet();
    assert!(!account(&host).contains("rt-1"));
}

/// The server keeps the refresh token as it is: so does the account.
#[test]
fn refr_14_a_refresh_token_that_was_not_replaced_is_kept() {
    for repeated in ["", r#","refresh_token":"rt-1""#] {
        let mut host = signed_in();
        host.pass(HOUR);
        host.wanted("x");
        host.serve(META, 200, &revocable(""));
        let mac = format!(r#"{{"access_token":"at-2","token_type":"mac"{repeated}}}"#);
        host.serve(TOKEN, 200, &mac);
        let cause = of_another_type(UnexpectedToken::TokenType);
        assert_eq!(host.renewal_refused(), cause);
        host.quiet();
        assert!(account(&host).contains("rt-1"));
    }
}

#[test]
fn refr_14_dpop_13_a_refresh_that_brings_an_unbound_token_is_discarded() {
    let document = revocable(LISTED);
    let bound = renewable("at-1", "rt-1").replace("Bearer", "DPoP");
    let mut host = Host::new(with(DpopPolicy::Require));
    host.discover(&prm(), &document);
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host.signs();
    host.serve(TOKEN, 200, &bound);
    host.ready();
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &document);
    host.signs();
    host.serve(TOKEN, 200, &renewable("at-2", "rt-2"));
    assert_eq!(
        host.renewal_refused(),
        Cause::Violation(Violation::TokenNotBound)
    );
    revokes(&mut host, &["rt-2", "at-2"]);
    assert!(!account(&host).contains("rt-1"));
}

#[test]
fn dpop_13_tok_12_tokens_of_a_sign_in_that_cannot_be_used_are_revoked() {
    let mut host = Host::new(config());
    host.discover(&prm(), &revocable(""));
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    let mac = renewable("at-1", "rt-1").replace("Bearer", "mac");
    host.serve(TOKEN, 200, &mac);
    assert_eq!(
        host.error().cause,
        of_another_type(UnexpectedToken::TokenType)
    );
    revokes(&mut host, &["rt-1", "at-1"]);
    assert!(host.store.of_kind("account").is_empty());
}

/// A sign-out while the account is being written: discarded tokens are still revoked, after those of the account.
#[test]
fn refr_14_rev_02_discarded_tokens_are_revoked_after_a_sign_out_too() {
    let mut host = signed_in();
    host.pass(HOUR);
    host.wanted("x");
    host.serve(META, 200, &revocable(""));
    let send = host.request();
    host.store.mode = StoreMode::Manual;
    let mac = renewable("at-2", "rt-2").replace("Bearer", "mac");
    host.handle(send.response(response(200, &[], &mac)));
    host.store.mode = StoreMode::Works;
    host.handle(Event::SignedOut);
    host.actions
        .retain(|action| !matches!(action, Action::Error(_) | Action::PersistSlot(_)));
    revokes(&mut host, &["rt-1", "at-1", "rt-2", "at-2"]);
    assert!(host.store.of_kind("account").is_empty());
}
