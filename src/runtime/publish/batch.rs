//! Many events in one call: checked one after the other, sent by topic, answered one by one.

use std::sync::Arc;

use futures::future::join_all;

use super::{Draft, Prepared, PublishError, Publisher, Receipt, ids::Ids};
use crate::log::OutRecord;

/// Checked events that are published together.
pub struct Batch<'p> {
    publisher: &'p Publisher,
    ids: Ids,
    events: usize,
    groups: Vec<Group>,
}

/// A batch's events of one topic.
struct Group {
    topic: Arc<str>,
    /// Place in the batch, id and size of each.
    places: Vec<(usize, String, usize)>,
    records: Vec<OutRecord>,
}

/// An event that was checked, sent, and not stored as far as we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStored {
    /// Its topic.
    pub topic: Arc<str>,
    /// Why.
    pub error: PublishError,
}

impl<'p> Batch<'p> {
    pub(super) fn new(publisher: &'p Publisher) -> Self {
        Self { publisher, ids: Ids::new(), events: 0, groups: Vec::new() }
    }

    /// Checks an event and takes it in.
    ///
    /// # Errors
    /// What is wrong with the event: it is left out.
    pub fn add(&mut self, topic: &str, draft: &Draft<'_>) -> Result<(), PublishError> {
        let Prepared { topic, event_id, record } = self.publisher.prepare(topic, draft, &mut self.ids)?;
        let place = self.events;
        self.events += 1;
        let group = self.group(topic);
        group.places.push((place, event_id, record.size_bytes()));
        group.records.push(record);
        Ok(())
    }

    /// The topic's group. A batch has few topics, mostly one.
    fn group(&mut self, topic: Arc<str>) -> &mut Group {
        let known = self.groups.iter().position(|group| group.topic == topic);
        let place = known.unwrap_or_else(|| {
            self.groups.push(Group { topic, places: Vec::new(), records: Vec::new() });
            self.groups.len() - 1
        });
        &mut self.groups[place]
    }

    /// Sends all and waits until the broker has them. One result per event that was taken in, in order.
    pub async fn publish(self) -> Vec<Result<Receipt, NotStored>> {
        let Self { publisher, events, groups, .. } = self;
        let sending = groups.into_iter().map(|Group { topic, places, records }| async move {
            let answers = publisher.sender.send_all(&topic, records).await;
            (topic, places, answers)
        });
        let mut results: Vec<Option<Result<Receipt, NotStored>>> = vec![None; events];
        for (topic, places, answers) in join_all(sending).await {
            let mut answers = answers.into_iter();
            for (place, event_id, size_bytes) in places {
                let topic = topic.clone();
                results[place] = Some(match answers.next() {
                    Some(Ok((partition, offset))) => Ok(Receipt { event_id, topic, partition, offset }),
                    Some(Err(error)) => {
                        Err(NotStored { error: PublishError::from_send(&topic, size_bytes, error), topic })
                    }
                    // A sender that answers for fewer records than it was given has not stored the others.
                    None => {
                        let error = PublishError::Unavailable("the record was not answered for".to_owned());
                        Err(NotStored { topic, error })
                    }
                });
            }
        }
        results.into_iter().flatten().collect()
    }
}
