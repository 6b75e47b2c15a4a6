//! Who carries events to whoever takes them. The program's own posts them over HTTP, or hands them to handlers in this process;
//! a test's own answers by itself.

use async_trait::async_trait;

use crate::{
    core::delivery::{
        Mode, Request, Told,
        request::{Sent, request},
    },
    model::TopicPartition,
};

/// Events of one partition that go together: one, unless the subscription has batches.
pub struct Load<'a> {
    /// The partition.
    pub partition: &'a TopicPartition,
    /// The events, each with its attempt.
    pub events: &'a [Sent<'a>],
    /// How they are written, where they go as a request.
    pub mode: Mode,
    /// What signs that.
    pub key: Option<&'a [u8]>,
    /// When the attempt began, ms since 1970.
    pub began_ms: i64,
}

impl Load<'_> {
    /// The events as a request: CloudEvents over HTTP.
    pub fn request(&self) -> Request {
        request(self.mode, self.partition, self.events, self.key, self.began_ms)
    }
}

/// Carries events to one target.
#[async_trait]
pub trait Courier: Send + Sync + 'static {
    /// Carries events there, and back what came of each, in their order. It ends within the subscription's `timeout_ms`.
    async fn carry(&self, load: Load<'_>) -> Told;
}
