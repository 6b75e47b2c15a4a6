//! What happens to an event. No IO, no clock, no randomness, no tokio: time and keys are arguments, so the core cannot fail.
//!
//! [`decode`] goes through a block: a value that names a schema is made JSON first ([`translate`]); [`json`] and [`members`] find what matters in a record (or `outline`, where it is like one before), `shape` tells what it is, [`event`] makes it an event,
//! `schema` holds it against the schema of its type, if that has one, [`rules`] turn it into effects on [`keys`]. [`worker`] takes decoded blocks of one partition in order: [`dedupe`] says what
//! was there before, and a [`batch`] gathers the rest, each record for those of the store's [`shards`] that lack it. [`dead_letter`] and [`forward`] build what goes back to the log; a [`letter`] is a dead letter read back, the [`ledger`] says which of them are done with, and a [`replay`] is the record of one that came again.
//!
//! [`delivery`] is what happens to it on the way to services.
//!
//! Who counts what: [`roster`] says what a heartbeat means to a group, [`card`] is what members say of themselves,
//! [`assignment`] who should count what, [`coordination`] what a member does to come to its share. [`switches`] say by which
//! rules, where these have changed, and the [`register`] keeps that outside of the store. [`recovery`] says where partitions begin when lost totals are put back.
//!
//! A [`mark`] is what is remembered of an event that was published under an id, and [`tracked`] what became of one. `short` byte
//! strings are copied and compared without a call.

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
pub mod delivery;
mod envelope;
pub mod event;
pub mod forward;
pub mod json;
pub mod keys;
pub mod ledger;
pub mod letter;
pub mod mark;
pub mod masking;
pub mod members;
mod outline;
pub mod partitioner;
mod places;
pub mod reason;
pub mod recovery;
pub mod register;
pub mod render;
pub mod replay;
pub mod roster;
pub mod rules;
pub mod scalar;
mod schema;
mod shape;
pub mod shards;
mod short;
pub mod switches;
pub mod time;
pub mod tracked;
pub mod translate;
pub mod worker;
