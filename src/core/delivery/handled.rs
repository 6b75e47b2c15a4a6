//! What a handler in this process made of an event, and what that means for the event and for the group.

use super::answer::{Manner, Outcome, Told, Trouble};

/// Most characters of an error that are kept.
const MAX_ERROR_CHARS: usize = 1_000;

/// Why a handler did not take an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerTrouble {
    /// It asked for it again.
    #[error("the handler asked for it again")]
    AskedAgain,
    /// It gave an error.
    #[error("the handler failed: {0}")]
    Failed(String),
    /// It panicked.
    #[error("the handler panicked: {0}")]
    Panicked(String),
    /// It wants it never, and a dead letter to be looked at.
    #[error("the handler refused it: {0}")]
    Refused(String),
    /// The data is not what the handler takes.
    #[error("the data is not what the handler takes: {0}")]
    Unfit(String),
}

impl HandlerTrouble {
    /// The code in a dead letter's header `dlq-reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AskedAgain => "delivery-retry",
            Self::Failed(_) => "delivery-error",
            Self::Panicked(_) => "delivery-panic",
            Self::Refused(_) => "delivery-refused",
            Self::Unfit(_) => "delivery-data",
        }
    }

    /// Whether it says that what the handler needs is away, and not that this event is odd: what the breaker counts.
    fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Panicked(_))
    }
}

/// What a handler made of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It has the event.
    Done,
    /// It never wants the event again.
    Dropped,
    /// It did not take it.
    Not {
        /// Why.
        trouble: HandlerTrouble,
        /// It wants it no sooner than so much later, ms.
        retry_after_ms: Option<u64>,
    },
    /// It did not end in time.
    TimedOut {
        /// The subscription's `timeout_ms`.
        timeout_ms: u64,
    },
}

impl Handled {
    /// What that tells of the event, and of whether others are handed over meanwhile.
    pub fn told(self, now_ms: i64) -> Told {
        let (outcome, manner) = match self {
            Self::Done => ((Outcome::Processed, None), Manner::default()),
            Self::Dropped => ((Outcome::Dropped, None), Manner::default()),
            Self::TimedOut { timeout_ms } => {
                let trouble = Trouble::TimedOut { timeout_ms };
                let manner = Manner { is_failure: true, is_slow: true, not_before_ms: None };
                ((Outcome::Failed { not_before_ms: None }, Some(trouble)), manner)
            }
            Self::Not { trouble, retry_after_ms } => {
                let wait_ms = retry_after_ms.map(|wait| i64::try_from(wait).unwrap_or(i64::MAX));
                let outcome = match trouble {
                    HandlerTrouble::Refused(_) | HandlerTrouble::Unfit(_) => Outcome::Refused,
                    _ => Outcome::Failed { not_before_ms: wait_ms.map(|wait| now_ms.saturating_add(wait)) },
                };
                let manner = Manner { is_failure: trouble.is_failure(), ..Manner::default() };
                ((outcome, Some(trouble.into())), manner)
            }
        };
        Told { outcomes: vec![outcome], manner }
    }
}

/// An error as it stands in a dead letter: its beginning, on one line.
pub fn told_error(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX_ERROR_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_handler_says_is_about_the_event_or_about_what_it_needs() {
        let not = |trouble, retry_after_ms| Handled::Not { trouble, retry_after_ms };
        let failed = |not_before_ms| Outcome::Failed { not_before_ms };
        let text = || "why".to_owned();
        for (handled, outcome, code, is_failure, is_slow) in [
            (Handled::Done, Outcome::Processed, None, false, false),
            (Handled::Dropped, Outcome::Dropped, None, false, false),
            (Handled::TimedOut { timeout_ms: 5 }, failed(None), Some("delivery-timeout"), true, true),
            (not(HandlerTrouble::AskedAgain, None), failed(None), Some("delivery-retry"), false, false),
            (not(HandlerTrouble::Failed(text()), None), failed(None), Some("delivery-error"), true, false),
            (not(HandlerTrouble::Failed(text()), Some(9)), failed(Some(10)), Some("delivery-error"), true, false),
            (not(HandlerTrouble::Panicked(text()), None), failed(None), Some("delivery-panic"), true, false),
            (not(HandlerTrouble::Refused(text()), Some(9)), Outcome::Refused, Some("delivery-refused"), false, false),
            (not(HandlerTrouble::Unfit(text()), None), Outcome::Refused, Some("delivery-data"), false, false),
        ] {
            let told = handled.clone().told(1);
            let [(found, trouble)] = &told.outcomes[..] else { panic!("{told:?}") };
            assert_eq!((*found, trouble.as_ref().map(Trouble::code)), (outcome, code), "{handled:?}");
            assert_eq!(told.manner, Manner { is_failure, is_slow, not_before_ms: None }, "{handled:?}");
            assert_eq!(trouble.as_ref().and_then(Trouble::status), None);
        }
    }

    #[test]
    fn an_error_is_one_line_of_bounded_length() {
        assert_eq!(told_error("a\nb\u{7}c"), "a b c");
        assert_eq!(told_error(&"é".repeat(5_000)).chars().count(), MAX_ERROR_CHARS);
    }
}
