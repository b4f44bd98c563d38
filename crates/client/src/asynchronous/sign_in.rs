//! A sign-in with the driver's own user: consent, redirect, callback.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::job::Message;
use super::user::{Callbacks, User};
use crate::clock::Surroundings;
use mcp_auth_machine::action::{NeedUser, Redirect, ShowCode};
use mcp_auth_machine::event::Authorization;

pub(super) struct SignIn {
    /// The current reason for which the user is needed; it may exceed the one that the user was asked
    /// about.
    pub(super) need: NeedUser,
    pub(super) step: Step,
}

pub(super) enum Step {
    Asking {
        for_this: NeedUser,
        task: JoinHandle<Option<Authorization>>,
    },
    /// The machine prepares the redirect.
    Agreed,
    AtBrowser(JoinHandle<()>),
    /// The user has the code of a device authorization; the machine polls.
    Showing(JoinHandle<()>),
    /// The host's future ended: its callback is being processed, or none arrived.
    Left,
}

/// An action of the user.
pub(super) enum Done {
    Answered(Option<Authorization>),
    Left,
}

impl SignIn {
    /// Asks the user for consent.
    pub(super) fn ask<U: User>(
        need: NeedUser,
        user: &Arc<U>,
        around: &Surroundings,
    ) -> Result<Self, (NeedUser, getrandom::Error)> {
        let authorization = match around.seed() {
            Ok(seed) => Authorization::new(seed),
            Err(error) => return Err((need, error)),
        };
        let (user, asked) = (Arc::clone(user), need.clone());
        let task = tokio::spawn(async move { user.consent(asked, authorization).await });
        let step = Step::Asking {
            for_this: need.clone(),
            task,
        };
        Ok(Self { need, step })
    }

    /// Redirects the user.
    pub(super) fn send<U: User>(
        &mut self,
        redirect: Redirect,
        user: &Arc<U>,
        back: mpsc::WeakUnboundedSender<Box<Message>>,
    ) {
        let user = Arc::clone(user);
        let callbacks = Callbacks(back);
        let task = tokio::spawn(async move { user.redirect(redirect, callbacks).await });
        self.step = Step::AtBrowser(task);
    }

    /// Shows the user a code.
    pub(super) fn show<U: User>(&mut self, shown: ShowCode, user: &Arc<U>) {
        let user = Arc::clone(user);
        let task = tokio::spawn(async move { user.show_code(shown).await });
        let before = std::mem::replace(&mut self.step, Step::Showing(task));
        before.abort();
    }

    /// Waits for the user. Pending while the machine works.
    pub(super) async fn done(sign_in: &mut Option<Self>) -> Done {
        match sign_in.as_mut().map(|sign_in| &mut sign_in.step) {
            Some(Step::Asking { task, .. }) => Done::Answered(task.await.ok().flatten()),
            Some(Step::AtBrowser(task)) => {
                // A panic counts as the end of the future.
                let _left = task.await;
                Done::Left
            }
            // The server knows first whether the user has approved.
            Some(Step::Showing(_) | Step::Agreed | Step::Left) | None => {
                std::future::pending().await
            }
        }
    }

    /// Ends the sign-in without the user.
    pub(super) fn end(self) {
        self.step.abort();
    }
}

impl Step {
    fn abort(self) {
        match self {
            Self::Asking { task, .. } => task.abort(),
            Self::AtBrowser(task) | Self::Showing(task) => task.abort(),
            Self::Agreed | Self::Left => {}
        }
    }
}
