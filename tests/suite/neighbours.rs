//! Two machines on one store, for different users or different resources: what happens to one changes
//! nothing that the other does (S33). Public metadata is shared on purpose, so it is not kept here.

use std::sync::Arc;

use mcp_auth_machine::config::MetadataCache;
use mcp_auth_machine::event::Abandon;
use mcp_auth_machine::slot::Slot;
use mcp_auth_machine::{Action, Config, Event};

use crate::support::*;

const OTHER: &str = "https://other.example/mcp";
const HOUR: u64 = 3_600_000;

/// A user at a resource, and the servers' responses.
#[derive(Clone, Copy)]
struct Who {
    user: &'static str,
    resource: &'static str,
    place: &'static str,
    client: &'static str,
}

const ALICE: Who = Who {
    user: "alice",
    resource: MCP,
    place: PRM,
    client: "client-of-alice",
};
const BOB: Who = Who {
    user: "bob",
    client: "client-of-bob",
    ..ALICE
};
const ELSEWHERE: Who = Who {
    resource: OTHER,
    place: "https://other.example/.well-known/oauth-protected-resource/mcp",
    ..ALICE
};

impl Who {
    fn host(self) -> Host {
        let config = Config::builder(self.resource, REDIRECT)
            .client_name("Test client")
            .metadata_cache(MetadataCache::Off);
        let config = Arc::new(config.build().unwrap());
        Host::for_user(config, Store::default(), self.user)
    }

    fn documents(self, host: &mut Host) {
        host.authorize();
        let listed = prm().replace(MCP, self.resource);
        host.serve(self.place, 200, &listed);
        host.serve(META, 200, &metadata());
    }

    fn bearer(self, host: &mut Host) -> Option<String> {
        let header = host.machine.bearer(host.now, self.resource).ok()?;
        Some(header.to_str().unwrap().to_owned())
    }

    fn token(self, kind: &str) -> String {
        renewable(
            &format!("{kind}-{}", self.user),
            &format!("r-{kind}-{}", self.user),
        )
    }
}

/// Another resource of the same user and server has the same registration.
fn registers(host: &mut Host, client: &str) {
    if let Some(Action::SendRequest(_)) = host.actions.front() {
        let answer = format!(r#"{{"client_id":"{client}"}}"#);
        host.serve(REGISTER, 201, &answer);
    }
}

type Step = fn(Who, &mut Host);

/// From the first refusal to the sign-out, with a renewal, and a step-up that is given up, between.
const LIFE: [Step; 9] = [
    |who, host| {
        host.challenged(401, &["Bearer"]);
        host.need_user();
        who.documents(host);
    },
    |who, host| {
        registers(host, who.client);
    },
    |_, host| {
        let redirect = host.redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
    },
    |who, host| {
        host.serve(TOKEN, 200, &who.token("first"));
        host.ready();
    },
    |_, host| {
        host.pass(HOUR);
        host.wanted("x");
        host.serve(META, 200, &metadata());
    },
    |who, host| {
        host.serve(TOKEN, 200, &who.token("second"));
        host.ready();
    },
    |who, host| {
        let sent = who.bearer(host);
        let line = r#"Bearer error="insufficient_scope", scope="more""#;
        host.challenged_for("x", 403, &[line], sent.as_deref());
        host.need_user();
        who.documents(host);
        host.redirect();
    },
    |who, host| {
        host.handle(Event::Abandoned(Abandon::Cancelled));
        host.error();
        assert!(who.bearer(host).is_some());
    },
    |_, host| host.handle(Event::SignedOut),
];

/// Steps that all fail.
const MISFORTUNE: [Step; 4] = [
    |who, host| {
        host.challenged(401, &["Bearer"]);
        host.need_user();
        who.documents(host);
        registers(host, "short-lived");
    },
    |_, host| {
        let redirect = host.redirect();
        host.callback("code=wrong&state=wrong");
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
    },
    |_, host| {
        host.serve(TOKEN, 400, r#"{"error":"invalid_grant"}"#);
        host.error();
    },
    |_, host| host.handle(Event::SignedOut),
];

/// One user's life: the tokens and slots after each step, and the conversation; a neighbour's steps run between them.
fn lived(who: Who, neighbour: Option<(Who, &[Step])>) -> Vec<String> {
    let mut host = who.host();
    let mut lines = Vec::new();
    let mut other = neighbour.map(|(who, steps)| (who, steps, who.host()));
    if let Some((_, _, other)) = &mut other {
        other.seeds = 100;
    }
    let account = Slot::account(who.user, who.resource).to_string();
    for (at, step) in LIFE.iter().enumerate() {
        step(who, &mut host);
        if let Some((who, steps, other)) = &mut other
            && let Some(step) = steps.get(at)
        {
            std::mem::swap(&mut host.store, &mut other.store);
            step(*who, other);
            std::mem::swap(&mut host.store, &mut other.store);
        }
        let kept = host.store.slots.get(&account);
        let kept = kept.map(|stored| stored.contents.expose().to_owned());
        let token = who.bearer(&mut host);
        lines.push(format!("{token:?} {kept:?}"));
    }
    lines.extend(host.playbook.text().lines().map(str::to_owned));
    lines
}

#[test]
fn s33_another_user_and_another_resource_change_nothing() {
    let alone = lived(ALICE, None);
    assert!(alone.iter().any(|line| line.contains("refresh_token")));
    for steps in [LIFE.as_slice(), MISFORTUNE.as_slice()] {
        assert_eq!(lived(ALICE, Some((BOB, steps))), alone);
    }
    // A user's registration at a server serves all resources of that server: the second resource uses the
    // registration of the first.
    assert_eq!(lived(ALICE, Some((ELSEWHERE, &LIFE))), alone);
}
