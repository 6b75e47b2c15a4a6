//! Integration tests against a real Kafka and a real Redis. They fail, never skip, where the servers are missing.

#[path = "../tests/support/mod.rs"]
mod support;

mod access;
mod admin;
mod clients;
mod faults;
mod flow;
mod kcat;
mod log;
mod place;
mod store;
mod store_faults;
mod trespass;
