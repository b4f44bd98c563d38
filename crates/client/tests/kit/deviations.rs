//! Each deviation and fault of the servers, as a client sees it.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use mcp_auth_client::asynchronous::{Client, Network};
use mcp_auth_client::{Driver, MemoryStore, Pause, seed};
use mcp_auth_machine::config::{PreRegistered, Strictness};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event};
use mcp_auth_testing::authorization::Options;
use mcp_auth_testing::servers::{Deviation, Fault, Place, Servers, Undelivered};
use mcp_auth_testing::{Playbook, VirtualClock};

const REDIRECT: &str = "http://127.0.0.1:3000/callback";

/// The secret of the client without a user, which the form encoding of RFC 6749 changes.
const SECRET: &str = "a secret";

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Service,
    Device,
}

impl Kind {
    const ALL: [Self; 3] = [Self::User, Self::Service, Self::Device];

    fn config(self, servers: &Servers) -> Config {
        let config = match self {
            Self::User => Config::builder(servers.url(), REDIRECT),
            Self::Service => Config::without_user(servers.url())
                .pre_registered(
                    "https://as.example",
                    PreRegistered::new("service").secret(SECRET),
                )
                .client_credentials(),
            Self::Device => Config::for_other_devices(servers.url()),
        };
        let config = config.client_name("Test client");
        config.strictness(Strictness::Strict).build().unwrap()
    }

    fn servers(self) -> Servers {
        let service = (self == Self::Service).then(|| ("service".to_owned(), SECRET.to_owned()));
        let options = Options {
            service,
            ..Options::default()
        };
        Servers::builder().options(options).in_memory().unwrap()
    }
}

fn config(servers: &Servers) -> Config {
    Kind::User.config(servers)
}

fn servers() -> Servers {
    Kind::User.servers()
}

/// A program that calls a tool, lets the token end, calls it again, and signs out. Returns what it saw.
struct Program {
    servers: Servers,
    driver: Driver<MemoryStore>,
    clock: VirtualClock,
    playbook: Playbook,
    saw: Vec<String>,
}

/// The observations of a program: in short, and all of them.
#[derive(Debug, PartialEq, Eq)]
struct Saw {
    short: String,
    requests: Vec<Place>,
    playbook: String,
}

impl Program {
    fn new(servers: &Servers) -> Self {
        Self::of(Kind::User, servers)
    }

    fn of(kind: Kind, servers: &Servers) -> Self {
        let clock = VirtualClock::new();
        let playbook = Playbook::new();
        let driver = Driver::new(kind.config(servers), "alice", MemoryStore::default())
            .http(servers.answers())
            .clock(clock.clone())
            .watched(playbook.watch());
        Self {
            driver,
            servers: servers.clone(),
            clock,
            playbook,
            saw: Vec::new(),
        }
    }

    fn run(mut self) -> Saw {
        let before = self.servers.requests().len();
        if self.calls(HeaderMap::new()) {
            self.clock.advance(Duration::from_secs(301));
            let wanted = Event::Wanted(Operation::new("echo"));
            let pause = self.driver.handle(wanted);
            if let Some(headers) = self.settle(pause, false) {
                self.calls(headers);
            }
            let pause = self.driver.handle(Event::SignedOut);
            self.settle(pause, false);
        }
        Saw {
            short: self.saw.join(", "),
            requests: self.servers.requests().split_off(before),
            playbook: self.playbook.text(),
        }
    }

    /// Calls the tool, at most three times. Returns whether it succeeded.
    fn calls(&mut self, mut headers: HeaderMap) -> bool {
        for _ in 0..3 {
            let answer = self.servers.call_blocking("echo", headers.clone()).unwrap();
            let mut saw = answer.status().as_str().to_owned();
            let is_refusal = matches!(answer.status().as_u16(), 401 | 403);
            if is_refusal && !answer.headers().contains_key("www-authenticate") {
                saw.push_str(" without a challenge");
            }
            self.saw.push(saw);
            match answer.status() {
                StatusCode::OK => {
                    self.driver.handle(Event::Accepted(Operation::new("echo")));
                    return true;
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {}
                _ => return false,
            }
            let status = answer.status().as_u16();
            let mut challenge = Challenge::new("echo", status, answer.headers().clone());
            if let Some(sent) = headers.get("authorization") {
                challenge = challenge.sent(sent.to_str().unwrap());
            }
            let pause = self.driver.handle(Event::Challenged(challenge));
            match self.settle(pause, true) {
                Some(next) => headers = next,
                None => return false,
            }
        }
        false
    }

    fn settle(&mut self, mut pause: Pause, user_is_here: bool) -> Option<HeaderMap> {
        loop {
            pause = match pause {
                Pause::NeedUser(need) => {
                    self.saw.push(format!("asked: {}", need.why.as_str()));
                    if !user_is_here {
                        return None;
                    }
                    let event = Event::Authorize(seed().unwrap().into());
                    self.driver.handle(event)
                }
                Pause::Redirect(redirect) => {
                    match self.servers.browse_blocking(redirect.url.as_str()) {
                        Ok(url) => self
                            .driver
                            .handle(Event::CallbackParams(Callback::from_url(url))),
                        Err(page) => {
                            self.saw.push(format!("a page: {page}"));
                            return None;
                        }
                    }
                }
                Pause::Ready(grant) => {
                    self.saw
                        .push(format!("granted '{}'", grant.scopes.as_str()));
                    let url = self.servers.url().to_owned();
                    return self.driver.present(&Method::POST, &url).ok();
                }
                Pause::Failed(failure) => {
                    let (code, stage) = (failure.cause.code(), failure.stage.as_str());
                    self.saw.push(format!("{code} at {stage}"));
                    return None;
                }
                Pause::Idle => {
                    self.saw.push("nothing".to_owned());
                    return None;
                }
                Pause::ShowCode(_) => {
                    self.saw.push("a code is shown".to_owned());
                    return None;
                }
                Pause::Resting(wait) => {
                    self.saw.push(format!("waits {} s", wait.as_secs()));
                    return None;
                }
            }
        }
    }
}

/// Each deviation is noticed by the first kind of client that it concerns, and an end of it restores the ordinary course.
#[test]
fn every_deviation_is_seen() {
    let mut table = String::new();
    let ordinary = Kind::ALL.map(|kind| Program::of(kind, &kind.servers()).run());
    for (kind, saw) in Kind::ALL.iter().zip(&ordinary) {
        writeln!(table, "(none) by {kind:?}: {}", saw.short).unwrap();
    }
    let mut unseen = Vec::new();
    for deviation in Deviation::ALL {
        let found = Kind::ALL
            .into_iter()
            .zip(&ordinary)
            .find_map(|(kind, ordinary)| {
                let servers = kind.servers();
                servers.deviate(deviation);
                let saw = Program::of(kind, &servers).run();
                servers.behave();
                let after = Program::of(kind, &servers).run();
                assert_eq!(after.short, ordinary.short, "after {deviation:?}");
                (saw != *ordinary).then_some((kind, saw))
            });
        let Some((kind, saw)) = found else {
            unseen.push(deviation);
            continue;
        };
        let requests = saw.requests.len();
        let short = saw.short;
        writeln!(
            table,
            "{deviation:?} by {kind:?}: {short} ({requests} requests)"
        )
        .unwrap();
    }
    assert!(unseen.is_empty(), "{unseen:?}\n{table}");
    insta::assert_snapshot!(table);
}

#[test]
fn every_fault_is_seen() {
    let faults = [
        (Place::ResourceMetadata, Fault::Cut),
        (Place::ResourceMetadata, Fault::Body("{".to_owned())),
        (Place::ServerMetadata, Fault::Status(503)),
        (Place::ServerMetadata, Fault::Long(300_000)),
        (Place::Registration, Fault::Status(500)),
        (Place::Token, Fault::Cut),
        (Place::Token, Fault::Status(502)),
        (Place::Token, Fault::Body("<html>".to_owned())),
    ];
    let mut table = String::new();
    for (place, fault) in faults {
        let servers = servers();
        servers.always(place, fault.clone());
        let saw = Program::new(&servers).run().short;
        let seen = servers.seen(place);
        writeln!(
            table,
            "{fault:?} at {place:?}: {saw} ({seen} requests there)"
        )
        .unwrap();
    }
    insta::assert_snapshot!(table);
    // A fault for one request, and a delay.
    let servers = servers();
    servers.fault(Place::Mcp, Fault::Cut);
    let broken = servers.call_blocking("echo", HeaderMap::new());
    assert_eq!(broken.unwrap_err(), Undelivered::BrokenOff);
    servers.fault(Place::Mcp, Fault::Delay(Duration::from_millis(30)));
    let begun = std::time::Instant::now();
    let answer = servers.call_blocking("echo", HeaderMap::new()).unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(begun.elapsed() >= Duration::from_millis(30));
}

/// Signs in and calls the tool with the asynchronous driver; returns the playbook.
async fn asynchronous(servers: Servers, network: Option<Network>) -> String {
    let playbook = Playbook::new();
    let builder = Client::builder(config(&servers), "alice", MemoryStore::default());
    let builder = builder.http(|| reqwest::ClientBuilder::new().no_proxy());
    let builder = match &network {
        Some(network) => builder.network(network),
        None => builder,
    };
    let client = builder
        .user(servers.user())
        .watched(playbook.watch())
        .start()
        .unwrap();
    let mut call = client.call("echo", Method::POST, servers.url());
    let status = loop {
        let headers = call.headers().await.unwrap();
        let answer = servers.call("echo", headers).await.unwrap();
        if !call.again(answer.status(), answer.headers()).await.unwrap() {
            break answer.status();
        }
    };
    assert_eq!(status, StatusCode::OK);
    client.close().await.unwrap();
    playbook.text()
}

#[tokio::test]
async fn the_same_conversation_in_memory_and_on_loopback() {
    let options = Options {
        access_token_seconds: 60,
        ..Options::default()
    };
    let builder = Servers::builder().options(options);
    let memory = builder.clone().in_memory().unwrap();
    let network = Network::of(memory.clone());
    let in_memory = asynchronous(memory, Some(network)).await;
    let loopback = builder.on_loopback().await.unwrap();
    let origins = [
        (
            loopback.url().trim_end_matches("/mcp").to_owned(),
            "https://mcp.example",
        ),
        (
            loopback.authorization().issuer().to_owned(),
            "https://as.example",
        ),
    ];
    let over_http = asynchronous(loopback.clone(), None).await;
    assert_eq!(loopback.seen(Place::Token), 1);
    // The ports are the first and the second placeholder of the playbook, or none where the text has names.
    assert_eq!(over_http.lines().count(), in_memory.lines().count());
    assert!(!origins.iter().any(|(origin, _)| over_http.contains(origin)));
    insta::assert_snapshot!(over_http);
}
