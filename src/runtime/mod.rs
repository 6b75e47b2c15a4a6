//! What drives the core: tasks, queues, deadlines.

pub mod producer;
pub mod routing;
