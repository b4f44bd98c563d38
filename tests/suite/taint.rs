//! Histories against servers that lie: nothing that one authorization server minted ever reaches an
//! endpoint of another (S01 to S03, S06), whatever is answered, in any order, across restarts.
//!
//! About half of the moves are the next honest step, so that histories get somewhere; what was reached
//! is asserted at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Request;
use mcp_auth_machine::action::{AssertionKind, Redirect, SendRequest, SubjectTokenKind};
use mcp_auth_machine::config::{
    Dpop, DpopPolicy, DynamicRegistration, Enterprise, PreRegistered, WorkloadIdentity,
};
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::key::{PublicKey, SigningKey};
use mcp_auth_machine::wire::words::SigningAlgorithm;
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
/// An organisation's identity provider, honest.
const IDP: &str = "https://d.example";
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How the client of a history gets its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    User,
    Bound,
    Credentials,
    Key,
    Workload,
    Enterprise,
}

const FLOWS: [Flow; 6] = [
    Flow::User,
    Flow::Bound,
    Flow::Credentials,
    Flow::Key,
    Flow::Workload,
    Flow::Enterprise,
];

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

fn config_for_histories(flow: Flow) -> Arc<Config> {
    let client = |issuer: usize| {
        let client = PreRegistered::new(format!("pre~{issuer}~0"));
        match flow {
            Flow::Key => client.key(SigningKey::new("key", [SigningAlgorithm::Es256])),
            _ => client.secret(format!("sec~{issuer}~0")),
        }
    };
    let config = config()
        .pre_registered(ISSUERS[2], client(2))
        .dynamic_registration(DynamicRegistration::Always);
    let config = match flow {
        Flow::User => config,
        Flow::Bound => {
            let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"abc"}"#;
            let key = SigningKey::new("key", [SigningAlgorithm::Es256]);
            let key = key.public(PublicKey::from_jwk(jwk).unwrap());
            config.dpop(Dpop::new(DpopPolicy::IfSupported).key(key))
        }
        Flow::Credentials | Flow::Key => config
            .pre_registered(ISSUERS[0], client(0))
            .client_credentials(),
        Flow::Workload => config.workload_identity(WorkloadIdentity::at(ISSUERS[0])),
        Flow::Enterprise => {
            let idp = PreRegistered::new("pre~3~0").secret("sec~3~0");
            config
                .pre_registered(ISSUERS[0], client(0))
                .enterprise(Enterprise::new(IDP, idp))
        }
    };
    Arc::new(config.build().unwrap())
}

impl<'r> World<'r> {
    fn new(reached: &'r mut Reached, flow: Flow) -> Self {
        let config = config_for_histories(flow);
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
        let methods = r#"["none","client_secret_basic","private_key_jwt"]"#;
        self.document(issuer, lie).replace(r#"["none"]"#, methods)
    }

    fn document(&self, issuer: usize, lie: u8) -> String {
        let own = ISSUERS[issuer];
        let other = ISSUERS[(issuer + 1 + usize::from(lie % 2)) % 3];
        if issuer != ADVERSARY {
            let revocation = format!(r#","revocation_endpoint":"{own}/revoke""#);
            let iss = r#","authorization_response_iss_parameter_supported":true"#;
            let machine = format!(
                r#","grant_types_supported":["authorization_code","client_credentials","{JWT_BEARER}"],"authorization_grant_profiles_supported":["urn:ietf:params:oauth:grant-profile:id-jag"],"dpop_signing_alg_values_supported":["ES256"]"#
            );
            let more = [
                machine.as_str(),
                revocation.as_str(),
                if issuer == 0 { iss } else { "" },
            ]
            .concat();
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
                        token.contains(&format!("at~{issuer}~")),
                        "{token} for {issuer}"
                    );
                }
            }
            Action::Error(failure) => {
                self.reached.note(failure.cause.code());
            }
            Action::Sign(sign) => {
                self.reached.note("signed");
                let event = sign.prepare([choice; 16]).signature(&[7; 64]);
                self.host.handle(event);
            }
            Action::ObtainAssertion(asked) => {
                let event = match asked.kind().clone() {
                    AssertionKind::Workload { audience } => {
                        let of = ISSUERS.iter().position(|issuer| **issuer == *audience);
                        let jwt = self.mint("wl", of.unwrap());
                        asked.workload(jwt)
                    }
                    _ => {
                        let token = self.mint("sub", 3);
                        asked.subject(token, SubjectTokenKind::IdToken)
                    }
                };
                self.host.handle(event);
            }
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
            None if url.starts_with(IDP) => {
                let form = body(&request);
                let audience = get(&form, "audience").unwrap_or_default();
                let of = ISSUERS.iter().position(|issuer| *issuer == audience);
                match of {
                    Some(of) => {
                        let jag = self.mint("jag", of);
                        format!(
                            r#"{{"access_token":"{jag}","issued_token_type":"{ID_JAG}","token_type":"N_A"}}"#
                        )
                    }
                    None => metadata_of(IDP, "").replace("[\"none\"]", "[\"client_secret_basic\"]"),
                }
            }
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
            Some(issuer) if !own_grant(&request, issuer) => {
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
                let kind = match request.headers().contains_key("dpop") {
                    true => "DPoP",
                    false => "Bearer",
                };
                let life = if choice.is_multiple_of(3) {
                    r#","expires_in":90"#
                } else {
                    ""
                };
                format!(
                    r#"{{"access_token":"{at}","refresh_token":"{rt}","token_type":"{kind}"{life}}}"#
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
        let to = match IDP.ends_with(host) {
            true => Some(3),
            false => ISSUERS.iter().position(|issuer| issuer.ends_with(host)),
        };
        let pairs = body(request);
        let mut texts: Vec<String> = pairs.iter().map(|(_, value)| value.clone()).collect();
        texts.push(request.uri().to_string());
        if let Some(value) = request.headers().get("authorization") {
            texts.push(decode_basic(value.to_str().unwrap()));
        }
        for text in &texts {
            for kind in ["code", "cid", "at", "rt", "pre", "sec", "wl", "jag", "sub"] {
                // What the adversary minted goes where the adversary's own metadata says.
                for issuer in [0, 2, 3] {
                    let sentinel = format!("{kind}~{issuer}~");
                    if text.contains(&sentinel) {
                        assert_eq!(Some(issuer), to, "{sentinel} went to {}", request.uri());
                    }
                }
            }
        }
        // An assertion is for the server that it goes to (S32); a proof is about this request.
        if let Some(assertion) = get(&pairs, "client_assertion") {
            let (_, claims) = decoded(&assertion);
            assert_eq!(claims["aud"], ISSUERS[to.unwrap()]);
            self.reached.note("client assertion");
        }
        if let Some(proof) = request.headers().get("dpop") {
            let (_, claims) = decoded(proof.to_str().unwrap());
            assert_eq!(claims["htu"], request.uri().to_string());
            self.reached.note("proof");
        }
        for (name, fact) in [
            ("assertion", "assertion grant"),
            ("subject_token", "exchange"),
        ] {
            if get(&pairs, name).is_some() {
                self.reached.note(fact);
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

/// An honest server knows its own codes, tokens, clients, and assertions made for it.
fn own_grant(request: &Request<bytes::Bytes>, issuer: usize) -> bool {
    let form = body(request);
    if get(&form, "grant_type").as_deref() == Some("client_credentials") {
        return true;
    }
    let own = |name: &str, kind: &str| {
        get(&form, name).is_some_and(|text| text.starts_with(&format!("{kind}~{issuer}~")))
    };
    issuer == ADVERSARY
        || own("code", "code")
        || own("refresh_token", "rt")
        || own("assertion", "wl")
        || own("assertion", "jag")
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
    // Half of the histories have a user.
    let flow = prop_oneof![Just(Flow::User), prop::sample::select(FLOWS.as_slice())];
    let reached_cell = std::cell::RefCell::new(&mut reached);
    runner
        .run(&(flow, moves), |(flow, moves)| {
            let mut reached = reached_cell.borrow_mut();
            let mut world = World::new(&mut reached, flow);
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
        "signed",
        "client assertion",
        "proof",
        "assertion grant",
        "exchange",
        "assertion_not_allowed",
    ] {
        assert!(
            reached.0.contains_key(fact),
            "never reached: {fact}; {:?}",
            reached.0
        );
    }
}
