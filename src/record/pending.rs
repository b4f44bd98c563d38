//! The record of a pending authorization: all data for its callback (AUTHZ-16).

use std::borrow::Cow;
use std::ops::Not;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::shared::{ClientRecord, ServerRecord, is_sent, sent};
use super::{Opened, RecordFlaw, seal};
use crate::grant::{Redirected, RedirectedParts, Resource};
use crate::identity::Identity;
use crate::issuer::AtIssuer;
use crate::key::KeyBinding;
use crate::slot::{SlotKind, Stored};
use crate::time::UnixMillis;
use crate::wire::callback::BrowserBinding;
use crate::wire::pkce::{State, Verifier};
use crate::wire::scopes::Scopes;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingRecord<'a> {
    kind: Kind,
    principal: Cow<'a, str>,
    mcp_url: Cow<'a, str>,
    #[serde(borrow)]
    server: ServerRecord<'a>,
    #[serde(borrow)]
    client: ClientRecord<'a>,
    state: &'a str,
    verifier: &'a str,
    redirect_uri: Cow<'a, str>,
    resource: Cow<'a, str>,
    #[serde(default = "sent", skip_serializing_if = "is_sent")]
    resource_sent: bool,
    requested: Cow<'a, str>,
    advertises_iss: bool,
    #[serde(default, skip_serializing_if = "Not::not")]
    added_offline_access: bool,
    browser: Option<Cow<'a, str>>,
    dpop: Option<KeyBinding>,
    created: u64,
    expires: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Pending,
}

pub(crate) fn write_pending(identity: &Identity, at: &AtIssuer<Redirected>) -> Stored {
    let parts = &at.held().0;
    let record = PendingRecord {
        kind: Kind::Pending,
        principal: identity.principal().into(),
        mcp_url: identity.mcp_url().into(),
        server: ServerRecord::of(at.server()),
        client: ClientRecord::of(&parts.client),
        state: parts.state.expose(),
        verifier: parts.verifier.expose(),
        redirect_uri: (*parts.redirect_uri).into(),
        resource: (*parts.resource.id).into(),
        resource_sent: parts.resource.sent,
        requested: parts.requested.as_str().into(),
        advertises_iss: parts.advertises_iss,
        added_offline_access: parts.added_offline_access,
        browser: parts
            .browser
            .map(|binding| URL_SAFE_NO_PAD.encode(binding.0).into()),
        dpop: parts.binding.clone(),
        created: parts.created.0,
        expires: parts.expires.0,
    };
    seal(identity, SlotKind::Pending, 1_024, &record)
}

pub(crate) fn read_pending(
    identity: &Identity,
    stored: &Stored,
) -> Result<AtIssuer<Redirected>, RecordFlaw> {
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
    let server = record
        .server
        .restore(identity.config().url_policy(), &opened)?;
    let redirected = Redirected(Box::new(RedirectedParts {
        state: State::from_text(record.state).ok_or(RecordFlaw::Damaged)?,
        verifier: Verifier::from_text(record.verifier).ok_or(RecordFlaw::Damaged)?,
        redirect_uri: record.redirect_uri.into(),
        client: record.client.restore(),
        resource: Resource {
            id: record.resource.into(),
            sent: record.resource_sent,
        },
        requested: Scopes::parse(&record.requested),
        advertises_iss: record.advertises_iss,
        added_offline_access: record.added_offline_access,
        browser,
        binding: record.dpop,
        created: UnixMillis(record.created),
        expires: UnixMillis(record.expires),
    }));
    Ok(AtIssuer::restore(server, redirected, &opened))
}
