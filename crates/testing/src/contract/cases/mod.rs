//! The parts of the contract, one for each rule.

mod network;
mod slots;
mod tokens;

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method};
use mcp_auth_machine::Config;
use mcp_auth_machine::config::ConfigBuilder;

use super::site::{REDIRECT, Site};
use super::{Make, Rule, Step, TestedDriver, Why};
use crate::TestStore;

/// The time limit of a metadata request is ten seconds (SEC-15).
const LATEST: Duration = Duration::from_secs(20);

/// The servers, the store and the drivers of one part.
pub(super) struct Stage<D> {
    site: Site,
    store: TestStore,
    make: Make<D>,
}

pub(super) type Part<D> = fn(&Stage<D>) -> Result<(), Why>;

pub(super) fn parts<D: TestedDriver + 'static>() -> [(Rule, Part<D>); 16] {
    [
        // The longest first.
        (Rule::TimeLimit, network::time_limit),
        (Rule::Timer, tokens::timer),
        (Rule::CompareAndSwap, slots::compare_and_swap),
        (Rule::SignsIn, tokens::signs_in),
        (Rule::Answers, network::answers),
        (Rule::NoRedirects, network::no_redirects),
        (Rule::Exactly, network::exactly),
        (Rule::BodyLimit, network::body_limit),
        (Rule::Addresses, network::addresses),
        (Rule::CodeOnce, tokens::code_once),
        (Rule::WholeCallback, tokens::whole_callback),
        (Rule::SlotOrder, slots::slot_order),
        (Rule::FailedWrites, slots::failed_writes),
        (Rule::FreshToken, tokens::fresh_token),
        (Rule::OwnResource, tokens::own_resource),
        (Rule::MissingKeys, tokens::missing_keys),
    ]
}

impl<D: TestedDriver> Stage<D> {
    pub(super) fn set(make: Make<D>) -> Result<Self, Why> {
        let site = Site::start().map_err(|error| Why::Skipped(error.to_string()))?;
        Ok(Self {
            site,
            store: TestStore::new(),
            make,
        })
    }

    fn config(&self) -> ConfigBuilder {
        Config::builder(self.site.mcp(), REDIRECT).client_name("Driver contract")
    }

    fn built(&self) -> Result<Config, Why> {
        Ok(self.config().build().map_err(|error| error.to_string())?)
    }

    /// A new process of the same principal on the same store.
    fn driver(&self) -> Result<D, Why> {
        self.driver_with(self.config())
    }

    fn driver_with(&self, config: ConfigBuilder) -> Result<D, Why> {
        let config = config.build().map_err(|error| error.to_string())?;
        Ok((self.make)(config, self.store.clone()))
    }

    /// A driver on a store of its own.
    fn fresh(&self) -> Result<D, Why> {
        Ok((self.make)(self.built()?, TestStore::new()))
    }

    /// A driver on the store, which is emptied first.
    fn on_empty_store(&self) -> Result<D, Why> {
        self.store.clear();
        self.driver()
    }

    fn asks(&self, driver: &mut D) -> Step {
        driver.headers(&Method::POST, &self.site.mcp())
    }

    fn to_open(&self, driver: &mut D) -> Result<String, Why> {
        let step = self.asks(driver);
        let Step::Open(url) = step else {
            return differs("a sign-in begins, and the URL to open is returned", &step);
        };
        Ok(url)
    }

    fn sign_in(&self, driver: &mut D) -> Result<String, Why> {
        let url = self.to_open(driver)?;
        let callback = self.site.agrees(&url)?;
        token(
            "the callback completes the sign-in",
            driver.callback(&callback),
        )
    }
}

fn differs<T>(expected: &str, came: &Step) -> Result<T, Why> {
    Err(Why::Broken(format!(
        "expected: {expected}; the driver returned {came:?}"
    )))
}

/// Returns the value of `Authorization`.
fn token(expected: &str, step: Step) -> Result<String, Why> {
    let Step::Headers(headers) = &step else {
        return differs(expected, &step);
    };
    let mut values = headers.get_all("authorization").iter();
    match (
        values.next().and_then(|value| value.to_str().ok()),
        values.next(),
    ) {
        (Some(value), None) if value.starts_with("Bearer ") => Ok(value.to_owned()),
        (_, _) => Err(format!("{expected}, but the headers have no bearer token").into()),
    }
}

/// Expects a failure.
fn fails(expected: &str, step: Step) -> Result<(), Why> {
    let Step::Failed(_) = step else {
        return differs(expected, &step);
    };
    Ok(())
}

fn invalid_token() -> HeaderMap {
    let value = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
    HeaderMap::from_iter([(::http::header::WWW_AUTHENTICATE, value)])
}

fn refuses<D: TestedDriver>(driver: &mut D, sent: &str) -> Step {
    driver.refused(401, invalid_token(), HeaderValue::from_str(sent).ok())
}

fn ensure(holds: bool, why: impl Into<String>) -> Result<(), Why> {
    if holds {
        Ok(())
    } else {
        Err(Why::Broken(why.into()))
    }
}
