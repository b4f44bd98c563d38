//! The requests of the machine, with `ureq`: no redirects, limits, and the address policy of each request.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use mcp_auth_machine::Event;
use mcp_auth_machine::action::{AddressPolicy, SendRequest};
use mcp_auth_machine::wire::address::classify_ip;
use ureq::Error;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Sends one request, and answers it in any case.
pub(crate) fn send(send: SendRequest) -> Event {
    match exchange(&send) {
        Ok(response) => send.response(response),
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => send.blocked(),
        Err(Error::BodyExceedsLimit(_)) => send.too_large(),
        Err(Error::HostNotFound | Error::ConnectionFailed | Error::BadUri(_)) => send.never_sent(),
        Err(_) => send.maybe_sent(),
    }
}

fn exchange(send: &SendRequest) -> Result<Response<Bytes>, Error> {
    let settings = ureq::Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let resolver = Permitted(send.addresses());
    let agent = ureq::Agent::with_parts(settings, DefaultConnector::default(), resolver);
    let (parts, body) = send.request().clone().into_parts();
    let answer = if parts.method == Method::GET {
        run(&agent, Request::from_parts(parts, ()), send.time_limit())
    } else {
        run(
            &agent,
            Request::from_parts(parts, body.to_vec()),
            send.time_limit(),
        )
    };
    let (parts, mut body) = answer?.into_parts();
    let limit = u64::try_from(send.body_limit()).unwrap_or(u64::MAX);
    let body = body.with_config().limit(limit).read_to_vec()?;
    Ok(Response::from_parts(parts, Bytes::from(body)))
}

fn run(
    agent: &ureq::Agent,
    request: Request<impl ureq::AsSendBody>,
    time: Duration,
) -> Result<Response<ureq::Body>, Error> {
    let request = agent.configure_request(request);
    agent.run(request.timeout_global(Some(time)).build())
}

/// Resolves names to the permitted addresses, which are connected to (SEC-06).
#[derive(Debug)]
struct Permitted(AddressPolicy);

impl Resolver for Permitted {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut permitted = self.empty();
        for address in found.iter() {
            if self.0.permits(classify_ip(address.ip())) {
                permitted.push(*address);
            }
        }
        if permitted.is_empty() {
            return Err(Error::Io(io::ErrorKind::PermissionDenied.into()));
        }
        Ok(permitted)
    }
}
