//! `doctor`: examines a server's set-up with the machine. It reads public metadata only: without a client,
//! the machine stops before a registration or a redirect.

mod challenge;
mod device;
mod findings;
mod fix;
mod known;
mod operator;
mod server;
mod unseen;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use mcp_auth_client::{Driver, HttpClient, MemoryStore, Note, Pause, Store, seed};
use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::config::{DynamicRegistration, MetadataCache};
use mcp_auth_machine::error::{Cause, Misconfiguration, Stage};
use mcp_auth_machine::event::Challenge;

use mcp_auth_machine::report::{Decision, Verdict};
use mcp_auth_machine::wire::text::Untrusted;
use mcp_auth_machine::{Action, Config, Event, Failure};
use serde_json::{Value, json};

use challenge::{judge_form, names_scopes};
use device::judge_device;
use findings::{
    Finding, Mark, finding, judge_challenge, judge_elsewhere, judge_failure, judge_given,
    judge_missing_resource, judge_other,
};
use known::judge_known;
use server::{judge_choice, judge_passed_over, judge_scopes, judge_server, judge_unnamed_scopes};

use crate::account::choice::document;
use crate::account::discovery::Discovery;
use crate::account::overruled;
use crate::account::settle;
use crate::account::status::ends_with_token;
use crate::account::tls::Tls;
use crate::account::{Selected, after};
use crate::lines::record::Recorder;
use crate::probe::{Answer, USER_AGENT, initialize};
use crate::problem::Problem;
use crate::report::Examination;
use crate::speaker;
use crate::{advice, facts};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    discovery: Discovery,
    #[command(flatten)]
    tls: Tls,
    /// Also list what only a sign-in shows, each with its fix and option
    #[arg(long)]
    all: bool,
    /// How long all of it may take, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = crate::account::seconds)]
    timeout: u64,
}

/// Never used: the machine stops before a redirect.
const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";

/// The machine's observations.
#[derive(Default)]
struct Seen {
    requests: Vec<(u64, Purpose, String)>,
    tried: Vec<(String, Verdict)>,
    decisions: Vec<Decision>,
    /// The latest protected resource metadata.
    resource: Option<Value>,
    /// The authorization server metadata in order, each with its URL.
    servers: Vec<(String, Value)>,
}

impl Seen {
    /// Returns the metadata of the authorization server that a sign-in uses, and of those before it: without a
    /// client of its own, the first that registers clients. The machine has accepted each of them.
    fn server(&self) -> Option<(&Value, Vec<&Value>)> {
        let is_found = |url: &str| {
            let mut tried = self.tried.iter().rev();
            let last = tried.find(|(tried, _)| tried == url);
            last.is_some_and(|(_, verdict)| *verdict == Verdict::Found)
        };
        let found = self.servers.iter().filter(|(url, _)| is_found(url));
        let accepted: Vec<&Value> = found.map(|(_, server)| server).collect();
        let registers = |server: &&Value| {
            let documents = server.get("client_id_metadata_document_supported");
            text(server, "registration_endpoint").is_some()
                || documents.and_then(Value::as_bool) == Some(true)
        };
        let at = accepted.iter().position(registers).unwrap_or(0);
        let server = *accepted.get(at)?;
        Some((server, accepted.into_iter().take(at).collect()))
    }

    fn note(&mut self, note: &Note<'_>) {
        facts::see(note);
        match note {
            Note::Out(Action::SendRequest(send)) => {
                let url = send.request().uri().to_string();
                self.requests.push((send.id(), send.purpose(), url));
            }
            Note::Out(Action::Report(decision)) => {
                if let Decision::PlaceTried { url, verdict } = decision.as_ref() {
                    self.tried.push((url.as_str().to_owned(), *verdict));
                } else {
                    self.decisions.push(decision.as_ref().clone());
                }
            }
            Note::In(Event::HttpResponse(reply)) => {
                let asked = self.requests.iter().find(|(id, ..)| *id == reply.id());
                let document = reply.response().and_then(document);
                let document = document.and_then(|body| {
                    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
                    serde_json::from_slice(body).ok()
                });
                let Some(document) = document.filter(Value::is_object) else {
                    return;
                };
                match asked {
                    Some((_, Purpose::ServerMetadata, url)) => {
                        self.servers.push((url.clone(), document));
                    }
                    Some((_, Purpose::ResourceMetadata, _)) => self.resource = Some(document),
                    Some(_) | None => {}
                }
            }
            Note::In(_) | Note::Out(_) | Note::Store(_) => {}
        }
    }
}

pub(crate) fn run(options: &Options, as_json: bool, recorder: &Recorder) -> Result<(), Problem> {
    let mut findings = Vec::new();
    let url = options.selected.canonical_url()?;
    let (mut tls, mut discovery) = options.selected.remembered_network();
    tls.over(options.tls.clone());
    discovery.over(options.discovery.clone());
    let end = after(options.timeout);
    let trust = tls.trust()?;
    settle::settle(&url, &mut discovery, None, &trust, end)?;
    let config = Config::builder(&url, REDIRECT_URI)
        .client_name("mcp-auth doctor")
        .user_agent(USER_AGENT)
        .dynamic_registration(DynamicRegistration::Never)
        .metadata_cache(MetadataCache::Off)
        .reports(true);
    let config = discovery.apply(config)?.build()?;
    let http = HttpClient::new(trust.clone());
    let answer =
        initialize(&http, &url, &HeaderMap::new(), end).map_err(|error| Problem::NoAnswer {
            url: url.clone(),
            error,
        })?;
    let mut open = false;
    let mut answered = None;
    let headers = match answer {
        Answer::Refused(status, headers) => {
            answered = Some(status);
            headers
        }
        Answer::Mcp => {
            open = true;
            answered = Some(200);
            HeaderMap::new()
        }
        Answer::Other(other) => {
            findings.push(judge_other(&other));
            HeaderMap::new()
        }
    };

    let seen = Arc::new(Mutex::new(Seen::default()));
    let watching = Arc::clone(&seen);
    recorder.start(|| {
        let mut line = json!({
            "mcp_url": url, "redirect_uri": REDIRECT_URI,
            "principal": "doctor", "client_name": "mcp-auth doctor",
            "user_agent": USER_AGENT,
            "dynamic_registration": false, "metadata_cache": "off", "reports": true,
        });
        if let Some(members) = line.as_object_mut() {
            discovery.describe(members);
        }
        line
    });
    let named = overruled::named(&url, headers.clone(), &discovery, &trust, end)?;
    recorder.challenged("doctor", 401, &headers, None);
    let store = recorder.store(MemoryStore::default());
    let noted = recorder.clone();
    let mut driver = Driver::new(config, "doctor", store)
        .trust(trust)
        .deadline(end)
        .watched(move |note| {
            noted.see(&note);
            let mut seen = watching.lock().unwrap_or_else(PoisonError::into_inner);
            seen.note(&note);
        });
    let challenge = Challenge::new("doctor", 401, headers.clone());
    let failure = follow(&mut driver, challenge, recorder, end)?;
    drop(driver);
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));

    findings.extend(answered.map(|status| judge_challenge(status, &headers, &seen.tried)));
    findings.extend(judge_form(&headers, &url));
    findings.extend(seen.decisions.iter().filter_map(finding));
    let server = seen.server();
    let issuer = server
        .as_ref()
        .and_then(|(server, _)| text(server, "issuer"));
    let issuer = issuer.map(|issuer| Untrusted::new(issuer).as_plain().to_owned());
    let issuer = issuer.or_else(|| failure.issuer.as_ref().map(ToString::to_string));
    // The machine stops there until the user agrees; the rest of the set-up is examined.
    let elsewhere = advice::elsewhere(&failure);
    let passed = elsewhere.is_some()
        || matches!(
            failure.cause,
            Cause::Misconfigured(Misconfiguration::NoClient { .. })
        );
    if passed || failure.stage == Stage::ServerMetadata {
        findings.push(match &seen.resource {
            Some(_) => Finding::new(
                Mark::Ok,
                "DISC-11",
                "the resource metadata is for this URL, and names an authorization server",
            ),
            None if !discovery.gives_server() => judge_missing_resource(),
            None => judge_given(&url, named.as_ref()),
        });
    }
    if passed {
        let issuer = issuer.as_deref().unwrap_or_default();
        findings.push(if server.is_some() {
            let words = format!("the metadata of {issuer} names this issuer");
            Finding::new(Mark::Ok, "META-08", words)
        } else {
            let words = format!("the metadata of {issuer} is that of --server-metadata");
            Finding::new(Mark::Note, "META-08", words)
        });
        findings.push(Finding::new(
            Mark::Ok,
            "META-12",
            "it has the endpoints that a sign-in needs",
        ));
        findings.push(Finding::new(Mark::Ok, "PKCE-05", "it offers S256"));
        if let Some((issuer, origin)) = &elsewhere {
            findings.push(judge_elsewhere(&failure, issuer, origin));
        }
        for passed_over in server.iter().flat_map(|(_, before)| before) {
            findings.push(judge_passed_over(passed_over));
        }
        let server = server.map(|(server, _)| server);
        findings.extend(server.into_iter().flat_map(judge_server));
        findings.extend(server.map(judge_device));
        findings.extend(judge_known(issuer));
        let both = seen.resource.as_ref().zip(server);
        findings.extend(both.and_then(|(resource, server)| judge_scopes(resource, server)));
        let asks = names_scopes(&headers);
        findings.extend(
            both.filter(|_| !asks)
                .and_then(|(resource, server)| judge_unnamed_scopes(resource, server)),
        );
    } else if open
        && matches!(
            failure.cause,
            Cause::Misconfigured(Misconfiguration::ServerUnknown)
        )
    {
        let words = "it asks for no sign-in and names no authorization server: clients need none";
        findings.push(Finding::new(Mark::Note, "DISC-21", words));
    } else {
        findings.push(judge_failure(&failure));
    }
    findings.extend(seen.resource.as_ref().and_then(judge_choice));
    if ends_with_token(&options.selected) {
        findings.push(unseen::no_refresh_token());
    }
    if options.all {
        findings.extend(unseen::list(issuer.as_deref().unwrap_or("ISSUER")));
    }
    let broken = findings.iter().any(|found| found.mark == Mark::Broken);
    recorder.examined(|| Examination {
        usable: !broken,
        findings: findings.iter().map(Finding::in_short).collect(),
    });
    if as_json {
        let places: Vec<Value> = seen
            .tried
            .iter()
            .map(|(url, verdict)| json!({ "url": url, "verdict": verdict }))
            .collect();
        println!(
            "{}",
            json!({
                "server": url, "issuer": issuer, "usable": !broken,
                "places": places, "findings": findings,
            })
        );
    } else {
        show(&url, &seen, &findings);
        if !options.all {
            println!();
            println!("What only a sign-in shows is left out; --all lists it.");
        }
    }
    if broken {
        return Err(Problem::Examined);
    }
    Ok(())
}

fn text<'a>(document: &'a Value, member: &str) -> Option<&'a str> {
    document.get(member).and_then(Value::as_str)
}

/// Runs the machine to its failure, the only outcome without a client.
fn follow(
    driver: &mut Driver<Box<dyn Store>>,
    challenge: Challenge,
    recorder: &Recorder,
    end: Instant,
) -> Result<Failure, Problem> {
    let mut pause = driver.handle(Event::Challenged(challenge));
    loop {
        pause = match pause {
            Pause::Failed(failure) => return Ok(*failure),
            Pause::NeedUser(_) => {
                recorder.authorize(false);
                driver.handle(Event::Authorize(seed()?.into()))
            }
            Pause::Resting(rest) if rest > end.saturating_duration_since(Instant::now()) => {
                return Err(Problem::OutOfTime {
                    last: None,
                    lease: None,
                });
            }
            Pause::Resting(rest) => {
                std::thread::sleep(rest);
                driver.run()
            }
            Pause::Idle | Pause::Redirect(_) | Pause::ShowCode(_) | Pause::Ready(_) => {
                return Err("the examination came to no end".into());
            }
        };
    }
}

fn show(url: &str, seen: &Seen, findings: &[Finding]) {
    println!("{url}");
    println!();
    for (place, verdict) in &seen.tried {
        let verdict = serde_json::to_value(verdict).unwrap_or_default();
        println!("  {:<10}  {place}", verdict.as_str().unwrap_or_default());
    }
    println!();
    for found in findings {
        let mark = match found.mark {
            Mark::Ok => "ok",
            Mark::Note => "note",
            Mark::Warning => "warning",
            Mark::Broken => "broken",
            Mark::Unseen => "unseen",
        };
        println!("  {mark:<8}  {}  [{}]", found.words, found.rule);
        if let Some(fix) = &found.fix {
            println!("            → {fix}");
        }
        if let Some(option) = &found.option {
            let step = if option.starts_with("--") {
                speaker::login(option)
            } else {
                option.clone()
            };
            println!("         meanwhile: {step}");
        }
    }
}
