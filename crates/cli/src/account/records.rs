//! The owners of the machine's records, as the command reads them for cleaning up and for listing. It
//! relies on them for nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

/// The machine takes no callback that comes later, by far.
const ABANDONED: Duration = Duration::from_secs(3_600);

/// The record that a text holds: `v2.<digest>.<json>`. A member without a value is absent; `null` before version 2.
pub(super) fn parse(contents: &str) -> Option<Value> {
    let mut parts = contents.splitn(3, '.');
    let (_version, _digest, json) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_str(json).ok()
}

/// The record of a slot's file, if it can be read.
fn read(path: &Path) -> Option<Value> {
    let text = Zeroizing::new(fs::read_to_string(path).ok()?);
    let (_revision, contents) = text.split_once('\n')?;
    parse(contents)
}

/// The access token of an account record.
pub(super) fn access(contents: &str) -> Option<Zeroizing<String>> {
    let record = parse(contents)?;
    text(&record, "/tokens/access").map(|token| Zeroizing::new(token.to_owned()))
}

/// The access token that an account has now.
pub(super) fn access_of(slots: &Path, name: &str) -> Option<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(slots.join("account").join(name)).ok()?);
    let (_revision, contents) = text.split_once('\n')?;
    access(contents)
}

fn files(slots: &Path, kind: &str) -> impl Iterator<Item = PathBuf> {
    let files = fs::read_dir(slots.join(kind)).into_iter().flatten();
    files.flatten().map(|file| file.path())
}

fn text<'a>(record: &'a Value, pointer: &str) -> Option<&'a str> {
    record.pointer(pointer).and_then(Value::as_str)
}

/// The URL and the name of an account that has no settings; `None` where the record cannot be read.
pub(super) fn owner(path: &Path) -> Option<(String, String)> {
    let record = read(path)?;
    let url = text(&record, "/mcp_url")?.to_owned();
    Some((url, text(&record, "/principal")?.to_owned()))
}

/// The account records, with the names of their accounts.
pub(super) fn accounts(slots: &Path) -> Vec<(String, PathBuf)> {
    let named = |path: PathBuf| Some((path.file_name()?.to_str()?.to_owned(), path));
    let mut found: Vec<_> = files(slots, "account").filter_map(named).collect();
    found.retain(|(name, _)| !name.starts_with('.') && !name.ends_with(".damaged"));
    found.sort();
    found
}

/// The identifier of the client that an account uses.
pub(super) fn client_of(slots: &Path, name: &str) -> Option<String> {
    let record = read(&slots.join("account").join(name))?;
    text(&record, "/client/id").map(str::to_owned)
}

/// The identifier of the client that an account uses and that the user had configured.
pub(super) fn configured_client_of(slots: &Path, name: &str) -> Option<String> {
    let record = read(&slots.join("account").join(name))?;
    let configured = text(&record, "/client/origin") == Some("pre_registered");
    let id = text(&record, "/client/id").filter(|_| configured);
    id.map(str::to_owned)
}

/// The sign-ins under way of an account, and the binding of its client; also sign-ins that cannot be
/// read, which cannot be completed.
pub(super) fn of_account(slots: &Path, mcp_url: &str, account: &str) -> Vec<PathBuf> {
    let is_own = |record: &Value| {
        text(record, "/mcp_url") == Some(mcp_url) && text(record, "/principal") == Some(account)
    };
    let pending = files(slots, "pending").filter(|path| read(path).is_none_or(|r| is_own(&r)));
    let bindings =
        files(slots, "registration").filter(|path| read(path).is_some_and(|r| is_own(&r)));
    pending.chain(bindings).collect()
}

/// The name of the kind of record that was removed.
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

/// The dynamic registrations of an account name: of this client, or all where none is known.
pub(super) fn registrations(slots: &Path, account: &str, client: Option<&str>) -> Vec<PathBuf> {
    let wanted = |record: Value| {
        let own = text(&record, "/owner") == Some(account);
        own && client.is_none_or(|client| text(&record, "/client/id") == Some(client))
    };
    let found = files(slots, "registration");
    found
        .filter(|path| read(path).is_some_and(wanted))
        .collect()
}

/// The dynamic registrations of an account name for this redirect URI.
pub(super) fn registered_for(slots: &Path, account: &str, redirect_uri: &str) -> Vec<PathBuf> {
    let wanted = |record: Value| {
        text(&record, "/owner") == Some(account)
            && text(&record, "/redirect_uri") == Some(redirect_uri)
    };
    let found = files(slots, "registration");
    found
        .filter(|path| read(path).is_some_and(wanted))
        .collect()
}

/// The records of abandoned sign-ins. They have expired and would be refused.
pub(super) fn abandoned(slots: &Path) -> Vec<PathBuf> {
    let old = |path: &PathBuf| {
        let modified = fs::metadata(path).and_then(|facts| facts.modified()).ok();
        modified
            .and_then(|time| time.elapsed().ok())
            .is_some_and(|age| age > ABANDONED)
    };
    files(slots, "pending").filter(old).collect()
}
