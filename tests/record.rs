//! Record batches: what the room `log::record` reads is what was written, in each codec, whoever wrote it; what cannot be
//! read is an error and never a panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

#[path = "record/any_bytes.rs"]
mod any_bytes;
#[path = "record/building.rs"]
mod building;
#[path = "record/codecs.rs"]
mod codecs;
#[path = "record/fixture.rs"]
mod fixture;
#[path = "record/reading.rs"]
mod reading;
#[path = "record/transactions.rs"]
mod transactions;
