//! Discovery: the documents of the resource and of its authorization servers (DISC, META), and what they say about the account's issuer (ISO).

pub(crate) mod cached_resource;
pub(crate) mod cached_server;
pub(crate) mod choose_server;
pub(crate) mod fetch;
pub(crate) mod listing;
pub(crate) mod locate;
pub(crate) mod resource;
pub(crate) mod server;
pub(crate) mod standing;
