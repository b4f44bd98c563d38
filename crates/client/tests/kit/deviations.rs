//! Each deviation and fault of the servers, as a client sees it.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use mcp_auth_client::asynchronous::{Client, Network};
use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_client::{Driver, MemoryStore, Pause, Refused, Signer, seed};
use mcp_auth_machine::config::{ConfigBuilder, PreRegistered, Strictness};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::challenge::parse;
use mcp_auth_machine::wire::words::SigningAlgorithm;
use mcp_auth_machine::{Config, Event};
use mcp_auth_testing::authorization::Options;
use mcp_auth_testing::servers::{Deviation, Fault, Place, Servers, Undelivered};
use mcp_auth_testing::{Playbook, VirtualClock};

const REDIRECT: &str = "http://127.0.0.1:3000/callback";

/// The secret of the client without a user, which the form encoding of RFC 6749 changes.
const SECRET: &str = "a secret";

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    User,
    Service,
    /// Without a user too, and with a key in place of a secret.
    Keyed,
    Device,
}

/// The key of the keyed client, the same in every test.
#[derive(Debug)]
struct Key;

impl Key {
    fn get() -> &'static SoftwareKey {
        static KEY: OnceLock<SoftwareKey> = OnceLock::new();
        KEY.get_or_init(|| SoftwareKey::generate("key").unwrap())
    }

    fn public() -> String {
        let key = Self::get().describe().unwrap();
        format!("{{\"keys\":[{}]}}", key.public_key().unwrap().as_jwk())
    }
}

impl Signer for Key {
    fn sign(
        &mut self,
        _key: &str,
        algorithm: SigningAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        Self::get().sign(algorithm, input).map_err(|_| Refused)
    }
}

impl Kind {
    const ALL: [Self; 4] = [Self::User, Self::Service, Self::Keyed, Self::Device];

    fn config(self, servers: &Servers) -> ConfigBuilder {
        let config = match self {
            Self::User => Config::builder(servers.url(), REDIRECT),
            Self::Service => Config::without_user(servers.url())
                .pre_registered(
                    "https://as.example",
                    PreRegistered::new("service").secret(SECRET),
                )
                .client_credentials(),
            Self::Keyed => Config::without_user(servers.url())
                .pre_registered(
                    "https://as.example",
                    PreRegistered::new("keyed").key(Key::get().describe().unwrap()),
                )
                .client_credentials(),
            Self::Device => Config::for_other_devices(servers.url()),
        };
        let config = config.client_name("Test client");
        config.strictness(Strictness::Strict)
    }

    pub(crate) fn site(self) -> Site {
        let service = (self == Self::Service).then(|| ("service".to_owned(), SECRET.to_owned()));
        let service_keys = (self == Self::Keyed).then(|| ("keyed".to_owned(), Key::public()));
        let options = Options {
            service,
            service_keys,
            ..Options::default()
        };
        let clock = VirtualClock::new();
        let now = clock.clone();
        let servers = Servers::builder()
            .options(options)
            .now(move || Duration::from_secs(now.moment().wall.seconds()))
            .in_memory()
            .unwrap();
        Site { servers, clock }
    }
}

/// The servers, and the clock of the clients and of the servers.
pub(crate) struct Site {
    pub(crate) servers: Servers,
    clock: VirtualClock,
}

fn config(servers: &Servers) -> Config {
    Kind::User.config(servers).build().unwrap()
}

fn servers() -> Site {
    Kind::User.site()
}

/// A program that calls a tool, lets the token end, calls it again, and signs out. Returns what it saw.
pub(crate) struct Program {
    servers: Servers,
    driver: Driver<MemoryStore>,
    clock: VirtualClock,
    playbook: Playbook,
    saw: Vec<String>,
}

/// The observations of a program: in short, and all of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Saw {
    pub(crate) short: String,
    requests: Vec<Place>,
    playbook: String,
}

impl Program {
    fn new(site: &Site) -> Self {
        Self::of(Kind::User, site)
    }

    pub(crate) fn of(kind: Kind, site: &Site) -> Self {
        Self::with(kind, site, |config| config)
    }

    pub(crate) fn with(
        kind: Kind,
        site: &Site,
        settings: impl FnOnce(ConfigBuilder) -> ConfigBuilder,
    ) -> Self {
        let Site { servers, clock } = site;
        let config = settings(kind.config(servers)).build().unwrap();
        let playbook = Playbook::new();
        let driver = Driver::new(config, "alice", MemoryStore::default())
            .http(servers.answers())
            .clock(clock.clone())
            .signer(Key)
            .watched(playbook.watch());
        Self {
            driver,
            servers: servers.clone(),
            clock: clock.clone(),
            playbook,
            saw: Vec::new(),
        }
    }

    pub(crate) fn run(mut self) -> Saw {
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

/// Malformed challenges that a client reads as the ordinary one. The doctor reports them
/// (`crates/cli/tests/cli/deviations.rs`).
const READ_ALL_THE_SAME: [Deviation; 3] = [
    Deviation::UnquotedChallenge,
    Deviation::SingleQuotedChallenge,
    Deviation::RelativeResourceMetadata,
];

/// CHAL-08, CHAL-09, CHAL-13, QUIRK-29
#[test]
fn malformed_challenges_are_read() {
    let site = servers();
    let named = |deviation: Option<Deviation>| {
        site.servers.behave();
        if let Some(deviation) = deviation {
            site.servers.deviate(deviation);
        }
        let answer = site.servers.call_blocking("echo", HeaderMap::new());
        let answer = answer.unwrap();
        let sent = answer.headers()["www-authenticate"].to_str().unwrap();
        let read = parse(answer.headers()).select(401, &|_| true).unwrap();
        let places = read.resource_metadata().iter();
        let places: Vec<_> = places.map(|place| place.as_ref().to_owned()).collect();
        (sent.to_owned(), places, read.scope)
    };
    let (ordinary, places, scope) = named(None);
    for deviation in READ_ALL_THE_SAME {
        let (sent, found, same_scope) = named(Some(deviation));
        assert_ne!(sent, ordinary, "{deviation:?}");
        assert_eq!(same_scope, scope, "{deviation:?}: {sent}");
        if deviation == Deviation::RelativeResourceMetadata {
            assert_eq!(format!("https://mcp.example{}", found[0]), places[0]);
        } else {
            assert_eq!(found, places, "{deviation:?}: {sent}");
        }
        let saw = Program::new(&site).run();
        assert!(saw.short.ends_with("200, nothing"), "{}", saw.short);
    }
}

/// Each deviation is noticed by the first kind of client that it concerns, and an end of it restores the ordinary course.
#[test]
fn every_deviation_is_seen() {
    let mut table = String::new();
    let ordinary = Kind::ALL.map(|kind| Program::of(kind, &kind.site()).run());
    for (kind, saw) in Kind::ALL.iter().zip(&ordinary) {
        writeln!(table, "(none) by {kind:?}: {}", saw.short).unwrap();
    }
    let mut unseen = Vec::new();
    for deviation in Deviation::ALL {
        let found = Kind::ALL
            .into_iter()
            .zip(&ordinary)
            .find_map(|(kind, ordinary)| {
                let site = kind.site();
                site.servers.deviate(deviation);
                let saw = Program::of(kind, &site).run();
                site.servers.behave();
                let after = Program::of(kind, &site).run();
                assert_eq!(after.short, ordinary.short, "after {deviation:?}");
                (saw != *ordinary).then_some((kind, saw))
            });
        let Some((kind, saw)) = found else {
            if !READ_ALL_THE_SAME.contains(&deviation) {
                unseen.push(deviation);
            }
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
        let site = servers();
        let servers = &site.servers;
        servers.always(place, fault.clone());
        let saw = Program::new(&site).run().short;
        let seen = servers.seen(place);
        writeln!(
            table,
            "{fault:?} at {place:?}: {saw} ({seen} requests there)"
        )
        .unwrap();
    }
    insta::assert_snapshot!(table);
    // A fault for one request, and a delay.
    let servers = servers().servers;
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
    crate::in_order(&playbook.text())
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
