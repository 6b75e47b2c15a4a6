//! Publishing, wired: through the engine's producer, under marks in the store.

use std::{sync::Arc, time::Duration};

use super::{Engine, Parts, delivery::known_topics_of, producer_options};
use crate::{
    catalog::plan::Catalog,
    config::Config,
    runtime::{publish::Publisher, sender::LogSender, tracking::Tracking},
};

/// What is added to the deadlines of the log, for those of the store.
const STORE_SHARE: Duration = Duration::from_secs(10);

/// The publisher, where this process publishes.
pub(super) fn publisher(config: &Config, catalog: &Arc<Catalog>, engine: &Engine, parts: &Parts) -> Option<Publisher> {
    let sender = LogSender { producer: Arc::clone(&engine.producer), routing: Arc::clone(&engine.routing) };
    let publisher = || Publisher::new(Arc::clone(catalog), Arc::new(sender), Arc::clone(&parts.store), flight(config));
    config.roles.publish.then(publisher)
}

/// Tells what became of events: in the groups that the configuration names, whichever process works for them.
pub(super) fn tracking(config: &Config, catalog: &Arc<Catalog>, parts: &Parts) -> Arc<Tracking> {
    let mut tracking = Tracking::new(Arc::clone(catalog), Arc::clone(&parts.store), &config.kafka.group);
    for (group, topics) in known_topics_of(config, catalog) {
        topics.iter().filter(|topic| topic.track).for_each(|topic| tracking.deliver(group, &topic.name));
    }
    Arc::new(tracking)
}

/// Longer than it can take until it is known what became of an event: its partition is looked up, it waits behind others, and
/// is sent, each until a deadline. So the id of an event whose publisher died is free again after this, and not sooner.
fn flight(config: &Config) -> Duration {
    producer_options(config).delivery_timeout + config.kafka.request_timeout * 2 + STORE_SHARE
}
