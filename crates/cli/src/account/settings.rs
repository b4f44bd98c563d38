//! The settings of one account: the options of `login`. They contain the locations of secrets, but no
//! secret; a typed secret is kept beside them until the sign-in has succeeded.

use std::io;
use std::path::PathBuf;

use mcp_auth_machine::config::IssuerSettings;
use mcp_auth_machine::wire::words::AuthMethod;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::discovery::{Discovery, server_url};
use super::secret;
use super::tls::Tls;
use crate::problem::Problem;

/// The client and the location of the authorization server.
#[derive(clap::Args, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// The client identifier, where the client is registered with the server already
    #[arg(long, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// The authorization server that knows this client; without it, the first one found is taken
    #[arg(long, value_name = "URL", value_parser = server_url)]
    pub(super) issuer: Option<String>,
    /// A file that holds the client's secret
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client_secret_env", "client_key"])]
    pub(super) client_secret_file: Option<PathBuf>,
    /// An environment variable that holds the client's secret, also when `token` runs
    #[arg(long, value_name = "NAME", conflicts_with = "client_key")]
    pub(super) client_secret_env: Option<String>,
    /// Ask for the client's secret, or take the first line of standard input; it is kept with the account
    #[arg(long, conflicts_with_all = ["client_secret_file", "client_secret_env", "client_key"])]
    #[serde(skip)]
    pub(super) client_secret_prompt: bool,
    /// A private key (PKCS #8, PEM) with which the client authenticates: private_key_jwt. Without --client-id:
    /// for a new registration, or for the document of --client-metadata-url
    #[arg(long, value_name = "FILE")]
    pub(super) client_key: Option<PathBuf>,
    /// How the client authenticates at the token endpoint: none, client_secret_basic,
    /// client_secret_post or private_key_jwt; otherwise the first that the server lists and that fits
    #[arg(long, value_name = "METHOD", value_parser = method)]
    pub(super) auth_method: Option<String>,
    /// Use the client credentials grant, without a user
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) client_credentials: bool,
    /// The URL under which the client's metadata document is published
    #[arg(long, value_name = "URL", conflicts_with = "client_id", value_parser = server_url)]
    pub(super) client_metadata_url: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(super) discovery: Discovery,
    /// The scopes to ask for; "" for those that the server names
    #[arg(long, value_name = "SCOPES")]
    pub(super) scope: Option<String>,
    /// A parameter for the authorization request, as a server may need one: `access_type=offline` for a refresh token of Google,
    /// `audience=…` at Auth0; may be given again. "" for none again
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) authorization_parameter: Vec<String>,
    /// Bind tokens to this private key (PKCS #8, PEM): DPoP, required
    #[arg(long, value_name = "FILE")]
    pub(super) dpop_key: Option<PathBuf>,
    /// Seal tokens and secrets with a key that the keyring of the system holds (Keychain, Credential Manager,
    /// Secret Service)
    #[arg(long, conflicts_with = "no_keyring")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) keyring: bool,
    /// Store them without the keyring, which is the default for a new account
    #[arg(long)]
    #[serde(skip)]
    pub(super) no_keyring: bool,
    #[command(flatten)]
    #[serde(flatten)]
    pub(super) tls: Tls,
    /// The port of the redirect URI; when it is taken, `login` fails. Otherwise the port of
    /// the last sign-in, or a free one
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    /// The host of the redirect URI: 127.0.0.1 or localhost, which is all that some servers accept
    #[arg(long, value_name = "HOST", value_parser = ["127.0.0.1", "localhost"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redirect_host: Option<String>,
    /// A typed secret that is not stored yet.
    #[arg(skip)]
    #[serde(skip)]
    pub(super) typed: Option<Zeroizing<String>>,
}

/// Accepts a parameter that the machine does not set itself, or nothing, which resets the option.
fn parameter(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    match IssuerSettings::new().authorization_parameter(name, value) {
        Ok(_) => Ok(text.to_owned()),
        Err(flaw) => Err(flaw.to_string()),
    }
}

fn method(text: &str) -> Result<String, &'static str> {
    match AuthMethod::from_spelling(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("expected none, client_secret_basic, client_secret_post or private_key_jwt"),
    }
}

impl Settings {
    /// Returns the named scopes.
    pub(super) fn scopes(&self) -> Option<&str> {
        self.scope.as_deref().filter(|scopes| !scopes.is_empty())
    }

    /// Returns the parameters of authorization requests.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let given = self.authorization_parameter.iter();
        given.filter_map(|given| given.split_once('='))
    }

    /// Returns the authorization servers that the user named.
    pub(super) fn servers(&self) -> Vec<String> {
        let one = [&self.issuer, &self.discovery.authorization_server];
        let one = one.into_iter().flatten();
        one.chain(&self.discovery.prefer_issuer).cloned().collect()
    }

    /// Returns true if the user named the client.
    pub(super) fn names_client(&self) -> bool {
        self.client_id.is_some() || self.client_metadata_url.is_some()
    }

    /// Returns true if a user signs in.
    pub(super) fn has_person(&self) -> bool {
        !self.client_credentials
    }

    /// Returns the settings with the given options applied: an option that is not given keeps its value.
    /// Secret, key, method and grant of a client are dropped with the client.
    ///
    /// # Errors
    /// A usage error when an option needs a client and none is configured.
    pub(super) fn with(&self, given: Self) -> Result<Self, Problem> {
        let mut to = self.clone();
        let same_client = given.client_id.is_none() || given.client_id == to.client_id;
        if given.client_metadata_url.is_some() || !same_client {
            to.forget_client();
        }
        if given.client_metadata_url.is_some() {
            to.issuer = None;
        }
        if given.client_id.is_some() {
            to.client_metadata_url = None;
        }
        let secret = given.client_secret_file.is_some()
            || given.client_secret_env.is_some()
            || given.client_secret_prompt;
        if secret || given.client_key.is_some() {
            to.client_secret_file = None;
            to.client_secret_env = None;
            to.client_key = None;
        }
        fn over<T>(to: &mut Option<T>, given: Option<T>) {
            if given.is_some() {
                *to = given;
            }
        }
        over(&mut to.client_id, given.client_id);
        over(&mut to.issuer, given.issuer);
        over(&mut to.client_secret_file, given.client_secret_file);
        over(&mut to.client_secret_env, given.client_secret_env);
        over(&mut to.client_key, given.client_key);
        over(&mut to.auth_method, given.auth_method);
        over(&mut to.client_metadata_url, given.client_metadata_url);
        to.discovery.over(given.discovery);
        over(&mut to.scope, given.scope);
        over(&mut to.dpop_key, given.dpop_key);
        if !given.authorization_parameter.is_empty() {
            to.authorization_parameter = given.authorization_parameter;
            to.authorization_parameter.retain(|given| !given.is_empty());
        }
        to.tls.over(given.tls);
        over(&mut to.port, given.port);
        over(&mut to.redirect_host, given.redirect_host);
        to.client_secret_prompt = given.client_secret_prompt;
        to.client_credentials |= given.client_credentials;
        to.keyring = (to.keyring || given.keyring) && !given.no_keyring;
        to.check()?;
        Ok(to)
    }

    /// Returns true if the former settings name another client or another authorization server, or ask it for something else.
    pub(super) fn asks_otherwise(&self, former: &Self) -> bool {
        type Client<'a> = (
            [&'a Option<String>; 4],
            [&'a Option<PathBuf>; 4],
            &'a Option<String>,
            bool,
        );
        fn client(of: &Settings) -> Client<'_> {
            (
                [
                    &of.client_id,
                    &of.issuer,
                    &of.client_metadata_url,
                    &of.discovery.authorization_server,
                ],
                [
                    &of.client_secret_file,
                    &of.client_key,
                    &of.discovery.server_metadata,
                    &of.dpop_key,
                ],
                &of.auth_method,
                of.client_credentials,
            )
        }
        self.typed.is_some()
            || client(self) != client(former)
            || self.client_secret_env != former.client_secret_env
            || self.authorization_parameter != former.authorization_parameter
            || self.discovery.assumed != former.discovery.assumed
    }

    /// Drops the settings of the configured client.
    pub(super) fn forget_client(&mut self) {
        self.client_id = None;
        self.client_secret_file = None;
        self.client_secret_env = None;
        self.client_key = None;
        self.auth_method = None;
        self.client_credentials = false;
        self.client_metadata_url = None;
        self.typed = None;
    }

    fn check(&self) -> Result<(), Problem> {
        if self.client_id.is_some() {
            return Ok(());
        }
        let needs = [
            ("--issuer", self.issuer.is_some()),
            ("--client-secret-file", self.client_secret_file.is_some()),
            ("--client-secret-env", self.client_secret_env.is_some()),
            ("--client-secret-prompt", self.client_secret_prompt),
            ("--auth-method", self.auth_method.is_some()),
            ("--client-credentials", self.client_credentials),
        ];
        match needs.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Problem::Usage(format!(
                "{option} needs --client-id: this account has no configured client"
            ))),
            None => Ok(()),
        }
    }

    /// Prompts for the secret if requested. It is stored after a successful sign-in.
    pub(super) fn ask(&mut self) -> Result<(), Problem> {
        if std::mem::take(&mut self.client_secret_prompt) {
            self.typed = Some(secret::ask()?);
        }
        Ok(())
    }

    /// Makes all paths absolute, so that later commands find the files.
    pub(super) fn absolute(mut self) -> io::Result<Self> {
        for path in [
            &mut self.client_secret_file,
            &mut self.client_key,
            &mut self.dpop_key,
        ]
        .into_iter()
        .chain(self.tls.paths())
        .chain(self.discovery.paths())
        {
            *path = path.as_deref().map(std::path::absolute).transpose()?;
        }
        Ok(self)
    }
}
