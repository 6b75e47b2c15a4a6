//! Many events in one call: checked one after the other, sent by topic, answered one by one.

use std::sync::Arc;

use futures::future::join_all;

use super::{Draft, Prepared, PublishError, Publisher, Receipt, Sender, ids::Ids, once::Marked};
use crate::log::OutRecord;

/// Checked events that are published together.
pub struct Batch<'p> {
    publisher: &'p Publisher,
    ids: Ids,
    load: Load,
}

/// Checked events, ready to be sent.
#[derive(Default)]
pub(super) struct Load {
    /// How many there are.
    pub(super) events: usize,
    groups: Vec<Group>,
    /// Those that are published under an id, by place in the load.
    pub(super) marked: Vec<Marked>,
}

/// A load's events of one topic.
struct Group {
    topic: Arc<str>,
    /// Place in the load, id and size of each.
    places: Vec<(usize, String, usize)>,
    records: Vec<OutRecord>,
}

/// An event that was checked, and is not stored as far as we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStored {
    /// Its topic.
    pub topic: Arc<str>,
    /// Why.
    pub error: PublishError,
}

impl<'p> Batch<'p> {
    pub(super) fn new(publisher: &'p Publisher) -> Self {
        Self { publisher, ids: Ids::new(), load: Load::default() }
    }

    /// Checks an event and takes it in.
    ///
    /// # Errors
    /// What is wrong with the event: it is left out.
    pub fn add(&mut self, topic: &str, draft: &Draft<'_>) -> Result<(), PublishError> {
        self.load.add(self.publisher.prepare(topic, draft, &mut self.ids)?);
        Ok(())
    }

    /// Sends all and waits until the broker has them. One result per event that was taken in, in order.
    pub async fn publish(self) -> Vec<Result<Receipt, NotStored>> {
        let results = self.publisher.publish_load(self.load).await;
        results.into_iter().flatten().collect()
    }
}

impl Load {
    pub(super) fn add(&mut self, prepared: Prepared) {
        let Prepared { topic, event_id, record, mark } = prepared;
        let place = self.events;
        self.events += 1;
        if let Some((name, content)) = mark {
            let (event_id, topic) = (event_id.clone(), topic.clone());
            self.marked.push(Marked { place, name, content, event_id, topic });
        }
        let group = self.group(topic);
        group.places.push((place, event_id, record.size_bytes()));
        group.records.push(record);
    }

    /// The topic's group. A load has few topics, mostly one.
    fn group(&mut self, topic: Arc<str>) -> &mut Group {
        let known = self.groups.iter().position(|group| group.topic == topic);
        let place = known.unwrap_or_else(|| {
            self.groups.push(Group { topic, places: Vec::new(), records: Vec::new() });
            self.groups.len() - 1
        });
        &mut self.groups[place]
    }

    /// Bytes of all records.
    pub(super) fn size_bytes(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.places).map(|(_, _, size_bytes)| size_bytes).sum()
    }

    /// The topic of each event, in order.
    pub(super) fn topics(&self) -> Vec<Arc<str>> {
        let of =
            |group: &Group| group.places.iter().map(|(place, ..)| (*place, group.topic.clone())).collect::<Vec<_>>();
        let mut topics: Vec<(usize, Arc<str>)> = self.groups.iter().flat_map(of).collect();
        topics.sort_by_key(|(place, _)| *place);
        topics.into_iter().map(|(_, topic)| topic).collect()
    }

    /// Leaves out the events at places of which `keep` says so.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        for Group { places, records, .. } in &mut self.groups {
            let mut kept = places.iter().map(|(place, ..)| keep(*place));
            records.retain(|_| kept.next().unwrap_or(true));
            places.retain(|(place, ..)| keep(*place));
        }
        self.groups.retain(|group| !group.places.is_empty());
    }

    /// Sends what the load holds. A result for each place; none where an event was left out.
    pub(super) async fn send(self, sender: &dyn Sender) -> Vec<Option<Result<Receipt, NotStored>>> {
        let sending = self.groups.into_iter().map(|Group { topic, places, records }| async move {
            let answers = sender.send_all(&topic, records).await;
            (topic, places, answers)
        });
        let mut results: Vec<Option<Result<Receipt, NotStored>>> = vec![None; self.events];
        for (topic, places, answers) in join_all(sending).await {
            let mut answers = answers.into_iter();
            for (place, event_id, size_bytes) in places {
                let topic = topic.clone();
                results[place] = Some(match answers.next() {
                    Some(Ok((partition, offset))) => {
                        Ok(Receipt { event_id, topic, partition, offset, is_duplicate: false })
                    }
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
        results
    }
}
