//! Notes, and the records that they are: a key that says of what, a value that says what.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    log::OutRecord,
    model::{Fingerprint, ShardId, Switch, TopicPartition},
};

/// Whose notes: results that one group counts into one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `REDIS_KEY_PREFIX`; empty with the embedded store.
    pub prefix: String,
    /// `KAFKA_CONSUMER_GROUP`.
    pub group: String,
    /// `STORE_SHARDS`. Rules name it, so switches noted for another number say nothing here; origins do.
    pub shards: ShardId,
}

/// Something to note. It counts unless it was noted before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The first offset that the group counts of a partition.
    Origin(TopicPartition, i64),
    /// Rules come into force.
    Switch(TopicPartition, Entry, Switch),
    /// Rules are announced: from where on they count is not known yet.
    Announced(TopicPartition, Entry, Fingerprint),
    /// Everything was counted anew by the rules of this entry: so is a shard that begins anew.
    Recounted(TopicPartition, usize),
    /// What rules say.
    Text(Fingerprint, Arc<str>),
}

/// Which entry of a table of switches, and a hash of the table before it: a note made for another table says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 0.
    pub number: usize,
    /// Hash of the entries before.
    pub after: u64,
}

/// Of what a note is: the key of its record.
#[derive(Serialize, Deserialize)]
pub(super) struct About<'a> {
    #[serde(borrow)]
    pub(super) prefix: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) group: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) topic: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<i32>,
    /// Kafka's id of the topic, where it is known: one of the same name that was made again is another.
    #[serde(borrow, rename = "topicId", default, skip_serializing_if = "Option::is_none")]
    pub(super) topic_id: Option<Cow<'a, str>>,
    /// Or of rules: then the record's value is their text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) rules: Option<Cow<'a, str>>,
}

/// What is noted of a partition: the value of the record. Numbers of 64 bits that only we compare are hexadecimal text.
#[derive(Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "lowercase")]
pub(super) enum Said<'a> {
    Origin {
        offset: i64,
    },
    Switch {
        shards: ShardId,
        entry: usize,
        #[serde(borrow)]
        rules: Cow<'a, str>,
        from: i64,
        #[serde(borrow)]
        after: Cow<'a, str>,
    },
    Announced {
        shards: ShardId,
        entry: usize,
        #[serde(borrow)]
        rules: Cow<'a, str>,
        #[serde(borrow)]
        after: Cow<'a, str>,
    },
    Recounted {
        shards: ShardId,
        entry: usize,
    },
}

impl Note {
    /// The partition that it is of; none where it is of rules.
    pub fn partition(&self) -> Option<&TopicPartition> {
        match self {
            Self::Origin(partition, _)
            | Self::Switch(partition, ..)
            | Self::Announced(partition, ..)
            | Self::Recounted(partition, _) => Some(partition),
            Self::Text(..) => None,
        }
    }

    /// The record that says it, of the topic that has this id now.
    pub fn record(&self, scope: &Scope, topic_id: Option<Uuid>) -> OutRecord {
        let (partition, said) = match self {
            Self::Origin(partition, offset) => (partition, Said::Origin { offset: *offset }),
            Self::Switch(partition, Entry { number, after }, switch) => (
                partition,
                Said::Switch {
                    shards: scope.shards,
                    entry: *number,
                    rules: switch.fingerprint.to_string().into(),
                    from: switch.from,
                    after: format!("{after:016x}").into(),
                },
            ),
            Self::Announced(partition, Entry { number, after }, fingerprint) => (
                partition,
                Said::Announced {
                    shards: scope.shards,
                    entry: *number,
                    rules: fingerprint.to_string().into(),
                    after: format!("{after:016x}").into(),
                },
            ),
            Self::Recounted(partition, entry) => (partition, Said::Recounted { shards: scope.shards, entry: *entry }),
            Self::Text(fingerprint, text) => {
                let about = About { rules: Some(fingerprint.to_string().into()), ..about(scope) };
                return record(&about, text.as_bytes().to_vec());
            }
        };
        let topic = Some(Cow::Borrowed(&*partition.topic));
        // Plain values under text keys: writing them cannot fail.
        let value = serde_json::to_vec(&said).unwrap_or_default();
        let topic_id = topic_id.map(|id| id.to_string().into());
        record(&About { topic, partition: Some(partition.partition), topic_id, ..about(scope) }, value)
    }
}

fn about(scope: &Scope) -> About<'_> {
    let (prefix, group) = ((&*scope.prefix).into(), (&*scope.group).into());
    About { prefix, group, topic: None, partition: None, topic_id: None, rules: None }
}

fn record(about: &About<'_>, value: Vec<u8>) -> OutRecord {
    let key = serde_json::to_vec(about).unwrap_or_default();
    OutRecord { key: Some(key), value: Some(value), ..OutRecord::default() }
}
