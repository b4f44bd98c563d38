//! `doctor`: examines a server's set-up with the machine. It reads public metadata only: without a client,
//! the machine stops before a registration or a redirect.

mod findings;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use mcp_auth_client::{Driver, HttpClient, MemoryStore, Note, Pause, Store, seed};
use mcp_auth_machine::action::Purpose;
use mcp_auth_machine::config::{DynamicRegistration, MetadataCache};
use mcp_auth_machine::error::{Cause, Misconfiguration, Stage};
use mcp_auth_machine::event::Challenge;
use mcp_auth_machine::report::{Decision, Verdict};
use mcp_auth_machine::{Action, Config, Event, Failure};
use serde_json::{Value, json};

use findings::{
    Finding, Mark, finding, judge_challenge, judge_choice, judge_failure, judge_other,
    judge_scopes, judge_server,
};

use crate::account::tls::Tls;
use crate::account::{Selected, after};
use crate::lines::record::Recorder;
use crate::probe::{Answer, initialize};
use crate::problem::Problem;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    tls: Tls,
    /// How long all of it may take, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

/// The machine's observations.
#[derive(Default)]
struct Seen {
    requests: Vec<(u64, Purpose)>,
    tried: Vec<(String, Verdict)>,
    decisions: Vec<Decision>,
    /// The latest protected resource metadata.
    resource: Option<Value>,
    /// The latest authorization server metadata.
    server: Option<Value>,
}

impl Seen {
    fn note(&mut self, note: &Note<'_>) {
        match note {
            Note::Out(Action::SendRequest(send)) => self.requests.push((send.id(), send.purpose())),
            Note::Out(Action::Report(decision)) => {
                if let Decision::PlaceTried { url, verdict } = decision.as_ref() {
                    self.tried.push((url.as_str().to_owned(), *verdict));
                } else {
                    self.decisions.push(decision.as_ref().clone());
                }
            }
            Note::In(Event::HttpResponse(reply)) => {
                let purpose = self.requests.iter().find(|(id, _)| *id == reply.id());
                let to = match purpose {
                    Some((_, Purpose::ServerMetadata)) => &mut self.server,
                    Some((_, Purpose::ResourceMetadata)) => &mut self.resource,
                    Some(_) | None => return,
                };
                if let Some(response) = reply.response() {
                    let found = serde_json::from_slice(response.body()).ok();
                    *to = found.filter(Value::is_object).or(to.take());
                }
            }
            Note::In(_) | Note::Out(_) => {}
        }
    }
}

pub(crate) fn run(options: &Options, as_json: bool, recorder: &Recorder) -> Result<(), Problem> {
    let mut findings = Vec::new();
    let config = Config::builder(options.selected.url(), "http://127.0.0.1:9/callback")
        .client_name("mcp-auth doctor")
        .dynamic_registration(DynamicRegistration::Never)
        .metadata_cache(MetadataCache::Off)
        .reports(true)
        .build()
        .map_err(|flaw| format!("{}: {flaw}", options.selected.url()))?;
    let url = config.mcp_url().as_str().to_owned();
    let end = after(options.timeout);
    let mut tls = options.selected.remembered_tls();
    tls.over(options.tls.clone());
    let trust = tls.trust()?;
    let http = HttpClient::new(trust.clone());
    let answer =
        initialize(&http, &url, &HeaderMap::new(), end).map_err(|error| Problem::NoAnswer {
            url: url.clone(),
            error,
        })?;
    let mut open = false;
    let headers = match answer {
        Answer::Refused(status, headers) => {
            findings.push(judge_challenge(status, &headers));
            headers
        }
        Answer::Mcp => {
            open = true;
            findings.push(judge_challenge(200, &HeaderMap::new()));
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
        json!({
            "mcp_url": options.selected.url(), "redirect_uri": "http://127.0.0.1:9/callback",
            "principal": "doctor", "client_name": "mcp-auth doctor",
            "dynamic_registration": false, "metadata_cache": "off", "reports": true,
        })
    });
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
    let challenge = Challenge::new("doctor", 401, headers);
    let failure = follow(&mut driver, challenge, recorder, end)?;
    drop(driver);
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));

    findings.extend(seen.decisions.iter().filter_map(finding));
    let issuer = failure.issuer.as_ref().map(ToString::to_string);
    let passed = matches!(
        failure.cause,
        Cause::Misconfigured(Misconfiguration::NoClient { .. })
    );
    if passed || failure.stage == Stage::ServerMetadata {
        findings.push(Finding::new(
            Mark::Ok,
            "DISC-11",
            "the resource metadata is for this URL, and names an authorization server",
        ));
    }
    if passed {
        let issuer = issuer.as_deref().unwrap_or_default();
        let words = format!("the metadata of {issuer} names this issuer");
        findings.push(Finding::new(Mark::Ok, "META-08", words));
        findings.push(Finding::new(
            Mark::Ok,
            "META-12",
            "it has the endpoints that a sign-in needs",
        ));
        findings.push(Finding::new(Mark::Ok, "PKCE-05", "it offers S256"));
        findings.extend(seen.server.iter().flat_map(judge_server));
        let both = seen.resource.as_ref().zip(seen.server.as_ref());
        findings.extend(both.and_then(|(resource, server)| judge_scopes(resource, server)));
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
    let broken = findings.iter().any(|found| found.mark == Mark::Broken);
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
    }
    if broken {
        return Err(Problem::Examined);
    }
    Ok(())
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
                return Err(Problem::OutOfTime { last: None });
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
    println!("{url}\n");
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
        };
        println!("  {mark:<8}  {}  [{}]", found.words, found.rule);
        if let Some(fix) = &found.fix {
            println!("            → {fix}");
        }
        if let Some(option) = &found.option {
            println!("         meanwhile: mcp-auth login {option}");
        }
    }
}
