//! The need for a user, or for a token request where no user is: within the limits of STEP-07.

use crate::action::Why;
use crate::budget::Limited;
use crate::config::SignIn;
use crate::core::Core;
use crate::error::{Cause, Failure, Stage};
use crate::event::Operation;
use crate::state::Step;
use crate::state::sign_in::repeat::ask_user;
use crate::state::without_user::obtain::obtain;
use crate::suspended::Occasion;
use crate::wire::scopes::Scopes;

/// Reports that the user is needed, unless an authorization is pending already. With a grant that needs no
/// user, requests a token.
pub(crate) fn ask(core: &mut Core, operation: Operation, occasion: Occasion) -> Step {
    ask_because(core, operation, occasion, None)
}

/// Same as [`ask`], with a reason other than the stored credentials.
pub(crate) fn ask_because(
    core: &mut Core,
    operation: Operation,
    occasion: Occasion,
    why: Option<Why>,
) -> Step {
    if let SignIn::Machine(flow) = core.config().sign_in.clone() {
        return obtain(core, flow, operation, occasion);
    }
    if let Some(cause) = too_many(core, &operation) {
        return Err(Failure {
            operation: Some(operation),
            stage: Stage::Challenge,
            issuer: None,
            cause,
            seen: Vec::new(),
        });
    }
    let refused = matches!(occasion, Occasion::Refused(_));
    let why = why.unwrap_or_else(|| {
        if core.held.at.is_none() {
            return Why::NoCredentials;
        }
        let demanded = core
            .memory
            .demanded
            .recent_with(&Scopes::default(), core.now.mono);
        // The host receives the scopes for which it asks the user's consent (STEP-13).
        if refused && adds(core, &demanded) {
            Why::ScopeMissing {
                scopes: demanded,
                description: None,
            }
        } else {
            Why::TokenOver
        }
    });
    ask_user(core, why, Some(operation))
}

/// Returns the permanent failure after too many authorizations for one operation (STEP-07).
pub(crate) fn too_many(core: &Core, operation: &Operation) -> Option<Cause> {
    let made = core.memory.attempts(operation, core.now.mono);
    (made >= core.config().authorizations_per_operation())
        .then_some(Cause::OutOfPatience(Limited::Authorizations))
}

/// Returns true when a challenge names scopes that were neither requested nor granted before.
pub(crate) fn adds(core: &Core, scopes: &Scopes) -> bool {
    !core.held.has_scopes(scopes)
}
