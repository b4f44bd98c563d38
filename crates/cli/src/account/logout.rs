//! `logout`: erases the local data first, regardless of the server and of damaged files.

use std::io::ErrorKind;

use serde_json::json;

use super::erasure::{Forget, Removed};
use super::host::{Desk, Host};
use super::journal::Journal;
use super::key;
use super::profile::{Profile, canonical};
use super::root::Remembered;
use super::settings::Settings;
use super::slots;
use super::told::stays_valid;
use super::{Selected, after};
use crate::lines::record::Recorder;
use crate::problem::Problem;
use crate::signals;
use crate::speaker;
use crate::style::is_quiet;
use crate::waits;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selected: Selected,
    /// Forget the client that was registered at the server, too: the next login registers a new one. Also for a
    /// sign-in that never succeeded, and with the URL of the authorization server in place of the MCP server's
    #[arg(long)]
    forget_client: bool,
    /// How long all of it may take, in seconds: the revocation at the server gives up after that
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = super::seconds)]
    timeout: u64,
}

pub(crate) fn run(options: &Options, as_json: bool, recorder: &Recorder) -> Result<(), Problem> {
    let Selected {
        url,
        account,
        place,
    } = &options.selected;
    let root = place.root()?;
    let end = after(options.timeout);
    waits::until(end);
    let is_known = root.has_any(url, account)?;
    let is_left = options.forget_client && root.has_clients(url, account)?;
    if !is_known && !is_left {
        return nothing(&canonical(url)?, as_json);
    }
    let mut profile = match root.remembered(url, account)? {
        Remembered::Profile(profile) => *profile,
        Remembered::Nothing => Profile::new(url, account),
        Remembered::Damaged(words) => {
            eprintln!("mcp-auth: {words}");
            Profile::new(url, account)
        }
    };
    signals::listen().map_err(Problem::system("signals cannot be handled"))?;
    let client = root.client_at(url, account)?;
    if options.forget_client && is_known && client.is_none() {
        eprintln!(
            "mcp-auth: the account has no client that can be read; only registrations that its sign-ins made are \
             forgotten"
        );
    }
    let mut forgets = options.forget_client.then(|| Forget {
        client: client.clone(),
    });
    // From here on this process or the next one completes the erasure.
    let journal = match Journal::erasing(&root, (url, account), forgets.clone()) {
        Ok(journal) => {
            signals::before_the_end(journal.undo());
            Some(journal)
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            return Err(Problem::store(error));
        }
        // Files can be removed where none can be written, as on a full disk.
        Err(error) => {
            eprintln!("mcp-auth: {error}; a sign-out that is interrupted has to be repeated");
            None
        }
    };
    let desk = Desk {
        root: &root,
        verbose: place.verbose,
        recorder,
        end,
    };
    let opened = Host::open(&desk, &profile).or_else(|problem| {
        // A missing key or secret must not prevent a sign-out.
        eprintln!("mcp-auth: {}; erasing without it", problem.words());
        profile.settings = Settings::default();
        Host::open(&desk, &profile)
    });
    let mut removed = Removed::default();
    if journal.is_none() {
        // No other process would complete this: the account goes last, because it is what a user notices.
        let locked = root.lock().map_err(Problem::store)?;
        removed = root.erase_settings(&locked, (url, account))?;
    }
    let had_account = root.has_account(url, account)?;
    // Records that the machine cannot read or revoke are erased too.
    let reachable = slots::check(&root, (url, account));
    let signed_out = reachable.and_then(|()| {
        let mut host = opened?;
        // An account that cannot be read is erased, too.
        let held = host.stored().ok().flatten();
        host.sign_out()?;
        if let (Some(grant), Some(unrevoked)) = (&held, host.unrevoked())
            && let Some(words) = stays_valid(grant, unrevoked)
        {
            note!("{words}");
        }
        Ok(host.client_is_unknown())
    });
    match signed_out {
        Ok(false) => {}
        // A sign-in with it would end at an error page.
        Ok(true) => {
            if forgets.is_none() && client.is_some() {
                note!(
                    "The authorization server does not know the client any more: the next login registers a new one."
                );
                // A server that lost its clients lost the unused ones too.
                forgets = Some(Forget { client });
            }
        }
        Err(problem @ Problem::Keyring(_)) => eprintln!(
            "mcp-auth: erased here, but not revoked at the server: {}",
            problem.words()
        ),
        Err(problem) => eprintln!("mcp-auth: {}", problem.words()),
    }
    removed.add(root.erase(
        &root.lock().map_err(Problem::store)?,
        (url, account),
        forgets,
    )?);
    if had_account {
        removed.note_first("tokens");
    }
    if let Some(journal) = journal {
        journal.erased();
    }
    key::tidy(&root);
    root.leave(&[]);
    let url = canonical(url)?;
    if as_json {
        println!(
            "{}",
            json!({ "server": url, "signed_in": false, "removed": removed.parts })
        );
    } else if !is_quiet() {
        let parts = removed.parts.join(", ");
        if had_account {
            println!("signed out of {url}; removed: {parts}");
        } else {
            println!("there was no sign-in at {url}; removed: {parts}");
        }
    }
    Ok(())
}

/// Reports a sign-out of an account that does not exist: repeated, it succeeds.
fn nothing(url: &str, as_json: bool) -> Result<(), Problem> {
    if as_json {
        println!(
            "{}",
            json!({ "server": url, "signed_in": false, "removed": [] })
        );
    } else if !is_quiet() {
        println!(
            "nothing to sign out of: no account for {url} is stored here; accounts are listed by: {}",
            speaker::list()
        );
    }
    Ok(())
}
