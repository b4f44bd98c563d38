//! Signs in to an MCP server and prints the headers of the next request.

use std::error::Error;
use std::process::ExitCode;
use std::{sync::mpsc, thread};

use http::Method;
use mcp_auth_client::{Driver, LoopbackListener, MemoryStore, Pause, seed};
use mcp_auth_machine::event::Operation;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event};

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
    let url = std::env::args()
        .nth(1)
        .ok_or("usage: blocking_sign_in URL")?;
    let (sender, callbacks) = mpsc::channel();
    let listener = LoopbackListener::builder().listen(move |url| _ = sender.send(url))?;
    let config = Config::builder(&url, listener.redirect_uri()).client_name("My client");
    let mut driver = Driver::new(config.build()?, "me", MemoryStore::default());
    let mut event = Event::Wanted(Operation::new("tools/list"));
    loop {
        event = match driver.handle(event) {
            Pause::NeedUser(_) => Event::Authorize(seed()?.into()),
            Pause::Redirect(redirect) => {
                println!("Open {}", redirect.url.as_str());
                Event::CallbackParams(Callback::from_url(callbacks.recv()?))
            }
            Pause::Resting(wait) => {
                thread::sleep(wait);
                Event::Timer
            }
            Pause::Failed(failure) => return Err(failure.into()),
            Pause::Idle | Pause::ShowCode(_) => return Err("not the callback expected".into()),
            Pause::Ready(_) => break,
        }
    }
    // Ask for each request: a token is refreshed, and a DPoP proof is valid once.
    println!("{:?}", driver.present(&Method::POST, &url)?);
    Ok(())
}
