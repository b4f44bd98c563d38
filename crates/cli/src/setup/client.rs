//! The clients: where their configuration is, and how an entry looks there.

use std::path::PathBuf;

use clap::ValueEnum;
use directories::BaseDirs;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::shell::quoted;

/// An MCP client with a configuration file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    ClaudeCode,
    Codex,
    ClaudeDesktop,
    Cursor,
    Vscode,
    Zed,
    GeminiCli,
    Goose,
}

/// The format of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON; comments and trailing commas survive where the client allows them.
    Json,
    Toml,
    Yaml,
}

/// One MCP server in the configuration of a client.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) url: String,
    /// The program that is run.
    pub(crate) command: String,
    /// Its arguments after the subcommand.
    pub(crate) arguments: Vec<String>,
}

impl Entry {
    /// The command line of the header hook, for the shell of this system.
    fn hook(&self) -> String {
        let words = [self.command.as_str(), "headers"].into_iter();
        let words = words.chain(self.arguments.iter().map(String::as_str));
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn bridge(&self) -> Vec<&str> {
        let arguments = self.arguments.iter().map(String::as_str);
        std::iter::once("proxy").chain(arguments).collect()
    }
}

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::Zed => "zed",
            Self::GeminiCli => "gemini-cli",
            Self::Goose => "goose",
        }
    }

    pub(crate) fn format(self) -> Format {
        match self {
            Self::Codex => Format::Toml,
            Self::Goose => Format::Yaml,
            Self::ClaudeCode
            | Self::ClaudeDesktop
            | Self::Cursor
            | Self::Vscode
            | Self::Zed
            | Self::GeminiCli => Format::Json,
        }
    }

    /// The member of the configuration that holds the entries.
    pub(crate) fn section(self) -> &'static str {
        match self {
            Self::ClaudeCode | Self::ClaudeDesktop | Self::Cursor | Self::GeminiCli => "mcpServers",
            Self::Codex => "mcp_servers",
            Self::Vscode => "servers",
            Self::Zed => "context_servers",
            Self::Goose => "extensions",
        }
    }

    /// The usual place of the configuration. Claude Code and VS Code keep that of a project in the
    /// project, so it is the current directory for them.
    pub(crate) fn file(self) -> Result<PathBuf, Problem> {
        let bases =
            BaseDirs::new().ok_or("the home directory is unknown; name the file: --file")?;
        let home = bases.home_dir();
        Ok(match self {
            Self::ClaudeCode => PathBuf::from(".mcp.json"),
            Self::Vscode => PathBuf::from(".vscode/mcp.json"),
            Self::Codex => match std::env::var_os("CODEX_HOME") {
                Some(home) => PathBuf::from(home).join("config.toml"),
                None => home.join(".codex/config.toml"),
            },
            Self::ClaudeDesktop => bases.config_dir().join("Claude/claude_desktop_config.json"),
            Self::Cursor => home.join(".cursor/mcp.json"),
            Self::Zed if cfg!(windows) => bases.config_dir().join("Zed/settings.json"),
            Self::Zed => home.join(".config/zed/settings.json"),
            Self::GeminiCli => home.join(".gemini/settings.json"),
            Self::Goose if cfg!(windows) => {
                bases.config_dir().join("Block/goose/config/config.yaml")
            }
            Self::Goose => home.join(".config/goose/config.yaml"),
        })
    }

    /// The value of the entry: a header hook where the client has one, the bridge otherwise.
    pub(crate) fn value(self, entry: &Entry) -> Value {
        match self {
            Self::ClaudeCode => json!({
                "type": "http", "url": entry.url, "headersHelper": entry.hook(),
            }),
            Self::Codex => json!({ "url": entry.url, "http_headers_helper": entry.hook() }),
            Self::ClaudeDesktop | Self::Cursor | Self::GeminiCli => json!({
                "command": entry.command, "args": entry.bridge(),
            }),
            Self::Vscode => json!({
                "type": "stdio", "command": entry.command, "args": entry.bridge(),
            }),
            Self::Zed => json!({
                "source": "custom", "command": entry.command, "args": entry.bridge(), "env": {},
            }),
            Self::Goose => json!({
                "enabled": true, "type": "stdio", "name": entry.name, "cmd": entry.command,
                "args": entry.bridge(), "envs": {}, "timeout": 300,
            }),
        }
    }
}
