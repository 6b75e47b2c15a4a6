//! What several test targets share.

pub mod store_contract;
