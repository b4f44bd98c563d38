//! Account records for many principals, made from that of a real sign-in.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_auth_client::{AsyncRedisStore, SharedStore};
use mcp_auth_machine::slot::{Slot, SlotContents, Stored};
use siphasher::sip128::SipHasher13;

use crate::world::World;
use mcp_auth_testing::RedisServer;

/// The principal that signed in.
pub(crate) const TEMPLATE: &str = "template";

/// How many accounts are written to Redis at a time.
const PIPELINE: usize = 1_000;

/// The account of the principal that signed in.
pub(crate) struct Template {
    mcp_url: String,
    /// The key of its revisions.
    key: String,
    json: String,
}

impl Template {
    /// Signs in, with the account in Redis.
    pub(crate) async fn sign_in(world: &World, redis: &RedisServer, prefix: &str) -> Self {
        let store = AsyncRedisStore::open(&redis.url(), prefix).unwrap();
        let (accounts, server) = world.accounts(SharedStore::new(store), Duration::ZERO, 0);
        world.sign_in(&accounts, &server, TEMPLATE).await;
        accounts.close().await.unwrap();
        let mcp_url = world.mcp.url();
        let mut connection = connect(redis);
        let mut get = redis::cmd("HGET");
        let slot = Slot::account(TEMPLATE, &mcp_url);
        let get = get.arg(format!("{prefix}{slot}")).arg("contents");
        let record: String = get.query(&mut connection).unwrap();
        let (sealed, json) = record.split_once(".{").unwrap();
        let (_, key) = sealed.split_once('~').unwrap();
        let json = format!("{{{json}");
        assert_eq!(json.matches(&principal(TEMPLATE)).count(), 1);
        let key = key.to_owned();
        Self { mcp_url, key, json }
    }

    /// The same with servers that are reached with TLS, as those of a gateway are: this machine's URLs are parsed at
    /// length. No request is sent there.
    pub(crate) fn with_tls(self, world: &World) -> Self {
        let mcp = self.mcp_url.trim_end_matches("/mcp");
        let (mcp_url, issuer) = ("https://mcp.example.com", world.server.issuer());
        let json = self.json.replace(mcp, mcp_url);
        Self {
            json: json.replace(issuer, "https://as.example.com"),
            mcp_url: format!("{mcp_url}/mcp"),
            ..self
        }
    }

    pub(crate) fn mcp_url(&self) -> &str {
        &self.mcp_url
    }

    /// The account of another principal: the record names it, with the revision of that.
    pub(crate) fn of(&self, name: &str) -> (Slot, Stored) {
        let json = self.json.replace(&principal(TEMPLATE), &principal(name));
        let key = URL_SAFE_NO_PAD.decode(&self.key).unwrap();
        let hash = SipHasher13::new_with_key(key.as_slice().try_into().unwrap());
        let revision = URL_SAFE_NO_PAD.encode(hash.hash(json.as_bytes()).as_bytes());
        let contents = SlotContents::new(format!("v3.{revision}~{}.{json}", self.key));
        let revision = revision.parse().unwrap();
        let stored = Stored { revision, contents };
        (Slot::account(name, &self.mcp_url), stored)
    }

    /// Writes the accounts of these principals to Redis.
    pub(crate) fn fill(
        &self,
        redis: &RedisServer,
        prefix: &str,
        names: impl Iterator<Item = String>,
    ) {
        let mut connection = connect(redis);
        let mut names = names.peekable();
        while names.peek().is_some() {
            let mut pipe = redis::pipe();
            for name in names.by_ref().take(PIPELINE) {
                let (slot, stored) = self.of(&name);
                let set = pipe.cmd("HSET").arg(format!("{prefix}{slot}"));
                let set = set.arg("revision").arg(stored.revision.to_string());
                let set = set.arg("contents").arg(stored.contents.expose());
                set.ignore();
            }
            pipe.exec(&mut connection).unwrap();
        }
    }
}

fn connect(redis: &RedisServer) -> redis::Connection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_connection().unwrap()
}

fn principal(name: &str) -> String {
    format!(r#""p":"{name}""#)
}
