//! The command that speaks, and the account that it speaks about. A message names a complete command, and an option
//! only with a command that has it.

use std::sync::OnceLock;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::shell::quoted;

static SPEAKER: OnceLock<Speaker> = OnceLock::new();

/// The name of an account without another name.
const USUAL: &str = "default";

/// Arguments that limit the time of a command.
const LIMITS: [&str; 3] = ["timeout", "within", "auth_timeout"];

/// The command that runs.
#[derive(Default)]
pub(crate) struct Speaker {
    /// The options of the command, without their hyphens.
    options: Vec<String>,
    /// The URL of the MCP server, and the options that select the account.
    selected: Option<String>,
    /// The directory of the accounts, where it was given.
    store: Option<String>,
    /// The command is `login`.
    is_login: bool,
    /// The bridge started this command: its messages are read by the user of the bridge.
    for_bridge: bool,
}

/// Sets the speaker, from the definition of the command line and what was given.
pub(crate) fn begin(definition: &clap::Command, given: &ArgMatches) {
    let _first = SPEAKER.set(Speaker::of(definition, given));
}

fn speaker() -> &'static Speaker {
    SPEAKER.get_or_init(Speaker::default)
}

impl Speaker {
    /// Returns the speaker of a command line.
    pub(crate) fn of(definition: &clap::Command, given: &ArgMatches) -> Self {
        let Some((name, given)) = given.subcommand() else {
            return Self::default();
        };
        let command = definition.find_subcommand(name);
        let own = command.into_iter().flat_map(clap::Command::get_arguments);
        let all = own.chain(definition.get_arguments());
        let shown = all.filter(|argument| !argument.is_hide_set());
        let options = shown.filter_map(clap::Arg::get_long).map(str::to_owned);
        let is_here = |id: &str| given.ids().any(|found| found.as_str() == id);
        let raw = |id: &str| {
            let values = is_here(id).then(|| given.get_raw(id)).flatten();
            values?.next()?.to_str().map(str::to_owned)
        };
        // A URL with a password is shown nowhere.
        let url = raw("url").filter(|url| !url.contains('@'));
        let given_as = |id: &str| {
            let is_given = is_here(id) && given.value_source(id) == Some(ValueSource::CommandLine);
            raw(id).filter(|_| is_given)
        };
        let account = given_as("account");
        // The environment of a client, which runs these, is not that of the user's terminal.
        let is_for_a_client = matches!(name, "proxy" | "headers");
        let store = if is_for_a_client {
            raw("store")
        } else {
            given_as("store")
        };
        let account = account.as_deref().unwrap_or(USUAL);
        let selected = url.map(|url| selected(&url, account, store.as_deref()));
        Self {
            options: options.collect(),
            selected,
            store,
            is_login: name == "login",
            for_bridge: is_here("until_closed") && given.get_flag("until_closed"),
        }
    }

    /// Returns a command for the same account, with these words after it.
    fn command(&self, name: &str, more: &str) -> String {
        let selected = self.selected.as_deref().unwrap_or("URL");
        let words = format!("mcp-auth {name} {selected} {more}");
        words.trim_end().to_owned()
    }

    /// Returns true if the command has each option in a text.
    fn has(&self, options: &str) -> bool {
        !self.for_bridge && named(options).all(|name| self.options.iter().any(|own| own == name))
    }

    fn with(&self, options: &str) -> String {
        if self.has(options) {
            options.to_owned()
        } else {
            self.command("login", options)
        }
    }

    fn again(&self, options: &str) -> String {
        if self.has(options) {
            format!("run this again with {options}")
        } else {
            format!("run: {}", self.command("login", options))
        }
    }

    fn sign_in(&self) -> String {
        if self.is_login && !self.for_bridge {
            "run this again to sign in".to_owned()
        } else {
            format!("sign in again: {}", self.command("login", ""))
        }
    }

    fn limit(&self) -> String {
        if self.for_bridge {
            return "mcp-auth proxy --auth-timeout".to_owned();
        }
        let names = LIMITS.map(|id| id.replace('_', "-"));
        let own = names.iter().find(|name| self.options.contains(name));
        own.map_or_else(|| "--timeout".to_owned(), |name| format!("--{name}"))
    }
}

/// Returns the words that select an account: its URL, its name unless it is the usual one, and the directory.
fn selected(url: &str, account: &str, store: Option<&str>) -> String {
    let mut words = quoted(url);
    let account = Some(account).filter(|name| *name != USUAL);
    for (option, value) in [("account", account), ("store", store)] {
        if let Some(value) = value {
            words.push_str(&format!(" --{option} {}", quoted(value)));
        }
    }
    words
}

/// Returns the options in a text, without their hyphens.
pub(crate) fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split("--").skip(1).filter_map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
        let name = rest.get(..end.unwrap_or(rest.len()))?;
        (!name.is_empty()).then_some(name)
    })
}

/// Returns the command that signs this account in, with options.
pub(crate) fn login(options: &str) -> String {
    speaker().command("login", options)
}

/// Returns another command for this account, with options.
pub(crate) fn command(name: &str, options: &str) -> String {
    speaker().command(name, options)
}

/// Returns the command that lists the accounts of the same directory.
pub(crate) fn list() -> String {
    let store = speaker().store.as_deref();
    let store = store.map_or(String::new(), |store| format!(" --store {}", quoted(store)));
    format!("mcp-auth list{store}")
}

/// Returns the words that select another account in the same directory.
pub(crate) fn selecting(url: &str, account: &str) -> String {
    selected(url, account, speaker().store.as_deref())
}

/// Returns options as a part of a sentence: those of the command that speaks, or a complete `login`.
pub(crate) fn with(options: &str) -> String {
    speaker().with(options)
}

/// Returns a sentence that proposes options: of the command that speaks, or of a complete `login`.
pub(crate) fn again(options: &str) -> String {
    speaker().again(options)
}

/// Returns a sentence that proposes another sign-in.
pub(crate) fn sign_in() -> String {
    speaker().sign_in()
}

/// Returns true if the command may be the first one for an account.
pub(crate) fn may_begin() -> bool {
    speaker().is_login
}

/// Returns the option that limits the time of the command.
pub(crate) fn limit() -> String {
    speaker().limit()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    fn speaker_of(line: &[&str]) -> Speaker {
        let mut definition = crate::Arguments::command();
        let line = std::iter::once(&"mcp-auth").chain(line);
        let given = definition.try_get_matches_from_mut(line).unwrap();
        Speaker::of(&definition, &given)
    }

    const URL: &str = "https://mcp.example/mcp?a=1&b=2";

    #[test]
    fn an_option_is_named_with_a_command_that_has_it() {
        let login = format!("mcp-auth login '{URL}' --ca-file FILE");
        for (line, with, limit) in [
            (&["login", URL][..], "--ca-file FILE", "--timeout"),
            (&["doctor", URL], "--ca-file FILE", "--timeout"),
            (&["token", URL], &login, "--timeout"),
            (&["headers", URL], &login, "--within"),
            (&["proxy", URL], &login, "--auth-timeout"),
            (&["list"], "mcp-auth login URL --ca-file FILE", "--timeout"),
            (
                &["login", URL, "--until-closed"],
                &login,
                "mcp-auth proxy --auth-timeout",
            ),
        ] {
            let speaker = speaker_of(line);
            assert_eq!(speaker.with("--ca-file FILE"), with, "{line:?}");
            assert_eq!(speaker.limit(), limit, "{line:?}");
        }
        // One option that the command lacks is enough.
        let speaker = speaker_of(&["doctor", URL]);
        let both = speaker.with("--ca-file FILE or --client-id ID");
        assert!(both.starts_with("mcp-auth login "), "{both}");
    }

    #[test]
    fn a_command_selects_the_same_account() {
        let speaker = speaker_of(&["token", "https://mcp.example/mcp", "--account", "at work"]);
        assert_eq!(
            speaker.command("login", "--keyring"),
            "mcp-auth login https://mcp.example/mcp --account 'at work' --keyring"
        );
        let speaker = speaker_of(&["status", "https://mcp.example/mcp", "--store", "/x"]);
        assert_eq!(
            speaker.again("--scope a"),
            "run: mcp-auth login https://mcp.example/mcp --store /x --scope a"
        );
        // A directory of that name is not the usual one.
        let named = [
            "status",
            "https://mcp.example/mcp",
            "--account",
            "default",
            "--store",
            "default",
        ];
        assert_eq!(
            speaker_of(&named).command("login", ""),
            "mcp-auth login https://mcp.example/mcp --store default"
        );
        let secret = speaker_of(&["login", "https://user:word@mcp.example/mcp"]);
        assert_eq!(secret.command("login", ""), "mcp-auth login URL");
    }
}
