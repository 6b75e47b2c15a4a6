//! A call of `Log::produce`, and who waits for it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::log::LogError;

/// An answer for each record of a call, in order.
pub(super) type Answers = Vec<Result<i64, LogError>>;

/// A call of `Log::produce`. When its last record is answered, and what refers to it is dropped, the caller hears of it.
pub(super) struct Call {
    answers: Mutex<Vec<Option<Result<i64, LogError>>>>,
    caller: Option<oneshot::Sender<Answers>>,
    what: Arc<str>,
    /// Its share of the memory.
    _room: OwnedSemaphorePermit,
    /// Counts the calls of a lane.
    _busy: Arc<()>,
}

impl Call {
    pub(super) fn new(
        records: usize,
        what: Arc<str>,
        room: OwnedSemaphorePermit,
        busy: Arc<()>,
    ) -> (Arc<Self>, oneshot::Receiver<Answers>) {
        let (caller, receiver) = oneshot::channel();
        let call =
            Self { answers: Mutex::new(vec![None; records]), caller: Some(caller), what, _room: room, _busy: busy };
        (Arc::new(call), receiver)
    }

    /// What is being done, to what.
    pub(super) fn what(&self) -> &Arc<str> {
        &self.what
    }

    /// Answers a record; the first answer counts.
    pub(super) fn answer(&self, position: usize, answer: Result<i64, LogError>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place @ None) = answers.get_mut(position) {
            *place = Some(answer);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(caller) = self.caller.take() else { return };
        let answers = std::mem::take(self.answers.get_mut().unwrap_or_else(PoisonError::into_inner));
        let closed = || LogError::TimedOut { what: format!("{} until the log was closed", self.what), after_ms: 0 };
        // Whoever called may have stopped waiting.
        let _ = caller.send(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(closed()))).collect());
    }
}
