//! `token`: one that is good now.

use http::Method;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use super::host::{Desk, Host, left};
use super::profile::Profile;
use super::root::Remembered;
use super::{Selected, after};
use crate::lines::record::Recorder;
use crate::problem::Problem;
use crate::signals;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selected: Selected,
    /// Print the headers of a request instead of the token alone
    #[arg(long)]
    header: bool,
    /// The method of that request: a token that is bound to a key is presented for one request
    #[arg(long, default_value = "POST", requires = "header")]
    method: Method,
    /// How long all of it may take, in seconds: the server's answer, its rests, other processes
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

pub(crate) fn run(options: &Options, as_json: bool, recorder: &Recorder) -> Result<(), Problem> {
    let Selected {
        url,
        account,
        place,
    } = &options.selected;
    let root = place.root()?;
    let profile = match root.remembered(url, account)? {
        Remembered::Profile(profile) => *profile,
        found @ (Remembered::Nothing | Remembered::Damaged(_)) => {
            if let Remembered::Damaged(words) = found {
                eprintln!("mcp-auth: {words}");
            }
            // The account itself holds all that a renewal needs, keys aside.
            if !root.has_account(url, account)? {
                return Err(Problem::Unknown { url: url.clone() });
            }
            Profile::new(url, account)
        }
    };
    signals::listen()?;
    let desk = Desk {
        root: &root,
        verbose: place.verbose,
        recorder,
        end: after(options.timeout),
    };
    let mut host = Host::open(&desk, &profile)?;
    let grant = host.wanted(None)?;
    let url = host.url().to_owned();
    let presented = host.present(&options.method, &url)?;
    let mut headers = Map::new();
    for (name, value) in &presented {
        headers.insert(name.to_string(), Value::from(value.to_str()?));
    }
    if as_json {
        println!(
            "{}",
            json!({ "server": url, "headers": headers, "expires_in": left(&grant) })
        );
    } else if options.header {
        for (name, value) in &presented {
            println!("{name}: {}", value.to_str()?);
        }
    } else {
        let value = presented.get(AUTHORIZATION).ok_or("there is no token")?;
        let token = value.to_str()?.strip_prefix("Bearer ");
        println!(
            "{}",
            token.ok_or("this token is bound to a key; use --header")?
        );
    }
    Ok(())
}
