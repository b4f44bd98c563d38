//! A new registration whose write is not confirmed yet.

use crate::core::Ask;
use crate::slot::Slot;

/// A new registration that is stored while the redirect with its client is prepared (REG-28).
pub(crate) struct NewRegistration {
    pub(crate) ask: Ask,
    pub(crate) slot: Slot,
}
