//! The records of a dynamic registration, and of the issuer that a client without a configured one is bound
//! to.

use serde::Deserialize;

use super::seal;
use super::shared::{ClientRecord, write_client};
use super::text::Text;
use crate::frame::{Opened, RecordFlaw};
use crate::grant::{RegisteredScopes, Registration, StoredRegistration};
use crate::identity::Identity;
use crate::issuer::{AtIssuer, IssuerBound, IssuerId, SecretOrigins};
use crate::slot::{SlotKind, Stored};
use crate::time::UnixMillis;
use crate::wire::scopes::Scopes;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrationRecord<'a> {
    #[serde(rename = "k", alias = "kind")]
    kind: Kind,
    #[serde(rename = "ow", alias = "owner")]
    owner: Text<'a>,
    #[serde(rename = "u", alias = "redirect_uri")]
    redirect_uri: Text<'a>,
    #[serde(rename = "i", alias = "issuer")]
    issuer: Text<'a>,
    #[serde(rename = "c", alias = "client", borrow)]
    client: ClientRecord<'a>,
    #[serde(default)]
    scopes_left_out: Text<'a>,
    /// The time of registration; missing in older records.
    #[serde(rename = "rg", alias = "registered", default)]
    registered: Option<u64>,
    /// The scopes of the response.
    #[serde(default)]
    scopes_named: Option<Text<'a>>,
    /// The scopes of the request, after a response without scopes.
    #[serde(default)]
    scopes_asked: Option<Text<'a>>,
    /// The origins at which the client authenticates with its secret. Omitted where that is the issuer's own origin, as
    /// before this member existed; an older version rejects a record with it instead of sending the secret elsewhere.
    #[serde(default)]
    secret_origins: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Registration,
}

pub(crate) fn write_registration(
    identity: &Identity,
    redirect_uri: &str,
    at: &AtIssuer<Registration>,
) -> Stored {
    let registration = at.held();
    seal(identity, SlotKind::Registration, 320, |json| {
        json.text(
            r#"{"k":"registration","ow":""#,
            identity.registration_owner(),
        );
        json.text(r#","u":""#, redirect_uri);
        json.word(r#","i":""#, at.issuer().as_str());
        write_client(json, r#","c":"#, &registration.client);
        let left_out = Some(registration.left_out.as_str()).filter(|text| !text.is_empty());
        json.some_word(r#","scopes_left_out":""#, left_out);
        json.some_number(r#","rg":"#, registration.registered.map(|at| at.0));
        match &registration.scopes {
            Some(RegisteredScopes::Named(scopes)) => {
                json.word(r#","scopes_named":""#, scopes.as_str());
            }
            Some(RegisteredScopes::Asked(scopes)) => {
                json.word(r#","scopes_asked":""#, scopes.as_str());
            }
            None => {}
        }
        if registration.client.secret().is_some() {
            let origins = at.server().facts().endpoints.secret_origins();
            if origins != SecretOrigins::new([at.issuer().origin()]) {
                json.texts(r#","secret_origins":"#, origins.iter());
            }
        }
        json.raw("}");
    })
}

/// Reads a registration, which is usable only at a server of the issuer in the record (A03), and with a secret only at the
/// origins that the record names (TOK-07).
pub(crate) fn read_registration(
    identity: &Identity,
    redirect_uri: &str,
    stored: &Stored,
) -> Result<StoredRegistration, RecordFlaw> {
    let opened = Opened::open(stored, SlotKind::Registration)?;
    let record: RegistrationRecord<'_> = opened.read()?;
    let Kind::Registration = record.kind;
    if *record.owner != *identity.registration_owner() || *record.redirect_uri != *redirect_uri {
        return Err(RecordFlaw::Foreign);
    }
    let issuer = IssuerId::new(&record.issuer, identity.config().url_policy())
        .map_err(|_| RecordFlaw::Url)?;
    let registration = Registration {
        client: record.client.restore(),
        left_out: Scopes::parse(&record.scopes_left_out),
        registered: record.registered.map(UnixMillis),
        scopes: match (&record.scopes_named, &record.scopes_asked) {
            (Some(named), _) => Some(RegisteredScopes::Named(Scopes::parse(named))),
            (None, Some(asked)) => Some(RegisteredScopes::Asked(Scopes::parse(asked))),
            (None, None) => None,
        },
    };
    let origins = match &record.secret_origins {
        None => SecretOrigins::new([issuer.origin()]),
        Some(origins) => SecretOrigins::new(origins.iter().map(|origin| &**origin)),
    };
    let bound = IssuerBound::new(issuer, registration);
    Ok(StoredRegistration::new(bound, origins))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingRecord<'a> {
    #[serde(rename = "k", alias = "kind")]
    kind: BindingKind,
    #[serde(rename = "p", alias = "principal", borrow)]
    principal: Text<'a>,
    #[serde(rename = "m", alias = "mcp_url")]
    mcp_url: Text<'a>,
    client_id: Text<'a>,
    #[serde(rename = "i", alias = "issuer")]
    issuer: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BindingKind {
    Binding,
}

pub(crate) fn write_binding(identity: &Identity, client_id: &str, issuer: &IssuerId) -> Stored {
    seal(identity, SlotKind::Registration, 320, |json| {
        json.text(r#"{"k":"binding","p":""#, identity.principal());
        json.word(r#","m":""#, identity.mcp_url());
        json.text(r#","client_id":""#, client_id);
        json.word(r#","i":""#, issuer.as_str());
        json.raw("}");
    })
}

pub(crate) fn read_binding(
    identity: &Identity,
    client_id: &str,
    stored: &Stored,
) -> Result<IssuerId, RecordFlaw> {
    let opened = Opened::open(stored, SlotKind::Registration)?;
    let record: BindingRecord<'_> = opened.read()?;
    let BindingKind::Binding = record.kind;
    identity.check(&record.principal, &record.mcp_url)?;
    if *record.client_id != *client_id {
        return Err(RecordFlaw::Foreign);
    }
    IssuerId::new(&record.issuer, identity.config().url_policy()).map_err(|_| RecordFlaw::Url)
}
