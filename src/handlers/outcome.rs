//! What a handler says of an event.

use std::{error::Error, fmt, time::Duration};

use crate::core::delivery::{Handled, HandlerTrouble, handled::told_error};

/// What a handler that did not fail says. `()` is [`Outcome::Done`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It has the event.
    #[default]
    Done,
    /// It wants the event again, as after a failure; but nothing that it needs is away, so others are handed over meanwhile.
    Retry,
    /// It never wants the event again. No dead letter.
    Drop,
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// Why a handler did not take an event. Any error becomes one by `?`, with what is behind it; so it is none itself, as
/// `anyhow::Error` is none.
///
/// The event is tried again, as often as the subscription says; then it is a dead letter with this as its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    retry_after: Option<Duration>,
    is_refusal: bool,
}

impl Failure {
    /// A failure that may pass: the event is tried again.
    pub fn new(message: impl fmt::Display) -> Self {
        // An error of anyhow tells what is behind it in this form.
        Self { message: told_error(&format!("{message:#}")), retry_after: None, is_refusal: false }
    }

    /// A failure that no further attempt would mend: the event is a dead letter at once.
    pub fn refuse(message: impl fmt::Display) -> Self {
        Self { is_refusal: true, ..Self::new(message) }
    }

    /// The same, with the next attempt no sooner than this; the subscription's longest wait is the most that is waited.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut behind = error.source();
        while let Some(cause) = behind {
            message = format!("{message}: {cause}");
            behind = cause.source();
        }
        Self::new(message)
    }
}

/// What a handler's answer means.
pub(super) fn handled(answer: Result<Outcome, Failure>) -> Handled {
    let not = |trouble, retry_after_ms| Handled::Not { trouble, retry_after_ms };
    match answer {
        Ok(Outcome::Done) => Handled::Done,
        Ok(Outcome::Drop) => Handled::Dropped,
        Ok(Outcome::Retry) => not(HandlerTrouble::AskedAgain, None),
        Err(Failure { message, is_refusal: true, .. }) => not(HandlerTrouble::Refused(message), None),
        Err(Failure { message, retry_after, .. }) => {
            let wait_ms = retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            not(HandlerTrouble::Failed(message), wait_ms)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the order was not stored")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn errors_tell_what_is_behind_them() {
        let by_question_mark = || -> Result<(), Failure> { Err(Outer(std::io::Error::other("disk full")))? };
        assert_eq!(by_question_mark().unwrap_err().to_string(), "the order was not stored: disk full");
        let chain = anyhow::Error::new(std::io::Error::other("disk full")).context("the order was not stored");
        assert_eq!(Failure::new(chain).to_string(), "the order was not stored: disk full");
    }

    #[test]
    fn each_answer_means_one_thing() {
        let not = |trouble, retry_after_ms| Handled::Not { trouble, retry_after_ms };
        let failed = || HandlerTrouble::Failed("why".to_owned());
        let later = Failure::new("why").retry_after(Duration::from_secs(2));
        for (answer, expected) in [
            (Ok(().into()), Handled::Done),
            (Ok(Outcome::Drop), Handled::Dropped),
            (Ok(Outcome::Retry), not(HandlerTrouble::AskedAgain, None)),
            (Err(Failure::new("why")), not(failed(), None)),
            (Err(later), not(failed(), Some(2_000))),
            (Err(Failure::refuse("why")), not(HandlerTrouble::Refused("why".to_owned()), None)),
        ] {
            assert_eq!(handled(answer.clone()), expected, "{answer:?}");
        }
    }
}
