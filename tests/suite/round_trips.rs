//! Round trips to the store, counted for each flow: the table of docs/hosts.md.
//!
//! `UPDATE_ROUND_TRIPS=1 cargo test --test suite round_trips` writes the table.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mcp_auth_machine::action::{Purpose, SendRequest};
use mcp_auth_machine::config::{ConfigBuilder, PreRegistered};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::slot::{Slot, Stored};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Action, AuthMachine, Config, Event};

use crate::support::{AS, MCP, announcing, config, metadata_with, prm, response, seed};

const PLACE: &str = "docs/hosts.md";
const BEGIN: &str = "<!-- Round trips: written by tests/suite/round_trips.rs -->\n";
const END: &str = "<!-- End of the round trips -->\n";

/// The round trips of one flow.
#[derive(Clone, Copy, Default)]
struct Count {
    loads: usize,
    writes: usize,
    /// How often the flow stood still until the store had answered: no request was out, and no user was asked.
    waits: usize,
    requests: usize,
}

struct Process {
    machine: AuthMachine,
    store: BTreeMap<Slot, Stored>,
    now: u64,
    tokens: usize,
    count: Count,
    callback: Option<Callback>,
    returns: bool,
}

impl Process {
    fn new(config: &Arc<Config>, store: BTreeMap<Slot, Stored>, now: u64) -> Self {
        Self {
            machine: AuthMachine::new(
                Arc::clone(config),
                "alice",
                mcp_auth_testing::moment(now, now),
            ),
            store,
            now,
            tokens: 0,
            count: Count::default(),
            callback: None,
            returns: true,
        }
    }

    fn cold(config: &Arc<Config>) -> Self {
        Self::new(config, BTreeMap::new(), 1_800_000_000_000)
    }

    fn handle(&mut self, event: Event) {
        self.machine
            .handle(mcp_auth_testing::moment(self.now, self.now), event);
    }

    /// Carries out what the machine asks for, everything that is out at one time together.
    fn work(&mut self) {
        loop {
            let out: Vec<_> = std::iter::from_fn(|| self.machine.poll_action()).collect();
            let stores = out.iter().filter(|action| is_of_store(action)).count();
            if out.is_empty() {
                return;
            }
            let stands_still = stores == out.len() && self.machine.phase() != idle();
            self.count.waits += usize::from(stands_still);
            for action in out {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::LoadSlot(load) => {
                self.count.loads += 1;
                let found = self.store.get(&load.slot()).cloned();
                self.handle(load.found(found));
            }
            Action::PersistSlot(persist) => {
                self.count.writes += 1;
                let slot = persist.slot();
                match persist.write() {
                    Some(stored) => self.store.insert(slot, stored.clone()),
                    None => self.store.remove(&slot),
                };
                self.handle(persist.done());
            }
            Action::SendRequest(send) => self.answer(send),
            Action::NeedUser(_) => self.handle(Event::Authorize(seed(1).into())),
            Action::Redirect(redirect) => {
                let url = redirect.url.as_str();
                let state = url.split("state=").nth(1).unwrap();
                let state = state.split('&').next().unwrap();
                let query = format!("code=abc&state={state}&iss=https%3A%2F%2Fas.example");
                let callback = Callback::from_query(query);
                match self.returns {
                    true => self.handle(Event::CallbackParams(callback)),
                    false => self.callback = Some(callback),
                }
            }
            Action::Ready(_) | Action::Report(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, send: SendRequest) {
        self.count.requests += 1;
        let (status, body) = match send.purpose() {
            Purpose::ResourceMetadata => (200, prm()),
            Purpose::ServerMetadata => (
                200,
                metadata_with(
                    r#","authorization_response_iss_parameter_supported":true,
                    "client_id_metadata_document_supported":true,
                    "grant_types_supported":["authorization_code","refresh_token","client_credentials"],
                    "revocation_endpoint":"https://as.example/revoke""#,
                ),
            ),
            Purpose::Registration => (201, r#"{"client_id":"c1"}"#.to_owned()),
            Purpose::Revocation => (200, String::new()),
            Purpose::Token => {
                self.tokens += 1;
                let number = self.tokens;
                (
                    200,
                    format!(
                        r#"{{"access_token":"at-{number}","token_type":"Bearer","expires_in":600,"refresh_token":"rt-{number}"}}"#
                    ),
                )
            }
            other => panic!("{other:?}"),
        };
        let json = [("content-type", "application/json")];
        self.handle(send.response(response(status, &json, &body)));
    }

    fn challenged(&mut self, status: u16, text: &str, sent: Option<&str>) {
        let mut headers = http::HeaderMap::new();
        headers.insert("www-authenticate", text.parse().unwrap());
        let challenge = Challenge::new("tools/call", status, headers);
        self.handle(Event::Challenged(match sent {
            Some(token) => challenge.sent(token),
            None => challenge,
        }));
    }

    fn token(&mut self) -> String {
        let now = mcp_auth_testing::moment(self.now, self.now);
        let header = self.machine.bearer(now, MCP).unwrap();
        header.to_str().unwrap().to_owned()
    }

    fn sign_in(&mut self) {
        self.challenged(401, &announcing(), None);
        self.work();
        assert!(!self.token().is_empty());
    }

    /// Counts what follows alone.
    fn afresh(mut self) -> Self {
        self.count = Count::default();
        self
    }

    fn signed_in(config: &Arc<Config>) -> Self {
        let mut process = Self::cold(config);
        process.sign_in();
        process.handle(Event::Accepted(Operation::new("tools/call")));
        process.afresh()
    }
}

fn idle() -> mcp_auth_machine::Phase {
    mcp_auth_machine::Phase::Resting
}

fn is_of_store(action: &Action) -> bool {
    matches!(action, Action::LoadSlot(_) | Action::PersistSlot(_))
}

fn built(change: impl Fn(ConfigBuilder) -> ConfigBuilder) -> Arc<Config> {
    Arc::new(change(config().reports(false)).build().unwrap())
}

fn flows() -> Vec<(&'static str, Count)> {
    let dynamic = built(|builder| builder);
    let configured = built(|builder| builder.pre_registered(AS, PreRegistered::new("c0")));
    let document =
        built(|builder| builder.client_metadata_url("https://app.example.com/client.json"));
    let cold = |config| {
        let mut process = Process::cold(config);
        process.sign_in();
        process.count
    };
    let mut rows = vec![
        ("sign-in, dynamic registration", cold(&dynamic)),
        ("sign-in, client metadata document", cold(&document)),
        ("sign-in, configured client", cold(&configured)),
    ];
    let mut again = Process::cold(&dynamic);
    again.sign_in();
    let slots = std::mem::take(&mut again.store);
    let registered = slots
        .into_iter()
        .filter(|(slot, _)| slot.to_string().starts_with("registration"));
    let mut again = Process::new(&dynamic, registered.collect(), again.now);
    again.sign_in();
    rows.push(("sign-in, registered before", again.count));

    let mut first = Process::cold(&dynamic);
    first.returns = false;
    first.challenged(401, &announcing(), None);
    first.work();
    let mut second = Process::new(&dynamic, std::mem::take(&mut first.store), first.now);
    second.handle(Event::CallbackParams(first.callback.take().unwrap()));
    second.work();
    second.token();
    rows.push(("callback at another instance", second.count));

    let mut started = Process::signed_in(&dynamic);
    let mut started = Process::new(&dynamic, std::mem::take(&mut started.store), started.now);
    started.handle(Event::Wanted(Operation::new("tools/call")));
    started.work();
    started.token();
    rows.push(("start with a valid token", started.count));

    let mut warm = Process::signed_in(&dynamic);
    warm.handle(Event::Wanted(Operation::new("tools/call")));
    warm.work();
    rows.push(("a valid token, again", warm.count));

    let mut refresh = Process::signed_in(&dynamic);
    refresh.now += 601_000;
    refresh.handle(Event::Wanted(Operation::new("tools/call")));
    refresh.work();
    refresh.token();
    rows.push(("refresh, metadata fresh", refresh.count));

    let mut stale = Process::signed_in(&dynamic);
    stale.now += 3_601_000;
    stale.handle(Event::Wanted(Operation::new("tools/call")));
    stale.work();
    stale.token();
    rows.push(("refresh, metadata stale", stale.count));

    let mut refused = Process::signed_in(&dynamic);
    let sent = refused.token();
    refused.challenged(401, r#"Bearer error="invalid_token""#, Some(&sent));
    refused.work();
    assert_ne!(refused.token(), sent);
    rows.push(("refresh after a 401", refused.count));

    let mut step_up = Process::signed_in(&dynamic);
    let sent = step_up.token();
    let text = r#"Bearer error="insufficient_scope", scope="files:write""#;
    step_up.challenged(403, text, Some(&sent));
    step_up.work();
    assert_ne!(step_up.token(), sent);
    rows.push(("step-up", step_up.count));

    let mut out = Process::signed_in(&dynamic);
    out.handle(Event::SignedOut);
    out.work();
    rows.push(("sign-out", out.count));
    rows
}

fn table(rows: &[(&str, Count)]) -> String {
    let mut table = "| flow | loads | writes | waits, one after the other | HTTP requests |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (flow, count) in rows {
        let Count {
            loads,
            writes,
            waits,
            requests,
        } = count;
        table.push_str(&format!(
            "| {flow} | {loads} | {writes} | {waits} | {requests} |\n"
        ));
    }
    table
}

/// D01, TOK-16
#[test]
fn round_trips_to_the_store_are_those_of_the_table() {
    let drawn = table(&flows());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PLACE);
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table begins");
    let (shown, after) = rest.split_once(END).expect("the table ends");
    if std::env::var_os("UPDATE_ROUND_TRIPS").is_some() {
        std::fs::write(&page, [before, BEGIN, &drawn, END, after].concat()).unwrap();
    } else {
        assert_eq!(shown, drawn, "UPDATE_ROUND_TRIPS=1 writes the table");
    }
}

/// No flow may come to wait more often without the table saying so; these are the most that the design allows.
#[test]
fn no_flow_waits_for_the_store_more_often_than_its_steps_need() {
    for (flow, count) in flows() {
        let most = match flow {
            "sign-in, dynamic registration" => 6,
            "a valid token, again" => 0,
            "start with a valid token" => 1,
            _ if flow.starts_with("refresh") => 4,
            _ => 5,
        };
        assert!(count.waits <= most, "{flow}: {}", count.waits);
    }
}
