//! Signs in to an MCP server and prints the headers of the next request.

use std::{error::Error, io, thread};

use http::Method;
use mcp_auth_client::{Driver, MemoryStore, Pause, seed};
use mcp_auth_machine::event::Operation;
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Config, Event};

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args()
        .nth(1)
        .ok_or("usage: blocking_sign_in URL")?;
    let config = Config::builder(&url, "http://127.0.0.1:3000/callback").client_name("My client");
    let mut driver = Driver::new(config.build()?, "me", MemoryStore::default());
    let mut event = Event::Wanted(Operation::new("tools/list"));
    loop {
        event = match driver.handle(event) {
            Pause::NeedUser(_) => Event::Authorize(seed()?.into()),
            Pause::Redirect(redirect) => {
                println!("Open {}", redirect.url.as_str());
                println!("and paste the address of the page at which the browser ends:");
                let address = io::stdin().lines().next().ok_or("no address")??;
                Event::CallbackParams(Callback::from_url(address))
            }
            Pause::Resting(wait) => {
                thread::sleep(wait);
                Event::Timer
            }
            Pause::Failed(failure) => return Err(failure.into()),
            Pause::Idle => return Err("the address is not the callback of this sign-in".into()),
            Pause::Ready(_) => break,
        }
    }
    // Ask for each request: a token is refreshed, and a DPoP proof is valid once.
    println!("{:?}", driver.present(&Method::POST, &url)?);
    Ok(())
}
