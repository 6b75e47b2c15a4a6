//! Puts rules in force: takes the steps that [`crate::core::switches`] says, and finds the rules of before.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use super::{
    counting::Counting,
    outside::{self, Outside, look_before, table_before},
    partition::End,
    recheck::conflict,
    takeover::{keep_texts, until_stored},
    tenure::{Standing, Tenure},
};
use crate::{
    catalog::plan::Topic,
    core::{
        register::Register,
        switches::{self, InForce, Seen, ShardRules, Step, UNKNOWN},
    },
    log::LogError,
    model::{
        Checkpoint, Fingerprint, LogIdentity, Outcome, RulesMark, Section, ShardId, StoredPosition, Swap, SwapOutcome,
        Switches, TopicPartition,
    },
    store::{Store, StoreError},
};

/// What the shards and the table outside have of a partition, and where its log ends, looked up in this order.
pub(super) struct Found<'f> {
    pub positions: &'f [StoredPosition],
    pub standings: &'f [Standing],
    pub register: Option<&'f Register>,
    pub topic_id: Option<Uuid>,
    pub log_end: i64,
}

/// Takes the next step, if one is missing; else says by which rules the partition is counted on.
pub(super) async fn step(
    counting: &Counting,
    topic: &Topic,
    partition: &TopicPartition,
    found: &Found<'_>,
) -> Result<Option<InForce>, End> {
    let shard = |(position, standing): (&StoredPosition, &Standing)| ShardRules {
        checkpoint: position.checkpoint,
        from: standing.from,
        table: position.switches.clone(),
    };
    let shards = found.positions.iter().zip(found.standings).map(shard).collect();
    let noted = found.register.map(|register| register.noted(partition, found.topic_id)).unwrap_or_default();
    let outside = found.register.map(|_| noted.switches());
    let (own, recounted) = (topic.fingerprint, noted.recounted);
    let seen = Seen { shards, outside, recounted, own, log_end: found.log_end };
    match switches::next(&seen).map_err(End::stuck)? {
        Step::Count(rules) => return Ok(Some(rules)),
        Step::Keep(table) => {
            // Whoever counts by an entry needs its text.
            keep_texts(counting, &[topic]).await;
            if let Some(register) = found.register {
                keep(counting, (partition, found.topic_id), register, &table).await?;
            }
        }
        Step::Set { shard, next, table } => {
            keep_texts(counting, &[topic]).await;
            let stored = found.positions.get(usize::from(shard)).and_then(|position| position.checkpoint);
            set(counting, partition, shard, (stored, next), table).await?;
        }
    }
    Ok(None)
}

/// What is noted outside of a partition's store, with the table that an earlier version kept in the store: that is noted once,
/// where nothing is.
pub(super) async fn outside(
    counting: &Counting,
    (partition, topic_id): (&TopicPartition, Option<Uuid>),
    shards: usize,
) -> Result<Option<Arc<Register>>, End> {
    let Some(register) = outside::read(counting, shards).await? else { return Ok(None) };
    if shards < 2 || register.noted(partition, topic_id).has_begun() {
        return Ok(Some(register));
    }
    let look = [look_before(partition)];
    let before = until_stored(counting, || counting.store.swap(&look)).await;
    match table_before(before.into_iter().next()).map_err(End::stuck)? {
        Some(table) => note_table(counting, (partition, topic_id), &register, &table).await.map(Some),
        None => Ok(Some(register)),
    }
}

/// Notes what is missing of a table outside. Whoever comes first decides.
async fn note_table(
    counting: &Counting,
    (partition, topic_id): (&TopicPartition, Option<Uuid>),
    register: &Register,
    table: &Switches,
) -> Result<Arc<Register>, End> {
    let notes = register.noted(partition, topic_id).missing(partition, table);
    outside::note_with_texts(counting, register, notes).await
}

async fn keep(
    counting: &Counting,
    (partition, topic_id): (&TopicPartition, Option<Uuid>),
    register: &Register,
    table: &Switches,
) -> Result<(), End> {
    let stands = note_table(counting, (partition, topic_id), register, table).await?;
    let stands = stands.noted(partition, topic_id).switches();
    if let [_, .., last] = &table.0[..]
        && last.from != UNKNOWN
        && stands.0.starts_with(&table.0)
    {
        tracing::warn!(topic = %partition.topic, partition = partition.partition, offset = last.from,
            "the catalogue has changed: the rules {} are in force from offset {} on; what lies before is counted by the former ones",
            last.fingerprint, last.from);
    }
    Ok(())
}

async fn set(
    counting: &Counting,
    partition: &TopicPartition,
    shard: ShardId,
    (expect, next): (Option<Checkpoint>, Checkpoint),
    table: Option<Switches>,
) -> Result<(), End> {
    let sections = [Section {
        partition: partition.clone(),
        expect,
        next,
        gap: None,
        log_identity: LogIdentity::default(),
        switches: table,
        deltas: Vec::new(),
        statuses: Vec::new(),
    }];
    let outcomes = until_stored(counting, || counting.store.apply(shard, &sections)).await;
    match outcomes.into_iter().next() {
        Some(Outcome::Applied | Outcome::AlreadyApplied) => {}
        other => return Err(End::Again(format!("putting changed rules in force met {other:?}"))),
    }
    if expect.is_some_and(|expect| expect.fingerprint != next.fingerprint) {
        tracing::warn!(topic = %partition.topic, partition = partition.partition, offset = next.offset, shard,
            "the catalogue has changed: its rules are in force from offset {} on; what was counted before stays as it is", next.offset);
    }
    Ok(())
}

/// The topic under rules of this fingerprint: this member's own, or those whose text was kept.
pub(super) async fn rules(
    counting: &Counting,
    topic: &Arc<Topic>,
    fingerprint: Fingerprint,
    register: Option<&Register>,
) -> Result<Arc<Topic>, End> {
    if topic.fingerprint == fingerprint {
        return Ok(Arc::clone(topic));
    }
    let reads = [text_of(fingerprint)];
    let stored = until_stored(counting, || counting.store.swap(&reads)).await;
    kept(topic, fingerprint, stored, register).map_err(|why| {
        End::stuck(format!(
            "some records have to be counted by former rules first, and {why}; or count anew under another REDIS_KEY_PREFIX"
        ))
    })
}

/// What asks a store for the text of rules.
pub(super) fn text_of(fingerprint: Fingerprint) -> Swap {
    Swap { name: fingerprint.document(), expect: None, next: None, ttl_ms: None }
}

/// The topic under rules whose text was kept, in the store that was asked for it ([`text_of`]) or outside.
///
/// # Errors
/// Why it cannot be had, and what helps.
pub(super) fn kept(
    topic: &Topic,
    fingerprint: Fingerprint,
    stored: Vec<SwapOutcome>,
    register: Option<&Register>,
) -> Result<Arc<Topic>, String> {
    let text = match stored.into_iter().next() {
        Some(SwapOutcome::Differs(Some(text))) => Some(String::from_utf8_lossy(&text).into_owned()),
        _ => register.and_then(|register| register.text(fingerprint)).map(|text| text.to_string()),
    };
    match text.map(|text| topic.under_kept_rules(fingerprint, &text)) {
        Some(Ok(kept)) => Ok(Arc::new(kept)),
        Some(Err(error)) => {
            Err(format!("{error}. Stop this member, and start one of the version and the catalogue of these rules"))
        }
        // Every member puts the text of its own rules there when it starts.
        None => Err(format!(
            "the store no longer has the text of the rules {fingerprint}. Start a member with the catalogue of these rules beside \
             this one: it stands by, and brings it"
        )),
    }
}

/// Why it is not known whether rules have changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is noted outside cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Ends the tenures whose rules have changed in any shard, or outside. Asked after their records were fetched and before what
/// they count is sent: so nothing that is sent can lie behind a switch that its sender does not know of, also where the shard
/// that takes it has fallen back to before the switch.
///
/// # Errors
/// Store or log cannot be asked.
pub(super) async fn check(store: &dyn Store, outside: &dyn Outside, tenures: &[Arc<Tenure>]) -> Result<(), CheckError> {
    let mut asked: BTreeMap<&TopicPartition, Vec<(&Arc<Tenure>, &InForce)>> = BTreeMap::new();
    for tenure in tenures.iter().filter(|tenure| tenure.shards() > 1) {
        if let Some(rules) = &tenure.rules {
            asked.entry(&tenure.partition).or_default().push((tenure, rules));
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    let partitions: Vec<TopicPartition> = asked.keys().copied().cloned().collect();
    let (positions, register) = tokio::join!(store.positions(&partitions), outside.read());
    let register = register?;
    for ((partition, tenures), shards) in asked.iter().zip(positions?) {
        for (tenure, rules) in tenures {
            let noted = register.noted(partition, tenure.log_identity().topic_id).switches();
            let mark = |checkpoint: &Option<Checkpoint>| checkpoint.map(|checkpoint| checkpoint.rules);
            let stored = tenure.stored();
            let changed = (0..).zip(&shards).zip(&stored);
            let mut changed = changed.filter(|((_, now), believed)| mark(&now.checkpoint) != mark(believed));
            if let Some(((shard, now), _)) = changed.next() {
                conflict(tenure, shard, now.checkpoint, "and its rules were others when this member took over");
            } else if noted != rules.table {
                conflict(tenure, 0, stored.first().copied().flatten(), "but its rules change");
            }
        }
    }
    Ok(())
}

/// What stands beside the first checkpoint of a shard: nothing where the rules have never changed.
pub(super) fn first(rules: Option<&InForce>) -> (RulesMark, Option<Switches>) {
    match rules.filter(|rules| rules.table.0.len() > 1) {
        Some(rules) => (rules.table.mark(rules.entry), Some(rules.table.clone())),
        None => (RulesMark::default(), None),
    }
}
