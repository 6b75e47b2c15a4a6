//! What a target's answer means for the events that were sent, and for the target.

use serde::Deserialize;

use super::handled::HandlerTrouble;

/// Most characters of an answer that a dead letter repeats.
const MAX_TOLD_CHARS: usize = 200;

/// What an attempt comes to for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service has it.
    Processed,
    /// The service says that it is not to come again.
    Dropped,
    /// It is tried again, or becomes a dead letter.
    Failed {
        /// The target wants it no sooner, ms since 1970.
        not_before_ms: Option<i64>,
    },
    /// It becomes a dead letter at once: trying again would not help.
    Refused,
}

impl Outcome {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Dropped => "dropped",
            Self::Failed { .. } | Self::Refused => "failed",
        }
    }
}

/// Why an event was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The target answered otherwise than with 2xx.
    #[error("the target answered {status}{said}")]
    Status {
        /// The status.
        status: u16,
        /// The beginning of what it said, behind a colon; empty where it said nothing.
        said: String,
    },
    /// The service asked for it again.
    #[error("the service answered RETRY (status {status})")]
    AskedAgain {
        /// The status.
        status: u16,
    },
    /// A batch was answered with another number of statuses.
    #[error("a batch of {sent} events was answered with {answered} statuses")]
    Miscounted {
        /// Events sent.
        sent: usize,
        /// Statuses answered.
        answered: usize,
        /// The status of the answer.
        status: u16,
    },
    /// No answer came in time.
    #[error("no answer within {timeout_ms} ms (timeout_ms)")]
    TimedOut {
        /// The subscription's `timeout_ms`.
        timeout_ms: u64,
    },
    /// No connection, or it broke.
    #[error("the target cannot be reached: {0}")]
    Unreachable(String),
    /// A handler in this process did not take it.
    #[error(transparent)]
    Handler(#[from] HandlerTrouble),
}

impl Trouble {
    /// The code in a dead letter's header `dlq-reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Status { .. } => "delivery-status",
            Self::AskedAgain { .. } => "delivery-retry",
            Self::Miscounted { .. } => "delivery-answer",
            Self::TimedOut { .. } => "delivery-timeout",
            Self::Unreachable(_) => "delivery-unreachable",
            Self::Handler(trouble) => trouble.code(),
        }
    }

    /// The status that the target answered, if it did.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } | Self::AskedAgain { status } | Self::Miscounted { status, .. } => {
                Some(*status)
            }
            Self::TimedOut { .. } | Self::Unreachable(_) | Self::Handler(_) => None,
        }
    }
}

/// What a target answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The body, or its beginning.
    pub body: Vec<u8>,
}

/// What an attempt says of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// It does not work: what the breaker counts.
    pub is_failure: bool,
    /// It gets more than it can take.
    pub is_slow: bool,
    /// It wants nothing sooner, ms since 1970.
    pub not_before_ms: Option<i64>,
}

/// What an attempt tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of each event, in their order; and why, where it was not taken.
    pub outcomes: Vec<(Outcome, Option<Trouble>)>,
    /// Of the target.
    pub manner: Manner,
}

impl Told {
    /// What a target's answer, or the lack of one, tells of `events` events.
    pub fn of(answer: &Result<Answer, Trouble>, events: usize, now_ms: i64) -> Self {
        Self { outcomes: outcomes(answer, events, now_ms), manner: manner(answer, now_ms) }
    }
}

/// One status of an answer.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    status: Option<String>,
}

/// An answer's body: one status, or one for each event of a batch.
#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Each(Vec<Said>),
    All(Said),
}

/// What a target's answer, or the lack of one, means for each of `events` events.
pub fn outcomes(answer: &Result<Answer, Trouble>, events: usize, now_ms: i64) -> Vec<(Outcome, Option<Trouble>)> {
    let failed = |trouble: Trouble, not_before_ms| (Outcome::Failed { not_before_ms }, Some(trouble));
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) => return vec![failed(trouble.clone(), None); events],
    };
    let Answer { status, retry_after, body } = answer;
    let status = *status;
    let not_before = retry_after.as_deref().and_then(|text| not_before_ms(text, now_ms));
    if !(200..300).contains(&status) {
        return vec![failed(Trouble::Status { status, said: said(body) }, not_before); events];
    }
    let one = |said: &Said| match said.status.as_deref() {
        Some("RETRY") => failed(Trouble::AskedAgain { status }, not_before),
        Some("DROP") => (Outcome::Dropped, None),
        // Whatever else a service says with 2xx, it says that it has the event.
        _ => (Outcome::Processed, None),
    };
    match serde_json::from_slice(body) {
        Ok(Body::Each(each)) if each.len() == events => each.iter().map(one).collect(),
        // One event is answered with one object; a list of something else is the service's own.
        Ok(Body::Each(each)) if events > 1 => {
            vec![failed(Trouble::Miscounted { sent: events, answered: each.len(), status }, not_before); events]
        }
        Ok(Body::All(all)) => vec![one(&all); events],
        _ => vec![(Outcome::Processed, None); events],
    }
}

/// What a target's answer, or the lack of one, says of the target.
pub fn manner(answer: &Result<Answer, Trouble>, now_ms: i64) -> Manner {
    match answer {
        Err(Trouble::TimedOut { .. }) => Manner { is_failure: true, is_slow: true, not_before_ms: None },
        Err(_) => Manner { is_failure: true, ..Manner::default() },
        Ok(Answer { status, retry_after, .. }) => {
            let not_before_ms = retry_after.as_deref().and_then(|text| not_before_ms(text, now_ms));
            match status {
                429 => Manner { is_failure: false, is_slow: true, not_before_ms },
                // Whoever says when it is back is there.
                503 => Manner { is_failure: not_before_ms.is_none(), is_slow: true, not_before_ms },
                500..=599 => Manner { is_failure: true, ..Manner::default() },
                _ => Manner::default(),
            }
        }
    }
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
fn not_before_ms(text: &str, now_ms: i64) -> Option<i64> {
    let text = text.trim();
    match text.parse::<u32>() {
        Ok(seconds) => Some(now_ms.saturating_add(i64::from(seconds) * 1_000)),
        Err(_) => chrono::DateTime::parse_from_rfc2822(text).ok().map(|date| date.timestamp_millis()),
    }
}

/// The beginning of a body, for people.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.chars().filter(|letter| !letter.is_control()).take(MAX_TOLD_CHARS).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn read(status: u16, body: &str, events: usize) -> Vec<&'static str> {
        let answer = Answer { status, retry_after: None, body: body.into() };
        let outcomes = outcomes(&Ok(answer), events, NOW);
        outcomes.iter().map(|(outcome, trouble)| trouble.as_ref().map_or(outcome.name(), Trouble::code)).collect()
    }

    #[test]
    fn answers_mean_what_the_service_says_of_each_event() {
        let (p, d, r) = ("processed", "dropped", "delivery-retry");
        for (status, body, events, expected) in [
            (200, "", 1, vec![p]),
            (204, "", 3, vec![p, p, p]),
            (200, "<html>", 1, vec![p]),
            (200, r#"{"status":"SUCCESS"}"#, 1, vec![p]),
            (202, r#"{"status":"RETRY"}"#, 1, vec![r]),
            (200, r#"{"status":"DROP","why":"old"}"#, 2, vec![d, d]),
            (200, r#"{"status":"ok"}"#, 1, vec![p]),
            (200, r#"{"status":7}"#, 1, vec![p]),
            (200, r#"[{"status":"SUCCESS"},{"status":"RETRY"},{"status":"DROP"}]"#, 3, vec![p, r, d]),
            (200, r#"[{"status":"RETRY"}]"#, 1, vec![r]),
            (200, r#"[{"status":"SUCCESS"}]"#, 2, vec!["delivery-answer"; 2]),
            (200, "[]", 1, vec![p]),
            (500, r#"{"status":"SUCCESS"}"#, 1, vec!["delivery-status"]),
            (301, "", 2, vec!["delivery-status"; 2]),
            (410, "", 1, vec!["delivery-status"]),
        ] {
            assert_eq!(read(status, body, events), expected, "{status} {body} {events}");
        }
    }

    #[test]
    fn the_target_is_told_apart_from_its_events() {
        let answered = |status, retry_after: Option<&str>| {
            Ok(Answer { status, retry_after: retry_after.map(str::to_owned), body: Vec::new() })
        };
        let later = Some(NOW + 7_000);
        let date = Some("Tue, 14 Nov 2023 22:13:27 GMT");
        for (answer, is_failure, is_slow, not_before_ms) in [
            (answered(200, None), false, false, None),
            (answered(404, None), false, false, None),
            (answered(429, None), false, true, None),
            (answered(429, Some("7")), false, true, later),
            (answered(429, date), false, true, later),
            (answered(429, Some("soon")), false, true, None),
            (answered(503, Some("7")), false, true, later),
            (answered(503, None), true, true, None),
            (answered(500, None), true, false, None),
            (Err(Trouble::TimedOut { timeout_ms: 5 }), true, true, None),
            (Err(Trouble::Unreachable("refused".into())), true, false, None),
        ] {
            assert_eq!(manner(&answer, NOW), Manner { is_failure, is_slow, not_before_ms }, "{answer:?}");
        }
    }
}
