//! What happens to an event. No IO, no clock, no randomness, no tokio: time and keys are arguments, so the core cannot fail.
//!
//! [`event`] reads a record, [`dedupe`] says whether it was there before, [`rules`] turns it into effects, [`batch`]
//! gathers them, and [`worker`] does all this for one partition. [`dead_letter`] and [`forward`] build what goes back to the log.

pub mod backoff;
pub mod batch;
pub mod dead_letter;
pub mod decimal;
pub mod dedupe;
pub mod event;
pub mod forward;
pub mod partitioner;
pub mod reason;
pub mod render;
pub mod rules;
pub mod scalar;
pub mod time;
pub mod worker;
