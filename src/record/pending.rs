//! The record of a pending authorization: all data for its callback (AUTHZ-16).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::seal;
use super::shared::{
    ClientRecord, ServerRecord, sent, write_binding, write_client, write_resource, write_server,
};
use super::text::Text;
use crate::frame::{Opened, RecordFlaw};
use crate::grant::{Redirected, RedirectedParts, Resource};
use crate::identity::Identity;
use crate::issuer::AtIssuer;
use crate::key::KeyBinding;
use crate::slot::{RevisionKey, SlotKind, Stored};
use crate::time::UnixMillis;
use crate::wire::callback::BrowserBinding;
use crate::wire::form::FormText;
use crate::wire::pkce::{State, Verifier};
use crate::wire::scopes::Scopes;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingRecord<'a> {
    #[serde(rename = "k", alias = "kind")]
    kind: Kind,
    #[serde(rename = "p", alias = "principal")]
    principal: Text<'a>,
    #[serde(rename = "m", alias = "mcp_url")]
    mcp_url: Text<'a>,
    #[serde(rename = "s", alias = "server", borrow)]
    server: ServerRecord<'a>,
    #[serde(rename = "c", alias = "client", borrow)]
    client: ClientRecord<'a>,
    #[serde(rename = "st", alias = "state")]
    state: &'a str,
    #[serde(rename = "v", alias = "verifier")]
    verifier: &'a str,
    #[serde(rename = "u", alias = "redirect_uri")]
    redirect_uri: Text<'a>,
    #[serde(rename = "r", alias = "resource")]
    resource: Text<'a>,
    #[serde(default = "sent")]
    resource_sent: bool,
    #[serde(rename = "q", alias = "requested")]
    requested: Text<'a>,
    #[serde(rename = "ai", alias = "advertises_iss")]
    advertises_iss: bool,
    #[serde(rename = "ao", alias = "added_offline_access", default)]
    added_offline_access: bool,
    #[serde(rename = "b", alias = "browser")]
    browser: Option<Text<'a>>,
    dpop: Option<KeyBinding>,
    /// Omitted when false, as before this member existed.
    #[serde(rename = "ba", alias = "beside_account", default)]
    beside_account: bool,
    #[serde(rename = "cr", alias = "created")]
    created: u64,
    #[serde(rename = "e", alias = "expires")]
    expires: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Pending,
}

pub(crate) fn write_pending(identity: &Identity, at: &AtIssuer<Redirected>) -> Stored {
    let parts = &at.held().0;
    seal(identity, SlotKind::Pending, 768, |json| {
        json.text(r#"{"k":"pending","p":""#, identity.principal());
        json.word(r#","m":""#, identity.mcp_url());
        write_server(json, r#","s":"#, at.server());
        write_client(json, r#","c":"#, &parts.client);
        json.word(r#","st":""#, parts.state.expose());
        json.word(r#","v":""#, parts.verifier.expose());
        json.text(r#","u":""#, parts.redirect_uri.as_str());
        write_resource(json, &parts.resource);
        json.word(r#","q":""#, parts.requested.as_str());
        json.flag(r#","ai":"#, parts.advertises_iss);
        if parts.added_offline_access {
            json.raw(r#","ao":true"#);
        }
        if let Some(binding) = parts.browser {
            json.word(r#","b":""#, &URL_SAFE_NO_PAD.encode(binding.0));
        }
        write_binding(json, parts.binding.as_ref());
        if parts.beside_account {
            json.raw(r#","ba":true"#);
        }
        json.number(r#","cr":"#, parts.created.0);
        json.number(r#","e":"#, parts.expires.0);
        json.raw("}");
    })
}

/// Reads a record: the authorization, and the key for the records written after it.
pub(crate) fn read_pending(
    identity: &Identity,
    stored: &Stored,
) -> Result<(AtIssuer<Redirected>, Option<RevisionKey>), RecordFlaw> {
    let opened = Opened::open(stored, SlotKind::Pending)?;
    let record: PendingRecord<'_> = opened.read()?;
    identity.check(&record.principal, &record.mcp_url)?;
    let Kind::Pending = record.kind;
    let browser = match record.browser {
        None => None,
        Some(text) => {
            let mut bytes = [0; 16];
            match URL_SAFE_NO_PAD.decode_slice(&*text, &mut bytes) {
                Ok(16) => Some(BrowserBinding(bytes)),
                Ok(_) | Err(_) => return Err(RecordFlaw::Damaged),
            }
        }
    };
    let config = identity.config();
    let server = record.server.restore(config.url_policy(), &opened)?;
    let own_uri = config.redirect_uri();
    let uri = || FormText::new((*record.redirect_uri).into());
    let redirected = Redirected(Box::new(RedirectedParts {
        state: State::from_text(record.state).ok_or(RecordFlaw::Damaged)?,
        verifier: Verifier::from_text(record.verifier).ok_or(RecordFlaw::Damaged)?,
        redirect_uri: own_uri.map_or_else(uri, |own| own.sent().shared_as(&record.redirect_uri)),
        client: record.client.restore(),
        resource: Resource {
            id: config.resource_as(&record.resource),
            sent: record.resource_sent,
        },
        requested: Scopes::parse(&record.requested),
        advertises_iss: record.advertises_iss,
        added_offline_access: record.added_offline_access,
        browser,
        binding: record.dpop,
        beside_account: record.beside_account,
        created: UnixMillis(record.created),
        expires: UnixMillis(record.expires),
    }));
    let at = AtIssuer::restore(server, redirected, &opened);
    Ok((at, opened.key))
}
