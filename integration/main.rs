//! Integration tests against a real Kafka and a real Redis. They fail, never skip, where the servers are missing.

#[path = "../tests/support/mod.rs"]
mod support;

mod access;
mod admin;
mod brokers;
mod clients;
mod cluster;
mod faults;
mod flow;
mod java;
mod kcat;
mod log;
mod lost_log;
mod members;
mod offsets;
mod place;
mod proof;
mod proxy;
mod real_log;
mod store;
mod store_faults;
mod trespass;
mod verify;
