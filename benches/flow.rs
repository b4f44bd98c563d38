//! The cold flow in memory: challenge, resource metadata, server metadata, registration, redirect,
//! callback, token, with immediate results of slots; and the warm path, a stored token. Measures time and
//! allocations beside a floor that only parses, hashes and builds the requests of the same messages, with
//! the same crates. `cargo bench --bench flow`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod floor;

use std::alloc::System;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use mcp_auth_machine::event::Challenge;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Moment};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MCP: &str = "https://mcp.example/mcp";
const REDIRECT: &str = "http://127.0.0.1:3000/callback";
const CHALLENGE: &str = "Bearer resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/mcp\", scope=\"files:read files:write\"";
const PRM: &str = r#"{"resource":"https://mcp.example/mcp","authorization_servers":["https://as.example"],"scopes_supported":["files:read","files:write"],"bearer_methods_supported":["header"]}"#;
const METADATA: &str = r#"{"issuer":"https://as.example","authorization_endpoint":"https://as.example/authorize","token_endpoint":"https://as.example/token","registration_endpoint":"https://as.example/register","revocation_endpoint":"https://as.example/revoke","response_types_supported":["code"],"grant_types_supported":["authorization_code","refresh_token"],"code_challenge_methods_supported":["S256"],"token_endpoint_auth_methods_supported":["none"],"authorization_response_iss_parameter_supported":true}"#;
const REGISTERED: &str = r#"{"client_id":"s6BhdRkqt3","redirect_uris":["http://127.0.0.1:3000/callback"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none"}"#;
const TOKEN: &str = r#"{"access_token":"SlAV32hkKGmLqyTnKwXPp2kYq0Zb1c9d","token_type":"Bearer","expires_in":3600,"refresh_token":"8xLOxBtZp8e3mM2qwJr1VYH0t5c7d9f1","scope":"files:read files:write"}"#;

/// The messages, created before the measurement.
struct Messages {
    challenge: HeaderMap,
    answers: VecDeque<Response<Bytes>>,
    seed: [u8; 64],
}

impl Messages {
    fn new() -> Self {
        let mut challenge = HeaderMap::new();
        challenge.insert("www-authenticate", HeaderValue::from_static(CHALLENGE));
        let answer = |status: u16, body: &'static str| {
            let mut response = Response::new(Bytes::from_static(body.as_bytes()));
            *response.status_mut() = status.try_into().unwrap();
            response
        };
        let mut seed = [0; 64];
        for (at, byte) in seed.iter_mut().enumerate() {
            *byte = at as u8;
        }
        Self {
            challenge,
            answers: VecDeque::from([
                answer(200, PRM),
                answer(200, METADATA),
                answer(201, REGISTERED),
                answer(200, TOKEN),
            ]),
            seed,
        }
    }
}

/// Runs the flow up to the redirect; returns the waiting machine and the callback.
fn to_redirect(config: &Arc<Config>, messages: &mut Messages) -> (AuthMachine, String) {
    let now = mcp_auth_testing::moment(1_800_000_000_000, 1_000);
    let mut machine = AuthMachine::new(Arc::clone(config), "alice", now);
    let challenge = std::mem::take(&mut messages.challenge);
    machine.handle(
        now,
        Event::Challenged(Challenge::new("tools/call", 401, challenge)),
    );
    let mut callback = None;
    drive(&mut machine, now, messages, &mut callback);
    (machine, callback.unwrap())
}

fn drive(
    machine: &mut AuthMachine,
    now: Moment,
    messages: &mut Messages,
    callback: &mut Option<String>,
) -> bool {
    while let Some(action) = machine.poll_action() {
        match action {
            Action::LoadSlot(load) => machine.handle(now, load.found(None)),
            Action::PersistSlot(persist) => machine.handle(now, persist.done()),
            Action::SendRequest(send) => {
                black_box(send.request());
                let answer = messages.answers.pop_front().unwrap();
                machine.handle(now, send.response(answer));
            }
            Action::NeedUser(_) => {
                let seed = Seed::with_key(messages.seed).unwrap();
                machine.handle(now, Event::Authorize(seed.into()));
            }
            Action::Redirect(redirect) => {
                let url = redirect.url.as_str();
                let state = url
                    .split("state=")
                    .nth(1)
                    .unwrap()
                    .split('&')
                    .next()
                    .unwrap();
                let iss = "https%3A%2F%2Fas.example";
                *callback = Some(format!(
                    "{REDIRECT}?code=SplxlOBeZQQYbYS6WxSbIA&state={state}&iss={iss}"
                ));
                return false;
            }
            Action::Ready(_) => return true,
            Action::Error(failure) => panic!("{failure}"),
            Action::Sign(_) | Action::ObtainAssertion(_) => panic!("nothing to sign"),
            Action::ShowCode(_) | Action::Report(_) => {}
        }
    }
    false
}

fn finish(mut machine: AuthMachine, callback: String, messages: &mut Messages) -> HeaderValue {
    let now = mcp_auth_testing::moment(1_800_000_001_000, 2_000);
    machine.handle(now, Event::CallbackParams(Callback::from_url(callback)));
    assert!(drive(&mut machine, now, messages, &mut None));
    machine.bearer(now, MCP).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns a valid token for a request: the warm path.
fn warm(config: &Arc<Config>) {
    const CALLS: usize = 10_000;
    let mut messages = Messages::new();
    let (mut machine, callback) = to_redirect(config, &mut messages);
    let now = mcp_auth_testing::moment(1_800_000_001_000, 2_000);
    machine.handle(now, Event::CallbackParams(Callback::from_url(callback)));
    assert!(drive(&mut machine, now, &mut messages, &mut None));
    let start = Instant::now();
    for _ in 0..CALLS {
        black_box(machine.bearer(now, MCP).unwrap());
    }
    let each = start.elapsed().as_nanos() as f64 / CALLS as f64;
    let region = Region::new(GLOBAL);
    let value = black_box(machine.bearer(now, MCP).unwrap());
    let change = region.change();
    println!("bearer                         {each:>8.0} ns");
    println!(
        "bearer allocations             {:>8}      bytes {} for a value of {}",
        change.allocations,
        change.bytes_allocated,
        value.len()
    );
}

fn main() {
    const ROUNDS: usize = 300;
    const BATCH: usize = 100;
    let config = |reports| {
        let built = Config::builder(MCP, REDIRECT)
            .client_name("Bench")
            .reports(reports);
        Arc::new(built.build().unwrap())
    };
    let config = config(false);
    let (mut machine, mut wire, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let per = |start: Instant| start.elapsed().as_nanos() as f64 / BATCH as f64;
    for _ in 0..ROUNDS {
        let mut batch: Vec<Messages> = (0..BATCH).map(|_| Messages::new()).collect();
        let start = Instant::now();
        for messages in &mut batch {
            let (waiting, callback) = to_redirect(&config, messages);
            black_box(finish(waiting, callback, messages));
        }
        machine.push(per(start));
        let start = Instant::now();
        for _ in 0..BATCH {
            black_box(floor::flow(false));
        }
        wire.push(per(start));
        let start = Instant::now();
        for _ in 0..BATCH {
            black_box(floor::flow(true));
        }
        whole.push(per(start));
    }
    let (machine, wire, whole) = (median(machine), median(wire), median(whole));
    println!("cold flow, machine             {machine:>8.0} ns");
    println!(
        "floor, messages                {wire:>8.0} ns   ratio {:.2}",
        machine / wire
    );
    println!(
        "floor, messages and records    {whole:>8.0} ns   ratio {:.2}",
        machine / whole
    );

    let mut messages = Messages::new();
    let region = Region::new(GLOBAL);
    let (waiting, callback) = to_redirect(&config, &mut messages);
    let at_redirect = region.change();
    let held = at_redirect.bytes_allocated as i64
        - at_redirect.bytes_deallocated as i64
        - callback.capacity() as i64;
    black_box(finish(waiting, callback, &mut messages));
    let whole_flow = region.change();
    println!(
        "machine allocations            {:>8}      reallocations {}",
        whole_flow.allocations, whole_flow.reallocations
    );
    println!("heap while waiting             {held:>8} bytes");
    warm(&config);
    let region = Region::new(GLOBAL);
    black_box(floor::flow(false));
    println!(
        "floor allocations              {:>8}",
        region.change().allocations
    );
}
