//! `mcp-auth`: MCP authorization on the command line.

mod demo;
mod servers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// MCP authorization on the command line.
#[derive(Parser)]
#[command(name = "mcp-auth", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sign in for real, over loopback HTTP, to a built-in MCP server and authorization server.
    ///
    /// Needs no set-up. Prints each event and action of the machine as one line. Exit status 0 when
    /// the demo ended as announced, 1 otherwise.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let outcome = match command {
        Command::Demo(options) => demo::run(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp-auth: {error}");
            ExitCode::FAILURE
        }
    }
}
