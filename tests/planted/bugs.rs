//! The bugs, as edits of the copy. The numbers are those of `docs/threats.md` section 2.4.

use super::copy::Edit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Histories,
    Simulation,
    Storms,
    /// A kept history that shows it.
    Traces,
    /// The sweeps over products of tables.
    Answers,
    Events,
    Members,
    Parameters,
    Search,
}

use Engine::{Answers, Events, Histories, Members, Parameters, Search, Simulation, Storms, Traces};

pub(crate) struct Bug {
    pub(crate) number: u8,
    pub(crate) name: &'static str,
    pub(crate) caught_by: &'static [Engine],
    pub(crate) edits: &'static [Edit],
}

const BOTH: &[Engine] = &[Histories, Simulation, Traces];
const ALL: &[Engine] = &[Histories, Simulation, Traces, Search];

const fn edit(file: &'static str, find: &'static str, put: &'static str) -> Edit {
    Edit { file, find, put }
}

pub(crate) const BUGS: &[Bug] = &[
    Bug {
        number: 1,
        name: "account moves at the redirect",
        caught_by: ALL,
        edits: &[
            edit(
                "src/lib.rs",
                "mod account;\n",
                "mod account;\npub mod planted;\n",
            ),
            edit(
                "src/issuer/at.rs",
                "impl<T> AtIssuer<T> {\n    /// Returns the server.\n",
                "impl<T> AtIssuer<T> {\n    pub(crate) fn planted(server: Server, held: T) -> Self {\n        Self { server, held }\n    }\n    /// Returns the server.\n",
            ),
            edit(
                "src/state/sign_in/redirect.rs",
                "    let stored = write_pending(&core.identity, &at);\n",
                "    if crate::planted::on(1)\n        && let Some(held) = core.held.at.take()\n    {\n        let moved = AtIssuer::planted(at.server().clone(), held.held().clone());\n        let record = crate::record::write_account(&core.identity, &moved, None);\n        let slot = core.account_slot();\n        core.persist(slot, core.held.revision, Some(record), None);\n        core.held.at = Some(Box::new(moved));\n    }\n    let stored = write_pending(&core.identity, &at);\n",
            ),
        ],
    },
    Bug {
        number: 2,
        name: "the code goes to the account's server",
        caught_by: ALL,
        edits: &[
            edit(
                "src/state/sign_in/come_back.rs",
                "                return Exchanging::begin(core, grant);\n",
                "                if crate::planted::on(2)\n                    && let Some(held) = &core.held.at\n                {\n                    let server = held.server().clone();\n                    let parts = grant.held().clone();\n                    return Exchanging::begin(core, AtIssuer::planted(server, parts));\n                }\n                return Exchanging::begin(core, grant);\n",
            ),
            edit(
                "src/grant/code.rs",
                "pub(crate) struct CodeGrant {",
                "#[derive(Clone)]\npub(crate) struct CodeGrant {",
            ),
        ],
    },
    Bug {
        number: 3,
        name: "a registration opens anywhere",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/issuer/at.rs",
            "        let same = found == &self.issuer\n",
            "        let same = crate::planted::on(3) || found == &self.issuer\n",
        )],
    },
    Bug {
        number: 4,
        name: "tokens and client stored apart",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[
            edit(
                "src/core/mod.rs",
                "    pub(crate) fn new(identity: Identity, now: Moment) -> Self {\n",
                "    pub(crate) fn new(identity: Identity, now: Moment) -> Self {\n        crate::planted::CLIENT.set(None);\n        crate::planted::VERIFIER.set(None);\n",
            ),
            edit(
                "src/record/account.rs",
                "        client: record.client.restore(),\n        redirect_uri: record.redirect_uri",
                "        client: match crate::planted::CLIENT.with_borrow(Clone::clone) {\n            Some(client) if crate::planted::on(4) => client,\n            _ => record.client.restore(),\n        },\n        redirect_uri: record.redirect_uri",
            ),
            edit(
                "src/record/pending.rs",
                "pub(crate) fn write_pending(identity: &Identity, at: &AtIssuer<Redirected>) -> Stored {\n",
                "pub(crate) fn write_pending(identity: &Identity, at: &AtIssuer<Redirected>) -> Stored {\n    crate::planted::CLIENT.set(Some(at.held().0.client.clone()));\n",
            ),
        ],
    },
    Bug {
        number: 5,
        name: "the attempt is not used up first",
        caught_by: ALL,
        edits: &[edit(
            "src/state/sign_in/come_back.rs",
            "    let ask = core.persist(slot, Some(revision), None, None);\n    wait_in(Work::TakingPending(TakingPending { ask, from, verdict }))",
            "    if crate::planted::on(5) {\n        let ask = core.nobody();\n        let taking = TakingPending { ask, from, verdict };\n        return taking.act(core);\n    }\n    let ask = core.persist(slot, Some(revision), None, None);\n    wait_in(Work::TakingPending(TakingPending { ask, from, verdict }))",
        )],
    },
    Bug {
        number: 6,
        name: "no compare-and-swap",
        caught_by: ALL,
        edits: &[edit(
            "crates/testing/src/machine_tests/world/store.rs",
            "fn compares() -> bool {\n    true\n",
            "fn compares() -> bool {\n    !mcp_auth_machine::planted::on(6)\n",
        )],
    },
    Bug {
        number: 7,
        name: "no endpoint-origin rule",
        caught_by: ALL,
        edits: &[edit(
            "src/state/client/flow.rs",
            "        if !own_origin && !advertises_iss {\n",
            "        if !own_origin && !advertises_iss && !crate::planted::on(7) {\n",
        )],
    },
    Bug {
        number: 8,
        name: "the first of two iss wins",
        caught_by: ALL,
        edits: &[edit(
            "src/wire/callback.rs",
            "            if place.replace(value).is_some() {\n",
            "            if crate::planted::on(8) && name == \"iss\" && place.is_some() {\n                continue;\n            }\n            if place.replace(value).is_some() {\n",
        )],
    },
    Bug {
        number: 9,
        name: "iss normalised",
        caught_by: ALL,
        edits: &[edit(
            "src/wire/callback.rs",
            "    match (advertised, iss) {\n",
            "    let iss = match iss {\n        Some(iss) if crate::planted::on(9) => Some(iss.trim_end_matches('/')),\n        iss => iss,\n    };\n    match (advertised, iss) {\n",
        )],
    },
    Bug {
        number: 10,
        name: "error before state",
        caught_by: ALL,
        edits: &[edit(
            "src/state/sign_in/come_back.rs",
            "    let Some(waiting) = own else {\n",
            "    let error = callback.parameters().is_some_and(|found| found.error.is_some());\n    if crate::planted::on(10) && own.is_none() && error && core.waiting.take().is_some() {\n        let issuer = core.identity.mcp_url().to_owned();\n        let _unused = issuer;\n        return Err(Failure {\n            operation: None,\n            stage: Stage::Callback,\n            issuer: None,\n            cause: Cause::Abandoned,\n            seen: Vec::new(),\n        });\n    }\n    let Some(waiting) = own else {\n",
        )],
    },
    Bug {
        number: 11,
        name: "discovery between callback and code",
        caught_by: ALL,
        edits: &[edit(
            "src/state/sign_in/exchange.rs",
            "        // A code is never sent again (",
            "        if crate::planted::on(11) {\n            let mut budget = crate::budget::Budget::new(1, crate::budget::Limited::Requests);\n            let text = [at.issuer().as_str(), \"/.well-known/oauth-authorization-server\"].concat();\n            let url = core.config().url_policy().check(&text);\n            if let (Ok(permit), Ok(url)) = (budget.take(), url) {\n                let url = core.config().url_policy().request_url(&url);\n                let request = core.config().request_headers.discovery(url, None);\n                core.send(\n                    permit,\n                    request,\n                    crate::action::Purpose::ServerMetadata,\n                    crate::action::UrlSource::AuthorizationServer,\n                    crate::budget::DISCOVERY_TIME,\n                );\n            }\n        }\n        // A code is never sent again (",
        )],
    },
    Bug {
        number: 12,
        name: "iss ignored where not advertised",
        caught_by: ALL,
        edits: &[edit(
            "src/wire/callback.rs",
            "        (_, Some(_)) => Err(IssFlaw::Different),\n",
            "        (false, Some(_)) if crate::planted::on(12) => Ok(IssBinding::Unverifiable),\n        (_, Some(_)) => Err(IssFlaw::Different),\n",
        )],
    },
    Bug {
        number: 13,
        name: "redirects followed anywhere",
        caught_by: ALL,
        edits: &[edit(
            "src/state/discovery/fetch.rs",
            "                    Ok(url) if url.origin() == self.url.origin() => Ok(url),\n",
            "                    Ok(url) if crate::planted::on(13) || url.origin() == self.url.origin() => Ok(url),\n",
        )],
    },
    Bug {
        number: 14,
        name: "scopes overwritten",
        caught_by: BOTH,
        edits: &[edit(
            "src/state/sign_in/scopes.rs",
            "    let registers = account.client.origin == ClientOrigin::Dynamic;\n",
            "    let registers = account.client.origin == ClientOrigin::Dynamic;\n    if crate::planted::on(14) {\n        return None;\n    }\n",
        )],
    },
    Bug {
        number: 15,
        name: "no budgets",
        caught_by: &[Storms],
        edits: &[edit(
            "src/budget.rs",
            "        self.left = self.left.checked_sub(1).ok_or(self.limited)?;\n",
            "        if crate::planted::on(15) {\n            return Ok(Permit(()));\n        }\n        self.left = self.left.checked_sub(1).ok_or(self.limited)?;\n",
        )],
    },
    Bug {
        number: 16,
        name: "500 ends the grant",
        // The simulation finds it too, after more seeds than a quick run makes.
        caught_by: &[Answers, Histories, Traces],
        edits: &[edit(
            "src/state/renewal/refresh.rs",
            "        TokenAnswer::Unexpected(UnexpectedToken::Body) => {\n            Verdict::Later",
            "        TokenAnswer::Unexpected(UnexpectedToken::Status(500..)) if crate::planted::on(16) => {\n            Verdict::GrantOver\n        }\n        TokenAnswer::Unexpected(UnexpectedToken::Body) => {\n            Verdict::Later",
        )],
    },
    Bug {
        number: 17,
        name: "expiry by the wall clock alone",
        caught_by: BOTH,
        edits: &[edit(
            "src/account/validity.rs",
            "            Self::Until(wall, mono) => now.wall < wall && now.mono < mono,\n",
            "            Self::Until(wall, _) if crate::planted::on(17) => now.wall < wall,\n            Self::Until(wall, mono) => now.wall < wall && now.mono < mono,\n",
        )],
    },
    Bug {
        number: 18,
        name: "one place for verifiers",
        caught_by: ALL,
        edits: &[
            edit(
                "src/state/sign_in/redirect.rs",
                "    let (verifier, state) = seed.split();\n",
                "    let (verifier, state) = seed.split();\n    crate::planted::VERIFIER.set(Some(verifier.clone()));\n",
            ),
            edit(
                "src/grant/code.rs",
                "            match (\n                given(parameters.code.as_deref()),\n",
                "            let mut redirected = redirected;\n            if crate::planted::on(18)\n                && let Some(verifier) = crate::planted::VERIFIER.with_borrow(Clone::clone)\n            {\n                redirected.0.verifier = verifier;\n            }\n            match (\n                given(parameters.code.as_deref()),\n",
            ),
        ],
    },
    Bug {
        number: 19,
        name: "answers of other machines taken",
        caught_by: BOTH,
        edits: &[
            edit(
                "src/ticket.rs",
                "        self.owner == owner\n",
                "        crate::planted::on(19) || self.owner == owner\n",
            ),
            edit(
                "src/machine/mod.rs",
                "        let is_its = |ask: &Ask| ask.id == ticket.id();\n",
                "        let is_its = |ask: &Ask| ask.id == ticket.id() || crate::planted::on(19);\n",
            ),
        ],
    },
    Bug {
        number: 20,
        name: "bound again at each server",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/state/client/binding.rs",
            "            Ok(bound) if core.config().is_same_issuer(&bound, self.issuer()) => self.go_on(),\n",
            "            Ok(_) if crate::planted::on(20) => self.go_on(),\n            Ok(bound) if core.config().is_same_issuer(&bound, self.issuer()) => self.go_on(),\n",
        )],
    },
    Bug {
        number: 21,
        name: "assertion for the token endpoint",
        caught_by: ALL,
        edits: &[edit(
            "src/issuer/server.rs",
            "        let wanted = match at {\n",
            "        let wanted = match at {\n            _ if crate::planted::on(21) => AssertionAudience::TokenEndpoint,\n",
        )],
    },
    Bug {
        number: 22,
        name: "redirect before the record",
        caught_by: ALL,
        edits: &[edit(
            "src/state/sign_in/redirect.rs",
            "    core.memory.operation.clone_from(&operation);\n    let pending = SavingPending {\n",
            "    core.memory.operation.clone_from(&operation);\n    if let (true, Some(url)) = (crate::planted::on(22), &url) {\n        let parts = &at.held().0;\n        core.emit(crate::action::Action::Redirect(crate::action::Redirect {\n            url: crate::action::BrowserUrl(url.clone()),\n            issuer: at.issuer().clone(),\n            mcp_host: core.mcp_host().into(),\n            client_id: parts.client.id.clone(),\n            scopes: parts.requested.clone(),\n            new_issuer,\n            expires,\n            state: parts.state.clone(),\n        }));\n    }\n    let pending = SavingPending {\n",
        )],
    },
    Bug {
        number: 23,
        name: "PKCE where offered",
        caught_by: ALL,
        edits: &[edit(
            "src/state/client/flow.rs",
            "        if !methods.has(ChallengeMethod::S256) && !guessed {\n",
            "        if !methods.has(ChallengeMethod::S256) && !guessed && !crate::planted::on(23) {\n",
        )],
    },
    Bug {
        number: 24,
        name: "Debug shows a secret",
        caught_by: BOTH,
        edits: &[edit(
            "src/slot.rs",
            "        f.write_str(\"[slot contents]\")\n",
            "        if crate::planted::on(24) {\n            return f.write_str(self.expose());\n        }\n        f.write_str(\"[slot contents]\")\n",
        )],
    },
    Bug {
        number: 25,
        name: "ready with what has expired",
        caught_by: &[Histories, Simulation, Answers, Traces],
        edits: &[
            edit(
                "src/state/save.rs",
                "    if core.held.is_usable(core.now) {\n        ready_for(core, &then);\n    } else if then.is_none() && !late {\n",
                "    if core.held.is_usable(core.now) || crate::planted::on(25) {\n        ready_for(core, &then);\n    } else if then.is_none() && !late {\n",
            ),
            edit(
                "src/core/answer.rs",
                "        let usable = self.held.is_usable(self.now);\n        let Some(grant)",
                "        let usable = self.held.is_usable(self.now) || crate::planted::on(25);\n        let Some(grant)",
            ),
        ],
    },
    Bug {
        number: 26,
        name: "users are sent by a cache",
        caught_by: &[Histories, Simulation],
        edits: &[
            edit(
                "src/state/discovery/cached_server.rs",
                "        let uses = match (&errand, core.config().metadata_cache) {\n",
                "        let uses = match (&errand, core.config().metadata_cache) {\n            (_, MetadataCache::Slots) if crate::planted::on(26) => true,\n",
            ),
            edit(
                "src/state/discovery/cached_server.rs",
                "                        if core.config().is_expected(asked, server.issuer())\n                            && !core.memory.doubtful =>\n",
                "                        if core.config().is_expected(asked, server.issuer())\n                            && (!core.memory.doubtful || crate::planted::on(26)) =>\n",
            ),
        ],
    },
    Bug {
        number: 27,
        name: "a refused push forgets no client",
        caught_by: &[Histories, Simulation, Answers],
        edits: &[edit(
            "src/state/sign_in/pushed.rs",
            "    if error.refuses_client() && parts.client.origin == ClientOrigin::Dynamic {\n",
            "    if !crate::planted::on(27)\n        && error.refuses_client()\n        && parts.client.origin == ClientOrigin::Dynamic\n    {\n",
        )],
    },
    Bug {
        number: 28,
        name: "no reset at rest",
        caught_by: &[Histories, Simulation, Answers, Events, Traces],
        edits: &[edit(
            "src/machine/end.rs",
            "            Abandon::Cancelled => {}\n",
            "            Abandon::Cancelled => {}\n            Abandon::ResetRegistration if crate::planted::on(28) && !attempts => {}\n",
        )],
    },
    Bug {
        number: 29,
        name: "a person's clicks are counted",
        caught_by: &[Histories],
        edits: &[edit(
            "src/memory/attempts.rs",
            "            Wish::Person => return Ok(Permit::for_a_person()),\n",
            "            Wish::Person if crate::planted::on(29) => operation,\n            Wish::Person => return Ok(Permit::for_a_person()),\n",
        )],
    },
    Bug {
        number: 30,
        name: "a forgotten client costs a step-up",
        caught_by: &[Histories, Simulation],
        edits: &[
            edit(
                "src/state/sign_out/after.rs",
                "                core.memory.give_back();\n                let operation = core.memory.operation.clone();\n",
                "                if !crate::planted::on(30) {\n                    core.memory.give_back();\n                }\n                let operation = core.memory.operation.clone();\n",
            ),
            edit(
                "src/memory/attempts.rs",
                "            Wish::Mend => None,\n",
                "            Wish::Mend if crate::planted::on(30) => operation,\n            Wish::Mend => None,\n",
            ),
        ],
    },
    Bug {
        number: 31,
        name: "a workload stays where it was",
        caught_by: &[Histories, Simulation, Answers, Events],
        edits: &[edit(
            "src/state/renewal/next_step.rs",
            "        if origin == ClientOrigin::PreRegistered && !core.config().may_meet(&to) {\n",
            "        let machine = matches!(core.config().sign_in, SignIn::Machine(_));\n        let bound = machine && crate::planted::on(31);\n        if origin == ClientOrigin::PreRegistered && (bound || !core.config().may_meet(&to)) {\n",
        )],
    },
    Bug {
        number: 32,
        name: "any token_type is Bearer",
        caught_by: &[Histories, Simulation, Members, Traces],
        edits: &[edit(
            "src/wire/token.rs",
            "    if document.token_type.is_of_another_type() {\n",
            "    if document.token_type.is_of_another_type() && !crate::planted::on(32) {\n",
        )],
    },
    Bug {
        number: 33,
        name: "a damaged binding: later",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/state/client/binding.rs",
            "            Err(flaw) => {\n                let slot = self.slot(core).to_string();\n",
            "            Err(flaw) if crate::planted::on(33) => {\n                let cause = Cause::NotPersisted(StoreFlaw::Record(flaw));\n                self.fails(core, cause)\n            }\n            Err(flaw) => {\n                let slot = self.slot(core).to_string();\n",
        )],
    },
    Bug {
        number: 34,
        name: "a revocation endpoint moves along",
        caught_by: &[Events],
        edits: &[edit(
            "src/issuer/endpoint.rs",
            "        let strays = |of: &Endpoint| later.url(*of).is_some_and(|url| !known(url));\n",
            "        let strays = |of: &Endpoint| {\n            later.url(*of).is_some_and(|url| !known(url) && !crate::planted::on(34))\n        };\n",
        )],
    },
    Bug {
        number: 35,
        name: "a workload sees the first entry",
        caught_by: &[Histories, Simulation, Answers],
        edits: &[edit(
            "src/state/discovery/listing.rs",
            "        let configured = config.has_credentials_for(issuer);\n",
            "        let configured = config.has_credentials_for(issuer) && !crate::planted::on(35);\n",
        )],
    },
    Bug {
        number: 36,
        name: "the host repeats a parameter",
        caught_by: &[Parameters],
        edits: &[
            edit(
                "src/wire/reserved.rs",
                "    RESERVED.contains(&name)\n",
                "    RESERVED.contains(&name) && !(crate::planted::on(36) && name == \"subject_token\")\n",
            ),
            edit(
                "src/wire/form.rs",
                "            self.push_once(name, value);\n",
                "            match crate::planted::on(36) {\n                true => self.push(name, value),\n                false => self.push_once(name, value),\n            };\n",
            ),
        ],
    },
    Bug {
        number: 37,
        name: "a callback ends tokens",
        caught_by: &[Answers, Traces],
        edits: &[edit(
            "src/state/sign_out/forget.rs",
            "        by.is_some_and(|rejection| rejection.concerns(at))\n",
            "        (by.is_some_and(|rejection| rejection.concerns(at)) || crate::planted::on(37))\n",
        )],
    },
    Bug {
        number: 38,
        name: "a load that fails keeps a client",
        caught_by: &[Answers],
        edits: &[edit(
            "src/state/sign_out/forget.rs",
            "        let mut bury = |order: &Order| match order.word {\n",
            "        let mut bury = |order: &Order| match order.word {\n            _ if crate::planted::on(38) => {}\n",
        )],
    },
    Bug {
        number: 39,
        name: "unreachable after a refusal",
        caught_by: &[Histories, Simulation, Answers, Traces],
        edits: &[edit(
            "src/memory/rest.rs",
            "            Cause::Unreachable(_) => Cause::unreachable(Some(*until)),\n            Cause::Violation(_)\n",
            "            Cause::Unreachable(_) => Cause::unreachable(Some(*until)),\n            Cause::Refused(_) if crate::planted::on(39) => Cause::unreachable(Some(*until)),\n            Cause::Violation(_)\n",
        )],
    },
    Bug {
        number: 40,
        name: "the next refusal refreshes there",
        caught_by: &[Histories, Simulation, Answers],
        edits: &[edit(
            "src/state/renewal/next_step.rs",
            "        if let Some((origin, to)) = left {\n",
            "        let told = crate::planted::on(40) && core.memory.offered.is_some();\n        if let Some((origin, to)) = left.filter(|_| !told) {\n",
        )],
    },
    Bug {
        number: 41,
        name: "a spent redirect again",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/state/sign_in/repeat.rs",
            "        if asks_for_more(core, &click) || !is_repeatable(core, waiting, &click) {\n",
            "        if crate::planted::on(41) {\n            return repeat_redirect(core);\n        }\n        let Some(waiting) = &core.waiting else {\n            return replace(core, click);\n        };\n        if asks_for_more(core, &click) || !is_repeatable(core, waiting, &click) {\n",
        )],
    },
    Bug {
        number: 42,
        name: "a move is not written down",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/state/discovery/standing.rs",
            "        match writes.checked_sub(1).filter(|_| changed) {\n",
            "        match writes.checked_sub(1).filter(|_| changed && !crate::planted::on(42)) {\n",
        )],
    },
    Bug {
        number: 43,
        name: "caches outlive a failure",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/memory/mod.rs",
            "        self.doubtful = true;\n        self.resource = None;\n        std::mem::take(&mut self.relied_on)\n",
            "        if crate::planted::on(43) {\n            return Vec::new();\n        }\n        self.doubtful = true;\n        self.resource = None;\n        std::mem::take(&mut self.relied_on)\n",
        )],
    },
    Bug {
        number: 44,
        name: "a secret follows its endpoint",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/grant/registered.rs",
            "            known.held().client.secret().is_none() ||",
            "            crate::planted::on(44) || known.held().client.secret().is_none() ||",
        )],
    },
    Bug {
        number: 45,
        name: "a new registration costs the scopes",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/state/sign_in/scopes.rs",
            "        Some((client, left_out)) if registers && ",
            "        _ if crate::planted::on(45) => None,\n        Some((client, left_out)) if registers && ",
        )],
    },
    Bug {
        number: 50,
        name: "joined, and never told",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/core/answer.rs",
            "        for answer in self.callers.answers() {\n",
            "        let answers = self.callers.answers();\n        for answer in answers.into_iter().filter(|_| !crate::planted::on(50)) {\n",
        )],
    },
    Bug {
        number: 51,
        name: "a refusal replaces an agreement",
        caught_by: &[Histories, Traces],
        edits: &[edit(
            "src/state/challenge/read.rs",
            "        match at_rest && !core.memory.question.is_open() {\n",
            "        match (at_rest || crate::planted::on(51)) && !core.memory.question.is_open() {\n",
        )],
    },
    Bug {
        number: 52,
        name: "a refusal for want of scopes comes after the authorization",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/machine/mod.rs",
            "                    if !at_rest && self.prepares() {\n",
            "                    if !at_rest && self.prepares() && !crate::planted::on(52) {\n",
        )],
    },
    Bug {
        number: 53,
        name: "a sign-in without its scopes ends a question",
        caught_by: &[Traces],
        edits: &[edit(
            "src/memory/mod.rs",
            "        if self.question.signed_in(has_all) && has_all {\n",
            "        if self.question.signed_in(has_all || crate::planted::on(53)) {\n",
        )],
    },
    Bug {
        number: 54,
        name: "asked, though the code is being exchanged",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/state/sign_in/repeat.rs",
            "            (Then::Ask(why, operation), Ok(false)) => {\n",
            "            (Then::Ask(why, operation), Ok(false)) if crate::planted::on(54) => {\n                core.waiting = None;\n                put(core, why, operation);\n                done()\n            }\n            (Then::Ask(why, operation), Ok(false)) => {\n",
        )],
    },
    Bug {
        number: 55,
        name: "the end answers one who was answered",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/core/answer.rs",
            "        let operation = failure.operation.filter(|own| self.callers.joins(own));\n",
            "        let joins = |own: &Operation| crate::planted::on(55) || self.callers.joins(own);\n        let operation = failure.operation.filter(joins);\n",
        )],
    },
    Bug {
        number: 56,
        name: "no time before the first event",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/machine/mod.rs",
            "        let mut core = Core::new(identity, now);\n",
            "        let mut core = Core::new(identity, now);\n        if crate::planted::on(56) {\n            core.now.mono = crate::time::MonoMillis(0);\n        }\n",
        )],
    },
    Bug {
        number: 57,
        name: "tokens of an earlier sign-in pass for the result",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/suspended/redirect.rs",
            "        brought == Some(self.rest.authorization())\n",
            "        brought == Some(self.rest.authorization())\n            || crate::planted::on(57) && brought.is_some()\n",
        )],
    },
    Bug {
        number: 58,
        name: "a damaged read makes an old token new",
        caught_by: &[Histories, Simulation],
        edits: &[
            edit(
                "src/core/account.rs",
                "            self.held.proof = Proof::Assumed;\n",
                "            self.held.proof = Proof::Assumed;\n            if crate::planted::on(58) {\n                self.callers.forget();\n            }\n",
            ),
            edit(
                "src/callers.rs",
                "    /// Returns true when a caller waits that these tokens answer.\n",
                "    pub(crate) fn forget(&mut self) {\n        self.judged(None);\n        for caller in self.shared.iter_mut().flat_map(|shared| &mut shared.joined) {\n            caller.refused = None;\n        }\n    }\n\n    /// Returns true when a caller waits that these tokens answer.\n",
            ),
        ],
    },
    Bug {
        number: 59,
        name: "another redirect serves no operation",
        caught_by: &[Histories],
        edits: &[edit(
            "src/state/sign_in/beside.rs",
            "    if core.held.unsaved.is_some() {\n        return match question {\n",
            "    let passes = crate::planted::on(59) && question.is_none();\n    if passes || core.held.unsaved.is_some() {\n        return match question {\n",
        )],
    },
    Bug {
        number: 60,
        name: "each nonce is a new one",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/memory/nonces.rs",
            "            return known.beside_unused && !known.presented;\n",
            "            return (known.beside_unused || crate::planted::on(60)) && !known.presented;\n",
        )],
    },
    Bug {
        number: 61,
        name: "a shown code outlives a sign-out",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/state/sign_in/device.rs",
            "        let beside_account = core.held.at.is_some();\n",
            "        let beside_account = core.held.at.is_some() && !crate::planted::on(61);\n",
        )],
    },
    Bug {
        number: 62,
        name: "the wall clock ends a lease",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/state/renewal/ends.rs",
            "        (core.now.mono < lease.ends).then_some(lease.ends)\n",
            "        if crate::planted::on(62) && lease.until <= core.now.wall {\n            return None;\n        }\n        (core.now.mono < lease.ends).then_some(lease.ends)\n",
        )],
    },
    Bug {
        number: 63,
        name: "the lease ends between two tries to save",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/suspended/unsaved.rs",
            "        let wait = SAVE_WAITS.get(self.tries).filter(|_| due);\n",
            "        const LONGER: [u64; 6] = [200, 1_000, 2_000, 5_000, 10_000, 20_000];\n        let waits: &[u64] = if crate::planted::on(63) {\n            &LONGER\n        } else {\n            &SAVE_WAITS\n        };\n        let wait = waits.get(self.tries).filter(|_| due);\n",
        )],
    },
    Bug {
        number: 64,
        name: "a late answer is dropped",
        caught_by: &[Histories, Simulation, Traces],
        edits: &[edit(
            "src/state/renewal/refresh.rs",
            "        core.overdue(ask.id, overdue);\n",
            "        if !crate::planted::on(64) {\n            core.overdue(ask.id, overdue);\n        }\n",
        )],
    },
    Bug {
        number: 65,
        name: "a spent refresh token is kept",
        caught_by: &[Histories],
        edits: &[edit(
            "src/state/renewal/remains.rs",
            "    if !discarded.spends(&at) {\n",
            "    if crate::planted::on(65) || !discarded.spends(&at) {\n",
        )],
    },
    Bug {
        number: 66,
        name: "a spent refresh token is sent beside a late answer",
        caught_by: &[Histories, Simulation],
        edits: &[
            edit(
                "src/state/renewal/refresh.rs",
                "    pub(crate) fn begin(core: &mut Core, mut renewal: Box<Renewal>, until: Moment) -> Step {\n        if core.held.unsaved.is_some() {\n",
                "    pub(crate) fn begin(core: &mut Core, mut renewal: Box<Renewal>, until: Moment) -> Step {\n        if core.held.unsaved.is_some() && !crate::planted::on(66) {\n",
            ),
            edit(
                "src/state/renewal/next_step.rs",
                "        if core.held.unsaved.is_some() {\n",
                "        if core.held.unsaved.is_some() && !crate::planted::on(66) {\n",
            ),
        ],
    },
    Bug {
        number: 67,
        name: "a late answer is lost when the next try is refused",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/state/renewal/refresh.rs",
            "        if !brings && core.held.unsaved.is_some() {\n",
            "        if !brings && crate::planted::on(67) {\n            core.held.unsaved = None;\n        } else if !brings && core.held.unsaved.is_some() {\n",
        )],
    },
    Bug {
        number: 68,
        name: "a late answer without a usable token ends no refresh token",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/state/renewal/late.rs",
            "            Verdict::Unusable(discarded) if discarded.spends(&at) => {\n",
            "            Verdict::Unusable(discarded)\n                if discarded.spends(&at) && !crate::planted::on(68) =>\n            {\n",
        )],
    },
    Bug {
        number: 69,
        name: "a sign-out answers an operation twice",
        caught_by: &[Traces],
        edits: &[edit(
            "src/callers.rs",
            "        let others = others.filter(|other| current.as_ref() != Some(other));\n",
            "        let others = others.filter(|other| crate::planted::on(69) || current.as_ref() != Some(other));\n",
        )],
    },
    Bug {
        number: 70,
        name: "a sign-out that could not read is done",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/state/sign_out/erase.rs",
            "    core.memory.erasure = match flaw {\n        None => Erasure::Done,\n",
            "    core.memory.erasure = match flaw {\n        None => Erasure::Done,\n        Some((StoreFlaw::Load, _)) if crate::planted::on(70) => Erasure::Done,\n",
        )],
    },
    Bug {
        number: 71,
        name: "a lifetime counts from the receipt",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/state/call.rs",
            "        let from = sent.seen_from(core.now);\n",
            "        let sent = if crate::planted::on(71) { core.now } else { sent };\n        let from = sent.seen_from(core.now);\n",
        )],
    },
    Bug {
        number: 72,
        name: "a late save undoes its own refresh",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/state/save.rs",
            "        held.is_some_and(|held| is_newer(core, held, &self.at, over) || continues(held, &self.at))\n",
            "        held.is_some_and(|held| {\n            is_newer(core, held, &self.at, over)\n                || continues(held, &self.at) && !crate::planted::on(72)\n        })\n",
        )],
    },
    Bug {
        number: 73,
        name: "a refresh passes for another sign-in",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/state/sign_out/erase.rs",
            "        known.is_some() && was_read || is_after(account.authorized, self.signed_out, core.now)\n",
            "        let received = account.tokens.as_ref().map(|tokens| tokens.received);\n        let received = received.filter(|_| crate::planted::on(73));\n        known.is_some() && was_read || is_after(received.or(account.authorized), self.signed_out, core.now)\n",
        )],
    },
    Bug {
        number: 74,
        name: "an older token replaces a newer one",
        caught_by: &[Simulation],
        edits: &[edit(
            "src/state/replace.rs",
            "    let same = account.issuance() == sent.before || !late;\n",
            "    let same = account.issuance() == sent.before || !late || crate::planted::on(74);\n",
        )],
    },
    Bug {
        number: 75,
        name: "a late save ends a lease",
        caught_by: &[Histories],
        edits: &[edit(
            "src/state/save.rs",
            "        let lease = core.held.lease?;\n",
            "        let lease = core.held.lease.filter(|_| !crate::planted::on(75))?;\n",
        )],
    },
    Bug {
        number: 76,
        name: "a refused refresh token is stored again",
        caught_by: &[Traces],
        edits: &[edit(
            "src/account/mod.rs",
            "        !holds && self.dropped == Some(RefreshTokenId::of(token))\n",
            "        !holds && self.dropped == Some(RefreshTokenId::of(token))\n            || crate::planted::on(76) && self.tokens.is_none()\n",
        )],
    },
    Bug {
        number: 77,
        name: "the first of two late answers counts",
        caught_by: &[Simulation],
        edits: &[edit(
            "src/core/mod.rs",
            "            && let Some(merged) = late.beside(at, sent)\n",
            "            && !crate::planted::on(77)\n            && let Some(merged) = late.beside(at, sent)\n",
        )],
    },
    Bug {
        number: 78,
        name: "a stored answer ends the late ones",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/core/mod.rs",
            "        let stored = self.held.at.as_deref().zip(sent);\n",
            "        let sent = sent.filter(|_| !crate::planted::on(78));\n        let stored = self.held.at.as_deref().zip(sent);\n",
        )],
    },
    Bug {
        number: 79,
        name: "an early read fails the attempt",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/state/client/choose.rs",
            "            && (found.is_err() || !is_recent(begun, core.now))\n",
            "            && (found.is_err() && !crate::planted::on(79) || !is_recent(begun, core.now))\n",
        )],
    },
    Bug {
        number: 80,
        name: "an early read does not age",
        caught_by: &[Histories, Simulation],
        edits: &[edit(
            "src/state/client/early.rs",
            "    begun.passed(now) < millis(EARLY_READ)\n",
            "    begun.passed(now) < millis(EARLY_READ) || crate::planted::on(80)\n",
        )],
    },
    Bug {
        number: 81,
        name: "a token endpoint at another origin ends an account",
        caught_by: &[Simulation],
        edits: &[edit(
            "src/state/sign_out/forget.rs",
            "        origins.iter().any(|origin| *origin == *self.origin)\n",
            "        crate::planted::on(81) || origins.iter().any(|origin| *origin == *self.origin)\n",
        )],
    },
];
