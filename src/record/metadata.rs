//! Public metadata with its lifetime (DISC-19, META-18).

use std::ops::Deref;
use std::sync::Arc;

use serde::Deserialize;

use super::known::Known;
use super::seal;
use super::shared::{self, ServerRecord};
use super::text::Text;
use crate::few::Few;
use crate::frame::{Opened, RecordFlaw};
use crate::identity::Identity;
use crate::issuer::{IssuerId, Server};
use crate::slot::{SlotKind, Stored};
use crate::time::UnixMillis;
use crate::wire::scopes::Scopes;
use crate::wire::words::{SigningAlgorithm, Words};

/// The facts of validated resource metadata, without its location. Shared by the states of a flow and by the
/// machine's memory of what the resource said last.
#[derive(Clone, Debug)]
pub(crate) struct ResourceFacts(Arc<ResourceMembers>);

#[derive(Clone, Debug)]
pub(crate) struct ResourceMembers {
    /// The `resource` value to send (RES-03).
    pub(crate) id: Arc<str>,
    /// The usable entries in document order.
    pub(crate) servers: Few<IssuerId>,
    pub(crate) scopes: Option<Scopes>,
    pub(crate) requires_dpop: bool,
    pub(crate) dpop_algorithms: Words<SigningAlgorithm>,
}

impl From<ResourceMembers> for ResourceFacts {
    fn from(members: ResourceMembers) -> Self {
        Self(Arc::new(members))
    }
}

impl Deref for ResourceFacts {
    type Target = ResourceMembers;

    fn deref(&self) -> &ResourceMembers {
        &self.0
    }
}

impl ResourceFacts {
    /// Returns facts that name a server only.
    pub(crate) fn of_server(issuer: IssuerId) -> Self {
        Self::without_document(Arc::default(), issuer)
    }

    /// Returns the facts of a resource without a document of its own.
    pub(crate) fn without_document(id: Arc<str>, issuer: IssuerId) -> Self {
        Self::from(ResourceMembers {
            id,
            servers: Few::One(issuer),
            scopes: None,
            requires_dpop: false,
            dpop_algorithms: Words::ABSENT,
        })
    }

    /// Returns the entries, to put them into another order.
    pub(crate) fn servers_mut(&mut self) -> &mut [IssuerId] {
        &mut Arc::make_mut(&mut self.0).servers
    }

    /// Returns true if both have the same facts, with scopes in any order.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let ResourceMembers {
            id,
            servers,
            scopes,
            requires_dpop,
            dpop_algorithms,
        } = &*self.0;
        let same_scopes = match (scopes, &other.scopes) {
            (Some(own), Some(others)) => own.covers(others) && others.covers(own),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_scopes
            && *id == other.id
            && *servers == other.servers
            && *requires_dpop == other.requires_dpop
            && *dpop_algorithms == other.dpop_algorithms
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceRecord<'a> {
    #[serde(rename = "k", alias = "kind")]
    kind: ResourceKind,
    #[serde(rename = "m", alias = "mcp_url", borrow)]
    mcp_url: Text<'a>,
    #[serde(rename = "r", alias = "resource")]
    resource: Text<'a>,
    #[serde(rename = "as", alias = "authorization_servers")]
    authorization_servers: Vec<Text<'a>>,
    #[serde(rename = "sp", alias = "scopes")]
    scopes: Option<Text<'a>>,
    #[serde(rename = "rd", alias = "requires_dpop")]
    requires_dpop: bool,
    #[serde(rename = "da", alias = "dpop_algorithms", default)]
    dpop_algorithms: Known<SigningAlgorithm>,
    #[serde(rename = "e", alias = "expires")]
    expires: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResourceKind {
    ResourceMetadata,
}

pub(crate) fn write_resource(
    identity: &Identity,
    facts: &ResourceFacts,
    expires: UnixMillis,
) -> Stored {
    seal(identity, SlotKind::Metadata, 288, |json| {
        json.word(r#"{"k":"resource_metadata","m":""#, identity.mcp_url());
        json.text(r#","r":""#, &facts.id);
        let servers = facts.servers.iter().map(IssuerId::as_str);
        json.texts(r#","as":"#, servers);
        json.some_word(r#","sp":""#, facts.scopes.as_ref().map(Scopes::as_str));
        json.flag(r#","rd":"#, facts.requires_dpop);
        json.words(r#","da":"#, facts.dpop_algorithms);
        json.number(r#","e":"#, expires.0);
        json.raw("}");
    })
}

/// Reads a record: the facts, and their expiry.
pub(crate) fn read_resource(
    identity: &Identity,
    stored: &Stored,
) -> Result<(ResourceFacts, UnixMillis), RecordFlaw> {
    let opened = Opened::open(stored, SlotKind::Metadata)?;
    let record: ResourceRecord<'_> = opened.read()?;
    let ResourceKind::ResourceMetadata = record.kind;
    if *record.mcp_url != *identity.mcp_url() {
        return Err(RecordFlaw::Foreign);
    }
    let policy = identity.config().url_policy();
    let covered =
        crate::wire::resource::covers(&record.resource, identity.config().mcp_url(), policy);
    if covered != Ok(true) {
        return Err(RecordFlaw::Foreign);
    }
    let servers = record
        .authorization_servers
        .iter()
        .map(|text| IssuerId::new(text, policy).map_err(|_| RecordFlaw::Url))
        .collect::<Result<_, _>>()?;
    let facts = ResourceMembers {
        id: record.resource.into(),
        servers,
        scopes: record.scopes.map(|text| Scopes::parse(&text)),
        requires_dpop: record.requires_dpop,
        dpop_algorithms: record.dpop_algorithms.0,
    };
    Ok((facts.into(), UnixMillis(record.expires)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerMetadataRecord<'a> {
    #[serde(rename = "k", alias = "kind")]
    kind: ServerKind,
    #[serde(rename = "ak", alias = "asked")]
    asked: Text<'a>,
    #[serde(rename = "s", alias = "server", borrow)]
    server: ServerRecord<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ServerKind {
    ServerMetadata,
}

pub(crate) fn write_server(identity: &Identity, asked: &IssuerId, server: &Server) -> Stored {
    seal(identity, SlotKind::Metadata, 512, |json| {
        json.word(r#"{"k":"server_metadata","ak":""#, asked.as_str());
        shared::write_server(json, r#","s":"#, server);
        json.raw("}");
    })
}

/// Reads a record that has not expired.
pub(crate) fn read_server(
    identity: &Identity,
    asked: &IssuerId,
    stored: &Stored,
    now: UnixMillis,
) -> Result<Option<Server>, RecordFlaw> {
    let opened = Opened::open(stored, SlotKind::Metadata)?;
    let record: ServerMetadataRecord<'_> = opened.read()?;
    let ServerKind::ServerMetadata = record.kind;
    if *record.asked != *asked.as_str() {
        return Err(RecordFlaw::Foreign);
    }
    if !record.server.fresh_until().is_fresh(now) {
        return Ok(None);
    }
    let policy = identity.config().url_policy();
    record.server.restore(policy, &opened).map(Some)
}
