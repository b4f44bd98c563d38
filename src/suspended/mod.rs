//! The data of suspended flows, until the event that continues each: the redirect or the device code that is
//! out, the renewal under way, the account that the store did not take, the token requests in flight at a sign-out.
//!
//! Data without transitions: the states in `state` continue each.

mod device;
mod elsewhere;
mod leaving;
mod obtaining;
mod parting;
mod redirect;
mod renewal;
mod unsaved;

pub(crate) use device::{Pending, Waits};
pub(crate) use elsewhere::{Awaited, Came, Elsewhere, Otherwise};
pub(crate) use leaving::{Doomed, Leaving, Order, Word};
pub(crate) use obtaining::{AtIdp, Obtaining, Occasion};
pub(crate) use parting::{Overdue, Parting, PartingGrant};
pub(crate) use redirect::{Agreed, Chosen, Renewed, Waiting, WaitingParts};
pub(crate) use renewal::{Effort, Refused, Renewal};
pub(crate) use unsaved::{After, Again, Brings, Kept, Rank, Sent, Unsaved};
