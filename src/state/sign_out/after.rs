//! The continuation after a registration was erased.

use crate::core::Core;
use crate::state::{Step, done};
use crate::suspended::After;

impl After {
    pub(crate) fn run(self, core: &mut Core) -> Step {
        match self {
            Self::Ask(why) => {
                // The operation did not cause the authorization that follows (STEP-07).
                core.memory.give_back();
                let operation = core.memory.operation.clone();
                core.need_user(why, operation);
                done()
            }
            Self::Fail(failure) => Err(*failure),
        }
    }
}
