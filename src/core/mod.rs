//! What happens to an event. No IO, no clock, no randomness, no tokio: time and keys are arguments, so the core cannot fail.

pub mod partitioner;
