//! What several test targets share.

// Each test binary uses a part of it; what is wrong in a helper fails the test.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod blocks;
pub mod breaking;
pub mod events;
pub mod examples;
pub mod fault_proxy;
pub mod faulty_store;
pub mod hostile;
pub mod log_contract;
pub mod memory_log;
pub mod memory_store;
pub mod numbered;
pub mod oracle;
pub mod process;
pub mod replays;
pub mod results;
pub mod store_contract;
pub mod target;
pub mod tier_contract;
