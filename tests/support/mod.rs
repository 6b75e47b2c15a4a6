//! What several tests share.

// Each test binary uses a part of it; what is wrong in a helper fails the test.
#![allow(dead_code, clippy::unwrap_used)]

pub mod events;
pub mod oracle;
