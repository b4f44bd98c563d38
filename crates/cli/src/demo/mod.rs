//! A complete sign-in over loopback HTTP, without any set-up.

mod client;
mod refresh;
mod stage;

use std::error::Error;

use mcp_auth_machine::action::Why;
use mcp_auth_machine::error::{Cause, Next, Violation};

use client::{Client, Outcome};
use stage::{Stage, Wish};

use crate::lines::record::Recorder;
use crate::shell::quoted;

/// The scenario of the demo.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The authorization server responds with another server's `iss`: the code must not be sent.
    #[arg(long, conflicts_with = "moved_server")]
    wrong_iss: bool,
    /// After a sign-in the MCP server names another authorization server: no token of the first one may be
    /// sent there, and the user must confirm first.
    #[arg(long)]
    moved_server: bool,
    /// The tool needs a scope that the first sign-in did not request: the user is asked again, for the
    /// union.
    #[arg(long, conflicts_with_all = ["wrong_iss", "moved_server"])]
    step_up: bool,
    /// With `--step-up`: the user declines the second time, and keeps the scopes of the first.
    #[arg(long, requires = "step_up")]
    decline: bool,
    /// Tokens are bound to a key: every request carries a new DPoP proof.
    #[arg(long, conflicts_with_all = ["wrong_iss", "moved_server", "step_up", "refresh"])]
    dpop: bool,
    /// The user signs in with a code in a browser of another device (RFC 8628).
    /// With `--serve`: print how a client does that.
    #[arg(long, conflicts_with_all = ["wrong_iss", "moved_server", "refresh", "client_credentials"])]
    device: bool,
    /// Use the client credentials grant, with a secret and without a user.
    #[arg(long, conflicts_with_all = ["wrong_iss", "moved_server", "step_up", "refresh", "dpop"])]
    client_credentials: bool,
    /// Run the built-in servers until interrupted, to try other clients.
    #[arg(long, conflicts_with_all = ["wrong_iss", "moved_server", "step_up", "refresh"])]
    serve: bool,
    /// With `--serve`: the lifetime of access tokens.
    #[arg(long, requires = "serve", value_name = "SECONDS")]
    token_seconds: Option<u64>,
    /// With `--serve`: print a line for each token request, with its client and the result.
    #[arg(long, requires = "serve")]
    log: bool,
    /// The token expires within seconds, and two processes refresh from the same store: one refresh
    /// request.
    #[arg(long, conflicts_with_all = ["wrong_iss", "moved_server", "step_up"])]
    refresh: bool,
    #[command(flatten)]
    joining: refresh::Joining,
}

impl Options {
    /// Returns true if a client with a machine runs in this process.
    pub(crate) fn has_client(&self) -> bool {
        !self.serve && self.joining.wanted().is_none()
    }
}

impl Options {
    /// Prints the command for the way to sign in that was asked for; the servers accept each of them.
    fn tell_sign_in(&self, stage: &Stage) {
        let (url, issuer) = (stage.mcp_url(), stage.issuer());
        if self.device {
            println!("sign in with a code: mcp-auth login {url} --device");
        }
        if self.dpop {
            println!("bind the tokens to a key: mcp-auth login {url} --dpop-key FILE");
        }
        if self.client_credentials {
            let (id, secret) = (quoted(stage::SERVICE.0), quoted(stage::SERVICE.1));
            println!(
                "sign in without a user: echo {secret} | mcp-auth login {url} --client-credentials --client-id {id} --issuer \
                 {issuer} --client-secret-prompt"
            );
        }
    }
}

pub(crate) fn run(options: Options, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    if let Some((url, store)) = options.joining.wanted() {
        return refresh::join(url, store);
    }
    let wish = if options.wrong_iss {
        Wish::WrongIss
    } else if options.refresh {
        Wish::ShortTokens
    } else {
        Wish::Honest
    };
    let stage = Stage::set(wish, options.token_seconds)?;
    println!("MCP server            {}", stage.mcp_url());
    println!("authorization server  {}", stage.issuer());
    println!();
    if options.serve {
        if options.log {
            stage.log();
        }
        stage.protect_tool("echo", "mcp:echo")?;
        println!("serving until interrupted; the tool echo needs the scope mcp:echo");
        options.tell_sign_in(&stage);
        loop {
            std::thread::park();
        }
    }
    if options.refresh {
        return refresh::run(&stage, recorder);
    }
    if options.step_up {
        stage.protect_tool("echo", "mcp:echo")?;
    }
    let mut client = if options.dpop {
        Client::with_key(&stage, recorder)?
    } else if options.client_credentials {
        Client::for_itself(&stage, recorder)?
    } else {
        Client::new(&stage, recorder)?
    };
    if options.device {
        client = client.on_other_device();
    }
    if options.wrong_iss {
        return wrong_iss(&mut client);
    }
    if options.decline {
        return declined(&stage, &mut client);
    }
    match client.tools()? {
        Outcome::Answered(text) => {
            println!();
            println!("signed in; tools/call echo answered: {text}");
        }
        Outcome::Failed(failure) => return Err(failure),
        Outcome::Declined(why) => return Err(format!("stopped: {}", why.as_str()).into()),
    }
    if options.moved_server {
        return moved_server(&stage, &mut client);
    }
    Ok(())
}

fn wrong_iss(client: &mut Client) -> Result<(), Box<dyn Error>> {
    match client.tools()? {
        Outcome::Failed(failure)
            if matches!(failure.cause, Cause::Violation(Violation::Iss(_))) =>
        {
            println!();
            println!("attack refused: {failure}");
            Ok(())
        }
        Outcome::Failed(failure) => Err(failure),
        Outcome::Answered(_) | Outcome::Declined(_) => Err("the attack was not refused".into()),
    }
}

fn declined(stage: &Stage, client: &mut Client) -> Result<(), Box<dyn Error>> {
    if let Outcome::Failed(failure) = client.list()? {
        return Err(failure);
    }
    stage.decline_once();
    match client.tools()? {
        Outcome::Failed(failure)
            if matches!(failure.cause, Cause::Refused(_)) && failure.next() == Next::AskUser =>
        {
            println!();
            println!("declined: {failure}");
        }
        Outcome::Failed(failure) => return Err(failure),
        Outcome::Answered(_) | Outcome::Declined(_) => return Err("the user was not asked".into()),
    }
    match client.list()? {
        Outcome::Answered(_) => {
            println!("tools/list still answers");
            Ok(())
        }
        Outcome::Failed(failure) => Err(failure),
        Outcome::Declined(_) => Err("the first access was lost".into()),
    }
}

fn moved_server(stage: &Stage, client: &mut Client) -> Result<(), Box<dyn Error>> {
    let attacker = stage.move_to_another()?;
    println!();
    println!("the MCP server now names {attacker}");
    println!();
    match client.tools()? {
        Outcome::Declined(Why::ServerChanged { from, to }) => {
            println!();
            println!("attack refused: asked before sending the user from {from} to {to}");
            let requests = client.sent_to(&attacker);
            println!("{requests} request(s) went to {to}");
            if requests > 0 {
                return Err("the attack was not refused".into());
            }
            Ok(())
        }
        Outcome::Failed(failure) => Err(failure),
        Outcome::Answered(_) | Outcome::Declined(_) => Err("the attack was not refused".into()),
    }
}
