//! How deliveries of a topic's events are tried again, as far as the topic says.

use std::ops::RangeInclusive;

use super::reader::{Reader, Table};

/// Most attempts after the first that may be asked for.
pub const MAX_RETRIES: u32 = 1_000;
/// Longest wait that may be asked for: a day, ms.
pub const MAX_WAIT_MS: u64 = 86_400_000;
/// By what a wait may be longer than the one before.
pub const FACTORS: RangeInclusive<f64> = 1.0..=100.0;

/// Attempts and waits. What is `None` is left to the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TopicRetry {
    /// `max_retries`: attempts to deliver an event after the first. Else `MAX_RETRIES`.
    pub max: Option<u32>,
    /// `retry.initial_ms`: wait before the second attempt, ms. Else `RETRY_INITIAL_MS`.
    pub initial_ms: Option<u64>,
    /// `retry.factor`: by which each further wait is longer. Else `RETRY_FACTOR`.
    pub factor: Option<f64>,
    /// `retry.max_delay_ms`: longest wait, ms. Else `RETRY_MAX_DELAY_MS`.
    pub max_delay_ms: Option<u64>,
}

/// What a topic says of it.
pub(super) fn read<'t>(reader: &mut Reader<'t>, topic: Table<'t>) -> TopicRetry {
    let max = reader.given_integer(topic, "max_retries", 0..=i64::from(MAX_RETRIES));
    let max = max.and_then(|max| u32::try_from(max).ok());
    let wanted = "a table, as { initial_ms = 5000, factor = 2.0, max_delay_ms = 300000 }";
    let Some(waits) = reader.table(topic, "retry", "`retry`", wanted) else {
        return TopicRetry { max, ..TopicRetry::default() };
    };
    reader.only(waits, &["initial_ms", "factor", "max_delay_ms"]);
    let mut wait = |name| {
        let ms = reader.given_integer(waits, name, 1..=MAX_WAIT_MS as i64)?;
        u64::try_from(ms).ok()
    };
    let (initial_ms, max_delay_ms) = (wait("initial_ms"), wait("max_delay_ms"));
    TopicRetry { max, initial_ms, factor: reader.number(waits, "factor", FACTORS), max_delay_ms }
}
