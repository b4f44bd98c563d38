//! Tokens of the host's platform, just before they are sent (WIF-05, EMA-05).

use super::{ExchangingSubject, MachineGrant, Obtaining, Requesting};
use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use crate::account::{Account, Obtained, Tokens};
use crate::action::{AssertionKind, SubjectTokenKind};
use crate::budget::{Budget, Limited, REFRESHES_PER_RENEWAL, SIGN_TIME};
use crate::config::{
    AssertionAudience, Enterprise, JwtBearerSupport, MachineFlow, PreRegistered, ResourceParameter,
    WorkloadIdentity,
};
use crate::core::{Ask, Core};
use crate::error::{Cause, Failure, Misconfiguration, Refusal, Stage, Violation};
use crate::event::{Operation, Outcome};
use crate::grant::{
    Asked, Client, ClientCredentials, ClientMethod, ClientOrigin, JwtBearer, MethodFlaw, Resource,
    TokenExchange, TokenGrant, choose_method, key_method,
};
use crate::issuer::{AtIssuer, IssuerBound, IssuerId, Server, ServerSource, SlashRule};
use crate::key::KeyBinding;
use crate::record::ResourceFacts;
use crate::report::Decision;
use crate::secret::Secret;
use crate::state::attempt::{Effort, Errand, ServerErrand};
use crate::state::call::{Call, CallFlaw, Called};
use crate::state::client::{LoadingBinding, Then};
use crate::state::discover::{listed, locate};
use crate::state::exchange::read_answer;
use crate::state::redirect::asked_scopes;
use crate::state::refresh::{asked_wait, back_off};
use crate::state::renew::{Pausing, unreachable};
use crate::state::save::{Kept, SavingAccount};
use crate::state::{LoadingServer, Step, Trigger, Work};
use crate::time::{Moment, MonoMillis, UnixMillis};
use crate::wire::callback::IssBinding;
use crate::wire::form::Form;
use crate::wire::server::ServerDocument;
use crate::wire::token::{Granted, OAuthError, TokenAnswer, UnexpectedToken, read_id_jag};
use crate::wire::words::{GrantProfile, GrantType};

/// Waits for a token of the host's platform, just before it is sent (WIF-05, EMA-05).
pub(crate) struct ObtainingAssertion {
    pub(crate) ask: Ask,
    obtaining: Box<Obtaining>,
    at: AtIssuer<Asked>,
    /// The provider to which a subject token goes; without one it is a workload's assertion.
    idp: Option<AtIssuer<Client>>,
}

impl ObtainingAssertion {
    fn workload(core: &mut Core, obtaining: Box<Obtaining>, at: AtIssuer<Asked>) -> Work {
        let audience = match core.config().settings(at.issuer()).assertion_audience {
            AssertionAudience::Issuer => at.issuer().as_str(),
            AssertionAudience::TokenEndpoint => at.server().facts().token_endpoint.as_str(),
        };
        let kind = AssertionKind::Workload {
            audience: audience.into(),
        };
        let ask = core.obtain(kind, SIGN_TIME);
        Work::ObtainingAssertion(Self {
            ask,
            obtaining,
            at,
            idp: None,
        })
    }

    fn subject(
        core: &mut Core,
        obtaining: Box<Obtaining>,
        at: AtIssuer<Asked>,
        idp: AtIssuer<Client>,
    ) -> Work {
        let kind = AssertionKind::Subject {
            issuer: idp.issuer().clone(),
            renew: obtaining.second_subject,
        };
        let ask = core.obtain(kind, SIGN_TIME);
        Work::ObtainingAssertion(Self {
            ask,
            obtaining,
            at,
            idp: Some(idp),
        })
    }

    pub(crate) fn obtained(
        self,
        core: &mut Core,
        token: Option<(Secret, Option<SubjectTokenKind>)>,
    ) -> Step {
        let issuer = self.at.issuer().clone();
        match (self.idp, token) {
            (None, Some((assertion, None))) => {
                let at = self
                    .at
                    .then(|asked| MachineGrant::Workload(JwtBearer { asked, assertion }));
                Requesting::begin(core, self.obtaining, at)
            }
            (Some(idp), Some((subject, Some(kind)))) => {
                let audience = issuer;
                let asked = self.at.held();
                let (resource, scopes) = (asked.resource.id.clone(), asked.scopes.clone());
                let grant = idp.then(|client| TokenExchange {
                    client,
                    subject,
                    kind,
                    audience,
                    resource,
                    scopes,
                });
                let call = Call::begin(core, grant, Budget::new(1, Limited::Requests));
                ExchangingSubject::called(core, call, self.obtaining, self.at)
            }
            // None, or one of the other kind.
            (_, Some(_) | None) => self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::NoAssertion),
        }
    }
}
