//! `status` and `list`: show stored accounts, without requests and without waiting for other processes.

use mcp_auth_machine::action::Grant;
use serde_json::{Value, json};

use super::host::{Desk, Host};
use super::keyring;
use super::profile::Profile;
use super::records;
use super::root::{Remembered, Root};
use super::slots;
use super::told::{grant_json, grant_words, left};
use super::{Place, Selected, after, in_words};
use crate::lines::record::Recorder;
use crate::output::styled;
use crate::problem::Problem;
use crate::speaker;
use crate::style::{Style, table};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selected: Selected,
}

#[derive(clap::Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    place: Place,
}

/// The time limit, which reading never reaches.
const SECONDS: u64 = 30;

/// Returns one account as JSON, with its token.
fn account(
    root: &Root,
    profile: &Profile,
    verbose: bool,
) -> Result<(Value, Option<Grant>), Problem> {
    let desk = Desk {
        root,
        verbose,
        recorder: &Recorder::default(),
        end: after(SECONDS),
    };
    let mut host = Host::open(&desk, profile)?;
    slots::check(root, (&profile.url, &profile.account))?;
    let grant = host.stored()?;
    let mut answer = named(grant_json(grant.as_ref()), profile);
    if profile.settings.keyring
        && let Some(members) = answer.as_object_mut()
    {
        members.insert("keyring".to_owned(), true.into());
    }
    Ok((answer, grant))
}

/// Returns true if the account is signed in, and its sign-in ends with its token.
pub(crate) fn ends_with_token(selected: &Selected) -> bool {
    let found = || {
        let root = selected.place.root().ok()?;
        let Ok(Remembered::Profile(profile)) = root.remembered(&selected.url, &selected.account)
        else {
            return None;
        };
        let (_, grant) = keyring::aside(|| account(&root, &profile, false)).ok()?;
        grant
    };
    found().is_some_and(|grant| !grant.renewable)
}

const HEADING: [&str; 6] = [
    "MCP SERVER",
    "ACCOUNT",
    "TOKEN",
    "AUTHORIZATION SERVER",
    "SCOPES",
    "KEPT",
];

/// Returns the cells of an account.
fn row(profile: &Profile, grant: Option<&Grant>) -> Vec<(Style, String)> {
    let (style, token) = match grant.map(left) {
        None => (Style::Bad, "not signed in".to_owned()),
        Some(Some(0)) => (Style::Plain, "expired".to_owned()),
        Some(Some(seconds)) => (Style::Good, in_words(seconds)),
        Some(None) => (Style::Good, "no end named".to_owned()),
    };
    let dash = |text: String| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text
        }
    };
    let issuer = grant.map_or("", |grant| grant.issuer.as_str());
    let scopes = grant.map(|grant| grant.scopes.as_str().to_owned());
    let kept = if profile.settings.keyring {
        "keyring"
    } else {
        "file"
    };
    vec![
        (Style::Plain, profile.url.clone()),
        (Style::Plain, profile.account.clone()),
        (style, token),
        (Style::Plain, dash(issuer.to_owned())),
        (Style::Plain, dash(scopes.unwrap_or_default())),
        (Style::Plain, kept.to_owned()),
    ]
}

fn named(mut answer: Value, profile: &Profile) -> Value {
    if let Some(members) = answer.as_object_mut() {
        members.insert("server".to_owned(), profile.url.as_str().into());
        members.insert("account".to_owned(), profile.account.as_str().into());
    }
    answer
}

fn line(profile: &Profile, words: &str) -> String {
    format!("{} ({}): {words}", profile.url, profile.account)
}

pub(crate) fn run(options: &Options, as_json: bool) -> Result<(), Problem> {
    let Selected {
        url,
        account: name,
        place,
    } = &options.selected;
    let root = place.root()?;
    let profile = match root.remembered(url, name)? {
        Remembered::Profile(profile) => *profile,
        found @ (Remembered::Nothing | Remembered::Damaged(_)) => {
            if let Remembered::Damaged(words) = found {
                eprintln!("mcp-auth: {words}");
            }
            if !root.has_any(url, name)? {
                if root.has_clients(url, name)? {
                    let forget = speaker::command("logout", "--forget-client");
                    note!(
                        "a client is registered for a sign-in that did not succeed; to forget it: {forget}"
                    );
                }
                return Err(Problem::Unknown);
            }
            Profile::new(url, name)
        }
    };
    let (answer, grant) = account(&root, &profile, place.verbose)?;
    let mut words = grant_words(grant.as_ref());
    if profile.settings.keyring {
        words.push_str(", sealed with the system's keyring");
    }
    let words = line(&profile, &words);
    root.tell_damage();
    if as_json {
        println!("{answer}");
    } else {
        println!("{words}");
    }
    Ok(())
}

pub(crate) fn list(options: &ListOptions, as_json: bool) -> Result<(), Problem> {
    let root = options.place.root()?;
    let (mut profiles, flaws) = root.all()?;
    let mut answers = Vec::new();
    for words in flaws {
        if !as_json {
            println!("{words}");
        }
        answers.push(json!({ "error": { "code": "damaged", "message": words } }));
    }
    // An account with lost settings is still listed.
    let known: Vec<String> = profiles.iter().flat_map(Profile::name).collect();
    for (name, path) in records::accounts(&root.slots()) {
        if known.contains(&name) {
            continue;
        }
        match records::owner(&path) {
            Some((url, account)) => profiles.push(Profile::new(&url, &account)),
            None => {
                let words = format!(
                    "{}: an account that cannot be read, without settings; `mcp-auth logout URL` of \
                     its server removes it",
                    path.display()
                );
                if !as_json {
                    println!("{words}");
                }
                answers.push(json!({ "error": { "code": "unreadable", "message": words } }));
            }
        }
    }
    let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
    for profile in &profiles {
        // An unreadable account does not hide the others.
        match account(&root, profile, options.place.verbose) {
            Ok((answer, grant)) => {
                rows.push(row(profile, grant.as_ref()));
                answers.push(answer);
            }
            Err(problem) => {
                unreadable.push(line(profile, &problem.words()));
                answers.push(named(problem.json().unwrap_or_default(), profile));
            }
        }
    }
    if !as_json && !rows.is_empty() {
        for line in table(&HEADING, &rows) {
            styled(&line);
        }
    }
    for words in unreadable.iter().filter(|_| !as_json) {
        println!("{words}");
    }
    root.tell_damage();
    let unused = keyring::aside(|| records::unused_registrations(&root.slots()));
    for records::Unused { client, account } in unused.iter().filter(|_| !as_json) {
        println!(
            "a client that no account uses is registered at {} (account {account}); to forget it: mcp-auth logout \
             {} --forget-client",
            client.issuer,
            speaker::selecting(&client.issuer, account),
        );
    }
    if as_json {
        let unused: Vec<Value> = unused
            .iter()
            .map(|it| {
                json!({ "issuer": it.client.issuer, "client_id": it.client.id, "account": it.account })
            })
            .collect();
        println!(
            "{}",
            json!({ "accounts": answers, "unused_clients": unused })
        );
    } else if answers.is_empty() {
        println!("no accounts; begin with: mcp-auth login URL");
    }
    Ok(())
}
