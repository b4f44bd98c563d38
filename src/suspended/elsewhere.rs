//! The wait for the tokens of another instance, which took the callback.

use crate::account::Issuance;
use crate::action::Why;
use crate::event::Operation;
use crate::issuer::IssuerId;
use crate::time::MonoMillis;
use crate::wire::scopes::Scopes;

/// Waits for the tokens of another instance, which took the callback: the account is read before anything is reported
/// (AUTHZ-18, CB-06).
pub(crate) struct Elsewhere {
    /// The tokens before the authorization.
    pub(crate) before: Option<Issuance>,
    /// Its scopes. This instance may have refreshed the tokens since, which brings none.
    pub(crate) requested: Scopes,
    /// The other instance has its answer from the token endpoint by then.
    pub(crate) until: MonoMillis,
    pub(crate) looks: u8,
    pub(crate) otherwise: Otherwise,
}

/// The result where no tokens arrive.
pub(crate) enum Otherwise {
    /// Two instances received the callback, and the other one took it.
    Callback,
    /// The record of the redirect was gone. A caller for whom the user was needed may have found that out.
    Redirect(IssuerId, Option<(Why, Option<Operation>)>),
}
