//! Integration tests against a real Kafka and a real Redis. They fail, never skip, where the servers are missing.

#[path = "../tests/support/mod.rs"]
mod support;

mod store;
mod store_faults;
