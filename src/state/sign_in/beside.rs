//! A look at the account beside the record of a redirect: the user may have completed another redirect at another instance
//! (AUTHZ-18).

use crate::action::Why;
use crate::budget::Limited;
use crate::core::Core;
use crate::error::{Cause, Failure, Stage, StoreFlaw};
use crate::event::Operation;
use crate::slot::AuthorizationId;
use crate::state::challenge::question::put;
use crate::state::trigger::Trigger;
use crate::state::{Next, Step, done};
use crate::suspended::{Awaited, Came, Elsewhere, Otherwise, Renewal};
use crate::time::MonoMillis;
use crate::wire::scopes::Scopes;

/// The question of a caller for whom the user was needed.
type Question = (Why, Option<Operation>);

/// Reads the account, because the record of the redirect is there. `before`: the authorization whose tokens are not awaited.
/// The question is asked when the user's time has ended.
pub(crate) fn look_at_the_account(
    core: &mut Core,
    before: Option<AuthorizationId>,
    question: Option<Question>,
) -> Step {
    let Some(waiting) = &core.waiting else {
        return done();
    };
    // Unsaved tokens are compared with the account that they are to replace, so it is not read before they are saved.
    if core.held.unsaved.is_some() {
        return match question {
            Some(question) => asks(core, question),
            None => looked(core),
        };
    }
    let awaited = Awaited {
        own: waiting.rest.authorization(),
        before,
        requested: waiting.at.held().0.requested.clone(),
    };
    Ok(look(awaited, waiting.rest.until, question))
}

/// Reads the account before a question for which the record of this authorization was read, and which the authorization does
/// not answer any more: it was cancelled meanwhile.
pub(crate) fn look_before_asking(
    core: &mut Core,
    own: AuthorizationId,
    question: Question,
) -> Step {
    if core.held.unsaved.is_some() {
        return asks(core, question);
    }
    let awaited = Awaited {
        own,
        before: core.held.authorization(),
        requested: Scopes::default(),
    };
    Ok(look(awaited, core.now.mono, Some(question)))
}

fn look(awaited: Awaited, until: MonoMillis, question: Option<Question>) -> Next {
    Next::Read(Trigger::TakenElsewhere(Box::new(Elsewhere {
        awaited,
        until,
        looks: 0,
        otherwise: Otherwise::Pending(question),
    })))
}

/// Continues after the account was read. If the tokens of another authorization have come, and serve every caller, the redirect
/// is dropped. Otherwise the stored token serves those that it can, and an expired one is renewed for them. `unread`: why the
/// account could not be read.
pub(crate) fn beside_the_record(
    core: &mut Core,
    came: Came,
    question: Option<Question>,
    unread: Option<StoreFlaw>,
) -> Step {
    let question = question.filter(|(_, operation)| still_waits(core, operation.as_ref()));
    match &core.waiting {
        Some(waiting) if !waiting.is_over(core.now.mono) => meanwhile(core, came),
        // The authorization was cancelled meanwhile, and its callers were told.
        None if question.is_none() => done(),
        Some(_) | None => at_the_end(core, came, question, unread),
    }
}

fn meanwhile(core: &mut Core, came: Came) -> Step {
    let requested = core.waiting.as_ref().map(|w| &w.at.held().0.requested);
    if requested.is_some_and(|requested| core.held.has_scopes(requested)) {
        core.serve_others();
    }
    let callers = !core.callers.is_empty();
    if came == Came::Usable && !callers {
        return served(core);
    }
    let name = core.held.authorization();
    let renewable = came == Came::Over && callers && core.held.is_renewable(core.now);
    match &mut core.waiting {
        // The redirect is kept: the user is not asked for beside it.
        Some(waiting) if renewable && waiting.rest.renewed != name => {
            waiting.rest.renewed = name;
            waiting.rest.look_again(core.now.mono, callers);
            renew(core)
        }
        Some(_) | None => looked(core),
    }
}

fn at_the_end(
    core: &mut Core,
    came: Came,
    question: Option<Question>,
    unread: Option<StoreFlaw>,
) -> Step {
    let lacks = |(why, operation): &Question| still_asks(core, why, operation.as_ref());
    let question = match question {
        Some(question) if unread.is_none() && lacks(&question) => return asks(core, question),
        other => other,
    };
    core.serve_others();
    let callers = !core.callers.is_empty();
    match (came, unread) {
        (Came::Usable, _) if !callers => served(core),
        (_, Some(flaw)) if callers => {
            core.stop_waiting();
            Err(unreadable(core, flaw))
        }
        (Came::Over, _) if callers || core.held.is_renewable(core.now) => {
            core.stop_waiting();
            renew(core)
        }
        (Came::Nothing | Came::Usable | Came::Over, _) => match question {
            Some((why, operation)) if still_waits(core, operation.as_ref()) => {
                if is_out_of_date(core, &why) {
                    core.stop_waiting();
                    return renew(core);
                }
                asks(core, (why, operation))
            }
            Some(_) | None => looked(core),
        },
    }
}

/// Drops the redirect, because it has nothing left to bring.
fn served(core: &mut Core) -> Step {
    core.stop_waiting();
    core.ready();
    done()
}

/// Drops the redirect and asks the question. The stored token serves the others that it can.
fn asks(core: &mut Core, (why, operation): Question) -> Step {
    core.stop_waiting();
    ask_alone(core, why, operation);
    core.serve_others();
    done()
}

/// Asks a question. One about scopes is not the answer to other operations, which may not need them.
pub(crate) fn ask_alone(core: &mut Core, why: Why, operation: Option<Operation>) {
    let is_about_scopes = matches!(why, Why::ScopeMissing { .. });
    put(core, why, operation);
    if is_about_scopes {
        core.callers.have_no_result();
    }
}

/// Keeps waiting, because the record is there or could not be read; fails when the user's time has passed.
fn looked(core: &mut Core) -> Step {
    let now = core.now.mono;
    let callers = !core.callers.is_empty();
    match &mut core.waiting {
        Some(waiting) if now < waiting.rest.until => {
            waiting.rest.look_again(now, callers);
            done()
        }
        Some(_) | None => match core.stop_waiting() {
            Some((issuer, operation)) => Err(Failure {
                operation,
                stage: Stage::Authorization,
                issuer: Some(issuer),
                cause: Cause::OutOfPatience(Limited::UserTime),
                seen: Vec::new(),
            }),
            None => done(),
        },
    }
}

/// Renews the callers that wait for tokens which have come and have expired; without a caller, the tokens of the person who has
/// signed in. The callers of an authorization that is still pending continue to wait for it, beside the renewal of one.
pub(crate) fn renew(core: &mut Core) -> Step {
    let (operation, refused) = if core.callers.is_empty() {
        (core.memory.operation_of_a_person(), None)
    } else if core.waits_at().is_none() && core.callers.current().is_none() {
        // Each gets a renewal of its own when this work has ended.
        return done();
    } else {
        match core.callers.next_one() {
            Some(caller) => caller,
            None => return done(),
        }
    };
    let renewal = Renewal::of_a_caller(core, operation, refused);
    Ok(Next::Renew(renewal))
}

/// The end of a wait without a last look at the account: the tokens may be there, so the user is not asked.
pub(crate) fn unreadable(core: &Core, flaw: StoreFlaw) -> Failure {
    Failure {
        operation: core.memory.operation.clone(),
        stage: Stage::Slots,
        issuer: None,
        cause: Cause::NotPersisted(flaw),
        seen: Vec::new(),
    }
}

/// Returns true when a question is for want of an account that is there now: a renewal finds out what is due.
pub(crate) fn is_out_of_date(core: &Core, why: &Why) -> bool {
    matches!(why, Why::NoCredentials) && core.held.at.is_some()
}

/// Returns true when the caller of a question still waits for an answer.
pub(crate) fn still_waits(core: &Core, operation: Option<&Operation>) -> bool {
    operation.is_none_or(|operation| core.callers.has(operation))
}

/// Returns true when a question is about scopes that the account lacks, and its caller still waits.
pub(crate) fn still_asks(core: &Core, why: &Why, operation: Option<&Operation>) -> bool {
    let lacks = matches!(why, Why::ScopeMissing { scopes, .. } if !core.held.has_scopes(scopes));
    lacks && still_waits(core, operation)
}
