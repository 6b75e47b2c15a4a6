//! By which rules each offset of a partition is recounted: where rules have changed, its results are what the former ones made
//! of what lies before, and a member that is put back to there counts by them too ([`switches`]).

use std::{collections::VecDeque, sync::Arc};

use uuid::Uuid;

use super::{RecountError, RecountParts, moment::patiently};
use crate::{
    catalog::plan::Topic,
    core::switches,
    model::{RulesMark, StoredPosition, TopicPartition},
    runtime::{outside::as_far_as_needed, switching},
};

/// What is counted by the same rules.
pub(super) struct Stretch {
    /// The topic under these rules.
    pub(super) topic: Arc<Topic>,
    /// Where these rules begin to count.
    pub(super) from: i64,
    /// Where others follow.
    pub(super) end: Option<i64>,
}

/// What lies from `origin` on, by the rules that counted it: those of the catalogue alone where no others are known, or where
/// the position names none. The inner error says why it cannot be counted by them.
pub(super) async fn stretches(
    parts: &RecountParts,
    topic: &Arc<Topic>,
    (partition, topic_id): (&TopicPartition, Option<Uuid>),
    position: &StoredPosition,
    origin: i64,
) -> Result<Result<VecDeque<Stretch>, String>, RecountError> {
    let all = || [Stretch { topic: Arc::clone(topic), from: 0, end: None }].into();
    let has_changed = position.checkpoint.is_some_and(|checkpoint| checkpoint.rules != RulesMark::default());
    let Some(table) = position.switches.as_ref().filter(|_| has_changed) else { return Ok(Ok(all())) };
    let register = as_far_as_needed(&*parts.outside, 1).await?;
    let noted = register.as_ref().map(|register| register.noted(partition, topic_id)).unwrap_or_default();
    let first = switches::begins_with(table, origin, noted.recounted);
    let mut stretches = VecDeque::new();
    for (entry, rules) in table.0.iter().enumerate().skip(first) {
        let end = table.end_of(entry);
        if end.is_some_and(|end| end <= origin) {
            continue;
        }
        let kept = match rules.fingerprint == topic.fingerprint {
            true => Ok(Arc::clone(topic)),
            false => {
                let store = &*parts.live.store;
                let read = [switching::text_of(rules.fingerprint)];
                let stored = patiently(|| store.swap(&read)).await?;
                switching::kept(topic, rules.fingerprint, stored, register.as_deref())
            }
        };
        match kept {
            // The first one counts what lies before it too: all rules of then were replaced by it, or there were none.
            Ok(topic) => {
                stretches.push_back(Stretch { topic, from: if entry == noted.recounted { 0 } else { rules.from }, end })
            }
            Err(why) => return Ok(Err(format!("some of it was counted by former rules, and {why}"))),
        }
    }
    Ok(Ok(stretches))
}
