//! Hands events to handlers, each attempt in a task of its own: so a handler that computes for long holds up neither its
//! partition nor its deadline, and one that panics ends nothing but itself.

use std::{any::Any, collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;

use super::{
    event::Event,
    outcome::{Failure, Outcome, handled},
};
use crate::{
    core::delivery::{Handled, HandlerTrouble, Told, handled::told_error},
    runtime::delivery::{Courier, Load},
};

/// A handler, whatever it reads data as.
pub(super) type Erased = Arc<dyn Fn(Event<Vec<u8>>) -> BoxFuture<'static, Handled> + Send + Sync>;

/// A handler without its types.
pub(super) fn erased<T, F, R>(handler: impl Fn(Event<T>) -> F + Send + Sync + 'static) -> Erased
where
    T: DeserializeOwned + Send + 'static,
    F: Future<Output = Result<R, Failure>> + Send + 'static,
    R: Into<Outcome>,
{
    let handler = Arc::new(handler);
    Arc::new(move |event| {
        let handler = Arc::clone(&handler);
        // All of it inside, so that a panic of reading the data is caught too.
        async move {
            match event.read() {
                Ok(event) => handled(handler(event).await.map(Into::into)),
                Err(error) => not(HandlerTrouble::Unfit(told_error(&error.to_string()))),
            }
        }
        .boxed()
    })
}

fn not(trouble: HandlerTrouble) -> Handled {
    Handled::Not { trouble, retry_after_ms: None }
}

/// Which handler takes an event.
pub(super) enum Takers {
    /// The one of its type.
    ByType(BTreeMap<String, Erased>),
    /// One for all.
    One(Erased),
}

/// The handlers of one group.
pub(super) struct HandlerCourier {
    pub takers: Takers,
    pub timeout: Duration,
}

impl HandlerCourier {
    async fn attempt(&self, event: Event<Vec<u8>>) -> Handled {
        let handler = match &self.takers {
            Takers::One(handler) => handler,
            Takers::ByType(handlers) => match handlers.get(&event.event_type) {
                Some(handler) => handler,
                // The group's filter lets no other type pass.
                None => return not(HandlerTrouble::Refused(format!("{} has no handler", event.event_type))),
            },
        };
        let task = AbortOnDropHandle::new(tokio::spawn(handler(event)));
        match tokio::time::timeout(self.timeout, task).await {
            Ok(Ok(handled)) => handled,
            Ok(Err(error)) => not(match error.try_into_panic() {
                Ok(panic) => HandlerTrouble::Panicked(told_error(words(&*panic))),
                Err(error) => HandlerTrouble::Failed(error.to_string()),
            }),
            Err(_) => Handled::TimedOut { timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX) },
        }
    }
}

#[async_trait]
impl Courier for HandlerCourier {
    /// Handlers get one event at a time: their mode has no batches.
    async fn carry(&self, load: Load<'_>) -> Told {
        let handled = match load.events.first() {
            Some(sent) => self.attempt(Event::of(sent, load.partition)).await,
            None => Handled::Done,
        };
        handled.told(chrono::Utc::now().timestamp_millis())
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests;
