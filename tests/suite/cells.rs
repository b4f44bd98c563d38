//! The state × event table: what every event does in every state, as a snapshot (H04, S24).
//!
//! Honest histories lead into each state; from there every event is tried on a machine of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use http::HeaderMap;
use mcp_auth_machine::action::{ObtainAssertion, SubjectTokenKind};
use mcp_auth_machine::config::{Enterprise, PreRegistered, PushedRequests};
use mcp_auth_machine::event::{Abandon, Challenge, Operation};
use mcp_auth_machine::slot::{SlotContents, SlotKind, Stored};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Action, Config, Event, Phase};

use crate::support::*;

const B: &str = "https://b.example";

/// An event that the host starts on its own.
#[derive(Clone, Copy)]
enum Kick {
    Refused,
    Wanted,
    CallBack,
    StrayCallback,
    HourPasses,
    /// The host wants an authorization.
    Again,
    /// From here on the resource lists the first server alone, which has metadata now.
    Moves,
    SignOut,
    Timer,
}

/// A history: a configuration, and what happens in it when the machine rests.
#[derive(Clone, Copy)]
struct History {
    config: fn() -> Config,
    kicks: &'static [Kick],
    /// The token endpoint's response to a refresh.
    refresh: (u16, &'static str),
    /// Further members of the server's metadata.
    more: &'static str,
}

const PUSHED: &str = r#","pushed_authorization_request_endpoint":"https://as.example/par""#;
const DEVICE: &str = r#","device_authorization_endpoint":"https://as.example/device""#;
const PROFILE: &str =
    r#","authorization_grant_profiles_supported":["urn:ietf:params:oauth:grant-profile:id-jag"]"#;
const IDP: &str = "https://idp.example";

const HISTORIES: &[History] = &[
    // Cold, on the second server of two; then renewed, refused, and signed out.
    History {
        config: || config().build().unwrap(),
        kicks: &[
            Kick::Refused,
            Kick::StrayCallback,
            Kick::CallBack,
            Kick::HourPasses,
            Kick::Wanted,
            Kick::Refused,
            Kick::SignOut,
        ],
        refresh: (
            200,
            r#"{"access_token":"at-2","token_type":"Bearer","refresh_token":"rt-2","expires_in":3600}"#,
        ),
        more: "",
    },
    // A client without an issuer is bound.
    History {
        config: || {
            config()
                .pre_registered_unbound(PreRegistered::new("pre"))
                .build()
                .unwrap()
        },
        kicks: &[Kick::Refused, Kick::Again, Kick::CallBack],
        refresh: (200, ""),
        more: "",
    },
    // The server rests, then forgets the client.
    History {
        config: || config().build().unwrap(),
        kicks: &[
            Kick::Refused,
            Kick::CallBack,
            Kick::HourPasses,
            Kick::Wanted,
            Kick::Timer,
        ],
        refresh: (503, ""),
        more: "",
    },
    History {
        config: || config().build().unwrap(),
        kicks: &[
            Kick::Refused,
            Kick::CallBack,
            Kick::HourPasses,
            Kick::Wanted,
        ],
        refresh: (401, r#"{"error":"invalid_client"}"#),
        more: "",
    },
    // The resource leaves the server.
    History {
        config: || config().build().unwrap(),
        kicks: &[Kick::Refused, Kick::CallBack, Kick::Moves, Kick::Refused],
        refresh: (200, ""),
        more: "",
    },
    // The request is pushed.
    History {
        config: || {
            let config = config().pushed_requests(PushedRequests::WhenOffered);
            config.build().unwrap()
        },
        kicks: &[Kick::Refused, Kick::CallBack],
        refresh: (200, ""),
        more: PUSHED,
    },
    // The user is at another device: the first poll is in vain.
    History {
        config: || {
            let config = Config::for_other_devices(MCP);
            config.build().unwrap()
        },
        kicks: &[Kick::Refused, Kick::Timer, Kick::Timer],
        refresh: (200, ""),
        more: DEVICE,
    },
    // No user signs in: the organisation's identity provider decides.
    History {
        config: || {
            let client = || PreRegistered::new("service").assertion("a.b.c");
            let config = config()
                .pre_registered(AS, client())
                .enterprise(Enterprise::new(IDP, client()));
            config.build().unwrap()
        },
        kicks: &[Kick::Refused],
        refresh: (200, ""),
        more: PROFILE,
    },
];

struct World {
    history: History,
    store: Store,
    host: Host,
    kicks: usize,
    moved: bool,
    state: Option<String>,
}

impl World {
    fn new(history: History) -> Self {
        let manual = Store {
            mode: StoreMode::Manual,
            ..Store::default()
        };
        Self {
            history,
            store: Store::default(),
            host: Host::on(Arc::new((history.config)()), manual),
            kicks: 0,
            moved: false,
            state: None,
        }
    }

    /// The state after so many honest steps.
    fn after(history: History, steps: usize) -> Self {
        let mut world = Self::new(history);
        for _ in 0..steps {
            world.step();
        }
        world
    }

    /// The state, and whether a token is held.
    fn name(&mut self) -> String {
        let state = match self.host.machine.phase() {
            Phase::Resting => "resting",
            Phase::AwaitingUser => "awaiting_user",
            Phase::AwaitingDevice => "awaiting_device",
            Phase::Working(name) => name,
        };
        let held = match self.host.token() {
            Some(_) => ", token held",
            None => "",
        };
        format!("{state}{held}")
    }

    /// One honest step; false at the end of the history.
    fn step(&mut self) -> bool {
        match self.host.actions.pop_front() {
            Some(Action::LoadSlot(load)) => {
                let found = self.store.slots.get(&load.slot().to_string()).cloned();
                self.host.handle(load.found(found));
            }
            Some(Action::PersistSlot(persist)) => {
                let event = self.store.persist(persist);
                self.host.handle(event);
            }
            Some(Action::SendRequest(send)) => {
                // A pushed request carries the state that the URL does not.
                let pushed = get(&body(send.request()), "state");
                self.state = pushed.or(self.state.take());
                let (status, text) = self.answer(&copy(send.request()));
                self.host
                    .handle(send.response(response(status, &[], &text)));
            }
            Some(Action::Sign(sign)) => {
                let event = sign.prepare([1; 16]).signature(&[7; 64]);
                self.host.handle(event);
            }
            Some(Action::ObtainAssertion(asked)) => {
                self.host
                    .handle(asked.subject("subject", SubjectTokenKind::IdToken));
            }
            Some(Action::NeedUser(_)) => self.host.authorize(),
            Some(Action::Redirect(redirect)) => {
                let state = get(&query(redirect.url.as_str()), "state");
                self.state = state.or(self.state.take());
            }
            Some(Action::Ready(_)) => self.host.accepted("tools/call x"),
            Some(Action::Error(_) | Action::ShowCode(_)) => {}
            Some(other) => panic!("{other:?}"),
            None => return self.kick(),
        }
        true
    }

    fn answer(&self, request: &http::Request<bytes::Bytes>) -> (u16, String) {
        let url = request.uri().to_string();
        let form = body(request);
        match url.as_str() {
            PRM if self.moved => (200, prm().replace(AS, B)),
            PRM => (
                200,
                prm().replace(&format!("[\"{AS}\"]"), &format!("[\"{B}\",\"{AS}\"]")),
            ),
            _ if url.starts_with(B) && url.contains("/.well-known/") && self.moved => {
                (200, metadata_of(B, ""))
            }
            _ if url.starts_with(B) && !self.moved => (404, String::new()),
            _ if url.starts_with(IDP) && url.contains("/.well-known/") => {
                (200, metadata_of(IDP, ""))
            }
            _ if url.starts_with(IDP) => {
                let grant = r#"{"access_token":"jag","token_type":"N_A","issued_token_type":"urn:ietf:params:oauth:token-type:id-jag"}"#;
                (200, grant.to_owned())
            }
            _ if url.ends_with("/device") => {
                let codes = format!(
                    r#"{{"device_code":"dc","user_code":"UC","verification_uri":"{AS}/code","interval":5}}"#
                );
                (200, codes)
            }
            _ if get(&form, "device_code").is_some() && self.kicks < 3 => {
                (400, r#"{"error":"authorization_pending"}"#.to_owned())
            }
            _ if url.ends_with("/par") => (201, r#"{"request_uri":"urn:x"}"#.to_owned()),
            _ if url.contains("/.well-known/") => {
                let revocation = format!(r#","revocation_endpoint":"{AS}/revoke""#);
                (
                    200,
                    metadata_with(&[&revocation, self.history.more].concat()),
                )
            }
            _ if url.ends_with("/register") => (201, r#"{"client_id":"dyn-1"}"#.to_owned()),
            _ if url.ends_with("/revoke") => (200, String::new()),
            _ if get(&form, "refresh_token").is_some() => {
                (self.history.refresh.0, self.history.refresh.1.to_owned())
            }
            _ => (200, renewable("at-1", "rt-1")),
        }
    }

    fn kick(&mut self) -> bool {
        let Some(kick) = self.history.kicks.get(self.kicks) else {
            return false;
        };
        self.kicks += 1;
        match kick {
            Kick::Refused => {
                // The server issues the same text again: another token, since it is received later.
                self.host.now.wall.0 += 1;
                self.host.now.mono.0 += 1;
                self.host.refused("Bearer");
            }
            Kick::Wanted => self.host.wanted("tools/call x"),
            Kick::CallBack => {
                let state = self.state.clone().unwrap();
                self.host.callback(&format!("code=c&state={state}"));
            }
            Kick::StrayCallback => self.host.callback("code=c&state=AAAAAAAAAAAAAAAAAAAAAA"),
            Kick::HourPasses => self.host.pass(3_600_000),
            Kick::Again => self.host.authorize(),
            Kick::Moves => self.moved = true,
            Kick::SignOut => self.host.handle(Event::SignedOut),
            Kick::Timer => {
                self.host.wake();
            }
        }
        true
    }
}

type Try = fn(&mut World) -> Option<()>;

fn challenged(world: &mut World, status: u16, text: &str, with_token: bool) -> Option<()> {
    let sent = world.host.token().filter(|_| with_token);
    if with_token {
        sent.as_ref()?;
    }
    world
        .host
        .challenged_for("other", status, &[text], sent.as_deref());
    Some(())
}

/// Answers the action that is waited for; nothing when it is of another kind.
fn send(
    world: &mut World,
    event: fn(mcp_auth_machine::action::SendRequest) -> Event,
) -> Option<()> {
    let at = world
        .host
        .actions
        .iter()
        .rposition(|action| matches!(action, Action::SendRequest(_)))?;
    let Some(Action::SendRequest(send)) = world.host.actions.remove(at) else {
        panic!()
    };
    world.host.handle(event(send));
    Some(())
}

fn load(world: &mut World, event: fn(mcp_auth_machine::action::LoadSlot) -> Event) -> Option<()> {
    let at = world
        .host
        .actions
        .iter()
        .rposition(|action| matches!(action, Action::LoadSlot(_)))?;
    let Some(Action::LoadSlot(load)) = world.host.actions.remove(at) else {
        panic!()
    };
    world.host.handle(event(load));
    Some(())
}

fn persist(
    world: &mut World,
    event: fn(mcp_auth_machine::action::PersistSlot) -> Event,
) -> Option<()> {
    let both = matches!(world.host.machine.phase(), Phase::Working("saving_both"));
    let mut actions = world.host.actions.iter();
    let is_write = |action: &Action| match action {
        // Of the two writes, the state waits for this one.
        Action::PersistSlot(persist) if both => persist.slot().kind() == SlotKind::Registration,
        Action::PersistSlot(_) => true,
        _ => false,
    };
    let at = actions.rposition(is_write)?;
    let Some(Action::PersistSlot(persist)) = world.host.actions.remove(at) else {
        panic!()
    };
    world.host.handle(event(persist));
    Some(())
}

fn obtained(world: &mut World, event: fn(ObtainAssertion) -> Event) -> Option<()> {
    let is = |action: &Action| matches!(action, Action::ObtainAssertion(_));
    let at = world.host.actions.iter().rposition(is)?;
    let Some(Action::ObtainAssertion(asked)) = world.host.actions.remove(at) else {
        panic!()
    };
    world.host.handle(event(asked));
    Some(())
}

fn damaged() -> Option<Stored> {
    Some(Stored {
        contents: SlotContents::new("v1.AAAAAAAAAAAAAAAAAAAAAA.{}"),
        revision: "AAAAAAAAAAAAAAAAAAAAAA".parse().unwrap(),
    })
}

fn newer() -> Option<Stored> {
    Some(Stored {
        contents: SlotContents::new("v9.AAAAAAAAAAAAAAAAAAAAAA.{}"),
        revision: "AAAAAAAAAAAAAAAAAAAAAA".parse().unwrap(),
    })
}

const EVENTS: &[(&str, Try)] = &[
    ("authorize", |w| {
        w.host.authorize();
        Some(())
    }),
    ("401, no token sent", |w| {
        challenged(w, 401, "Bearer", false)
    }),
    ("401, token sent", |w| challenged(w, 401, "Bearer", true)),
    ("403 insufficient_scope", |w| {
        challenged(
            w,
            403,
            "Bearer error=\"insufficient_scope\", scope=\"s\"",
            true,
        )
    }),
    ("403", |w| challenged(w, 403, "Bearer", true)),
    ("404", |w| challenged(w, 404, "Bearer", true)),
    ("accepted", |w| {
        w.host.accepted("other");
        Some(())
    }),
    ("wanted", |w| {
        w.host.handle(Event::Wanted(Operation::new("other")));
        Some(())
    }),
    ("answer 200, nonsense", |w| {
        send(w, |s| s.response(response(200, &[], "<html>")))
    }),
    // A response for another role (H06).
    ("answer 200, token", |w| {
        send(w, |s| s.response(response(200, &[], &token_answer("t"))))
    }),
    ("answer 404", |w| {
        send(w, |s| s.response(response(404, &[], "")))
    }),
    ("answer 500", |w| {
        send(w, |s| s.response(response(500, &[], "")))
    }),
    ("answer 400 invalid_grant", |w| {
        send(w, |s| {
            s.response(response(400, &[], r#"{"error":"invalid_grant"}"#))
        })
    }),
    ("answer 307", |w| {
        send(w, |s| {
            s.response(response(307, &[("location", "https://evil.example/")], ""))
        })
    }),
    ("never sent", |w| send(w, |s| s.never_sent())),
    ("too large", |w| send(w, |s| s.too_large())),
    ("blocked", |w| send(w, |s| s.blocked())),
    ("slot empty", |w| load(w, |l| l.found(None))),
    ("slot damaged", |w| load(w, |l| l.found(damaged()))),
    ("slot newer", |w| load(w, |l| l.found(newer()))),
    ("load failed", |w| load(w, |l| l.failed())),
    ("write done", |w| persist(w, |p| p.done())),
    ("write failed", |w| persist(w, |p| p.failed())),
    ("conflict, empty", |w| persist(w, |p| p.conflict(None))),
    ("conflict, damaged", |w| {
        persist(w, |p| p.conflict(damaged()))
    }),
    ("conflict, newer", |w| persist(w, |p| p.conflict(newer()))),
    ("assertion of the other kind", |w| {
        obtained(w, |asked| asked.workload("w.l.1"))
    }),
    ("no assertion", |w| obtained(w, |asked| asked.failed())),
    ("stray callback", |w| {
        w.host.callback("code=c&state=BBBBBBBBBBBBBBBBBBBBBB");
        Some(())
    }),
    ("own callback", |w| {
        let state = w.state.clone()?;
        w.host.callback(&format!("code=c&state={state}"));
        Some(())
    }),
    ("callback without state", |w| {
        w.host
            .handle(Event::CallbackParams(Callback::from_url("%%%")));
        Some(())
    }),
    ("timer, early", |w| {
        w.host.handle(Event::Timer);
        Some(())
    }),
    ("timer, due", |w| {
        w.host.machine.deadline()?;
        w.host.wake();
        Some(())
    }),
    ("clocks at their ends", |w| {
        w.host.now = mcp_auth_testing::moment(u64::MAX, u64::MAX);
        w.host.handle(Event::Timer);
        w.host.now = mcp_auth_testing::moment(0, 0);
        w.host.handle(Event::Timer);
        Some(())
    }),
    ("cancelled", |w| {
        w.host.handle(Event::Abandoned(Abandon::Cancelled));
        Some(())
    }),
    ("registration reset", |w| {
        w.host.handle(Event::Abandoned(Abandon::ResetRegistration));
        Some(())
    }),
    ("signed out", |w| {
        w.host.handle(Event::SignedOut);
        Some(())
    }),
    ("answer to another machine", |w| {
        let mut other = Host::new(config());
        other.handle(Event::Challenged(Challenge::new(
            "x",
            401,
            HeaderMap::new(),
        )));
        other.need_user();
        other.authorize();
        w.host.handle(other.request().never_sent());
        Some(())
    }),
];

/// The first place in the histories at which each state is met.
fn places() -> BTreeMap<String, (usize, usize)> {
    let mut places = BTreeMap::new();
    for (number, history) in HISTORIES.iter().enumerate() {
        let mut world = World::new(*history);
        for step in 0.. {
            places.entry(world.name()).or_insert((number, step));
            if !world.step() {
                break;
            }
        }
    }
    places
}

/// Returns the action of a line of the playbook: of its parameters, the grant alone.
pub fn asked(line: &str) -> Option<String> {
    let line = line.strip_prefix("< ")?;
    let words = line.split(' ').take_while(|word| !word.contains('='));
    let grant = line
        .split(' ')
        .find_map(|word| word.strip_prefix("grant_type="));
    let words: Vec<&str> = words.chain(grant).collect();
    Some(words.join(" ").trim_end_matches(':').to_owned())
}

#[test]
fn h04_s24_every_event_in_every_state_has_its_outcome() {
    let places = places();
    for name in Phase::NAMES {
        assert!(
            places.keys().any(|place| place.starts_with(name)),
            "{name} is in no history"
        );
    }
    let mut table = String::new();
    for (name, (history, steps)) in &places {
        writeln!(table, "{name}").unwrap();
        for (event, attempt) in EVENTS {
            let mut world = World::after(HISTORIES[*history], *steps);
            assert_eq!(world.name(), *name);
            world.host.playbook.clear();
            if attempt(&mut world).is_none() {
                continue;
            }
            let text = world.host.playbook.text();
            let asked: Vec<String> = text.lines().filter_map(asked).collect();
            let asked = match asked.as_slice() {
                [] => "nothing".to_owned(),
                asked => asked.join(", "),
            };
            let after = world.name();
            let state = if after == *name { String::new() } else { after };
            writeln!(table, "    {event:26} {state:32} {asked}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

/// From every state and after every event, an honest world leads the machine to a token with at most one
/// further redirect (L01, L09, H10).
#[test]
fn l01_l09_h10_it_heals_from_every_cell() {
    for (name, (history, steps)) in places() {
        for (event, attempt) in EVENTS {
            let mut world = World::after(HISTORIES[history], steps);
            if attempt(&mut world).is_none() || *event == "clocks at their ends" {
                continue;
            }
            heal(&mut world, &format!("{name}: {event}"));
        }
    }
}

/// A process that dies at any point, with what it was writing kept or lost: the next one finds its way
/// from the slots alone (S25, S26, L01, D03, D04).
#[test]
fn s25_it_heals_from_the_slots_after_a_crash_anywhere() {
    let mut crashes = 0;
    for history in HISTORIES {
        for steps in 0.. {
            for keep in [false, true] {
                let mut world = World::after(*history, steps);
                while let Some(action) = world.host.actions.pop_front() {
                    if let (true, Action::PersistSlot(persist)) = (keep, action) {
                        let _nobody_hears = world.store.persist(persist);
                    }
                }
                let manual = Store {
                    mode: StoreMode::Manual,
                    ..Store::default()
                };
                let config = Arc::new((history.config)());
                let (now, seeds) = (world.host.now, world.host.seeds);
                world.host = Host::resumed(config, manual, now, seeds);
                world.host.actions.clear();
                heal(
                    &mut world,
                    &format!("crash after {steps} steps, kept {keep}"),
                );
                crashes += 1;
            }
            if !World::after(*history, steps).step() {
                break;
            }
        }
    }
    assert!(crashes > 150, "{crashes}");
}

fn heal(world: &mut World, place: &str) {
    world.history.refresh = (200, "");
    world.kicks = world.kicks.max(3);
    // Outstanding responses are lost; every wait ends.
    for _ in 0..20 {
        match world.host.machine.phase() {
            Phase::Working(_) => {
                world.host.actions.clear();
                world.host.wake();
            }
            Phase::Resting | Phase::AwaitingUser | Phase::AwaitingDevice => break,
        }
    }
    world.host.actions.clear();
    world.host.pass(11 * 60_000);
    world.host.handle(Event::Timer);
    world.host.actions.clear();
    world.host.wanted("healing");
    let mut redirects = 0;
    for _ in 0..80 {
        if world.host.token().is_some() && world.host.actions.is_empty() {
            break;
        }
        match world.host.actions.front() {
            Some(Action::Redirect(redirect)) => {
                redirects += 1;
                let state = get(&query(redirect.url.as_str()), "state");
                let state = state.or(world.state.clone()).unwrap();
                world.host.actions.pop_front();
                world.host.callback(&format!("code=heal&state={state}"));
            }
            Some(Action::SendRequest(send)) if refreshes(send.request()) => {
                let Some(Action::SendRequest(send)) = world.host.actions.pop_front() else {
                    panic!()
                };
                let answer = renewable("at-heal", "rt-heal");
                world
                    .host
                    .handle(send.response(response(200, &[], &answer)));
            }
            Some(_) => {
                world.step();
            }
            None => {
                world.host.wake();
            }
        }
    }
    assert!(
        world.host.token().is_some(),
        "{place}: no token\n{}",
        world.host.playbook
    );
    assert!(redirects <= 1, "{place}: {redirects} redirects");
}

fn refreshes(request: &http::Request<bytes::Bytes>) -> bool {
    get(&body(request), "refresh_token").is_some()
}
