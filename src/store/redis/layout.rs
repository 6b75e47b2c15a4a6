//! Names of the keys.
//!
//! With one shard they are plain, but in a cluster. Else the keys of each shard lie under a hash tag of their own, `{3}:` behind
//! the prefix, which Redis Cluster hashes alone: so all that one call of a flush touches lies in one slot (invariant 8). What
//! belongs to no shard (who counts a topic, the number of shards, documents, members) is under the prefix itself; of that a
//! call touches one key, or keys under the tag of a group.

use crate::{
    core::shards::{MAX_SHARDS, shard_of},
    model::ShardId,
};

/// Names of the keys of one shard, prefix included.
pub(super) struct Layout {
    /// Stands before each key.
    pub(super) prefix: String,
    pub(super) aggregated: String,
    pub(super) last: String,
    pub(super) checkpoints: String,
    pub(super) origins: String,
    pub(super) gaps: String,
    pub(super) meta: String,
    pub(super) exchange: String,
    pub(super) changed: String,
    pub(super) copy_state: String,
    pub(super) days: String,
}

impl Layout {
    pub(super) fn new(prefix: String) -> Self {
        let key = |name: &str| format!("{prefix}{name}");
        Self {
            aggregated: key("counters:aggregated"),
            last: key("counters:last"),
            checkpoints: key("counters:checkpoints"),
            origins: key("counters:origins"),
            gaps: key("counters:gaps"),
            meta: key("counters:meta"),
            exchange: key("counters:exchange"),
            changed: key("counters:changed"),
            copy_state: key("counters:persistent:state"),
            days: key("counters:days"),
            prefix,
        }
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Names of the keys of all shards.
pub(super) struct Layouts {
    /// What belongs to no shard. With one shard, that shard, but in a cluster.
    pub(super) common: Layout,
    /// At least one.
    shards: Vec<Layout>,
}

impl Layouts {
    pub(super) fn new(prefix: &str, shards: ShardId, in_cluster: bool) -> Self {
        let shard = |shard: ShardId| match shards {
            0 | 1 if !in_cluster => Layout::new(prefix.to_owned()),
            _ => tagged(prefix, shard),
        };
        let shards_in_use = (0..shards.clamp(1, MAX_SHARDS)).map(shard).collect();
        Self { common: Layout::new(prefix.to_owned()), shards: shards_in_use }
    }

    /// The first shard as it is named where there are several.
    pub(super) fn first_of_several(&self) -> Layout {
        tagged(&self.common.prefix, 0)
    }

    /// The name of a key, without prefix and tag; `None` where it has not the prefix.
    pub(super) fn name<'k>(&self, key: &'k str) -> Option<&'k str> {
        let in_shard = self.shards.iter().find_map(|shard| key.strip_prefix(&shard.prefix));
        in_shard.or_else(|| key.strip_prefix(&self.common.prefix))
    }

    /// How many shards there are.
    pub(super) fn count(&self) -> ShardId {
        self.shards.len() as ShardId
    }

    /// The shard of this number, if there is one.
    pub(super) fn shard(&self, shard: ShardId) -> Option<&Layout> {
        self.shards.get(usize::from(shard))
    }

    /// All shards, in order.
    pub(super) fn all(&self) -> &[Layout] {
        &self.shards
    }

    /// The shard that holds the key of this name.
    pub(super) fn of(&self, name: &str) -> &Layout {
        &self.shards[usize::from(shard_of(name, self.count()))]
    }
}

/// A shard of several.
fn tagged(prefix: &str, shard: ShardId) -> Layout {
    Layout::new(format!("{prefix}{{{shard}}}:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the specification of Redis Cluster says it: what stands between the first brace and the next closing one, if
    /// anything does, else the whole.
    fn hashed(key: &str) -> &str {
        let Some((_, behind)) = key.split_once('{') else { return key };
        match behind.split_once('}') {
            Some((tag, _)) if !tag.is_empty() => tag,
            _ => key,
        }
    }

    #[test]
    fn invariant_8_all_keys_of_a_shard_lie_in_one_slot_and_shards_apart() {
        for (prefix, in_cluster) in [("", false), ("app:", true)] {
            let layouts = Layouts::new(prefix, 3, in_cluster);
            let tag = |layout: &Layout| {
                let Layout { aggregated, last, checkpoints, origins, gaps, meta, exchange, days, .. } = layout;
                let element = layout.key("user:{1}:subscriptions");
                let tags = [aggregated, last, checkpoints, origins, gaps, meta, exchange, days, &element]
                    .map(|key| hashed(key).to_owned());
                assert!(tags.iter().all(|tag| *tag == tags[0]), "{prefix:?}: {tags:?}");
                tags[0].clone()
            };
            let tags: Vec<String> = layouts.all().iter().map(tag).collect();
            assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{prefix:?}: {tags:?}");
        }
    }

    #[test]
    fn one_shard_has_plain_names_but_in_a_cluster() {
        let layouts = Layouts::new("app:", 1, false);
        assert_eq!(layouts.all().len(), 1);
        assert_eq!(layouts.of("video:1:views").aggregated, "app:counters:aggregated");
        let in_cluster = Layouts::new("app:", 1, true);
        assert_eq!(in_cluster.of("video:1:views").aggregated, "app:{0}:counters:aggregated");
        assert_eq!(in_cluster.common.meta, "app:counters:meta");
        let three = Layouts::new("app:", 3, false);
        assert_eq!(three.shard(2).unwrap().aggregated, "app:{2}:counters:aggregated");
        let named = ["app:{2}:user:1:sets", "app:sg:doc:x", "other"].map(|key| three.name(key));
        assert_eq!(named, [Some("user:1:sets"), Some("sg:doc:x"), None]);
        assert_eq!((three.common.meta.as_str(), three.shard(3).is_none()), ("app:counters:meta", true));
    }
}
