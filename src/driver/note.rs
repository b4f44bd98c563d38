//! Watching a driver at work.

use crate::{Action, Event};

/// What goes in and out, for display. Redacted by its types.
#[derive(Debug)]
pub enum Note<'a> {
    /// An event that goes in.
    In(&'a Event),
    /// An action that came out.
    Out(&'a Action),
}

type See = Box<dyn FnMut(Note<'_>) + Send>;

/// The host's closure, if it has one.
#[derive(Default)]
pub(super) struct Watch(Option<See>);

impl Watch {
    pub(super) fn new(watch: impl FnMut(Note<'_>) + Send + 'static) -> Self {
        Self(Some(Box::new(watch)))
    }

    pub(super) fn see(&mut self, note: Note<'_>) {
        if let Some(watch) = &mut self.0 {
            watch(note);
        }
    }
}
