//! The groups of the configuration, by its log and store.

use std::{collections::BTreeMap, sync::Arc};

use super::{Parts, delivery::known_topics_of};
use crate::{
    catalog::plan::{Catalog, Topic},
    config::Config,
    runtime::groups::{Group, Groups, Kind},
};

/// Tells of counting's group and of the group of each subscription, whichever process works for them.
pub(super) fn groups(config: &Config, catalog: &Catalog, parts: &Parts) -> Arc<Groups> {
    let names = |topics: &[Arc<Topic>]| topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
    let mut groups = vec![Group {
        name: config.kafka.group.clone(),
        kind: Kind::Counting,
        topics: names(&counted(config, catalog)),
        only: config.counting.partitions.clone().unwrap_or_default(),
    }];
    groups.extend(known_topics_of(config, catalog).map(|(group, topics)| Group {
        name: group.to_owned(),
        kind: Kind::Delivery,
        topics: names(&topics),
        only: BTreeMap::new(),
    }));
    Arc::new(Groups::new(parts.reader(), Arc::clone(&parts.store), groups))
}

/// The topics that are counted by this configuration (`TOPICS`, `PARTITIONS`).
fn counted(config: &Config, catalog: &Catalog) -> Vec<Arc<Topic>> {
    let counting = &config.counting;
    let is_counted = |topic: &&Arc<Topic>| {
        counting.topics.as_ref().is_none_or(|names| names.iter().any(|name| **name == *topic.name))
            && counting.partitions.as_ref().is_none_or(|by_hand| by_hand.contains_key(&*topic.name))
    };
    catalog.topics.iter().filter(is_counted).cloned().collect()
}
