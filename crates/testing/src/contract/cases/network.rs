//! The parts about requests and connections.

use std::net::{TcpListener, ToSocketAddrs};
use std::time::Instant;

use http::Method;
use mcp_auth_machine::Config;
use mcp_auth_machine::config::{NamedHosts, PreRegistered};
use mcp_auth_machine::wire::address::{AddressClass, classify, classify_ip};
use mcp_auth_machine::wire::words::AuthMethod;

use super::super::http::Answer;
use super::super::site::{METADATA, PRM, REDIRECT, REGISTER, TOKEN};
use super::{LATEST, Stage, Step, TestedDriver, Why, differs, ensure, fails};
use crate::documents;

/// More than the buffers of a connection, and far more than the limit of any request.
const LONG: usize = 48 * 1024 * 1024;

pub(super) fn answers<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    // A connection that breaks off: that attempt fails, and the next one does not.
    let mut driver = stage.fresh()?;
    stage.site.once(PRM, Answer::Cut);
    let _failed = stage.asks(&mut driver);
    let next = "a request broke off (`maybe_sent`), and the next attempt signs in";
    let Step::Open(_) = stage.asks(&mut driver) else {
        return differs(next, &stage.asks(&mut driver));
    };
    // A connection that is not made.
    let closed = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    let port = closed
        .local_addr()
        .map_err(|error| error.to_string())?
        .port();
    drop(closed);
    let elsewhere = format!("http://127.0.0.1:{port}");
    let document = documents::resource_of(&stage.site.mcp(), &elsewhere);
    let mut driver = stage.fresh()?;
    stage.site.once(PRM, Answer::json(200, &document));
    fails(
        "a connection was refused (`never_sent`): a failure",
        stage.asks(&mut driver),
    )?;
    // A status that is an error.
    let mut driver = stage.fresh()?;
    stage.site.once(
        REGISTER,
        Answer::json(400, r#"{"error":"invalid_redirect_uri"}"#),
    );
    fails(
        "the registration was refused with 400: a failure",
        stage.asks(&mut driver),
    )?;
    // A store that cannot be read.
    let mut driver = {
        stage.store.loads_fail(true);
        stage.driver()?
    };
    fails(
        "the store cannot be read: a failure",
        stage.asks(&mut driver),
    )
}

pub(super) fn no_redirects<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let trap = format!("{}/trap", stage.site.trap.origin());
    for status in [301, 302, 307, 308] {
        let away = || Answer::json(status, "{}").header("location", &trap);
        for path in [PRM, METADATA, REGISTER] {
            let mut driver = stage.fresh()?;
            stage.site.once(path, away());
            let _failed = stage.asks(&mut driver);
        }
        let mut driver = stage.fresh()?;
        let url = stage.to_open(&mut driver)?;
        stage.site.once(TOKEN, away());
        let _failed = driver.callback(&stage.site.agrees(&url)?);
    }
    match stage.site.trap.requests().first() {
        None => Ok(()),
        Some(request) => {
            let has_code = request.body.contains("code=") || request.target.contains("code=");
            let with = if has_code { ", with the code" } else { "" };
            Err(format!(
                "a redirect was followed with {} to another origin{with}",
                request.method
            )
            .into())
        }
    }
}

pub(super) fn exactly<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    const SECRET: &str = "a b+c&d=e%2Fé\"\\";
    let client = PreRegistered::new("client of the contract")
        .secret(SECRET)
        .method(AuthMethod::ClientSecretPost);
    let config = stage.config().pre_registered(stage.site.origin(), client);
    let mut driver = stage.driver_with(config)?;
    stage.sign_in(&mut driver)?;
    for request in stage.site.requests() {
        let at = request.path();
        for name in ["cookie", "referer", "authorization"] {
            let why = format!("the request to {at} has a header `{name}`");
            ensure(request.all(name).is_empty(), why)?;
        }
        let accept = request.all("accept");
        let why = format!("the request to {at} has the header `accept`: {accept:?}");
        ensure(accept == ["application/json"], why)?;
        let host = stage.site.origin().replace("http://", "");
        let why = format!(
            "the request to {at} has the header `host`: {:?}",
            request.all("host")
        );
        ensure(request.all("host") == [host.as_str()], why)?;
    }
    let requests = stage.site.at(TOKEN);
    let [request] = requests.as_slice() else {
        return Err(format!("{} token requests for one code", requests.len()).into());
    };
    let kind = request.all("content-type");
    let is_form = kind == ["application/x-www-form-urlencoded"];
    ensure(
        is_form,
        format!("the token request has the content type {kind:?}"),
    )?;
    let sent = request.parameter("client_secret");
    ensure(
        sent.as_deref() == Some(SECRET),
        "the body of the token request was altered",
    )
}

pub(super) fn body_limit<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    for path in [PRM, METADATA, REGISTER] {
        let mut driver = stage.fresh()?;
        stage.site.once(path, Answer::Stream(LONG));
        let _failed = stage.asks(&mut driver);
        let why = format!("48 MiB were read from {path}, where the limit is 256 KiB");
        ensure(stage.site.streamed() == 0, why)?;
    }
    Ok(())
}

pub(super) fn time_limit<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let begun = Instant::now();
    let mut driver = stage.driver()?;
    stage.site.once(PRM, Answer::Hang);
    let _failed = stage.asks(&mut driver);
    let took = begun.elapsed();
    let why = format!(
        "a server did not answer, and the driver waited {} s; the limit is 10 s",
        took.as_secs()
    );
    ensure(took < LATEST, why)
}

pub(super) fn addresses<D: TestedDriver>(stage: &Stage<D>) -> Result<(), Why> {
    let Some((name, listener)) = private_name() else {
        let why = "this machine has no name that resolves to a private address";
        return Err(Why::Skipped(why.to_owned()));
    };
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let url = format!("https://{name}:{}/mcp", address.port());
    let config = Config::builder(&url, REDIRECT).named_hosts(NamedHosts::Public);
    let mut driver = stage.driver_with(config)?;
    let _blocked = driver.headers(&Method::POST, &url);
    listener
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    let ip = address.ip();
    let why =
        format!("{name} resolves to {ip}, which the request does not permit, and was connected to");
    ensure(listener.accept().is_err(), why)
}

/// Returns a name that looks public and has private addresses only, with a listener there.
fn private_name() -> Option<(String, TcpListener)> {
    let own = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let own = std::env::var("COMPUTERNAME").unwrap_or(own);
    let names = [
        own.trim(),
        "ip6-loopback",
        "ip6-localhost",
        "host.docker.internal",
    ];
    names
        .into_iter()
        .filter(|name| !name.is_empty())
        .find_map(|name| {
            let looks_public = url::Host::parse(name).is_ok_and(|host| match host {
                url::Host::Domain(name) => {
                    classify(&url::Host::Domain(name.as_str())) == AddressClass::Public
                }
                url::Host::Ipv4(_) | url::Host::Ipv6(_) => false,
            });
            let found: Vec<_> = (name, 0).to_socket_addrs().ok()?.collect();
            let all_private = found
                .iter()
                .all(|address| classify_ip(address.ip()) != AddressClass::Public);
            let first = found.first().filter(|_| looks_public && all_private)?;
            let listener = TcpListener::bind(first).ok()?;
            Some((name.to_owned(), listener))
        })
}
