//! The account of the proxy: the asynchronous driver on the stored records, and the command for a sign-in.

use std::ffi::OsString;
use std::path::PathBuf;

use mcp_auth_client::Trust;
use mcp_auth_client::asynchronous::Client;

use super::profile::Profile;
use super::root::Remembered;
use super::slots::Slots;
use super::{Place, settled};
use crate::problem::Problem;

/// The command that signs this account in.
pub(crate) struct Bridge {
    pub(crate) program: PathBuf,
    /// Its arguments after the subcommand.
    pub(crate) arguments: Vec<OsString>,
    /// The certificates that the account trusts.
    pub(crate) trust: Trust,
}

/// Starts the driver for an account, whether or not it is signed in.
///
/// # Errors
///
/// When the settings of the account cannot be used, or the driver does not start.
pub(crate) fn open(place: &Place, url: &str, account: &str) -> Result<(Client, Bridge), Problem> {
    let root = place.root()?;
    let profile = match root.remembered(url, account)? {
        Remembered::Profile(profile) => *profile,
        Remembered::Damaged(words) => {
            eprintln!("mcp-auth: {words}");
            Profile::new(url, account)
        }
        Remembered::Nothing => Profile::new(url, account),
    };
    let (config, keys) = profile.config()?;
    let store = Slots::open(&root, &profile)?;
    let trust = profile.settings.tls.trust()?;
    let client = Client::builder(config, account, store)
        .trust(trust.clone())
        .signer(keys)
        .start()?;
    let mut arguments: Vec<OsString> = [url, "--account", account].map(OsString::from).into();
    if let Some(store) = place.chosen() {
        arguments.push("--store".into());
        arguments.push(settled(store).map_err(Problem::at(store))?.into());
    }
    let program = std::env::current_exe().map_err(Problem::system("the path of this program"))?;
    let bridge = Bridge {
        program,
        arguments,
        trust,
    };
    Ok((client, bridge))
}
