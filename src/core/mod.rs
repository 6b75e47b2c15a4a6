//! What happens to an event. No IO, no clock, no randomness, no tokio: time and keys are arguments, so the core cannot fail.
//!
//! [`decode`] goes through a block: [`json`] and [`members`] find what matters in a record, [`event`] makes it an event,
//! [`rules`] turn that into effects on [`keys`]. [`worker`] takes decoded blocks of one partition in order: [`dedupe`] says what
//! was there before, and a [`batch`] gathers the rest. [`dead_letter`] and [`forward`] build what goes back to the log.
//!
//! Who counts what: [`roster`] says what a heartbeat means to a group, [`card`] is what members say of themselves,
//! [`assignment`] who should count what, [`coordination`] what a member does to come to its share.

pub mod assignment;
pub mod backoff;
pub mod batch;
pub mod card;
pub mod change;
pub mod coordination;
pub mod dead_letter;
pub mod decimal;
pub mod decode;
pub mod dedupe;
pub mod event;
pub mod forward;
pub mod json;
pub mod keys;
pub mod members;
pub mod partitioner;
pub mod reason;
pub mod render;
pub mod roster;
pub mod rules;
pub mod scalar;
pub mod time;
pub mod worker;
