//! The parts about the store.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use http::Method;

use super::super::site::TOKEN;
use super::{Stage, TestedDriver, Why, ensure, fails, refuses, token};
use crate::lock;

pub(super) fn slot_order<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let writes = Arc::clone(&log);
    stage.store.slow(Duration::from_millis(60));
    stage
        .store
        .observed(move |what| lock(&writes).push(what.to_owned()));
    let requests = Arc::clone(&log);
    stage
        .site
        .sees(move |request| lock(&requests).push(request.path().to_owned()));
    let position = |what: &str| lock(&log).iter().position(|line| line == what);
    let mut driver = stage.driver()?;
    let url = stage.to_open(&mut driver)?;
    let stored = position("wrote pending").is_some();
    ensure(
        stored,
        "the user is redirected before the record of the attempt is stored",
    )?;
    let callback = stage.site.agrees(&url)?;
    token(
        "the callback completes the sign-in",
        driver.callback(&callback),
    )?;
    let account = position("wrote account").is_some();
    ensure(account, "a token is used before it is stored")?;
    match (position("cleared pending"), position(TOKEN)) {
        (Some(cleared), Some(sent)) if cleared < sent => Ok(()),
        (_, _) => Err("the code is sent before the record of the attempt is cleared".into()),
    }
}

pub(super) fn failed_writes<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let mut driver = stage.driver()?;
    stage.store.writes_fail(true);
    fails(
        "the record of the attempt is not stored: a failure",
        stage.asks(&mut driver),
    )?;
    stage.store.writes_fail(false);
    let mut driver = stage.on_empty_store()?;
    let url = stage.to_open(&mut driver)?;
    stage.store.writes_fail(true);
    let callback = stage.site.agrees(&url)?;
    let _failed = driver.callback(&callback);
    let sent = stage.site.at(TOKEN).len();
    ensure(
        sent == 0,
        "the record of the attempt was not cleared, and the code was sent",
    )
}

/// Several races: on a busy machine the processes of one may run one after the other.
pub(super) fn compare_and_swap<D: TestedDriver + 'static>(stage: &Stage<D>) -> Result<(), Why> {
    for _ in 0..4 {
        stage.store.clear();
        race(stage)?;
    }
    Ok(())
}

fn race<D: TestedDriver + 'static>(stage: &Stage<D>) -> Result<(), Why> {
    let mut first = stage.driver()?;
    let old = stage.sign_in(&mut first)?;
    drop(first);
    // Two processes learn at the same moment that the token has ended.
    stage.store.slow(Duration::from_millis(30));
    let ready = Arc::new(Barrier::new(2));
    let mut running = Vec::new();
    for _ in 0..2 {
        let (make, store, ready) = (
            Arc::clone(&stage.make),
            stage.store.clone(),
            Arc::clone(&ready),
        );
        let (config, url, old) = (stage.built()?, stage.site.mcp(), old.clone());
        running.push(thread::spawn(move || {
            let mut driver = make(config, store);
            let held = driver.headers(&Method::POST, &url);
            ready.wait();
            (held, refuses(&mut driver, &old))
        }));
    }
    let mut tokens = Vec::new();
    for process in running {
        let (held, renewed) = process.join().map_err(|_| "the driver panicked")?;
        token("another process finds the token in the store", held)?;
        tokens.push(token("the token is refreshed", renewed)?);
    }
    ensure(
        !stage.site.reused(),
        "two processes sent the same refresh token",
    )?;
    let [one, other] = tokens.as_slice() else {
        return Ok(());
    };
    ensure(
        one == other && *one != old,
        "two processes of one store use different tokens",
    )
}
