//! The question to the user: what it stores when it is put, and what its answer restores (STEP-15).

use crate::action::{NeedUser, Why};
use crate::core::Core;
use crate::event::Operation;

/// Emits the question, and stores what the answer agrees to.
pub(crate) fn put(core: &mut Core, why: Why, operation: Option<Operation>) {
    core.memory.operation.clone_from(&operation);
    let demanded = &mut core.memory.demanded;
    if core.held.at.is_some() {
        // The scopes of a first sign-in stay necessary.
        demanded.forget_old(core.now.mono);
    }
    if let Why::ScopeMissing { scopes, .. } = &why {
        demanded.add(scopes, core.now.mono);
    }
    if let Why::ServerChanged { from, to } = &why {
        core.memory.offered = Some(Box::new((from.clone(), to.clone())));
    }
    core.need_user(why, operation);
}

/// Restores what a question stands for, in a machine that may not have asked it: its answer then has the same effect
/// (STEP-15).
pub(crate) fn recall(core: &mut Core, asked: NeedUser) {
    recall_reason(core, &asked.why);
    if asked.operation.is_some() {
        core.memory.operation = asked.operation;
    }
}

/// Restores what the reason of a question stands for, when its answer arrives: an attempt that is under way may serve it.
pub(crate) fn recall_reason(core: &mut Core, why: &Why) {
    match why {
        Why::NoCredentials | Why::TokenOver | Why::RenewalRefused { .. } => {}
        Why::ScopeMissing { scopes, .. } => {
            core.memory.demanded.forget_old(core.now.mono);
            core.memory.demanded.add(scopes, core.now.mono);
        }
        Why::ServerChanged { from, to } => {
            core.memory.offered = Some(Box::new((from.clone(), to.clone())));
        }
        Why::ClientForgotten => core.memory.forgot_client(core.now.mono),
        Why::MethodRefused {
            issuer, refused, ..
        } => {
            core.memory.clients.refuse(issuer, *refused);
            core.memory.forgot_client(core.now.mono);
        }
        Why::OfflineAccessRefused => core.memory.offline_access_refused = true,
        Why::ScopesRefused { .. } => core.memory.scopes_refused = true,
    }
}
