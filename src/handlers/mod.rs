//! Handlers in code: events for async functions of the process that they run in, with the semantics of deliveries over HTTP.
//! This is what a Rust program uses of the crate; `docs/handlers.md` is its page.
//!
//! A [`Service`] runs everything that the binary runs, by the same settings. Each [`Subscription`] that it is given is a group
//! with a position of its own, whose [`Event`]s go to handlers; what these answer ([`Outcome`], [`Failure`]) means what the
//! answers of a service over HTTP mean. Handlers are one more implementation of the seam that deliveries send through
//! ([`crate::runtime::delivery::Courier`]): order, retries, dead letters, positions and leases are those of every delivery.
//!
//! ```no_run
#![doc = include_str!("../../examples/handlers.rs")]
//! ```

mod courier;
mod event;
mod outcome;
mod service;
mod subscription;

pub use self::{
    event::{Event, Origin},
    outcome::{Failure, Outcome},
    service::{Running, Service, ServiceError, stop_signal},
    subscription::Subscription,
};
pub use crate::catalog::plan::Priority;
