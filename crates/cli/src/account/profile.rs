//! What is remembered of a server besides its slots: its URL and the settings of the client. It names
//! the places of secrets and holds none; the slots do, tokens and the secret that renews them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mcp_auth_machine::config::{ConfigBuilder, Dpop, DpopPolicy, PreRegistered};
use mcp_auth_machine::slot::Slot;
use mcp_auth_machine::{Config, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::keys::{Keys, read};
use super::secret;
use crate::lines::config::issuer_settings;
use crate::lines::record::key_json;
use crate::problem::Problem;

/// How the client presents itself.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// The client identifier, where the client is registered with the server already
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The authorization server that knows this client; without it, the first one found is taken
    #[arg(long, value_name = "URL", requires = "client_id")]
    issuer: Option<String>,
    /// A file that holds the client's secret
    #[arg(long, value_name = "FILE", requires = "client_id", conflicts_with_all = ["client_secret_env", "client_key"])]
    client_secret_file: Option<PathBuf>,
    /// An environment variable that holds the client's secret, also when `token` runs
    #[arg(
        long,
        value_name = "NAME",
        requires = "client_id",
        conflicts_with = "client_key"
    )]
    client_secret_env: Option<String>,
    /// Ask for the client's secret, or take the first line of standard input; it is kept with the account
    #[arg(long, requires = "client_id", conflicts_with_all = ["client_secret_file", "client_secret_env", "client_key"])]
    #[serde(skip)]
    client_secret_prompt: bool,
    /// A private key (PKCS #8, PEM) with which the client authenticates: private_key_jwt
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_key: Option<PathBuf>,
    /// The client acts for itself: nobody signs in
    #[arg(long, requires = "client_id")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    client_credentials: bool,
    /// The URL under which the client's metadata document is published
    #[arg(long, value_name = "URL", conflicts_with = "client_id")]
    client_metadata_url: Option<String>,
    /// A file with what is known of authorization servers that deviate: a JSON array, an object with
    /// `issuer` for each, as in the configuration of `drive`
    #[arg(long, value_name = "FILE")]
    issuer_settings: Option<PathBuf>,
    /// The scopes to ask for, instead of those that the server names
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// Bind tokens to this private key (PKCS #8, PEM): DPoP, required
    #[arg(long, value_name = "FILE")]
    dpop_key: Option<PathBuf>,
}

impl Settings {
    /// Nothing was given.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The scopes that are named.
    pub(super) fn scopes(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Whether a person signs in.
    pub(super) fn has_person(&self) -> bool {
        !self.client_credentials
    }

    /// Asks for the secret where that was wished, and keeps it under the name of the account.
    fn ask(&mut self, directory: &Path, profile: &str) -> Result<(), Problem> {
        if std::mem::take(&mut self.client_secret_prompt) {
            let secret = secret::ask()?;
            self.client_secret_file = Some(secret::keep(directory, profile, &secret)?);
        }
        Ok(())
    }

    fn secret(&self) -> Result<Option<Secret>, Problem> {
        Ok(self.secret_text()?.map(Secret::from))
    }

    fn secret_text(&self) -> Result<Option<String>, Problem> {
        if let Some(path) = &self.client_secret_file {
            return Ok(Some(read(path)?.trim().to_owned()));
        }
        let Some(name) = &self.client_secret_env else {
            return Ok(None);
        };
        let found = std::env::var(name)
            .map_err(|_| format!("the environment variable {name} holds no client secret"))?;
        Ok(Some(found))
    }

    /// Paths that hold wherever the command runs next.
    fn absolute(mut self) -> io::Result<Self> {
        for path in [
            &mut self.client_secret_file,
            &mut self.client_key,
            &mut self.dpop_key,
            &mut self.issuer_settings,
        ] {
            *path = path.as_deref().map(std::path::absolute).transpose()?;
        }
        Ok(self)
    }

    fn apply(&self, mut to: ConfigBuilder) -> Result<(ConfigBuilder, Keys), Problem> {
        let mut keys = Keys::default();
        if let Some(id) = &self.client_id {
            let mut client = PreRegistered::new(id);
            if let Some(secret) = self.secret()? {
                client = client.secret(secret);
            }
            if let Some(path) = &self.client_key {
                client = client.key(keys.read(path)?);
            }
            to = match &self.issuer {
                Some(issuer) => to.pre_registered(issuer, client),
                None => to.pre_registered_unbound(client),
            };
        }
        if self.client_credentials {
            to = to.client_credentials();
        }
        if let Some(url) = &self.client_metadata_url {
            to = to.client_metadata_url(url);
        }
        if let Some(scopes) = &self.scope {
            to = to.scopes(scopes);
        }
        if let Some(path) = &self.issuer_settings {
            let found = issuer_settings(&read(path)?);
            let found = found.map_err(|flaw| format!("{}: {flaw}", path.display()))?;
            for (issuer, settings) in found {
                to = to.issuer_settings(issuer, settings);
            }
        }
        if let Some(path) = &self.dpop_key {
            to = to.dpop(Dpop::new(DpopPolicy::Require).key(keys.read(path)?));
        }
        Ok((to, keys))
    }
}

impl Settings {
    fn describe(&self, keys: &Keys, to: &mut Map<String, Value>) {
        let key = |path: &Option<PathBuf>| {
            let name = path.as_ref()?.display().to_string();
            keys.described(&name).map(|key| key_json(&key))
        };
        if let Some(id) = &self.client_id {
            let secret = self.secret_text().unwrap_or_default();
            let client = json!({
                "issuer": self.issuer, "client_id": id, "client_secret": secret,
                "key": key(&self.client_key),
            });
            to.insert("clients".to_owned(), json!([client]));
        }
        to.insert(
            "client_credentials".to_owned(),
            self.client_credentials.into(),
        );
        if let Some(url) = &self.client_metadata_url {
            to.insert("client_metadata_url".to_owned(), url.as_str().into());
        }
        if let Some(scopes) = &self.scope {
            to.insert("scopes".to_owned(), json!([scopes]));
        }
        let adapted = self
            .issuer_settings
            .as_deref()
            .and_then(|path| read(path).ok());
        if let Some(adapted) = adapted.and_then(|text| serde_json::from_str(&text).ok()) {
            to.insert("issuer_settings".to_owned(), adapted);
        }
        if self.dpop_key.is_some() {
            let keys = json!([{ "issuer": null, "key": key(&self.dpop_key) }]);
            to.insert(
                "dpop".to_owned(),
                json!({ "policy": "require", "keys": keys }),
            );
        }
    }
}

/// One account, as it is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Profile {
    pub(super) url: String,
    pub(super) account: String,
    /// The port of the last callback listener; servers may know the client by it.
    pub(super) port: Option<u16>,
    pub(super) settings: Settings,
}

/// How the names of files begin that are not complete yet.
const LEFT_OVER: &str = ".writing-";

/// The port of clients whose user never comes back here.
const NO_PORT: u16 = 9;

impl Profile {
    /// The configuration, and the keys that it names.
    pub(super) fn config(&self) -> Result<(Config, Keys), Problem> {
        let port = self.port.unwrap_or(NO_PORT);
        let redirect_uri = format!("http://127.0.0.1:{port}/callback");
        let builder = Config::builder(&self.url, redirect_uri)
            .client_name("mcp-auth")
            .reports(true);
        let (builder, keys) = self.settings.apply(builder)?;
        Ok((builder.build()?, keys))
    }

    /// The same configuration as a line of a transcript.
    pub(super) fn line(&self, keys: &Keys) -> Value {
        let port = self.port.unwrap_or(NO_PORT);
        let mut line = json!({
            "mcp_url": self.url, "redirect_uri": format!("http://127.0.0.1:{port}/callback"),
            "principal": self.account, "client_name": "mcp-auth", "reports": true,
        });
        if let Some(members) = line.as_object_mut() {
            self.settings.describe(keys, members);
        }
        line
    }

    /// The name of this account's file: spellings of the same URL share one.
    fn file(directory: &Path, url: &str, account: &str) -> Result<PathBuf, Problem> {
        let name = Self::name(url, account)?;
        Ok(directory.join("profiles").join(format!("{name}.json")))
    }

    fn name(url: &str, account: &str) -> Result<String, Problem> {
        let canonical = Config::builder(url, format!("http://127.0.0.1:{NO_PORT}/callback"))
            .build()
            .map_err(|flaw| format!("{url}: {flaw}"))?;
        let slot = Slot::account(account, canonical.mcp_url().as_str()).to_string();
        Ok(slot.rsplit('/').next().unwrap_or_default().to_owned())
    }

    pub(super) fn load(
        directory: &Path,
        url: &str,
        account: &str,
    ) -> Result<Option<Self>, Problem> {
        let path = Self::file(directory, url, account)?;
        match fs::read(&path) {
            Ok(text) => Ok(Some(Self::parse(&path, &text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display()).into()),
        }
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(text)
            .map_err(|error| format!("{} is damaged: {error}", path.display()).into())
    }

    /// All that are remembered, by URL and name.
    pub(super) fn all(directory: &Path) -> Result<Vec<Self>, Problem> {
        let files = match fs::read_dir(directory.join("profiles")) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut found = Vec::new();
        for file in files {
            let path = file?.path();
            if path.extension().is_some_and(|end| end == "json") {
                found.push(Self::parse(&path, &fs::read(&path)?)?);
            }
        }
        found.sort_by(|a, b| (&a.url, &a.account).cmp(&(&b.url, &b.account)));
        Ok(found)
    }

    /// Replaces the file as a whole. Left-overs of processes that died here are cleared: the lock
    /// says that they are nobody's.
    pub(super) fn save(&self, directory: &Path) -> Result<(), Problem> {
        let path = Self::file(directory, &self.url, &self.account)?;
        let folder = path.parent().unwrap_or(directory);
        fs::create_dir_all(folder)?;
        let lock = fs::File::create(folder.join("lock"))?;
        lock.lock()?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(LEFT_OVER) {
                fs::remove_file(entry.path())?;
            }
        }
        let mut file = tempfile::Builder::new()
            .prefix(LEFT_OVER)
            .tempfile_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failed| failed.error)?;
        Ok(())
    }

    /// Takes over settings that were given now.
    pub(super) fn set(&mut self, directory: &Path, settings: Settings) -> Result<(), Problem> {
        let mut settings = settings.absolute()?;
        settings.ask(directory, &Self::name(&self.url, &self.account)?)?;
        self.settings = settings;
        Ok(())
    }

    pub(super) fn remove(&self, directory: &Path) -> Result<(), Problem> {
        secret::forget(directory, &Self::name(&self.url, &self.account)?)?;
        match fs::remove_file(Self::file(directory, &self.url, &self.account)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
