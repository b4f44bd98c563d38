//! Tools that need different scopes, from both sides, over real HTTP:
//!
//! ```sh
//! cargo run -p mcp-auth-client --features ureq --example scoped_tools
//! ```
//!
//! 1. The first call signs in with few scopes.
//! 2. A tool that needs more responds with 403; the user is asked once, for the union; the call is retried.
//! 3. The user declines the scopes of another tool; the granted scopes still work.
//! 4. A server that always requires more: the machine fails after a few authorizations.

mod client;
use std::error::Error;
use std::process::ExitCode;

use mcp_auth_machine::error::{Cause, Refusal};
use tokio::runtime::Builder;

use client::{Client, Ended};
use mcp_auth_testing::resource::Tool;
use mcp_auth_testing::servers::Servers;

const TOOLS: [Tool; 4] = [
    Tool {
        name: "list_notes",
        description: "Needs nothing but the sign-in.",
    },
    Tool {
        name: "write_note",
        description: "Needs notes:write.",
    },
    Tool {
        name: "delete_notes",
        description: "Needs notes:delete.",
    },
    Tool {
        name: "sulk",
        description: "Wants another scope each time it is called.",
    },
];

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
    // The servers run on their own thread, so the client may block.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let servers = Servers::builder().tools(&TOOLS);
    let servers = runtime.block_on(servers.on_loopback())?;
    let (mcp, server) = (servers.mcp(), servers.authorization());
    mcp.set_tool_scope("write_note", "notes:write")?;
    mcp.set_tool_scope("delete_notes", "notes:delete")?;
    let mut client = Client::new(&mcp.url())?;

    println!("1. the first call signs in with little");
    expect(client.call("list_notes")?.is_answer(), "an answer")?;
    expect(client.redirects() == 1, "one authorization")?;

    println!("\n2. a tool that needs more: asked once, for the union");
    expect(client.call("write_note")?.is_answer(), "an answer")?;
    expect(client.redirects() == 2, "one more authorization")?;
    expect(client.call("write_note")?.is_answer(), "an answer at once")?;
    expect(client.redirects() == 2, "no further authorization")?;

    println!("\n3. the user says no to the third: the first two still work");
    server.decline_once();
    match client.call("delete_notes")? {
        Ended::Refused(failure) => println!("   {failure}"),
        Ended::Answered => return Err("the user was not asked".into()),
    }
    expect(client.call("write_note")?.is_answer(), "the old access")?;

    println!("\n4. a server that is never content");
    let before = client.redirects();
    let mut moods = 1_u32..;
    let ended = client.call_while("sulk", || {
        let mood = moods.next().unwrap_or_default();
        // A name of letters and a number is a scope.
        let _always = mcp.set_tool_scope("sulk", &format!("mood:{mood}"));
    })?;
    match ended {
        Ended::Refused(failure) => {
            let Cause::Refused(Refusal::InsufficientScope { attempts, .. }) = &failure.cause else {
                return Err(failure);
            };
            println!("   after {attempts} authorizations: {failure}");
            let made = client.redirects().saturating_sub(before);
            expect(
                made == usize::from(*attempts),
                "no authorization that is not told",
            )?;
            expect(made <= 3, "a few authorizations")?;
        }
        Ended::Answered => return Err("it was content".into()),
    }
    expect(client.call("list_notes")?.is_answer(), "the old access")?;
    println!("\ndone");
    Ok(())
}

fn expect(held: bool, what: &str) -> Result<(), Box<dyn Error>> {
    if held {
        Ok(())
    } else {
        Err(format!("expected {what}").into())
    }
}
