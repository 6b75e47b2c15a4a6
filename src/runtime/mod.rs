//! What drives the core: publishing, reading results, health.

pub mod health;
pub mod publish;
pub mod reads;
