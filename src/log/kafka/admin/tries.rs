//! How long one call is tried.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::log::{LogError, kafka::wire::Wire};

/// How often a broker may not know a topic before it is believed: one that another broker has just made is known to all of
/// them a moment later.
const TRIES_OF_UNKNOWN: u32 = 3;

/// The tries of one call, until its deadline.
pub(in crate::log::kafka) struct Tries<'w> {
    wire: &'w Wire,
    deadline: Instant,
    failures: u32,
}

impl<'w> Tries<'w> {
    /// Begins a call that ends within the request timeout.
    pub(in crate::log::kafka) fn begin(wire: &'w Wire) -> Self {
        Self { wire, deadline: Instant::now() + wire.options.request_timeout, failures: 0 }
    }

    /// The deadline of the try that begins now: half of what is left, so that a broker which does not answer leaves time
    /// for another try.
    pub(in crate::log::kafka) fn deadline(&self) -> Instant {
        let now = Instant::now();
        now + self.deadline.saturating_duration_since(now) / 2
    }

    /// What a try came to; `None` where the call is to be tried again. The pause before that has passed then.
    pub(in crate::log::kafka) async fn settle<T>(
        &mut self,
        answer: Result<T, LogError>,
    ) -> Option<Result<T, LogError>> {
        let error = match answer {
            Ok(value) => return Some(Ok(value)),
            Err(error) => error,
        };
        self.failures += 1;
        let may_pass = match error {
            LogError::Unknown { .. } => self.failures < TRIES_OF_UNKNOWN,
            _ => error.is_retriable(),
        };
        let pause: Duration = self.wire.options.pause_after(self.failures);
        if !may_pass || Instant::now() + pause >= self.deadline {
            return Some(Err(error));
        }
        // Whoever refused may not be the one to ask any more.
        self.wire.distrust();
        sleep(pause).await;
        None
    }
}
