//! A hostile world: three authorization servers, a resource with arbitrary answers, a browser that can be
//! redirected, a store that fails, conflicts or rolls back, crashes between any two actions, clocks that
//! jump, and one to three instances of the machine. Every engine drives it by [`Move`]s, and the same
//! checks, which use none of the machine's types, judge every step.

// Each engine uses only a part of this module.
#![allow(dead_code, unused_imports)]

mod browser;
mod checks;
pub mod documents;
pub mod facts;
mod heal;
mod instance;
mod late;
mod moments;
mod moves;
mod resource;
pub mod scanner;
mod servers;
mod setup;
mod store;
mod token_endpoint;

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{Config, Event, Moment, Phase};

pub use checks::Ledger;
pub use documents::{FLAWS, Flaw};
pub use facts::Facts;
use instance::Instance;
pub use moves::{EVENTS, How, Move, Return, Said};
use servers::Registry;
pub use setup::{Client, Habit, Setup};
use store::Shelf;

pub const MCP: &str = "https://mcp.example/mcp";
pub const REDIRECT: &str = "http://127.0.0.1:3000/callback";
pub const PRM: &str = "https://mcp.example/.well-known/oauth-protected-resource/mcp";
pub const OPERATION: &str = "tools/call x";
/// Another operation, which asks while the machine is at work for the first.
pub const SECOND: &str = "tools/call y";
/// A third one, for whose refusals the account is read.
pub const THIRD: &str = "tools/call z";
/// The first says `iss` and advertises it, the last never does; the one between lies.
pub const ISSUERS: [&str; 3] = [
    "https://a.example",
    "https://b.example",
    "https://c.example",
];
pub const LIAR: usize = 1;
/// An organisation's identity provider, honest.
pub const PROVIDER: usize = 3;
pub const PROVIDER_URL: &str = "https://d.example";
/// Where an honest server's document sends its clients while it is wrong.
pub const EVIL: usize = 4;
pub const EVIL_URL: &str = "https://e.example";
/// Only ever named in `Location`: nothing may go there.
pub const ELSEWHERE: &str = "https://loc.example";

/// Which server this issuer is.
fn issuer_named(text: &str) -> usize {
    let place = ISSUERS.iter().position(|issuer| *issuer == text);
    place.expect("an issuer of this world")
}

/// Which server a text names by its origin, if any.
pub fn server_of(url: &str) -> Option<usize> {
    let rest = url.strip_prefix("https://")?;
    let host = rest.split(['/', '?']).next()?;
    match host {
        "a.example" => Some(0),
        "b.example" => Some(LIAR),
        "c.example" => Some(2),
        "d.example" => Some(PROVIDER),
        "e.example" => Some(EVIL),
        _ => None,
    }
}

/// A redirect that the user may still follow.
#[derive(Clone, Debug)]
pub struct Visit {
    url: Arc<str>,
    issuer: usize,
}

pub struct World {
    pub setup: Setup,
    config: Arc<Config>,
    pub facts: Facts,
    pub ledger: Ledger,
    servers: Registry,
    shelf: Shelf,
    pub now: Moment,
    /// The latest that the wall clock ever showed, in milliseconds.
    latest: u64,
    instances: Vec<Instance>,
    visits: Vec<Visit>,
    /// Which issuer the resource names now, and which after it.
    named: usize,
    also: Option<usize>,
    /// An issuer that is listed first and of no use to this client.
    before: Option<usize>,
    /// The current flaws in the documents of the honest servers.
    flaws: [Option<Flaw>; 3],
    /// Whether an operation was tried since a person last asked to sign in.
    asked: bool,
    seeds: u32,
    minted: u32,
    /// A digest of all actions of the machines.
    digest: DefaultHasher,
    /// How many events the machines were given.
    pub events: u64,
    /// Whether each event and action is printed.
    pub tells: bool,
}

impl World {
    pub fn new(setup: Setup) -> Self {
        Self::on(setup, setup.config())
    }

    /// With settings of the host besides.
    pub fn on(setup: Setup, config: Arc<Config>) -> Self {
        let mut world = Self {
            setup,
            config,
            facts: Facts::default(),
            ledger: Ledger::default(),
            servers: Registry::default(),
            shelf: Shelf::default(),
            now: crate::START,
            latest: crate::START.wall.0,
            instances: Vec::new(),
            visits: Vec::new(),
            named: 0,
            also: None,
            before: None,
            flaws: [None; 3],
            asked: false,
            seeds: 0,
            minted: 0,
            digest: DefaultHasher::new(),
            events: 0,
            tells: false,
        };
        for at in 0..setup.instances {
            world
                .instances
                .push(Instance::new(Arc::clone(&world.config), world.now));
            world.collect(at);
        }
        world
    }

    /// Something happens; what the machine makes of it is judged.
    pub fn apply(&mut self, happens: Move) {
        match happens {
            Move::Answer { at, action, how } => self.answer(at, action, how),
            Move::Return { visit, at, how } => self.come_back(visit, at, how),
            Move::Resource { at, said } => self.resource(at, said),
            Move::Names(issuer) => {
                self.named = issuer;
                self.also = None;
            }
            Move::Lists(first, second) => {
                self.facts.note("two servers listed");
                self.named = first;
                self.also = Some(second);
            }
            Move::Document { server, flaw } => {
                if server != LIAR {
                    self.facts.note(match flaw {
                        Some(_) => "a document went wrong",
                        None => "a document was put right",
                    });
                    let moved = matches!(flaw, Some(Flaw::RevocationMoved | Flaw::TokenMoved));
                    let held = |instance: &Instance| instance.machine.grant().is_some();
                    if moved && self.instances.iter().any(held) {
                        self.facts.note("an endpoint moved while a token was held");
                    }
                    self.flaws[server] = flaw;
                }
            }
            Move::Forgets(server) => {
                let of = format!("cid~{server}~");
                self.servers
                    .clients
                    .retain(|client| !client.starts_with(&of));
            }
            Move::Reset(at) => {
                self.facts.note("registration reset");
                self.ledger.cancelled(at);
                let client = self.ledger.registered_client(at);
                self.ledger.resets(at, client);
                self.ledger.external(at);
                self.tell(at, Event::Abandoned(Abandon::ResetRegistration));
            }
            Move::Click(at) => {
                self.ledger.external(at);
                let instance = &self.instances[at];
                let idle =
                    instance.actions.is_empty() && instance.machine.phase() == Phase::Resting;
                if self.ledger.clicks(at, idle) {
                    self.facts.note("a person asked unasked");
                }
                let seed = self.seed();
                self.tell(at, Event::Authorize(seed.into()));
            }
            Move::Suspend(seconds) => {
                self.facts.note("suspended");
                self.suspended(u64::from(seconds) * 1_000);
            }
            Move::Crash { at, keeps } => self.crash(at, keeps),
            Move::Cancel(at) => {
                self.ledger.cancelled(at);
                self.tell(at, Event::Abandoned(Abandon::Cancelled));
            }
            Move::SignOut(at) => {
                self.facts.note("signed out");
                // By a clock that is behind, tokens from before the sign-out seem to have come later.
                let behind = self.now.wall.0 < self.latest;
                let access = self.shelf.account().and_then(moments::access_of);
                if let Some(access) = access.filter(|_| !behind) {
                    self.ledger.signs_out_of(at, &access);
                }
                self.ledger.signed_out(at);
                self.tell(at, Event::SignedOut);
            }
            Move::Wait(seconds) => self.wait(u64::from(seconds) * 1_000),
            Move::WallClock(forward) => self.jump(forward),
            Move::RollBack(slot) => self.shelf.roll_back(slot, &mut self.facts),
            Move::Damage(slot) => self.shelf.damage(slot, &mut self.facts),
            Move::Confuse => self.shelf.confuse(&mut self.facts),
            Move::Blink(at) => self.blink(at),
            Move::Outage { at, seconds } => self.outage(at, seconds),
            Move::SetClock { at, forward } => self.set_clock(at, forward),
            Move::SignOutBeside(at) => self.sign_out_beside(at),
            Move::Nonces(at) => self.nonces(at),
            Move::Late { at, steps, usable } => self.late(at, steps, usable),
            Move::SavedTwice(at) => self.saved_twice(at),
            Move::SignOutTwice(at) => self.sign_out_twice(at),
            Move::SignOutUnread(at) => self.sign_out_unread(at),
            Move::SignOutBesideRefresh(at) => self.sign_out_beside_refresh(at),
            Move::LateTwice { at, order } => self.late_twice(at, order),
            Move::LateBeside(at) => self.late_beside(at),
            Move::SavedRefused(at) => self.saved_refused(at),
        }
    }

    /// A digest of everything that was asked for so far.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// Time passes for everybody; timers fire.
    fn wait(&mut self, millis: u64) {
        self.now = crate::moment(self.now.wall.0 + millis, self.now.mono.0 + millis);
        self.latest = self.latest.max(self.now.wall.0);
        for at in 0..self.instances.len() {
            let instance = &self.instances[at];
            let due = instance.machine.deadline().unwrap_or(self.now.mono) <= self.now.mono;
            if instance.at_store && due {
                // The store has not answered in time.
                self.ledger.store_failed(at);
                self.ledger.saves(at, false);
            }
            self.tell(at, Event::Timer);
        }
    }

    /// Time passes without an event, as in a suspended process.
    fn suspended(&mut self, millis: u64) {
        self.now = crate::moment(self.now.wall.0 + millis, self.now.mono.0 + millis);
        self.latest = self.latest.max(self.now.wall.0);
    }

    fn jump(&mut self, forward: bool) {
        let day = 24 * 3_600_000;
        let wall = self.now.wall.0;
        let wall = if forward { wall + day } else { wall - day };
        self.set_wall(wall);
    }

    fn set_wall(&mut self, wall: u64) {
        self.now = crate::moment(wall, self.now.mono.0);
        self.latest = self.latest.max(wall);
        self.facts.note("wall clock jumped");
        self.ledger.jumped = Some(self.now.mono.0);
    }

    /// The process ends; what it was just writing is kept or lost.
    fn crash(&mut self, at: usize, keeps: bool) {
        self.facts.note("crashed");
        let next = Instance::new(Arc::clone(&self.config), self.now);
        let last = std::mem::replace(&mut self.instances[at], next);
        if keeps {
            self.shelf.finish(last);
        }
        self.ledger.crashed(at);
        self.collect(at);
    }

    fn tell(&mut self, at: usize, event: Event) {
        let now = self.now;
        scanner::diagnostic("an event", &format!("{event:?}"));
        self.events += 1;
        if matches!(event, Event::Authorize(_)) {
            self.instances[at].clicked = true;
            let idle = self.instances[at].actions.is_empty();
            self.ledger.consents(at, idle);
        }
        if self.tells {
            println!("  {at} receives at {now:?}: {event:?}");
        }
        self.instances[at].machine.handle(now, event);
        self.collect(at);
        if !matches!(self.instances[at].machine.phase(), Phase::Working(_)) {
            // A callback has its result by now: what follows is other work (S06).
            self.ledger.came_back(at, false);
        }
    }

    fn seed(&mut self) -> Seed {
        self.seeds += 1;
        let bytes = self.seeds.to_be_bytes();
        let mut seed: [u8; 48] = std::array::from_fn(|at| (at as u8).wrapping_mul(29));
        // Verifier and `state` are made of different parts.
        for part in [0, 32] {
            seed[part..part + 4].copy_from_slice(&bytes);
        }
        Seed::new(seed).expect("entropy")
    }

    /// A recognisable text: kind, issuer, number.
    fn mint(&mut self, kind: &str, issuer: usize) -> String {
        self.minted += 1;
        format!("{kind}~{issuer}~{}", self.minted)
    }
}
