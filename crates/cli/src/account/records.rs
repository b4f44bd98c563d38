//! The owners of the machine's records, which the command reads to clean up and to list accounts only.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mcp_auth_machine::time::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::keyring::KeyringError;
use super::sealing;
use crate::slot_json::parse;

/// Reads the record of a slot's file, if it is readable.
fn read(path: &Path) -> Option<Value> {
    contents(path).ok().flatten().and_then(|text| parse(&text))
}

/// Reads the contents of a slot's file, opened; `None` for a file that is not one.
fn contents(path: &Path) -> Result<Option<Zeroizing<String>>, KeyringError> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.unwrap_or_default();
    let contents = text.split_once('\n').map(|(_revision, contents)| contents);
    let place = sealing::place_of(path);
    contents.map(|text| sealing::open(&place, text)).transpose()
}

/// Returns an error if a record is sealed and cannot be opened.
pub(super) fn opens(path: &Path) -> Result<(), KeyringError> {
    contents(path).map(drop)
}

/// Returns true for a sealed record that may be readable at another time.
fn is_out_of_reach(path: &Path) -> bool {
    opens(path).is_err_and(|error| !error.is_final())
}

/// Returns the access token of an account record.
pub(super) fn access(contents: &str) -> Option<Zeroizing<String>> {
    let record = parse(contents)?;
    text(&record, "/tokens/access").map(|token| Zeroizing::new(token.to_owned()))
}

/// Returns the client identifier of an account record.
pub(super) fn client(contents: &str) -> Option<String> {
    text(&parse(contents)?, "/client/id").map(str::to_owned)
}

/// Returns the current access token of an account.
pub(super) fn access_of(slots: &Path, name: &str) -> Option<Zeroizing<String>> {
    access(&contents(&slots.join("account").join(name)).ok()??)
}

/// Returns the end of the lease of a process that refreshes an account.
pub(super) fn leased_until(slots: &Path, name: &str) -> Option<UnixMillis> {
    let record = read(&slots.join("account").join(name))?;
    record.get("lease")?.as_u64().map(UnixMillis)
}

/// Returns the record of an account whose tokens were received between two times. A time in the future, from before the clock
/// was set back, is after both.
fn received_between(
    slots: &Path,
    name: &str,
    (from, until): (UnixMillis, UnixMillis),
) -> Option<Value> {
    let record = read(&slots.join("account").join(name))?;
    let received = record.pointer("/tokens/received")?.as_u64()?;
    (from.0..=until.0).contains(&received).then_some(record)
}

/// Returns true if the access token of an account is this one, and was received between two times.
pub(super) fn is_received_between(
    slots: &Path,
    name: &str,
    access: &str,
    span: (UnixMillis, UnixMillis),
) -> bool {
    let record = received_between(slots, name, span);
    record.is_some_and(|record| text(&record, "/tokens/access") == Some(access))
}

/// Returns the granted scopes of an account whose tokens were received between two times.
pub(super) fn granted_between(
    slots: &Path,
    name: &str,
    span: (UnixMillis, UnixMillis),
) -> Option<String> {
    let record = received_between(slots, name, span)?;
    Some(text(&record, "/granted").unwrap_or_default().to_owned())
}

/// Returns the files of a folder, which may be missing.
///
/// # Errors
/// When the folder cannot be read; the error names it.
pub(super) fn in_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(files) => files
            .map(|file| Ok(file.map_err(at(folder))?.path()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at(folder)(error)),
    }
}

/// Adds the path to an error.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Returns the records of a kind of slot; none where the folder cannot be read.
fn files(slots: &Path, kind: &str) -> impl Iterator<Item = PathBuf> + use<> {
    in_folder(&slots.join(kind)).unwrap_or_default().into_iter()
}

fn text<'a>(record: &'a Value, pointer: &str) -> Option<&'a str> {
    record.pointer(pointer).and_then(Value::as_str)
}

/// Returns the URL and the name of an account without settings; `None` when its record is unreadable.
pub(super) fn owner(path: &Path) -> Option<(String, String)> {
    let record = read(path)?;
    let url = text(&record, "/mcp_url")?.to_owned();
    Some((url, text(&record, "/principal")?.to_owned()))
}

/// Returns the account records, with their file names.
pub(super) fn accounts(slots: &Path) -> Vec<(String, PathBuf)> {
    let named = |path: PathBuf| Some((path.file_name()?.to_str()?.to_owned(), path));
    let mut found: Vec<_> = files(slots, "account").filter_map(named).collect();
    found.retain(|(name, _)| !name.starts_with('.') && !name.ends_with(".damaged"));
    found.sort();
    found
}

/// Returns the client identifier of an account.
pub(super) fn client_of(slots: &Path, name: &str) -> Option<String> {
    let record = read(&slots.join("account").join(name))?;
    text(&record, "/client/id").map(str::to_owned)
}

/// Returns the client identifier of an account with a configured client.
pub(super) fn configured_client_of(slots: &Path, name: &str) -> Option<String> {
    let record = read(&slots.join("account").join(name))?;
    let configured = text(&record, "/client/origin") == Some("pre_registered");
    let id = text(&record, "/client/id").filter(|_| configured);
    id.map(str::to_owned)
}

/// Returns the pending authorizations of an account and the binding of its client, including unreadable
/// ones, which cannot be completed.
pub(super) fn of_account(slots: &Path, mcp_url: &str, account: &str) -> Vec<PathBuf> {
    let is_own = |record: &Value| {
        text(record, "/mcp_url") == Some(mcp_url) && text(record, "/principal") == Some(account)
    };
    // Another account may be able to complete what this process cannot open.
    let pending = files(slots, "pending")
        .filter(|path| !is_out_of_reach(path) && read(path).is_none_or(|record| is_own(&record)));
    pending.chain(bindings(slots, mcp_url, account)).collect()
}

/// Returns the records of the authorization servers that an account's configured clients are bound to.
pub(super) fn bindings(slots: &Path, mcp_url: &str, account: &str) -> Vec<PathBuf> {
    let is_own = |record: Value| {
        text(&record, "/mcp_url") == Some(mcp_url) && text(&record, "/principal") == Some(account)
    };
    let found = files(slots, "registration");
    found
        .filter(|path| read(path).is_some_and(is_own))
        .collect()
}

/// Returns true for a record with the issuer of a configured client, rather than a registration.
pub(super) fn is_binding(contents: &str) -> bool {
    parse(contents).is_some_and(|record| names_a_server(&record))
}

/// The same, for a file.
pub(super) fn is_binding_at(path: &Path) -> bool {
    read(path).is_some_and(|record| names_a_server(&record))
}

fn names_a_server(record: &Value) -> bool {
    text(record, "/mcp_url").is_some()
}

/// Returns the name of the kind of a removed record.
pub(super) fn part(file: &Path) -> &'static str {
    if file
        .parent()
        .is_some_and(|folder| folder.ends_with("pending"))
    {
        "unfinished sign-ins"
    } else {
        "the client's authorization server"
    }
}

/// A client at the authorization server that registered it: other servers may issue the same identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClientAt {
    pub(super) issuer: String,
    pub(super) id: String,
}

/// Returns the client of an account.
pub(super) fn client_at(slots: &Path, name: &str) -> Option<ClientAt> {
    let record = read(&slots.join("account").join(name))?;
    Some(ClientAt {
        issuer: text(&record, "/server/issuer")?.to_owned(),
        id: text(&record, "/client/id")?.to_owned(),
    })
}

/// Returns the dynamic registrations of an account name.
pub(super) fn registered_as(slots: &Path, account: &str) -> Vec<PathBuf> {
    let is_own = |record: Value| text(&record, "/owner") == Some(account);
    let found = files(slots, "registration");
    found
        .filter(|path| is_intact(path) && read(path).is_some_and(is_own))
        .collect()
}

/// Returns the clients that accounts use.
fn used_clients(slots: &Path) -> Vec<ClientAt> {
    let accounts = accounts(slots);
    let clients = accounts.iter().map(|(name, _)| client_at(slots, name));
    clients.flatten().collect()
}

/// Returns the client of a registration.
fn registered_client(record: &Value) -> Option<ClientAt> {
    Some(ClientAt {
        issuer: text(record, "/issuer")?.to_owned(),
        id: text(record, "/client/id")?.to_owned(),
    })
}

/// Returns the dynamic registrations that are forgotten with an account: those of its client; and those that no account
/// uses, where they are at its issuer, are among the noted slots of its sign-ins, or are at the origin of its URL. So a
/// registration whose MCP server is not known is found by the URL of its issuer.
pub(super) fn forgotten(
    slots: &Path,
    (url, account): (&str, &str),
    client: Option<&ClientAt>,
    noted: &[String],
) -> Vec<PathBuf> {
    let used = used_clients(slots);
    let is_due = |record: &Value, is_noted: bool| {
        let Some(found) = registered_client(record) else {
            return false;
        };
        let is_near = is_noted
            || client.is_some_and(|client| client.issuer == found.issuer)
            || is_same_origin(&found.issuer, url);
        let is_left = is_near && !used.contains(&found);
        text(record, "/owner") == Some(account) && (client == Some(&found) || is_left)
    };
    let found = files(slots, "registration").filter(|path| is_intact(path));
    found
        .filter(|path| {
            let slot = path.file_name().unwrap_or_default().to_string_lossy();
            let is_noted = noted.contains(&format!("registration/{slot}"));
            match read(path) {
                Some(record) => is_due(&record, is_noted),
                // A sign-in of this account used it, whether or not it can be opened now.
                None => is_noted,
            }
        })
        .collect()
}

/// Returns true for the file of a slot, rather than a damaged one that was set aside.
fn is_intact(path: &Path) -> bool {
    path.extension().is_none()
}

fn is_same_origin(one: &str, other: &str) -> bool {
    let origin = |text: &str| url::Url::parse(text).ok().map(|url| url.origin());
    origin(one).is_some_and(|one| Some(one) == origin(other))
}

/// Returns the damaged registrations that were set aside, as far as they are of this account name or of no known one:
/// they may hold a secret, and no one can use them.
pub(super) fn damaged_registrations(slots: &Path, account: &str) -> Vec<PathBuf> {
    let is_own = |record: &Value| text(record, "/owner").is_none_or(|owner| owner == account);
    let found = files(slots, "registration").filter(|path| !is_intact(path));
    found
        .filter(|path| !is_out_of_reach(path) && read(path).is_none_or(|record| is_own(&record)))
        .collect()
}

/// A dynamic registration that no account uses.
pub(super) struct Unused {
    pub(super) client: ClientAt,
    pub(super) account: String,
}

/// Returns the dynamic registrations that no account uses, as after a first sign-in that failed.
pub(super) fn unused_registrations(slots: &Path) -> Vec<Unused> {
    let used = used_clients(slots);
    let unused = |path: PathBuf| {
        let record = read(&path)?;
        let client = registered_client(&record)?;
        let account = text(&record, "/owner")?.to_owned();
        (!used.contains(&client)).then_some(Unused { client, account })
    };
    let found = files(slots, "registration").filter(|path| is_intact(path));
    let mut found: Vec<Unused> = found.filter_map(unused).collect();
    found.sort_by(|a, b| (&a.client.issuer, &a.account).cmp(&(&b.client.issuer, &b.account)));
    found
}

/// Returns the slots of the dynamic registrations of an account name for this use: a redirect URI, or the device
/// authorization grant, whose clients are registered apart (DEV-03).
pub(super) fn registered_for(slots: &Path, account: &str, used_for: &str) -> BTreeSet<String> {
    let wanted = |record: Value| {
        text(&record, "/owner") == Some(account) && text(&record, "/redirect_uri") == Some(used_for)
    };
    let found = files(slots, "registration").filter(|path| read(path).is_some_and(wanted));
    let named =
        found.filter_map(|path| Some(format!("registration/{}", path.file_name()?.to_str()?)));
    named.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A time of receipt in the future, from before the clock was set back, does not make a token a newer one.
    #[test]
    fn a_token_is_newer_by_its_time_of_receipt() {
        let slots = tempfile::tempdir().unwrap();
        fs::create_dir(slots.path().join("account")).unwrap();
        let record = r#"{"tokens":{"access":"one","received":500}}"#;
        let text = format!("revision\nv2.digest.{record}");
        fs::write(slots.path().join("account/name"), text).unwrap();
        for (access, span, expected) in [
            ("one", (400, 600), true),
            ("one", (500, 500), true),
            ("one", (501, 600), false),
            ("one", (400, 499), false),
            ("other", (400, 600), false),
        ] {
            let span = (UnixMillis(span.0), UnixMillis(span.1));
            let found = is_received_between(slots.path(), "name", access, span);
            assert_eq!(found, expected, "{access} {span:?}");
        }
    }
}
