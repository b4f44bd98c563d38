//! Tokens of the host's platform, obtained just before use (WIF-05, EMA-05).

use crate::account::MachineGrant;
use crate::action::{AssertionKind, SubjectTokenKind};
use crate::budget::{Budget, Limited, SIGN_TIME};
use crate::core::{Ask, Core};
use crate::error::Misconfiguration;
use crate::grant::{Asked, Client, JwtBearer, TokenExchange};
use crate::issuer::AtIssuer;
use crate::secret::Secret;
use crate::state::call::Call;
use crate::state::{Step, Work};
use crate::suspended::{AtIdp, Obtaining};

use super::exchange_subject::ExchangingSubject;
use super::request::Requesting;

/// Waits for a token of the host's platform (WIF-05, EMA-05).
pub(crate) struct ObtainingAssertion {
    pub(crate) ask: Ask,
    obtaining: Box<Obtaining>,
    at: AtIssuer<Asked>,
    /// The provider that receives a subject token; `None`: the token is a workload's assertion.
    idp: Option<Box<AtIssuer<Client>>>,
}

impl ObtainingAssertion {
    pub(crate) fn workload(
        core: &mut Core,
        obtaining: Box<Obtaining>,
        at: AtIssuer<Asked>,
    ) -> Work {
        let wanted = core.config().settings(at.issuer()).assertion_audience;
        let kind = AssertionKind::Workload {
            audience: at.server().audience(wanted).into(),
        };
        let ask = core.obtain(kind, SIGN_TIME);
        Work::ObtainingAssertion(Self {
            ask,
            obtaining,
            at,
            idp: None,
        })
    }

    pub(crate) fn subject(
        core: &mut Core,
        AtIdp { obtaining, at }: AtIdp,
        idp: AtIssuer<Client>,
    ) -> Work {
        let kind = AssertionKind::Subject {
            issuer: idp.issuer().clone(),
            renew: obtaining.second_subject,
            wish: obtaining.wish.clone(),
        };
        let ask = core.obtain(kind, SIGN_TIME);
        Work::ObtainingAssertion(Self {
            ask,
            obtaining,
            at,
            idp: Some(Box::new(idp)),
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
                ExchangingSubject::called(core, call, self.obtaining, Box::new(self.at))
            }
            // No token, or one of the wrong kind.
            (_, Some(_) | None) => self
                .obtaining
                .misconfigured(&issuer, Misconfiguration::NoAssertion),
        }
    }
}
