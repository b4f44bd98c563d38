//! `login`: signs in until the MCP server accepts a token. All changes are stored together after a
//! successful sign-in; a failed login changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use mcp_auth_client::{LoopbackHost, LoopbackPort};
use mcp_auth_machine::error::{Cause, Misconfiguration};

use super::choice;
use super::host::{Desk, Host};
use super::journal::Journal;
use super::key;
use super::keyring;
use super::overruled;
use super::person::{Person, Way};
use super::profile::{Profile, name};
use super::records;
use super::root::Remembered;
use super::settings::Settings;
use super::settle;
use super::slots;
use super::told::{ends_soon, grant_json, grant_words};
use super::turn::Wanted;
use super::{Selected, after};
use crate::lines::record::Recorder;
use crate::probe::{Answer, initialize};
use crate::problem::{Presented, Problem};
use crate::signals;
use crate::style::is_quiet;
use crate::waits;
use crate::{advice, facts};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selected: Selected,
    /// Do not open a browser; the URL is printed in any case
    #[arg(long)]
    no_browser: bool,
    /// Show a code to enter in a browser of any device (RFC 8628), for machines without one
    #[arg(long, conflicts_with = "no_browser")]
    device: bool,
    /// How long the command may take, authorization in the browser included, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = super::seconds)]
    timeout: u64,
    /// Register a new client, instead of the one that was registered or configured before
    #[arg(long, conflicts_with_all = ["client_id", "client_metadata_url"])]
    new_client: bool,
    /// End when standard input is closed, as it is when the program ends that started this one
    #[arg(long, hide = true)]
    until_closed: bool,
    /// Scopes to ask for besides, in this sign-in alone
    #[arg(long, hide = true)]
    also_scope: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// The number of requests to the MCP server: the first, and one after each authorization.
const TRIES: u8 = 4;

/// The operation of the token requests.
const PROBE: &str = "initialize";

pub(crate) fn run(options: Options, as_json: bool, recorder: &Recorder) -> Result<(), Problem> {
    let root = options.selected.place.root()?;
    let made = root.missing();
    let signed_in = sign_in(options, &made, as_json, recorder);
    key::tidy(&root);
    root.leave(&made);
    signed_in
}

/// Signs in. `made`: the folders of the accounts that this command makes.
fn sign_in(
    options: Options,
    made: &[PathBuf],
    as_json: bool,
    recorder: &Recorder,
) -> Result<(), Problem> {
    let Options {
        selected,
        no_browser,
        device,
        timeout,
        mut new_client,
        until_closed,
        also_scope,
        settings: given,
    } = options;
    let (url, account) = (selected.url.as_str(), selected.account.as_str());
    let own = name(url, account)?;
    let root = selected.place.root()?;
    let (left, made) = (root.clone(), made.to_owned());
    signals::before_the_end(move || {
        key::tidy(&left);
        left.leave(&made);
    });
    if until_closed {
        signals::stop_with_input();
    }
    let end = after(timeout);
    waits::until(end);
    match slots::check(&root, (url, account)) {
        // It counts as absent, until a sign-in replaces it.
        Err(problem @ Problem::Keyring(_)) if problem.is_final() => {
            eprintln!("mcp-auth: {}", problem.words());
        }
        checked => checked?,
    }
    let wanted = Wanted {
        root: root.clone(),
        name: own.clone(),
        scopes: also_scope.clone(),
    };
    let turn = match until_closed.then(|| wanted.take(end)).transpose()? {
        Some(None) => return Ok(()),
        Some(turn) => turn,
        None => None,
    };
    if turn.is_some() {
        let wanted = wanted.clone();
        signals::before_the_end(move || wanted.end());
    }
    let known = match root.remembered(url, account)? {
        Remembered::Nothing => None,
        Remembered::Profile(profile) => Some(*profile),
        Remembered::Damaged(words) => {
            eprintln!("mcp-auth: {words}");
            None
        }
    };
    // A configured client is never silently replaced.
    if known.is_none()
        && !new_client
        && given.client_id.is_none()
        && given.client_metadata_url.is_none()
        && let Some(client) = records::configured_client_of(&root.slots(), &own)
    {
        return Err(Problem::ClientLost { client });
    }
    let named = also_scope.or_else(|| given.scopes().map(str::to_owned));
    let mut profile = known.clone().unwrap_or_else(|| Profile::new(url, account));
    if new_client {
        profile.settings.forget_client();
        profile.settings.issuer = None;
    }
    profile.settings = profile.settings.with(
        given
            .absolute()
            .map_err(Problem::system("the current directory"))?,
    )?;
    profile.settings.ask()?;

    if profile.settings.keyring {
        key::prepare(&root)?;
    }
    let issuer = profile.settings.issuer.clone();
    let trust = profile.settings.tls.trust()?;
    let discovery = &mut profile.settings.discovery;
    settle::settle(&profile.url, discovery, issuer, &trust, end)?;
    overruled::tell(&profile, end)?;
    signals::listen().map_err(Problem::system("signals cannot be handled"))?;
    let person = if profile.settings.has_person() {
        let port = match (
            profile.settings.port,
            profile.port.or_else(|| root.last_port()),
        ) {
            (Some(port), _) => LoopbackPort::Only(port),
            (None, Some(port)) => LoopbackPort::Preferred(port),
            (None, None) => LoopbackPort::Any,
        };
        let host = match profile.settings.redirect_host.as_deref() {
            Some("localhost") => LoopbackHost::Localhost,
            Some(_) | None => LoopbackHost::Literal,
        };
        let way = match (device, no_browser) {
            (true, _) => Way::Code,
            (false, true) => Way::Url,
            (false, false) => Way::Browser,
        };
        Some(Person::new((host, port), (way, !until_closed), end)?)
    } else {
        None
    };
    if let Some(person) = &person {
        profile.port = Some(person.port());
    }
    let former = known.as_ref().map(|known| known.settings.clone());
    let another = new_client || profile.settings.asks_otherwise(&former.unwrap_or_default());
    let mut used = false;
    if root.came_to_nothing(&own) && !new_client && profile.settings.client_id.is_none() {
        eprintln!("The last sign-in ended without a callback; registering a new client.");
        new_client = true;
        used = true;
    }
    let own_registrations = if new_client {
        let used_for = if device {
            choice::DEVICE_CODE.to_owned()
        } else {
            profile.redirect_uri()
        };
        let registered = || records::registered_for(&root.slots(), account, &used_for);
        if profile.settings.keyring {
            registered()
        } else {
            keyring::aside(registered)
        }
    } else {
        BTreeSet::new()
    };

    let desk = Desk {
        root: &root,
        verbose: selected.place.verbose,
        recorder,
        end,
    };
    let mut turn = turn;
    let mut registered: Arc<AtomicBool>;
    let port = profile.port;
    let (mut host, signed_in) = loop {
        let journal = Journal::begin(&root, (url, account)).map_err(Problem::store)?;
        signals::before_the_end(journal.undo());
        let mut host = Host::open(&desk, &asking(&profile, named.as_deref()))?;
        // A failed login leaves the former registration, and the mark that it led to no callback.
        registered = host.replace(own_registrations.clone());
        let (seen, marks, whose) = (host.seen(), root.clone(), own.clone());
        let replaced = Arc::clone(&registered);
        signals::before_the_end(move || {
            marks.mark(
                &whose,
                seen.used_old_client() || used && !replaced.load(Ordering::Relaxed),
            );
        });
        host.adds(named.as_deref());
        let undo = journal.undo();
        host.change(&root, journal, profile.clone())?;
        if let Some(turn) = turn.take() {
            wanted.clone().watch(host.take_turn(turn), undo);
        }
        let signed_in = anew(&mut host, another, person.as_ref())
            .and_then(|()| accepted(&mut host, person.as_ref()))
            .and_then(|()| match &named {
                Some(scopes) => widen(&mut host, scopes, person.as_ref()),
                None => Ok(()),
            });
        // That failure precedes each registration and each write.
        let elsewhere = match &signed_in {
            Err(Problem::Failed { failure, .. }) => advice::elsewhere(failure),
            Ok(()) | Err(_) => None,
        };
        if let (Some((issuer, origin)), Some(person)) = (elsewhere, &person)
            && person.knows(&issuer, &origin)
        {
            settle::agree(&mut profile.settings.discovery, &issuer, &origin);
            continue;
        }
        break (host, signed_in);
    };
    match signed_in {
        Ok(()) => {}
        // The token is valid and stored; only the MCP server does not respond.
        Err(problem @ (Problem::NotMcp(_) | Problem::NoAnswer { .. })) if host.has_committed() => {
            eprintln!("mcp-auth: signed in, but {}", problem.words());
        }
        Err(problem) => {
            if let Err(problem) = host.take_back() {
                eprintln!("mcp-auth: {}", problem.words());
            }
            root.mark(
                &own,
                matches!(
                    problem,
                    Problem::TimedOut {
                        client: Presented::Earlier
                    }
                ) || used && !registered.load(Ordering::Relaxed),
            );
            return Err(problem);
        }
    }
    root.mark(&own, false);
    let is_new = host.has_committed();
    let grant = host.stored()?;
    if grant.is_some() || known.is_some() {
        host.commit()?;
        // The first sign-in of another account has the same redirect URI, and so the same registration.
        if let Some(port) = port {
            root.keep_port(port);
        }
    }
    if let Some(scopes) = &named {
        let missing = host.missing(scopes)?;
        if !missing.is_empty() {
            eprintln!("mcp-auth: not granted: {}", missing.join(" "));
        }
    }
    if let Some(issuer) = host.bound().filter(|_| is_new) {
        note!(
            "with this sign-in the client identifier belongs to {issuer}, and is used nowhere else"
        );
    }
    let parameters = profile.settings.parameters();
    let asked = host.asked_scopes();
    if let Some(grant) = &grant
        && let Some(words) = ends_soon(grant, is_new, parameters, &asked)
    {
        note!("mcp-auth: {words}");
    }
    if as_json {
        let mut answer = grant_json(grant.as_ref());
        if let Some(members) = answer.as_object_mut() {
            members.insert("server".to_owned(), host.url().into());
        }
        println!("{answer}");
    } else if is_quiet() {
        // The exit status says it.
    } else if grant.is_some() {
        println!("{}", grant_words(grant.as_ref()));
    } else {
        println!("{} asks for no sign-in", host.url());
    }
    Ok(())
}

/// Returns the settings of this sign-in: the scopes are those of the account and the named ones.
fn asking(profile: &Profile, named: Option<&str>) -> Profile {
    let mut asking = profile.clone();
    let own = profile.settings.scopes();
    if let Some(named) = named
        && own != Some(named)
    {
        let own = own.unwrap_or_default();
        asking.settings.scope = Some(format!("{own} {named}").trim().to_owned());
    }
    asking
}

/// Signs in again when the stored account belongs to another client than the settings: a token of the
/// previous client proves nothing about the new one.
fn anew(host: &mut Host, another: bool, person: Option<&Person>) -> Result<(), Problem> {
    if !another || host.stored()?.is_none() {
        return Ok(());
    }
    match person {
        Some(person) => host.authorize(person),
        None => replace_token(host),
    }
}

/// Requests scopes that the account lacks, although the MCP server accepts its token. Not repeated if this sign-in just
/// requested them.
fn widen(host: &mut Host, scopes: &str, person: Option<&Person>) -> Result<(), Problem> {
    if host.missing(scopes)?.is_empty() {
        return Ok(());
    }
    match person {
        Some(person) if !host.has_asked() => host.authorize(person),
        None if !host.has_committed() => replace_token(host),
        Some(_) | None => Ok(()),
    }
}

/// Requests another token for a client without a user.
fn replace_token(host: &mut Host) -> Result<(), Problem> {
    let url = host.url().to_owned();
    let held = host.present(&Method::POST, &url).unwrap_or_default();
    let sent = held.get(AUTHORIZATION).map(|sent| sent.to_str());
    host.challenged(PROBE, (401, &HeaderMap::new()), sent.transpose()?, None)?;
    Ok(())
}

/// Sends requests until the MCP server accepts one.
fn accepted(host: &mut Host, person: Option<&Person>) -> Result<(), Problem> {
    let url = host.url().to_owned();
    host.stored()?;
    for round in 0..TRIES {
        let presented = host.present(&Method::POST, &url).unwrap_or_default();
        let answer = probe(host, &presented)?;
        // A token from before this command; a new one would be refused in the same way.
        let old = round == 0 && presented.contains_key(AUTHORIZATION) && !host.has_committed();
        let (status, headers) = match answer {
            Answer::Refused(status, headers) => (status, headers),
            Answer::Other(other) if old && other.may_concern_the_token() => {
                match probe(host, &HeaderMap::new())? {
                    Answer::Refused(401, headers) => (401, headers),
                    Answer::Refused(..) | Answer::Mcp | Answer::Other(_) => {
                        return Err(Problem::NotMcp(Box::new(other)));
                    }
                }
            }
            Answer::Other(other) => return Err(Problem::NotMcp(Box::new(other))),
            Answer::Mcp if presented.contains_key(AUTHORIZATION) => {
                host.accepted(PROBE);
                return Ok(());
            }
            // Some servers accept unauthenticated requests but name an authorization server.
            Answer::Mcp => {
                return match host.wanted(person) {
                    Err(Problem::Failed { failure, .. }) if names_no_server(&failure.cause) => {
                        Ok(())
                    }
                    Err(problem) => Err(problem),
                    Ok(_) => Ok(()),
                };
            }
        };
        facts::refuses(status, &headers, host.has_committed());
        let sent = presented.get(AUTHORIZATION).map(|sent| sent.to_str());
        let Err(problem) = host.challenged(PROBE, (status, &headers), sent.transpose()?, person)
        else {
            continue;
        };
        let put_off = if let Problem::Failed { failure, .. } = &problem {
            advice::may_have_forgotten_token(failure)
        } else {
            None
        };
        let (Some(person), Some(status)) = (person, put_off) else {
            return Err(problem);
        };
        eprintln!(
            "mcp-auth: signing in again: the authorization server answers the refresh with status {status}, as some servers do for a \
             refresh token that they no longer know"
        );
        host.authorize(person)?;
    }
    Err(format!("{url} refused {TRIES} requests, each with a new token").into())
}

/// Sends `initialize` with these headers.
fn probe(host: &Host, headers: &HeaderMap) -> Result<Answer, Problem> {
    initialize(host.http(), host.url(), headers, host.end()).map_err(|error| {
        let url = host.url().to_owned();
        Problem::NoAnswer { url, error }
    })
}

fn names_no_server(cause: &Cause) -> bool {
    matches!(cause, Cause::Misconfigured(Misconfiguration::ServerUnknown))
}
