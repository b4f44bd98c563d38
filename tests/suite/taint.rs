//! Histories against servers that lie: nothing that one authorization server minted ever reaches an
//! endpoint of another (S01 to S03, S06), whatever is answered, in any order, across restarts.
//!
//! About half of the moves are the next honest step, so that histories get somewhere; what was reached
//! is asserted at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Request;
use mcp_auth_machine::action::{Redirect, SendRequest};
use mcp_auth_machine::config::DynamicRegistration;
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::{Action, Config, Event};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, FileFailurePersistence, TestRunner};

use crate::support::*;

const ISSUERS: [&str; 3] = [
    "https://a.example",
    "https://b.example",
    "https://c.example",
];
const ADVERSARY: usize = 1;

/// Facts that some history must have reached, or the search proved nothing.
#[derive(Default)]
struct Reached(BTreeMap<&'static str, u32>);

impl Reached {
    fn note(&mut self, fact: &'static str) {
        *self.0.entry(fact).or_default() += 1;
    }
}

struct World<'r> {
    host: Host,
    config: Arc<Config>,
    reached: &'r mut Reached,
    /// Which issuer the resource names now.
    named: usize,
    minted: u32,
    /// Redirects that the user may still follow, with the issuer sent to.
    open: Vec<(Redirect, usize)>,
    /// Verifiers seen in token requests: each may occur once.
    verifiers: Vec<String>,
    codes: Vec<String>,
    refreshes: BTreeSet<String>,
    ready_at: Option<usize>,
}

fn config_for_histories() -> Arc<Config> {
    let config = config()
        .pre_registered(
            ISSUERS[2],
            mcp_auth_machine::config::PreRegistered::new("pre~2~0").secret("sec~2~0"),
        )
        .dynamic_registration(DynamicRegistration::Always);
    Arc::new(config.build().unwrap())
}

impl<'r> World<'r> {
    fn new(reached: &'r mut Reached) -> Self {
        let config = config_for_histories();
        Self {
            host: Host::on(Arc::clone(&config), Store::default()),
            config,
            reached,
            named: 0,
            minted: 0,
            open: Vec::new(),
            verifiers: Vec::new(),
            codes: Vec::new(),
            refreshes: BTreeSet::new(),
            ready_at: None,
        }
    }

    /// A recognisable text: kind, issuer, number.
    fn mint(&mut self, kind: &str, issuer: usize) -> String {
        self.minted += 1;
        format!("{kind}~{issuer}~{}", self.minted)
    }

    fn metadata(&self, issuer: usize, lie: u8) -> String {
        let own = ISSUERS[issuer];
        let other = ISSUERS[(issuer + 1 + usize::from(lie % 2)) % 3];
        if issuer != ADVERSARY {
            let revocation = format!(r#","revocation_endpoint":"{own}/revoke""#);
            let iss = r#","authorization_response_iss_parameter_supported":true"#;
            let more = [revocation.as_str(), if issuer == 0 { iss } else { "" }].concat();
            return metadata_of(own, &more);
        }
        let document = metadata_of(own, "");
        match lie % 5 {
            // The user signs in at an honest server, the code is to come here.
            0 => document.replace("https://b.example/authorize", &format!("{other}/authorize")),
            1 => document.replace("https://b.example/token", &format!("{other}/token")),
            2 => document.replace(
                "\"issuer\":\"https://b.example\"",
                &format!("\"issuer\":\"{other}\""),
            ),
            _ => document,
        }
    }

    fn step(&mut self, honest: bool, choice: u8) {
        let Some(action) = self.host.actions.pop_front() else {
            return self.stir(honest, choice);
        };
        match action {
            Action::SendRequest(send) => self.answer(send, honest, choice),
            Action::NeedUser(need) => {
                self.reached.note(need.why.as_str());
                self.host.authorize();
            }
            Action::Redirect(redirect) => {
                let issuer = ISSUERS.iter().position(|i| *i == redirect.issuer.as_str());
                self.open.push((redirect, issuer.unwrap()));
            }
            Action::Ready(grant) => {
                let issuer = ISSUERS
                    .iter()
                    .position(|i| *i == grant.issuer.as_str())
                    .unwrap();
                self.reached
                    .note(["ready at a", "ready at b", "ready at c"][issuer]);
                if self
                    .ready_at
                    .replace(issuer)
                    .is_some_and(|before| before != issuer)
                {
                    self.reached.note("moved");
                }
                // Gone when the user signed out, or the token ended, before this was looked at.
                if let Some(token) = self.host.token() {
                    assert!(
                        token.starts_with(&format!("Bearer at~{issuer}~")),
                        "{token} for {issuer}"
                    );
                }
            }
            Action::Error(failure) => {
                self.reached.note(failure.cause.code());
            }
            Action::Sign(sign) => self.host.handle(sign.failed()),
            Action::ObtainAssertion(obtain) => self.host.handle(obtain.failed()),
            Action::LoadSlot(_) | Action::PersistSlot(_) | Action::Report(_) => {
                panic!("answered by the host")
            }
        }
    }

    /// Nothing is asked: the user comes back, the resource refuses, or something odd happens.
    fn stir(&mut self, honest: bool, choice: u8) {
        if honest && let Some((redirect, issuer)) = self.open.pop() {
            // The code comes from whatever server the URL really leads to.
            let url = redirect.url.as_str();
            let from = ISSUERS
                .iter()
                .position(|issuer| url.starts_with(issuer))
                .unwrap();
            return self.come_back(&redirect, issuer, from, true);
        }
        match choice % 12 {
            0 => self.named = usize::from(choice / 10) % 3,
            1 => {
                // The code of another server, with or without its name.
                if let Some((redirect, issuer)) = self.open.last().cloned() {
                    let other = usize::from(choice / 10) % 3;
                    self.come_back(&redirect, issuer, other, choice % 20 < 10);
                }
            }
            2 => self
                .host
                .callback("code=stray&state=AAAAAAAAAAAAAAAAAAAAAA"),
            3 => {
                let store = std::mem::take(&mut self.host.store);
                let (now, seeds) = (self.host.now, self.host.seeds);
                self.host = Host::on(Arc::clone(&self.config), store);
                self.host.now = now;
                self.host.seeds = seeds;
                self.reached.note("restarted");
            }
            4 => self.host.handle(Event::Abandoned(Abandon::Cancelled)),
            5 => {
                self.host.pass(1_000 * u64::from(choice));
                self.host.handle(Event::Timer);
            }
            6 | 7 => self.host.accepted("tools/call x"),
            8 => self.host.wanted("tools/call x"),
            9 if choice > 200 => {
                self.host.handle(Event::SignedOut);
                self.reached.note("signed out");
            }
            _ => {
                let sent = self.host.token();
                let challenge = format!("Bearer resource_metadata=\"{PRM}\"");
                self.host
                    .challenged_for("tools/call x", 401, &[&challenge], sent.as_deref());
            }
        }
    }

    fn come_back(&mut self, redirect: &Redirect, sent_to: usize, from: usize, named: bool) {
        // The first server always sends `iss`, the third never; the adversary does as it likes.
        let named = from == 0 || from == ADVERSARY && named;
        // The declared residual: an honest server without `iss`, reached through the adversary.
        let bounced = redirect.url.as_str().starts_with(ISSUERS[ADVERSARY]);
        if (from, sent_to, bounced) == (2, ADVERSARY, true) {
            return self.reached.note("residual");
        }
        let code = self.mint("code", from);
        let iss = match named {
            true => format!("&iss={}", ISSUERS[from].replace("://", "%3A%2F%2F")),
            false => String::new(),
        };
        if from != sent_to {
            self.reached.note("mixed up");
        }
        self.host
            .callback(&format!("code={code}&state={}{iss}", state_of(redirect)));
    }

    fn answer(&mut self, send: SendRequest, honest: bool, choice: u8) {
        let request = copy(send.request());
        self.judge(&request);
        let url = request.uri().to_string();
        if !honest && choice.is_multiple_of(4) {
            // The server may have rotated the token before the answer was lost.
            if let Some(refresh) = get(&body(&request), "refresh_token") {
                self.refreshes.insert(refresh);
            }
            let event = match choice % 3 {
                0 => send.maybe_sent(),
                1 => send.response(response(500, &[], "")),
                _ => send.response(response(
                    307,
                    &[("location", "https://b.example/token")],
                    "",
                )),
            };
            return self.host.handle(event);
        }
        let issuer = ISSUERS.iter().position(|issuer| url.starts_with(issuer));
        let body = match issuer {
            None => {
                let named = if honest {
                    self.named
                } else {
                    usize::from(choice) % 3
                };
                format!(
                    r#"{{"resource":"{MCP}","authorization_servers":["{}"]}}"#,
                    ISSUERS[named]
                )
            }
            Some(issuer) if url.contains("/.well-known/") => self.metadata(issuer, choice),
            Some(issuer) if url.ends_with("/register") => {
                format!(r#"{{"client_id":"{}"}}"#, self.mint("cid", issuer))
            }
            // An honest server knows its own codes.
            Some(issuer) if !own_code(&request, issuer) => {
                let refused = r#"{"error":"invalid_grant"}"#;
                return self.host.handle(send.response(response(400, &[], refused)));
            }
            Some(_) if url.ends_with("/revoke") => {
                self.reached.note("revoked");
                String::new()
            }
            Some(issuer) => {
                let form = body(&request);
                if let Some(refresh) = get(&form, "refresh_token") {
                    // A rotated token that is sent again ends its family.
                    if !self.refreshes.insert(refresh) && issuer != ADVERSARY {
                        self.reached.note("reused");
                        let refused = r#"{"error":"invalid_grant"}"#;
                        return self.host.handle(send.response(response(400, &[], refused)));
                    }
                    self.reached.note("refreshed");
                }
                let (at, rt) = (self.mint("at", issuer), self.mint("rt", issuer));
                let life = if choice.is_multiple_of(3) {
                    r#","expires_in":90"#
                } else {
                    ""
                };
                format!(
                    r#"{{"access_token":"{at}","refresh_token":"{rt}","token_type":"Bearer"{life}}}"#
                )
            }
        };
        let status = if url.ends_with("/register") { 201 } else { 200 };
        self.host
            .handle(send.response(response(status, &[], &body)));
    }

    /// The rule, judged by host names alone: it knows nothing of our types.
    fn judge(&mut self, request: &Request<bytes::Bytes>) {
        let host = request.uri().host().unwrap();
        let to = ISSUERS.iter().position(|issuer| issuer.ends_with(host));
        let pairs = body(request);
        let mut texts: Vec<String> = pairs.iter().map(|(_, value)| value.clone()).collect();
        texts.push(request.uri().to_string());
        if let Some(value) = request.headers().get("authorization") {
            texts.push(decode_basic(value.to_str().unwrap()));
        }
        for text in &texts {
            for kind in ["code", "cid", "at", "rt", "pre", "sec"] {
                // What the adversary minted goes where the adversary's own metadata says.
                for issuer in [0, 2] {
                    let sentinel = format!("{kind}~{issuer}~");
                    if text.contains(&sentinel) {
                        assert_eq!(Some(issuer), to, "{sentinel} went to {}", request.uri());
                    }
                }
            }
        }
        if let Some(verifier) = get(&pairs, "code_verifier") {
            assert!(
                !self.verifiers.contains(&verifier),
                "a verifier was used twice"
            );
            self.verifiers.push(verifier);
            let code = get(&pairs, "code").unwrap();
            assert!(!self.codes.contains(&code), "a code was sent twice");
            self.codes.push(code);
            self.reached.note("code sent");
        }
    }
}

fn own_code(request: &Request<bytes::Bytes>, issuer: usize) -> bool {
    let form = body(request);
    let own = |name: &str, kind: &str| {
        get(&form, name).is_some_and(|text| text.starts_with(&format!("{kind}~{issuer}~")))
    };
    issuer == ADVERSARY
        || own("code", "code")
        || own("refresh_token", "rt")
        || own("token", "at")
        || own("token", "rt")
}

fn decode_basic(value: &str) -> String {
    use base64::Engine;
    let encoded = value.strip_prefix("Basic ").unwrap_or_default();
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
    String::from_utf8(decoded.unwrap_or_default()).unwrap_or_default()
}

#[test]
fn s01_s02_s03_sec_18_nothing_minted_by_one_server_reaches_another() {
    let mut reached = Reached::default();
    let persistence = FileFailurePersistence::Direct("proptest-regressions/taint.txt");
    let mut runner = TestRunner::new(Runs {
        cases: 2_000,
        failure_persistence: Some(Box::new(persistence)),
        ..Runs::default()
    });
    let moves = prop::collection::vec((any::<bool>(), any::<u8>()), 20..120);
    let reached_cell = std::cell::RefCell::new(&mut reached);
    runner
        .run(&moves, |moves| {
            let mut reached = reached_cell.borrow_mut();
            let mut world = World::new(&mut reached);
            for (honest, choice) in moves {
                world.step(honest, choice);
            }
            Ok(())
        })
        .unwrap();
    for fact in [
        "ready at a",
        "ready at b",
        "ready at c",
        "moved",
        "mixed up",
        "restarted",
        "code sent",
        "refreshed",
        "reused",
        "signed out",
        "revoked",
        "issuer_mismatch",
        "authorization_origin",
        "metadata_issuer_mismatch",
        "abandoned",
        "unreachable",
        "server_changed",
        "token_over",
    ] {
        assert!(
            reached.0.contains_key(fact),
            "never reached: {fact}; {:?}",
            reached.0
        );
    }
}
