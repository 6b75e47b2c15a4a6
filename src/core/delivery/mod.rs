//! Delivery to subscriptions (SPEC 7), as far as it needs neither a network nor a clock: which event is sent next, what an
//! answer means, when the next attempt is due, and what stands in the position that a restart goes on from.
//!
//! [`queue`] is the state machine of one partition of one group; [`position`] is what is kept of it, [`retry`] says how long
//! to wait. [`parcel`] reads an event out of a record, [`filter`] says whether the group wants it, [`request`] writes it as a
//! CloudEvent ([`signature`] signs that), [`answer`] reads what came back, [`handled`] what a handler in code made of it. [`breaker`] and [`throttle`] say whether a target is
//! to be asked at the moment at all.

pub mod answer;
pub mod breaker;
pub mod filter;
pub mod handled;
pub mod parcel;
pub mod position;
pub mod queue;
pub mod request;
pub mod retry;
pub mod signature;
pub mod throttle;

pub use answer::{Answer, Outcome, Told, Trouble};
pub use filter::Filter;
pub use handled::{Handled, HandlerTrouble};
pub use parcel::{Parcel, Reader, Unwanted};
pub use position::{Position, Tried};
pub use queue::{Attempt, Queue, Verdict};
pub use request::{Mode, Request};
pub use retry::Retry;
