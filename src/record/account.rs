//! The account record: client and tokens, written together.

use std::num::NonZeroU64;

use serde::Deserialize;

use super::seal;
use super::shared::{
    ClientRecord, ServerRecord, sent, write_binding, write_client, write_resource, write_server,
};
use super::text::Text;
use crate::account::{Account, Obtained, RefreshTokenId, Standing, Tokens};
use crate::frame::{Opened, RecordFlaw};
use crate::grant::Resource;
use crate::identity::Identity;
use crate::issuer::{AtIssuer, IssuerId};
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::slot::{AuthorizationId, RevisionKey, SlotKind, Stored};
use crate::time::UnixMillis;
use crate::wire::callback::IssBinding;
use crate::wire::scopes::Scopes;
use crate::wire::token::{AccessToken, Lifetime};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountRecord<'a> {
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
    #[serde(rename = "u", alias = "redirect_uri")]
    redirect_uri: Option<Text<'a>>,
    dpop: Option<KeyBinding>,
    #[serde(rename = "o", alias = "obtained")]
    obtained: Obtained,
    /// Unknown before version 3 (AUTHZ-18).
    #[serde(rename = "au", alias = "authorization")]
    authorization: Option<NonZeroU64>,
    /// Unknown before version 3, and in the first records of that version.
    #[serde(rename = "ad", alias = "authorized")]
    authorized: Option<u64>,
    #[serde(rename = "r", alias = "resource")]
    resource: Text<'a>,
    #[serde(default = "sent")]
    resource_sent: bool,
    #[serde(rename = "q", alias = "requested")]
    requested: Text<'a>,
    #[serde(rename = "g", alias = "granted")]
    granted: Text<'a>,
    /// Whether refresh requests name the requested scopes. Omitted where they do not; an older version, which would not name
    /// them, rejects a record with it.
    #[serde(default)]
    names_scopes: bool,
    #[serde(rename = "ib", alias = "iss_binding")]
    iss_binding: IssBinding,
    /// The issuer that the resource lists instead (ISO-04). Omitted while the account's own issuer is
    /// listed, as before this member existed; an older version rejects a record with it instead of sending
    /// the refresh token.
    #[serde(default)]
    left_for: Option<&'a str>,
    /// A digest of the refresh token that was dropped. Omitted if the account holds a refresh token.
    #[serde(default)]
    dropped: Option<NonZeroU64>,
    #[serde(rename = "t", alias = "tokens", borrow)]
    tokens: Option<TokensRecord<'a>>,
    /// The time until which other processes leave the refresh token to the writer (D01).
    #[serde(rename = "l", alias = "lease")]
    lease: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Account,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensRecord<'a> {
    #[serde(rename = "k", alias = "kind")]
    kind: TokenTypeRecord,
    #[serde(rename = "a", alias = "access", borrow)]
    access: Text<'a>,
    #[serde(rename = "f", alias = "refresh")]
    refresh: Option<Text<'a>>,
    #[serde(rename = "rc", alias = "received")]
    received: u64,
    #[serde(rename = "lt", alias = "lifetime")]
    lifetime: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum TokenTypeRecord {
    Bearer,
    Dpop,
}

pub(crate) fn write_account(
    identity: &Identity,
    at: &AtIssuer<Account>,
    lease: Option<UnixMillis>,
) -> Stored {
    let account = at.held();
    let tokens = account.tokens.as_ref();
    let secrets = tokens.map_or(0, |tokens| {
        let refresh = tokens
            .refresh
            .as_ref()
            .map_or(0, |token| token.expose().len());
        tokens
            .access
            .secret()
            .expose()
            .len()
            .saturating_add(refresh)
    });
    let capacity = secrets.saturating_add(768);
    seal(identity, SlotKind::Account, capacity, |json| {
        json.text(r#"{"k":"account","p":""#, identity.principal());
        json.word(r#","m":""#, identity.mcp_url());
        write_server(json, r#","s":"#, at.server());
        write_client(json, r#","c":"#, &account.client);
        json.some(r#","u":""#, account.redirect_uri.as_deref());
        write_binding(json, account.binding.as_ref());
        json.word(r#","o":""#, account.obtained.as_str());
        let authorization = account.authorization.map(|id| id.0.get());
        json.some_number(r#","au":"#, authorization);
        json.some_number(r#","ad":"#, account.authorized.map(|at| at.0));
        write_resource(json, &account.resource);
        json.word(r#","q":""#, account.requested.as_str());
        json.word(r#","g":""#, account.granted.as_str());
        if account.names_scopes {
            json.flag(r#","names_scopes":"#, true);
        }
        json.word(r#","ib":""#, account.iss_binding.as_str());
        let left_for = account.still_listed().err();
        json.some_word(r#","left_for":""#, left_for.map(IssuerId::as_str));
        let dropped = account.dropped.map(|dropped| dropped.0.get());
        json.some_number(r#","dropped":"#, dropped);
        if let Some(tokens) = tokens {
            json.word(
                r#","t":{"k":""#,
                match account.binding {
                    None => "bearer",
                    Some(_) => "dpop",
                },
            );
            json.text(r#","a":""#, tokens.access.secret().expose());
            let refresh = tokens.refresh.as_ref();
            json.some(r#","f":""#, refresh.map(Secret::expose));
            json.number(r#","rc":"#, tokens.received.0);
            json.some_number(r#","lt":"#, tokens.lifetime.seconds());
            json.raw("}");
        }
        json.some_number(r#","l":"#, lease.map(|until| until.0));
        json.raw("}");
    })
}

/// The content of an account record.
pub(crate) struct AccountAsRead {
    pub(crate) at: AtIssuer<Account>,
    pub(crate) lease: Option<UnixMillis>,
    /// The key of the record, for the records written after it.
    pub(crate) key: Option<RevisionKey>,
}

pub(crate) fn read_account(
    identity: &Identity,
    stored: &Stored,
) -> Result<AccountAsRead, RecordFlaw> {
    let opened = Opened::open(stored, SlotKind::Account)?;
    let record: AccountRecord<'_> = opened.read()?;
    identity.check(&record.principal, &record.mcp_url)?;
    let Kind::Account = record.kind;
    let policy = identity.config().url_policy();
    let server = record.server.restore(policy, &opened)?;
    let covered =
        crate::wire::resource::covers(&record.resource, identity.config().mcp_url(), policy);
    if covered != Ok(true) {
        return Err(RecordFlaw::Foreign);
    }
    // A token and its key binding must agree.
    let agrees = record.tokens.as_ref().is_none_or(|tokens| {
        matches!(
            (&tokens.kind, &record.dpop),
            (TokenTypeRecord::Bearer, None) | (TokenTypeRecord::Dpop, Some(_))
        )
    });
    if !agrees {
        return Err(RecordFlaw::Damaged);
    }
    let tokens = record.tokens.map(restore).transpose()?;
    let standing = match record.left_for {
        None => Standing::Listed,
        Some(to) => Standing::LeftFor(IssuerId::new(to, policy).map_err(|_| RecordFlaw::Url)?),
    };
    let account = Account {
        client: record.client.restore(),
        redirect_uri: record.redirect_uri.map(Into::into),
        binding: record.dpop,
        obtained: record.obtained,
        authorization: record.authorization.map(AuthorizationId),
        authorized: record.authorized.map(UnixMillis),
        resource: Resource {
            id: identity.config().resource_as(&record.resource),
            sent: record.resource_sent,
        },
        requested: Scopes::parse(&record.requested),
        granted: Scopes::parse(&record.granted),
        names_scopes: record.names_scopes,
        iss_binding: record.iss_binding,
        standing,
        dropped: record.dropped.map(RefreshTokenId),
        tokens,
    };
    Ok(AccountAsRead {
        at: AtIssuer::restore(server, account, &opened),
        lease: record.lease.map(UnixMillis),
        key: opened.key,
    })
}

fn restore(tokens: TokensRecord<'_>) -> Result<Tokens, RecordFlaw> {
    Ok(Tokens {
        access: AccessToken::of(tokens.access.into_cow()).ok_or(RecordFlaw::Damaged)?,
        refresh: tokens.refresh.map(Into::into),
        received: UnixMillis(tokens.received),
        lifetime: tokens.lifetime.map_or(Lifetime::Unknown, Lifetime::Seconds),
    })
}
