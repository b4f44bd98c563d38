//! Both drivers keep the contract for drivers.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use mcp_auth_client::asynchronous::{Client, Stopped};
use mcp_auth_client::{Driver, Pause, seed};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event};
use mcp_auth_testing::TestStore;
use mcp_auth_testing::contract::{Rule, Step, TestedDriver, check};

/// A program with the blocking driver.
struct Blocking {
    driver: Driver<TestStore>,
    url: String,
    open: Option<String>,
}

impl Blocking {
    fn new(config: Config, store: TestStore) -> Self {
        Self {
            url: config.mcp_url().as_str().to_owned(),
            driver: Driver::new(config, "alice", store),
            open: None,
        }
    }

    fn drive(&mut self, event: Event, method: &Method, url: &str) -> Step {
        let mut pause = self.driver.handle(event);
        loop {
            pause = match pause {
                Pause::NeedUser(_) => {
                    let seed = seed().unwrap();
                    self.driver.handle(Event::Authorize(seed.into()))
                }
                Pause::Resting(wait) => {
                    std::thread::sleep(wait);
                    self.driver.run()
                }
                Pause::Redirect(redirect) => {
                    let url = redirect.url.as_str().to_owned();
                    self.open = Some(url.clone());
                    return Step::Open(url);
                }
                Pause::Idle | Pause::ShowCode(_) if self.open.is_some() => return Step::Waiting,
                Pause::Idle | Pause::ShowCode(_) => {
                    return Step::Failed("nothing to do".to_owned());
                }
                Pause::Failed(failure) => {
                    self.open = None;
                    return Step::Failed(failure.to_string());
                }
                Pause::Ready(_) => {
                    self.open = None;
                    return match self.driver.present(method, url) {
                        Ok(headers) => Step::Headers(headers),
                        Err(error) => Step::Failed(error.to_string()),
                    };
                }
            }
        }
    }
}

impl TestedDriver for Blocking {
    fn headers(&mut self, method: &Method, url: &str) -> Step {
        if let Some(open) = &self.open {
            return Step::Open(open.clone());
        }
        self.drive(Event::Wanted(Operation::new("tools/list")), method, url)
    }

    fn accepted(&mut self) {
        let accepted = Event::Accepted(Operation::new("tools/list"));
        assert!(matches!(self.driver.handle(accepted), Pause::Idle));
    }

    fn refused(&mut self, status: u16, headers: HeaderMap, sent: Option<HeaderValue>) -> Step {
        let mut challenge = Challenge::new("tools/list", status, headers);
        if let Some(sent) = sent {
            challenge = challenge.sent(sent.to_str().unwrap());
        }
        let url = self.url.clone();
        self.drive(Event::Challenged(challenge), &Method::POST, &url)
    }

    fn callback(&mut self, url: &str) -> Step {
        let callback = Event::CallbackParams(Callback::from_url(url));
        let url = self.url.clone();
        self.drive(callback, &Method::POST, &url)
    }
}

/// A program with the asynchronous driver, whose users are at another device.
struct Asynchronous {
    runtime: tokio::runtime::Runtime,
    client: Client,
    url: String,
    open: Option<String>,
}

impl Asynchronous {
    fn new(config: Config, store: TestStore) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let url = config.mcp_url().as_str().to_owned();
        let client = {
            let _entered = runtime.enter();
            Client::builder(config, "alice", store).start().unwrap()
        };
        Self {
            runtime,
            client,
            url,
            open: None,
        }
    }

    fn step(&mut self, result: Result<HeaderMap, Stopped>) -> Step {
        match result {
            Ok(headers) => Step::Headers(headers),
            Err(Stopped::NeedUser(_)) => {
                let begun = self.client.begin(seed().unwrap());
                match self.runtime.block_on(begun) {
                    Ok(Some(redirect)) => {
                        let url = redirect.url.as_str().to_owned();
                        self.open = Some(url.clone());
                        Step::Open(url)
                    }
                    Ok(None) => self.asks(&Method::POST),
                    Err(error) => Step::Failed(error.to_string()),
                }
            }
            Err(error) => Step::Failed(error.to_string()),
        }
    }

    fn asks(&mut self, method: &Method) -> Step {
        let url = self.url.clone();
        let asked = self.client.authorize("tools/list", method, &url);
        match self.runtime.block_on(asked) {
            Ok(headers) => Step::Headers(headers),
            Err(error) => Step::Failed(error.to_string()),
        }
    }
}

impl TestedDriver for Asynchronous {
    fn headers(&mut self, method: &Method, url: &str) -> Step {
        if let Some(open) = &self.open {
            return Step::Open(open.clone());
        }
        let asked = self.client.authorize("tools/list", method, url);
        let result = self.runtime.block_on(asked);
        self.step(result)
    }

    fn accepted(&mut self) {
        let mut call = self
            .client
            .call("tools/list", Method::POST, self.url.as_str());
        let headers = HeaderMap::new();
        let passed = call.again(StatusCode::OK, &headers);
        assert!(!self.runtime.block_on(passed).unwrap());
    }

    fn refused(&mut self, status: u16, headers: HeaderMap, sent: Option<HeaderValue>) -> Step {
        let mut call = self
            .client
            .call("tools/list", Method::POST, self.url.as_str());
        let result = self.runtime.block_on(async {
            // The call is the one that sent the token.
            let held = call.headers().await?;
            if held.get("authorization") != sent.as_ref() {
                return Ok(held);
            }
            call.again(StatusCode::from_u16(status).unwrap(), &headers)
                .await?;
            call.headers().await
        });
        self.step(result)
    }

    fn callback(&mut self, url: &str) -> Step {
        let passed = self.client.came_back(Callback::from_url(url));
        match self.runtime.block_on(passed) {
            Ok(true) => {
                self.open = None;
                self.asks(&Method::POST)
            }
            Ok(false) => Step::Waiting,
            Err(error) => {
                self.open = None;
                Step::Failed(error.to_string())
            }
        }
    }
}

#[test]
fn the_blocking_driver_keeps_the_contract() {
    let report = check(Blocking::new).unwrap();
    let count = report.kept.len() + report.skipped.len();
    assert_eq!(count, Rule::ALL.len(), "{report}");
}

#[test]
fn the_asynchronous_driver_keeps_the_contract() {
    let report = check(Asynchronous::new).unwrap();
    let count = report.kept.len() + report.skipped.len();
    assert_eq!(count, Rule::ALL.len(), "{report}");
}
