//! Creates a DPoP proof with a key from a file, and prints it with the public key, to verify it with
//! another library.
//!
//! ```sh
//! cargo run -p mcp-auth-client --features signer --example sign -- key.pem
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use mcp_auth_client::signer::SoftwareKey;
use mcp_auth_machine::config::{Dpop, DpopPolicy};
use mcp_auth_machine::event::Challenge;
use mcp_auth_machine::present::Presentation;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::pkce::Seed;
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Moment};

const MCP: &str = "https://mcp.example/mcp";
const PRM: &str =
    r#"{"resource":"https://mcp.example/mcp","authorization_servers":["https://as.example"]}"#;
const METADATA: &str = r#"{"issuer":"https://as.example","authorization_endpoint":"https://as.example/authorize","token_endpoint":"https://as.example/token","registration_endpoint":"https://as.example/register","code_challenge_methods_supported":["S256"],"dpop_signing_alg_values_supported":["ES256","EdDSA","Ed25519","PS256","RS256"]}"#;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("which key?")?;
    let key = SoftwareKey::from_pem("key", &std::fs::read_to_string(file)?)?;
    let config = Config::builder(MCP, "http://127.0.0.1:3000/callback")
        .dpop(Dpop::new(DpopPolicy::Require).key(key.describe()?))
        .reports(false)
        .build()?;
    let now = Moment::new(SystemTime::now(), Duration::ZERO);
    let mut machine = AuthMachine::new(config, "user", now);
    let mut headers = HeaderMap::new();
    headers.insert("www-authenticate", HeaderValue::from_static("DPoP"));
    machine.handle(now, Event::Challenged(Challenge::new("call", 401, headers)));
    // A sign-in with canned responses; only the signatures are real.
    let seed = *b"forty-eight bytes that are no entropy but an exam";
    let seed: [u8; 48] = seed.first_chunk().copied().ok_or("48 bytes")?;
    while let Some(action) = machine.poll_action() {
        let event = match action {
            Action::SendRequest(send) => {
                let url = send.request().uri().to_string();
                let (status, body) = match url.as_str() {
                    _ if url.contains("oauth-protected-resource") => (200, PRM),
                    _ if url.contains("/.well-known/") => (200, METADATA),
                    _ if url.ends_with("/register") => (201, r#"{"client_id":"c"}"#),
                    _token => {
                        let proof = send.request().headers().get("dpop").ok_or("no proof")?;
                        println!("{}", proof.to_str()?);
                        (200, r#"{"access_token":"at","token_type":"DPoP"}"#)
                    }
                };
                let mut response = Response::new(Bytes::from_static(body.as_bytes()));
                *response.status_mut() = status.try_into()?;
                send.response(response)
            }
            Action::Sign(sign) => {
                let algorithm = sign.algorithm();
                let prepared = sign.prepare(*b"sixteen bytes!!!");
                let signature = key.sign(algorithm, prepared.input())?;
                prepared.signature(&signature)
            }
            Action::LoadSlot(load) => load.found(None),
            Action::PersistSlot(persist) => persist.done(),
            Action::NeedUser(_) => Event::Authorize(Seed::new(seed)?.into()),
            Action::Redirect(redirect) => {
                let url = redirect.url.as_str();
                let state = url.split("state=").nth(1).unwrap_or_default();
                let state = state.split('&').next().unwrap_or_default();
                let back = format!("http://127.0.0.1:3000/callback?code=c&state={state}");
                Event::CallbackParams(Callback::from_url(back))
            }
            Action::ObtainAssertion(obtain) => obtain.failed(),
            Action::Ready(_) => break,
            Action::Error(failure) => return Err(failure),
            // A code is shown only where the host asks for that.
            Action::ShowCode(_) | Action::Report(_) => continue,
        };
        machine.handle(now, event);
    }
    // A proof for a request to the MCP server.
    match machine.present(now, &Method::POST, MCP)? {
        Presentation::Bound(proof) => {
            let algorithm = proof.algorithm();
            let prepared = proof.prepare(*b"sixteen others!!");
            let signature = key.sign(algorithm, prepared.input())?;
            let headers = prepared.signature(&signature).ok_or("no signature")?;
            println!("{}", headers.dpop.to_str()?);
            Ok(())
        }
        Presentation::Bearer(_) => Err("the token is not bound".into()),
    }
}
