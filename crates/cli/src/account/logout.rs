//! `logout`: erased here first, whatever the server says.

use serde_json::json;

use super::Selected;
use super::host::Host;
use super::profile::{Profile, Settings};
use crate::lines::record::Recorder;
use crate::problem::Problem;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selected: Selected,
}

pub(crate) fn run(options: &Options, as_json: bool, recorder: &Recorder) -> Result<(), Problem> {
    let Selected {
        url,
        account,
        place,
    } = &options.selected;
    let directory = place.directory()?;
    let Some(mut profile) = Profile::load(&directory, url, account)? else {
        return Err(Problem::Unknown { url: url.clone() });
    };
    let mut host = match Host::open(&directory, &profile, place.verbose, recorder) {
        Ok(host) => host,
        // A key or a secret that is gone does not keep anybody signed in.
        Err(problem) => {
            eprintln!("mcp-auth: {}; erasing without it", problem.words());
            profile.settings = Settings::default();
            Host::open(&directory, &profile, place.verbose, recorder)?
        }
    };
    host.sign_out()?;
    profile.remove(&directory)?;
    if as_json {
        println!("{}", json!({ "server": host.url(), "signed_in": false }));
    } else {
        println!("signed out of {}", host.url());
    }
    Ok(())
}
