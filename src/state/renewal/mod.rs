//! The refresh of a token (REFR).

pub(crate) mod ends;
mod late;
pub(crate) mod lease;
pub(crate) mod next_step;
pub(crate) mod refresh;
mod remains;
