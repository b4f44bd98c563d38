//! `mcp-auth`: MCP authorization on the command line.

#[macro_use]
mod output;

mod account;
mod advice;
mod begun;
mod demo;
mod describe;
mod doctor;
mod facts;
mod lines;
mod listener;
mod manual;
mod pasted;
mod probe;
mod problem;
mod proxy;
mod remedy;
mod report;
mod runtime;
mod setting;
mod setup;
mod shell;
mod signals;
mod slot_json;
mod speaker;
mod style;
mod waits;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use lines::record::{Destination, Recorder};
use problem::{Problem, STATUSES};
use waits::End;

/// MCP authorization on the command line.
#[derive(Parser)]
#[command(name = "mcp-auth", version, about, arg_required_else_help = true, after_help = STATUSES)]
struct Arguments {
    /// Write one JSON object to standard output; other messages go to standard error.
    #[arg(long, global = true)]
    json: bool,
    /// Print results, failures and what you have to act on, and nothing else
    #[arg(long, short, global = true)]
    quiet: bool,
    /// With login, token, headers, logout, doctor, demo: write a transcript that `replay` runs, with every
    /// secret replaced. The folder of the file must exist
    #[arg(long, global = true, value_name = "FILE")]
    record: Option<PathBuf>,
    /// With login, token, headers, logout, doctor, demo, replay: write an HTML page that shows what
    /// happened, with every secret hidden. The folder of the file must exist
    #[arg(long, global = true, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sign in to an MCP server, and store the tokens for `token`.
    #[command(after_help = STATUSES)]
    Login(Box<account::login::Options>),
    /// Print a valid access token, refreshed if necessary. Safe to run in parallel.
    #[command(after_help = STATUSES)]
    Token(account::token::Options),
    /// Print request headers for an MCP server as one JSON object, for clients that run a command to obtain
    /// them.
    #[command(after_help = STATUSES)]
    Headers(account::headers::Options),
    /// Run an MCP server on standard input and output that relays to one behind HTTP, signed in.
    #[command(after_help = STATUSES)]
    Proxy(proxy::Options),
    /// Print the entry of an MCP server for the configuration of a client, or write it there.
    #[command(after_help = STATUSES)]
    Setup(setup::Options),
    /// Show the stored credentials for one MCP server (no network).
    #[command(after_help = STATUSES)]
    Status(account::status::Options),
    /// Show the stored credentials for every MCP server (no network).
    #[command(after_help = STATUSES)]
    List(account::status::ListOptions),
    /// Delete the stored credentials for an MCP server, and revoke them at the server.
    #[command(after_help = STATUSES)]
    Logout(account::logout::Options),
    /// Examine the set-up of an MCP server, without signing in or registering.
    #[command(after_help = STATUSES)]
    Doctor(Box<doctor::Options>),
    /// Sign in over loopback HTTP to a built-in MCP server and authorization server.
    ///
    /// Needs no set-up. Prints each event and action of the machine as one line. Exit status 0 if the demo
    /// ended as announced, 1 otherwise.
    Demo(demo::Options),
    /// Run the machine for programs in any language: JSON lines on standard input and output.
    ///
    /// The first line is the configuration, followed by events; each line is answered with the resulting
    /// actions and `idle`. See docs/design.md, section 8.
    Drive,
    /// Run a transcript again, and report the first line with a different output.
    #[command(after_help = STATUSES)]
    Replay(lines::replay::Options),
    /// Print the completions of a shell.
    Completions(manual::CompletionsOptions),
    /// Print the manual page, or write the pages of all commands.
    Man(manual::ManOptions),
}

impl Command {
    /// Returns the name of the command, if what its machine does can be recorded.
    fn recorded_as(&self) -> Option<&'static str> {
        match self {
            Self::Login(_) => Some("login"),
            Self::Token(_) => Some("token"),
            Self::Headers(_) => Some("headers"),
            Self::Logout(_) => Some("logout"),
            Self::Doctor(_) => Some("doctor"),
            Self::Demo(options) => options.has_client().then_some("demo"),
            Self::Proxy(_)
            | Self::Setup(_)
            | Self::Status(_)
            | Self::List(_)
            | Self::Drive
            | Self::Replay(_)
            | Self::Completions(_)
            | Self::Man(_) => None,
        }
    }
}

/// Reads the command line.
fn parse() -> Result<Arguments, clap::Error> {
    let mut definition = Arguments::command();
    let given = definition.try_get_matches_from_mut(std::env::args_os());
    let mut given = given.map_err(|error| without_environment().unwrap_or(error))?;
    speaker::begin(&definition, &given);
    Arguments::from_arg_matches_mut(&mut given).map_err(|error| error.format(&mut definition))
}

/// Returns the error of the command line alone: its usage names an option as required where the environment has its value.
fn without_environment() -> Option<clap::Error> {
    let names: Vec<String> = {
        let definition = Arguments::command();
        let commands = definition.get_subcommands();
        let with_store = commands.filter(|command| {
            let mut own = command.get_arguments();
            own.any(|argument| argument.get_id() == STORE)
        });
        with_store
            .map(|command| command.get_name().to_owned())
            .collect()
    };
    let plain = names.into_iter().fold(Arguments::command(), |all, name| {
        all.mut_subcommand(name, |command| {
            command.mut_arg(STORE, |store| store.env(None::<&str>))
        })
    });
    plain.try_get_matches_from(std::env::args_os()).err()
}

/// The option that the environment may set.
const STORE: &str = "store";

fn main() -> ExitCode {
    begun::begun();
    let arguments = parse().unwrap_or_else(|error| {
        // `--help` and `--version` are not errors.
        if error.use_stderr() {
            let words = error.render().to_string();
            if std::env::args().any(|argument| argument == "--json") {
                tell(&Problem::Usage(words.trim().to_owned()), true);
            } else {
                words
                    .trim_end()
                    .lines()
                    .for_each(|line| eprintln!("{line}"));
            }
            std::process::exit(2);
        }
        error.exit()
    });
    let Arguments {
        json,
        quiet,
        record,
        html,
        command,
    } = arguments;
    if quiet {
        style::be_quiet();
    }
    if json {
        style::be_json();
    }
    let replays = matches!(command, Command::Replay(_));
    let recorded_as = command.recorded_as();
    let usable = || {
        if record.is_some() && recorded_as.is_none() {
            let said = "--record is for login, token, headers, logout, doctor and demo";
            return Err(Problem::Usage(said.to_owned()));
        }
        if html.is_some() && !replays && recorded_as.is_none() {
            let said = "--html is for login, token, headers, logout, doctor, demo and replay";
            return Err(Problem::Usage(said.to_owned()));
        }
        Ok(())
    };
    // A place that cannot be written is noticed before anything is sent.
    let open = |path: Option<PathBuf>| path.map(Destination::open).transpose();
    let places = usable().and_then(|()| Ok((open(record)?, open(html)?)));
    let (recorder, outcome) = match places {
        Ok((record, page)) => {
            let recorder = Recorder::new(recorded_as, record, page.clone().filter(|_| !replays));
            let outcome = run(command, json, &recorder, page.as_ref());
            (recorder, outcome)
        }
        Err(problem) => (Recorder::default(), Err(problem)),
    };
    let recorded = match &outcome {
        Err(Problem::Usage(_)) => Ok(()),
        Ok(()) => recorder.finish(None),
        Err(problem) => recorder.finish(Some(problem)),
    };
    let outcome = outcome.and_then(|()| match output::failure() {
        Some(error) => Err(Problem::Output(error)),
        None => Ok(()),
    });
    let status = match &outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            if waits::ends(End::Failure) == End::Time {
                // Another thread reports the end of the time, and ends the process.
                std::thread::park();
            }
            tell(problem, json)
        }
    };
    // The command's own failure takes precedence over that of its transcript.
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
    page: Option<&Destination>,
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
        Command::Doctor(options) => {
            if json {
                // Its end by a signal is an object, too.
                signals::listen().map_err(Problem::system("signals cannot be handled"))?;
            }
            doctor::run(&options, json, recorder)
        }
        Command::Demo(options) => demo::run(options, recorder).map_err(Problem::from),
        Command::Drive => lines::drive::run(),
        Command::Replay(options) => lines::replay::run(&options, json, page),
        Command::Completions(options) => manual::completions(Arguments::command(), &options, json),
        Command::Man(options) => manual::man(Arguments::command(), &options, json),
    }
}

/// Prints the problem; returns the exit status.
pub(crate) fn tell(problem: &Problem, json: bool) -> ExitCode {
    if let Some(object) = problem.json().filter(|_| json) {
        println!("{object}");
    }
    let words = problem.words();
    let tell_first = |words: &str| {
        output::styled_message(&[
            (style::Style::Bad, "mcp-auth:".to_owned()),
            (style::Style::Plain, format!(" {words}")),
        ]);
    };
    if let Problem::Usage(_) | Problem::Differs(_) = problem {
        // The parser of the command line, and a comparison, write several lines.
        let mut lines = words.lines();
        tell_first(lines.next().unwrap_or_default());
        lines.for_each(|line| eprintln!("{line}"));
    } else {
        tell_first(&words);
    }
    problem.status()
}
