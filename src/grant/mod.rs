//! What a token request is made of.

mod answer;
mod client;
mod code;
mod refresh;

pub(crate) use answer::standard_answer;
pub use client::BasicEncoding;
pub(crate) use client::Client;
pub use client::ClientOrigin;
pub use client::MethodFlaw;
pub(crate) use client::{ClientMethod, choose_method};
pub(crate) use code::{CallbackFlaw, CodeGrant, Matched, RESERVED, Resource};
pub(crate) use code::{Redirected, RedirectedParts};
pub(crate) use refresh::RefreshGrant;

use crate::wire::form::Form;

/// A grant: the only way a secret reaches the body of a token request.
pub(crate) trait TokenGrant {
    /// Writes the grant's parameters, client authentication excepted.
    fn encode(&self, form: &mut Form);
    /// The client that the grant belongs to.
    fn client(&self) -> &Client;
}
