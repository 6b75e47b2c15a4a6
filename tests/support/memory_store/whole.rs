//! What several shards hold together, and how it is read.

use std::{collections::BTreeMap, sync::Arc};

use streamgauge::model::{Answer, GroupStatus, Query, RecentItem, ScanPage, TopItem};

use super::Held;

impl Held {
    /// Several shards as one: pieces of a counter are summed, and everything else lies in one of them.
    pub fn together(mut shards: Vec<Self>) -> Self {
        let mut whole = shards.remove(0);
        for shard in shards {
            whole.checkpoints.retain(|partition, _| shard.checkpoints.contains_key(partition));
            for (partition, checkpoint) in &mut whole.checkpoints {
                let other = shard.checkpoints[partition];
                if other.offset < checkpoint.offset {
                    *checkpoint = other;
                }
            }
            whole.gaps.extend(shard.gaps);
            whole.switches.extend(shard.switches);
            for (name, piece) in shard.counters {
                *whole.counters.entry(name).or_insert(0) += piece;
            }
            whole.last.extend(shard.last);
            whole.uniques.extend(shard.uniques);
            whole.recents.extend(shard.recents);
            whole.tops.extend(shard.tops);
            whole.sets.extend(shard.sets);
            whole.presences.extend(shard.presences);
            whole.statuses.extend(shard.statuses);
        }
        whole
    }

    pub(super) fn answer(&self, query: &Query) -> Answer {
        match query {
            Query::Counter(name) => Answer::Counter(self.counters.get(name).copied()),
            Query::Unique(name) => Answer::Unique(self.uniques.get(name).map(|(_, elements)| elements.len() as u64)),
            Query::Recent { key, limit } => {
                let item = |(time_ms, _, element): &(i64, _, String)| RecentItem {
                    element: element.clone(),
                    time_ms: *time_ms,
                };
                Answer::Recent(self.recents.get(key).into_iter().flatten().rev().take(*limit).map(item).collect())
            }
            Query::Top { key, limit } => {
                let sums = self.tops.get(key).map(|(_, sums)| sums).into_iter().flatten();
                let mut items: Vec<_> =
                    sums.map(|(element, sum)| TopItem { element: element.clone(), sum: *sum }).collect();
                items.sort_by(|a, b| (b.sum, &b.element).cmp(&(a.sum, &a.element)));
                items.truncate(*limit);
                Answer::Top(items)
            }
            Query::IsMember { key, element } => {
                let set = self.sets.get(key).filter(|set| !set.is_empty());
                Answer::IsMember { exists: set.is_some(), member: set.is_some_and(|set| set.contains(element)) }
            }
            Query::Status { event_id, mark } => {
                let groups = self.statuses.get(event_id.as_str()).into_iter().flatten();
                let group =
                    |(group, status): (&_, &_)| GroupStatus { group: Arc::clone(group), status: Clone::clone(status) };
                Answer::Status { groups: groups.map(group).collect(), mark: self.documents.get(mark).cloned() }
            }
            Query::Members { key, .. } => {
                let elements = self.sets.get(key).into_iter().flatten().cloned().collect();
                Answer::Members { elements, cursor: None }
            }
        }
    }

    pub(super) fn page(&self, prefix: &str, cursor: &str, limit: usize) -> ScanPage {
        let behind = |name: &&String| cursor.is_empty() || name.as_str() > cursor;
        let names: Vec<&String> = self.counters.keys().filter(behind).take(limit).collect();
        let more = names.len() == limit;
        let found = names.iter().filter(|name| name.starts_with(prefix));
        let counters: BTreeMap<_, _> = found.map(|name| ((*name).clone(), self.counters[*name])).collect();
        ScanPage {
            counters: counters.into_iter().collect(),
            cursor: names.last().filter(|_| more).map(|name| (*name).clone()),
        }
    }
}
