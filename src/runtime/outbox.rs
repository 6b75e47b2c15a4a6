//! Dead letters and forwards: sent until the broker has them, before what they come from counts (invariant 2).

use std::sync::Arc;

use super::{
    LOG_PART,
    health::{Health, Level},
    measure,
    producer::{ProduceError, Producer},
    routing::{Routing, RoutingError},
};
use crate::{
    catalog::plan::dead_letter_topic,
    core::{
        backoff::Backoff,
        batch::{Outgoing, Purpose},
        dead_letter,
        delivery::Tried,
        forward::forward_record,
        reason::Reason,
    },
    log::{LogError, OutRecord},
    model::TopicPartition,
};

/// Dead letters of one batch that are logged one by one: a flood of bad records must not become a flood of lines.
const MAX_SHOWN_LETTERS: usize = 5;

/// Sends what batches bring.
pub struct Outbox {
    /// Sends.
    pub producer: Arc<Producer>,
    /// Chooses partitions.
    pub routing: Arc<Routing>,
    /// Whom it tells.
    pub health: Arc<Health>,
    /// The group that is named in dead letters.
    pub group: String,
}

/// What is sent instead where the broker does not take a record as it is.
struct Parcel {
    outgoing: Outgoing,
    /// The dead letter goes without its value.
    is_truncated: bool,
}

impl Outbox {
    /// Returns when the broker has all of them. Tries for ever: neither a broker that is down nor a record that is too
    /// large may lose one, and the partition waits meanwhile.
    pub async fn deliver(&self, source: &TopicPartition, outgoing: Vec<Outgoing>) {
        let now_ms = chrono::Utc::now().timestamp_millis();
        let mut backoff = Backoff::log();
        let mut waiting: Vec<Parcel> =
            outgoing.into_iter().map(|outgoing| Parcel { outgoing, is_truncated: false }).collect();
        while !waiting.is_empty() {
            let (again, trouble) = self.attempt(source, waiting, now_ms).await;
            waiting = again;
            if let Some(trouble) = trouble {
                let delay = backoff.next();
                tracing::warn!(topic = %source.topic, partition = source.partition, waiting = waiting.len(),
                    retry_in_ms = delay.as_millis() as u64, "dead letters or forwards are not on the broker yet: {trouble}");
                self.health.notice(LOG_PART, Level::Degraded, trouble, std::time::Instant::now());
                tokio::time::sleep(delay).await;
            }
        }
    }

    /// Sends once; returns what is left to send, and the trouble to wait for, if any.
    async fn attempt(
        &self,
        source: &TopicPartition,
        parcels: Vec<Parcel>,
        now_ms: i64,
    ) -> (Vec<Parcel>, Option<String>) {
        let mut addressed = Vec::with_capacity(parcels.len());
        let mut left = Vec::new();
        let mut trouble = None;
        for parcel in parcels {
            let (topic, record) = self.write(source, &parcel, now_ms);
            match self.address(source, &topic, &parcel, &record).await {
                Ok(partition) => addressed.push((parcel, (partition, record))),
                Err(error) => {
                    trouble = Some(error.to_string());
                    left.push(parcel);
                }
            }
        }
        let (parcels, records): (Vec<_>, Vec<_>) = addressed.into_iter().unzip();
        let mut letters = 0;
        let results = self.producer.send_all_waiting(records).await;
        for (parcel, result) in parcels.into_iter().zip(results) {
            match result {
                Ok(_) => acknowledged(source, &parcel, &mut letters),
                Err(ProduceError::Log(error @ (LogError::TooLarge { .. } | LogError::Invalid { .. }))) => {
                    left.push(instead(parcel, &error));
                }
                Err(error) => {
                    trouble = Some(error.to_string());
                    left.push(parcel);
                }
            }
        }
        if letters > MAX_SHOWN_LETTERS {
            tracing::warn!(topic = %source.topic, partition = source.partition,
                "{} more dead letters in this batch; each says its reason in {}",
                letters - MAX_SHOWN_LETTERS, dead_letter_topic(&source.topic));
        }
        (left, trouble)
    }

    async fn address(
        &self,
        source: &TopicPartition,
        topic: &str,
        parcel: &Parcel,
        record: &OutRecord,
    ) -> Result<TopicPartition, RoutingError> {
        let is_forward = matches!(parcel.outgoing.purpose, Purpose::Forward { .. });
        let preferred = (!is_forward).then_some(source.partition);
        self.routing.partition_near(topic, preferred, record.key.as_deref()).await
    }

    fn write(&self, source: &TopicPartition, parcel: &Parcel, now_ms: i64) -> (String, OutRecord) {
        let Outgoing { offset, source: record, purpose } = &parcel.outgoing;
        match purpose {
            Purpose::Forward { topic, key } => {
                (topic.to_string(), forward_record(record, source, *offset, key.clone()))
            }
            Purpose::DeadLetter(reason) => self.letter(source, parcel, reason, dead_letter::once(now_ms)),
            Purpose::Undelivered { reason, tried } => self.letter(source, parcel, reason, *tried),
        }
    }

    fn letter(&self, source: &TopicPartition, parcel: &Parcel, reason: &Reason, tried: Tried) -> (String, OutRecord) {
        let Outgoing { offset, source: record, .. } = &parcel.outgoing;
        let letter = dead_letter::DeadLetter {
            source,
            offset: *offset,
            record,
            reason,
            group: &self.group,
            tried,
            status: reason.status(),
        };
        let record = if parcel.is_truncated { letter.truncated() } else { letter.record() };
        (dead_letter_topic(&source.topic), record)
    }
}

fn acknowledged(source: &TopicPartition, parcel: &Parcel, letters: &mut usize) {
    if let Purpose::DeadLetter(reason) | Purpose::Undelivered { reason, .. } = &parcel.outgoing.purpose {
        measure::dead_letter(&source.topic, reason.code());
        *letters += 1;
        if *letters <= MAX_SHOWN_LETTERS {
            tracing::warn!(topic = %source.topic, partition = source.partition, offset = parcel.outgoing.offset,
                reason = reason.code(), "dead letter: {reason}");
        }
    }
}

/// What to send where the broker takes no such record: neither kind may stall the partition.
fn instead(parcel: Parcel, error: &LogError) -> Parcel {
    let Outgoing { offset, source, purpose } = parcel.outgoing;
    match purpose {
        Purpose::Forward { .. } => {
            let purpose = Purpose::DeadLetter(Reason::ForwardRefused(error.to_string()));
            Parcel { outgoing: Outgoing { offset, source, purpose }, is_truncated: false }
        }
        purpose => Parcel { outgoing: Outgoing { offset, source, purpose }, is_truncated: true },
    }
}
