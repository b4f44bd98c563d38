//! No time tells a secret (SEC-33): secret bytes are marked undefined, memcheck follows them, and every branch
//! and every address that depends on them is a finding.
//!
//! `State` and `SlotContents` are compared directly. For the others a machine is brought to where it holds the
//! secret; every copy in its memory is marked; then the value to compare arrives. Branches on the verdict are not
//! findings: the shim makes the verdict defined where it leaves the one function that compares.
//! A record is read and compared during one event: there the held token is marked, and not the one that is read.
//! Each check runs without marks first: findings of that run concern the compiler's code, which may read memory
//! before it knows whether it needs it.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use mcp_auth_machine::event::Authorization;
use mcp_auth_machine::slot::SlotContents;
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback};
use mcp_auth_machine::wire::pkce::State;
use mcp_auth_machine::{Action, Event};
use mcp_auth_valgrind::heap::Heap;
use mcp_auth_valgrind::requests::{compared, errors, running, undefine, unseen, verdict};
use mcp_auth_valgrind::support::{
    AS, Host, PRM, REDIRECT, config, metadata, prm, renewable, state_of,
};
use sha2::{Digest, Sha256};

#[global_allocator]
static HEAP: Heap = Heap::finding();

/// Whether secrets are marked in this run.
static MARKS: AtomicBool = AtomicBool::new(false);
/// The number of memcheck's findings when the secrets were marked.
static BEFORE: AtomicU32 = AtomicU32::new(0);

const STATE: &str = "Zm9vYmFyYmF6cXV4cXV1eA";
const REFRESH: &str = "refresh-8xLOxBtZp8e3mM2qwJr1VYH0t5c7d9f1-refresh";
const TOKEN: &str = "access-SlAV32hkKGmLqyTnKwXPp2kYq0Zb1c9d.SlAV32hkKGmLqyTnKwXPp2kYq0Zb1c9d.\
                     SlAV32hkKGmLqyTnKwXPp2kYq0Zb1c9d-access";

/// A name, and the comparison with an assertion of its result.
type Check = (&'static str, fn());

const CHECKS: &[Check] = &[
    ("state, equal", || assert!(same_state(STATE))),
    ("state, first character", || {
        assert!(!same_state(&other(STATE, 0)))
    }),
    ("state, last character", || {
        assert!(!same_state(&other(STATE, 21)))
    }),
    ("slot contents, equal", || assert!(same_contents(TOKEN))),
    ("slot contents, first character", || {
        assert!(!same_contents(&other(TOKEN, 0)))
    }),
    ("callback, our state", || assert!(comes_back(str::to_owned))),
    ("callback, first character", || {
        assert!(!comes_back(|state| other(state, 0)))
    }),
    ("callback, last character", || {
        assert!(!comes_back(|state| other(state, 21)))
    }),
    ("browser, our session", || assert!(in_browser(b"session"))),
    ("browser, another session", || {
        assert!(!in_browser(b"another"))
    }),
    ("refused token, the one held", || assert!(refused(TOKEN))),
    ("refused token, first character", || {
        assert!(!refused(&other(TOKEN, 0)))
    }),
    ("refused token, last character", || {
        assert!(!refused(&other(TOKEN, TOKEN.len() - 1)))
    }),
    ("refused token, another length", || {
        assert!(!refused("short"))
    }),
    ("token read again, changed", token_read_again),
    ("refresh token, after a conflict", refresh_token),
];

/// Each has to be caught.
const CONTROLS: &[Check] = &[
    ("control: == on a state", || {
        let (ours, theirs) = (STATE.to_owned(), other(STATE, 21));
        mark(ours.as_bytes());
        assert!(!verdict(
            black_box(ours.as_str()) == black_box(theirs.as_str())
        ));
    }),
    ("control: a loop that stops early", || {
        let (ours, theirs) = (STATE.to_owned(), STATE.to_owned());
        mark(ours.as_bytes());
        let mut pairs = ours.bytes().zip(theirs.bytes());
        assert!(verdict(pairs.all(|(a, b)| black_box(a) == black_box(b))));
    }),
    ("control: a token inside the machine", || {
        let mut host = signed_in(TOKEN);
        mark_copies(TOKEN.as_bytes());
        // A header value is checked, character by character.
        assert!(
            host.machine
                .bearer(host.now, mcp_auth_valgrind::support::MCP)
                .is_ok()
        );
        black_box(&mut host);
    }),
];

fn main() {
    if !running() {
        eprintln!("to be run under valgrind");
        std::process::exit(2);
    }
    let mut failed = 0;
    let all = CHECKS.iter().map(|check| (check, true));
    for ((name, run), clean) in all.chain(CONTROLS.iter().map(|check| (check, false))) {
        let [(noise, _), (found, compared)] = [false, true].map(|marks| {
            MARKS.store(marks, Relaxed);
            compared();
            run();
            (errors() - BEFORE.load(Relaxed), compared())
        });
        let findings = found.saturating_sub(noise);
        let (good, verdict) = match clean {
            // Something undefined must have come to the comparison, or nothing was tried.
            true if compared == 0 => (false, "FAIL, never compared"),
            true => (findings == 0, if findings == 0 { "ok" } else { "FAIL" }),
            false => (
                findings > 0,
                if findings > 0 {
                    "caught"
                } else {
                    "FAIL, not caught"
                },
            ),
        };
        println!("{name:<40} findings {findings:>3}   comparisons {compared}   {verdict}");
        failed += u32::from(!good);
    }
    println!(
        "constant time: {} checks, {} controls, {failed} failed",
        CHECKS.len(),
        CONTROLS.len()
    );
    std::process::exit(i32::from(failed > 0));
}

/// Another text of the same length.
fn other(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'X' { b'Y' } else { b'X' };
    String::from_utf8(bytes).expect("ASCII")
}

/// Marks a secret, if this run does.
fn mark(secret: &[u8]) {
    BEFORE.store(errors(), Relaxed);
    if MARKS.load(Relaxed) {
        undefine(secret);
    }
}

/// Marks every copy of a secret in memory, except those in records, which are parsed again on each read.
fn mark_copies(secret: &[u8]) {
    let mut copies = 0;
    unseen(|| {
        HEAP.copies(
            secret,
            |block| !block.starts_with(b"v3."),
            |copy| {
                mark(copy);
                copies += 1;
            },
        );
    });
    assert!(copies > 0, "the secret is not in memory");
}

fn same_state(theirs: &str) -> bool {
    let ours = Box::new(State::from_text(STATE).expect("a state"));
    let theirs = State::from_text(theirs).expect("a state");
    mark_copies(STATE.as_bytes());
    ours.same(&theirs)
}

fn same_contents(theirs: &str) -> bool {
    let (ours, theirs) = (SlotContents::new(TOKEN), SlotContents::new(theirs));
    mark(ours.expose().as_bytes());
    ours == theirs
}

/// Whether a callback with this state leads to a token request.
fn comes_back(state: fn(&str) -> String) -> bool {
    let mut host = Host::new(config());
    let redirect = host.to_redirect();
    let ours = state_of(&redirect);
    drop(redirect);
    mark_copies(ours.as_bytes());
    let theirs = state(&ours);
    host.callback(&format!("code=c-1&state={theirs}"));
    matches!(host.actions.pop_front(), Some(Action::SendRequest(_)))
}

/// Whether a callback in this browser session leads to a token request.
fn in_browser(session: &[u8]) -> bool {
    let mut host = Host::new(config());
    host.challenged(401, &[&format!("Bearer resource_metadata=\"{PRM}\"")]);
    host.need_user();
    let seed = host.next_seed();
    let binding = BrowserBinding::new(b"session");
    host.authorize_with(Authorization::new(seed).browser(binding));
    host.serve(PRM, 200, &prm());
    let place = format!("{AS}/.well-known/oauth-authorization-server");
    host.serve(&place, 200, &metadata());
    host.serve(&format!("{AS}/register"), 201, r#"{"client_id":"dyn-1"}"#);
    let state = state_of(&host.redirect());
    mark_copies(&Sha256::digest(b"session")[..16]);
    let callback = Callback::from_url(format!("{REDIRECT}?code=c-1&state={state}"));
    let callback = callback.in_browser(BrowserBinding::new(session));
    host.handle(Event::CallbackParams(callback));
    matches!(host.actions.pop_front(), Some(Action::SendRequest(_)))
}

fn signed_in(token: &str) -> Host {
    Host::signed_in(config(), &renewable(token, REFRESH))
}

/// Whether a refusal of this token leads to a renewal.
fn refused(sent: &str) -> bool {
    let mut host = signed_in(TOKEN);
    mark_copies(TOKEN.as_bytes());
    let sent = format!("Bearer {sent}");
    host.challenged_for("tools/call x", 401, &["Bearer"], Some(&sent));
    match host.next() {
        Action::SendRequest(_) => true,
        Action::Ready(_) => false,
        other => panic!("{other:?}"),
    }
}

/// Another process renewed the token: what is read is compared with what is held.
fn token_read_again() {
    let mut host = signed_in(TOKEN);
    host.store = signed_in(&other(TOKEN, 9)).store;
    mark_copies(TOKEN.as_bytes());
    let sent = format!("Bearer {TOKEN}");
    host.challenged_for("tools/call x", 401, &["Bearer"], Some(&sent));
    host.ready();
}

/// A renewal finds the account changed: it replaces it only when the refresh token is still the one it sent.
fn refresh_token() {
    let mut host = signed_in(TOKEN);
    let sent = format!("Bearer {TOKEN}");
    host.challenged_for("tools/call x", 401, &["Bearer"], Some(&sent));
    host.serve(PRM, 200, &prm());
    let send = host.request();
    host.store = signed_in(&other(TOKEN, 9)).store;
    mark_copies(REFRESH.as_bytes());
    let answer = renewable("access-2", "refresh-2");
    let response = mcp_auth_valgrind::support::response(200, &[], &answer);
    host.handle(send.response(response));
    host.ready();
}
