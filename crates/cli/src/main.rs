//! `mcp-auth`: MCP authorization on the command line.

#[macro_use]
mod output;

mod account;
mod demo;
mod describe;
mod doctor;
mod lines;
mod listener;
mod pasted;
mod probe;
mod problem;
mod proxy;
mod remedy;
mod report;
mod runtime;
mod setup;
mod signals;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use lines::record::Recorder;
use problem::{Problem, STATUSES};

/// MCP authorization on the command line.
#[derive(Parser)]
#[command(name = "mcp-auth", version, about, arg_required_else_help = true, after_help = STATUSES)]
struct Arguments {
    /// Write one JSON object to standard output; what else there is to say goes to standard error.
    #[arg(long, global = true)]
    json: bool,
    /// With login, token, logout, doctor, demo: write what happened as lines that `replay` runs, with
    /// every secret replaced
    #[arg(long, global = true, value_name = "FILE")]
    record: Option<PathBuf>,
    /// With login, token, logout, doctor, demo, replay: write what happened as one page to look at, with
    /// every secret hidden
    #[arg(long, global = true, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sign in to an MCP server, and keep what it grants for `token`.
    #[command(after_help = STATUSES)]
    Login(Box<account::login::Options>),
    /// Print an access token that is good now, renewed where needed. Safe to run in parallel.
    #[command(after_help = STATUSES)]
    Token(account::token::Options),
    /// Print the headers of an MCP server as one JSON object, for clients that run a command to get them.
    #[command(after_help = STATUSES)]
    Headers(account::headers::Options),
    /// An MCP server on standard input and output that relays to one behind HTTP, signed in.
    #[command(after_help = STATUSES)]
    Proxy(proxy::Options),
    /// Print the entry of an MCP server for the configuration of a client, or write it there.
    #[command(after_help = STATUSES)]
    Setup(setup::Options),
    /// What is held for one MCP server, without asking anybody.
    #[command(after_help = STATUSES)]
    Status(account::status::Options),
    /// What is held for every MCP server.
    #[command(after_help = STATUSES)]
    List(account::status::ListOptions),
    /// Erase what is held for an MCP server, and revoke it where the server can.
    #[command(after_help = STATUSES)]
    Logout(account::logout::Options),
    /// Examine how an MCP server is set up, without signing in and without registering anything.
    #[command(after_help = STATUSES)]
    Doctor(doctor::Options),
    /// Sign in for real, over loopback HTTP, to a built-in MCP server and authorization server.
    ///
    /// Needs no set-up. Prints each event and action of the machine as one line. Exit status 0 when
    /// the demo ended as announced, 1 otherwise.
    Demo(demo::Options),
    /// The machine for programs in any language: JSON lines in on standard input, JSON lines out.
    ///
    /// The first line is the configuration, then events; after each line come the actions there are,
    /// then `idle`. docs/design.md, section 8, has every line.
    Drive,
    /// Run a file of lines as `drive` takes and prints them, and say where something else comes out.
    #[command(after_help = STATUSES)]
    Replay(lines::replay::Options),
}

impl Command {
    fn can_be_recorded(&self) -> bool {
        match self {
            Self::Login(_)
            | Self::Token(_)
            | Self::Headers(_)
            | Self::Logout(_)
            | Self::Doctor(_) => true,
            Self::Demo(options) => options.has_client(),
            Self::Proxy(_)
            | Self::Setup(_)
            | Self::Status(_)
            | Self::List(_)
            | Self::Drive
            | Self::Replay(_) => false,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        // `--help` and `--version` are no errors.
        if error.use_stderr() && std::env::args().any(|argument| argument == "--json") {
            let words = error.render().to_string();
            tell(&Problem::Usage(words.trim().to_owned()), true);
            std::process::exit(2);
        }
        error.exit()
    });
    let Arguments {
        json,
        record,
        html,
        command,
    } = arguments;
    let replays = matches!(command, Command::Replay(_));
    let usable = || {
        if record.is_some() && !command.can_be_recorded() {
            let said = "--record is for login, token, headers, logout, doctor and demo";
            return Err(Problem::Usage(said.to_owned()));
        }
        if html.is_some() && !replays && !command.can_be_recorded() {
            let said = "--html is for login, token, headers, logout, doctor, demo and replay";
            return Err(Problem::Usage(said.to_owned()));
        }
        Ok(())
    };
    let recorder = Recorder::new(record.clone(), html.clone().filter(|_| !replays));
    let outcome = usable().and_then(|()| run(command, json, &recorder, html.as_deref()));
    let recorded = match &outcome {
        Err(Problem::Usage(_)) => Ok(()),
        Ok(()) | Err(_) => recorder.finish(),
    };
    let outcome = outcome.and_then(|()| match output::failure() {
        Some(error) => Err(Problem::Output(error)),
        None => Ok(()),
    });
    let status = match &outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => tell(problem, json),
    };
    // The command's own failure comes before that of its transcript.
    match (recorded, outcome) {
        (Ok(()), _) => status,
        (Err(problem), Ok(())) => tell(&problem, false),
        (Err(problem), Err(_)) => {
            tell(&problem, false);
            status
        }
    }
}

fn run(
    command: Command,
    json: bool,
    recorder: &Recorder,
    html: Option<&Path>,
) -> Result<(), Problem> {
    match command {
        Command::Login(options) => account::login::run(*options, json, recorder),
        Command::Token(options) => account::token::run(&options, json, recorder),
        Command::Headers(options) => account::headers::run(&options, recorder),
        Command::Proxy(options) => proxy::run(&options),
        Command::Setup(options) => setup::run(&options, json),
        Command::Status(options) => account::status::run(&options, json),
        Command::List(options) => account::status::list(&options, json),
        Command::Logout(options) => account::logout::run(&options, json, recorder),
        Command::Doctor(options) => doctor::run(&options, json, recorder),
        Command::Demo(options) => demo::run(options, recorder).map_err(Problem::from),
        Command::Drive => lines::drive::run(),
        Command::Replay(options) => lines::replay::run(&options, json, html),
    }
}

/// Says what is wrong; the exit status.
fn tell(problem: &Problem, json: bool) -> ExitCode {
    if let Some(object) = problem.json().filter(|_| json) {
        println!("{object}");
    }
    eprintln!("mcp-auth: {}", problem.words());
    problem.status()
}
