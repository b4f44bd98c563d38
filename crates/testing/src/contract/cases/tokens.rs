//! The parts about codes, callbacks, tokens and keys.

use std::time::Instant;

use http::Method;
use mcp_auth_machine::Config;
use mcp_auth_machine::config::{PreRegistered, WorkloadIdentity};
use mcp_auth_machine::key::SigningKey;
use mcp_auth_machine::wire::words::SigningAlgorithm;

use super::super::http::Answer;
use super::super::site::{REDIRECT, TOKEN};
use super::{LATEST, Stage, Step, TestedDriver, Why, differs, ensure, fails, refuses, token};
use crate::documents;

pub(super) fn signs_in<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let mut driver = stage.driver()?;
    let first = stage.sign_in(&mut driver)?;
    let requests = stage.site.requests().len();
    let again = token("the token is returned again", stage.asks(&mut driver))?;
    ensure(first == again, "a valid token is replaced by another one")?;
    let asked = stage.site.requests().len();
    ensure(
        asked == requests,
        "a valid token costs a request to a server",
    )
}

pub(super) fn fresh_token<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let mut driver = stage.driver()?;
    let old = stage.sign_in(&mut driver)?;
    driver.accepted();
    let new = token("the refused token is refreshed", refuses(&mut driver, &old))?;
    ensure(
        new != old,
        "the token that the MCP server refused is sent again",
    )?;
    let next = token("the new token is returned again", stage.asks(&mut driver))?;
    ensure(
        next == new,
        "after a refresh, a later request carries the old token",
    )?;
    let requests = stage.site.at(TOKEN).len();
    let late = token(
        "the refusal of an older token changes nothing",
        refuses(&mut driver, &old),
    )?;
    ensure(
        late == new,
        "after the refusal of an older token another one is sent",
    )?;
    let asked = stage.site.at(TOKEN).len();
    ensure(
        asked == requests,
        "the refusal of an older token causes a refresh: `sent` is not passed in",
    )
}

pub(super) fn own_resource<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let mut driver = stage.driver()?;
    stage.sign_in(&mut driver)?;
    let elsewhere = [
        format!("{}/mcp", stage.site.trap.origin()),
        format!("http://localhost:{}/mcp", stage.site.trap.port()),
    ];
    for url in elsewhere {
        if let Step::Headers(headers) = driver.headers(&Method::POST, &url) {
            let bare = !headers.contains_key("authorization");
            ensure(
                bare,
                format!("the token is returned for {url}, which is not its resource"),
            )?;
        }
    }
    Ok(())
}

pub(super) fn code_once<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let failures = [
        Answer::Cut,
        Answer::json(503, "{}"),
        Answer::json(500, "{}"),
        Answer::json(400, r#"{"error":"invalid_grant"}"#),
    ];
    for failure in failures {
        let mut driver = stage.fresh()?;
        let url = stage.to_open(&mut driver)?;
        let callback = stage.site.agrees(&url)?;
        let code = documents::parameter(&callback, "code");
        let sent = || {
            let requests = stage.site.at(TOKEN);
            let of_code = requests
                .iter()
                .filter(|request| request.parameter("code") == code);
            of_code.count()
        };
        let shown = format!("{failure:?}");
        stage.site.once(TOKEN, failure);
        let _failed = driver.callback(&callback);
        let _next = stage.asks(&mut driver);
        let _again = driver.callback(&callback);
        let why = format!("a code was sent {} times, after the answer {shown}", sent());
        ensure(sent() == 1, why)?;
    }
    Ok(())
}

pub(super) fn whole_callback<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let mut driver = stage.driver()?;
    let url = stage.to_open(&mut driver)?;
    let foreign = format!("{REDIRECT}?code=foreign&state=foreign");
    let step = driver.callback(&foreign);
    if let Step::Headers(_) | Step::Failed(_) = step {
        return differs("a callback with another `state` is ignored", &step);
    }
    let sent = stage.site.at(TOKEN).len();
    ensure(
        sent == 0,
        "the code of a callback with another `state` was sent",
    )?;
    let callback = stage.site.agrees(&url)?;
    let code = documents::parameter(&callback, "code");
    token(
        "the callback that matches completes the sign-in",
        driver.callback(&callback),
    )?;
    let requests = stage.site.at(TOKEN);
    let sent = requests
        .first()
        .and_then(|request| request.parameter("code"));
    ensure(
        sent == code,
        "the code was altered on its way from the callback to the token request",
    )
}

pub(super) fn missing_keys<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let key = SigningKey::new("a key that no host has", [SigningAlgorithm::Es256]);
    let client = PreRegistered::new("client of the contract").key(key);
    let config = stage.config().pre_registered(stage.site.origin(), client);
    let mut driver = stage.driver_with(config)?;
    let url = stage.to_open(&mut driver)?;
    fails(
        "the host has no such key (`Sign`): a failure",
        driver.callback(&stage.site.agrees(&url)?),
    )?;
    let mut builder = Config::builder(stage.site.mcp(), REDIRECT);
    let workload = WorkloadIdentity::at(stage.site.origin()).client_id("client of the contract");
    builder = builder.workload_identity(workload);
    let mut driver = stage.driver_with(builder)?;
    let expected = "the host has no such token (`ObtainAssertion`): a failure";
    fails(expected, stage.asks(&mut driver))
}

pub(super) fn timer<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let mut driver = stage.driver()?;
    let old = stage.sign_in(&mut driver)?;
    driver.accepted();
    let busy = || Answer::json(503, "{}").header("retry-after", "1");
    stage.site.once(TOKEN, busy());
    let begun = Instant::now();
    let step = refuses(&mut driver, &old);
    let new = token(
        "the server is busy for a second, then the token is refreshed",
        step,
    )?;
    ensure(
        new != old,
        "the token that the MCP server refused is sent again",
    )?;
    let took = begun.elapsed();
    let why = format!(
        "the refresh was due after some seconds, and came after {} s",
        took.as_secs()
    );
    ensure(took < LATEST, why)
}
