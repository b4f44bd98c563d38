//! `status` and `list`: what is held, without asking anybody.

use std::path::Path;

use serde_json::{Value, json};

use super::host::{Host, grant_json, grant_words};
use super::profile::Profile;
use super::{Place, Selected};
use crate::lines::record::Recorder;
use crate::problem::Problem;

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

/// One account in both forms.
fn account(directory: &Path, profile: &Profile, verbose: bool) -> Result<(Value, String), Problem> {
    let grant = Host::open(directory, profile, verbose, &Recorder::default())?.stored()?;
    let mut answer = grant_json(grant.as_ref());
    if let Some(members) = answer.as_object_mut() {
        members.insert("server".to_owned(), profile.url.as_str().into());
        members.insert("account".to_owned(), profile.account.as_str().into());
    }
    let words = format!(
        "{} ({}): {}",
        profile.url,
        profile.account,
        grant_words(grant.as_ref())
    );
    Ok((answer, words))
}

pub(crate) fn run(options: &Options, as_json: bool) -> Result<(), Problem> {
    let Selected {
        url,
        account: name,
        place,
    } = &options.selected;
    let directory = place.directory()?;
    let Some(profile) = Profile::load(&directory, url, name)? else {
        return Err(Problem::Unknown { url: url.clone() });
    };
    let (answer, words) = account(&directory, &profile, place.verbose)?;
    if as_json {
        println!("{answer}");
    } else {
        println!("{words}");
    }
    Ok(())
}

pub(crate) fn list(options: &ListOptions, as_json: bool) -> Result<(), Problem> {
    let directory = options.place.directory()?;
    let mut answers = Vec::new();
    for profile in Profile::all(&directory)? {
        // One that cannot be opened does not hide the others.
        let (answer, words) =
            account(&directory, &profile, options.place.verbose).unwrap_or_else(|problem| {
                let mut answer = problem.json().unwrap_or_default();
                if let Some(members) = answer.as_object_mut() {
                    members.insert("server".to_owned(), profile.url.as_str().into());
                    members.insert("account".to_owned(), profile.account.as_str().into());
                }
                let words = format!("{} ({}): {}", profile.url, profile.account, problem.words());
                (answer, words)
            });
        if !as_json {
            println!("{words}");
        }
        answers.push(answer);
    }
    if as_json {
        println!("{}", json!({ "accounts": answers }));
    } else if answers.is_empty() {
        println!("no accounts; begin with: mcp-auth login URL");
    }
    Ok(())
}
