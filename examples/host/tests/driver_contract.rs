//! The host keeps the duties that can be seen from outside.

use example_host::{Host, Next, Records};
use http::{HeaderMap, HeaderValue, Method};
use mcp_auth_machine::Event;
use mcp_auth_machine::action::{LoadSlot, PersistSlot};
use mcp_auth_testing::TestStore;
use mcp_auth_testing::contract::{Step, TestedDriver, check};

struct Store(TestStore);

impl Records for Store {
    fn load(&self, load: LoadSlot) -> Event {
        self.0.load(load)
    }

    fn persist(&self, persist: PersistSlot) -> Event {
        self.0.persist(persist)
    }
}

struct Tested(Host<Store>);

fn step(next: Next) -> Step {
    match next {
        Next::Send(value) => {
            Step::Headers(HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]))
        }
        Next::Open(url) => Step::Open(url),
        Next::Report(error) => Step::Failed(error),
        Next::Wait => Step::Waiting,
    }
}

impl TestedDriver for Tested {
    fn headers(&mut self, _: &Method, url: &str) -> Step {
        step(self.0.before(url))
    }

    fn accepted(&mut self) {
        self.0.accepted();
    }

    fn refused(&mut self, status: u16, headers: HeaderMap, sent: Option<HeaderValue>) -> Step {
        let sent = sent.as_ref().and_then(|sent| sent.to_str().ok());
        step(self.0.refused(status, headers, sent))
    }

    fn callback(&mut self, url: &str) -> Step {
        step(self.0.callback(url))
    }
}

#[test]
fn the_host_keeps_the_contract() {
    let report = check(|config, store| Tested(Host::new(config, Store(store)))).unwrap();
    println!("{report}");
}
