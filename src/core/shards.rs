//! Which shard of the store holds a key, and what of the log each shard has (EXACTLY_ONCE, "Sections").

use crate::model::{Delta, Key, Section, ShardId};

/// Most shards that a store is split into (`STORE_SHARDS`).
pub const MAX_SHARDS: ShardId = 64;

/// The shard that holds the key of this name, of `shards` in all.
///
/// Fixed for ever, as what is stored lies by it, and so a part of what a fingerprint covers: the XXH3 of the name without
/// prefix, of which the upper half chooses evenly among the shards. The kind has no part in it: a counter is found by its
/// name alone, also where one rule counts it and another one takes its highest value later.
///
/// What one script touches lies in one shard (invariant 8): a set and its elements, a number and what `last` compares it by.
/// A counter that members move has a piece beside each of the sets; its value is the sum of the pieces over all shards.
pub fn shard_of(name: &str, shards: ShardId) -> ShardId {
    if shards <= 1 {
        return 0;
    }
    let upper = xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 32;
    ((upper * u64::from(shards)) >> 32) as ShardId
}

/// A section that was made without regard to shards, as each shard takes it: with the keys that lie there.
pub fn split(section: &Section, shards: ShardId) -> Vec<Section> {
    let of_shard = |shard| {
        let lies_there = |(key, _): &&(Key, Delta)| shard_of(&key.name, shards) == shard;
        let deltas = section.deltas.iter().filter(lies_there).cloned().collect();
        let statuses = section.statuses.iter().filter(|(id, _)| shard_of(id, shards) == shard).cloned().collect();
        Section { deltas, statuses, ..section.clone() }
    };
    (0..shards.max(1)).map(of_shard).collect()
}

/// Where each shard stands in a partition, for records that some of the shards have and others have not: a record changes
/// the keys of a shard only from that shard's offset on.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    /// The first offset that counts, by shard.
    from: Box<[i64]>,
    /// The first offset that counts for totals, by shard: not below the other.
    totals: Box<[i64]>,
    lowest: i64,
    highest: i64,
}

impl Standings {
    /// Each shard's first offset that counts; at least one.
    pub fn new(from: impl IntoIterator<Item = i64>) -> Self {
        let from: Box<[i64]> = from.into_iter().collect();
        let lowest = from.iter().copied().min().unwrap_or(0);
        let highest = from.iter().copied().max().unwrap_or(0);
        Self { totals: from.clone(), from, lowest, highest }
    }

    /// The same where totals were restored further than everything else: by shard, the first offset that they lack.
    pub fn with_totals(mut self, totals: impl IntoIterator<Item = Option<i64>>) -> Self {
        for (own, restored) in self.totals.iter_mut().zip(totals) {
            *own = restored.map_or(*own, |restored| restored.max(*own));
        }
        self.highest = self.totals.iter().copied().max().unwrap_or(self.highest);
        self
    }

    /// The number of shards.
    pub fn shards(&self) -> ShardId {
        ShardId::try_from(self.from.len()).unwrap_or(MAX_SHARDS)
    }

    /// The first offset that counts in any shard.
    pub fn lowest(&self) -> i64 {
        self.lowest
    }

    /// Below here every shard has the totals, so that what the records send was acknowledged before (invariant 2).
    pub fn sent_to(&self) -> i64 {
        self.totals.iter().copied().min().unwrap_or(self.lowest)
    }

    /// The first offset that counts for totals in a shard: counters, highest and latest values, and what members move.
    pub fn totals_of(&self, shard: ShardId) -> i64 {
        self.totals.get(usize::from(shard)).copied().unwrap_or(self.highest)
    }

    /// From here on all shards count everything: nothing is decided per record.
    pub fn highest(&self) -> i64 {
        self.highest
    }

    /// The first offset that counts in a shard.
    pub fn of(&self, shard: ShardId) -> i64 {
        self.from.get(usize::from(shard)).copied().unwrap_or(self.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_name_is_fixed_for_ever() {
        // What is stored lies by these numbers: a change of one loses the counts of that key.
        let names =
            ["", "video:1:views", "video:2:views", "user:1:subscriptions", "a:ключ", "trending:1h:2026-07-01T00"];
        let of = |shards| names.map(|name| shard_of(name, shards));
        assert_eq!(of(1), [0; 6]);
        assert_eq!((of(2), of(3)), ([0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2]));
        assert_eq!(of(64), [11, 2, 26, 28, 44, 63]);
    }

    #[test]
    fn names_spread_evenly() {
        for shards in [2, 3, 7, 64] {
            let mut sizes = vec![0_usize; usize::from(shards)];
            for n in 0..20_000 {
                sizes[usize::from(shard_of(&format!("video:{n}:views"), shards))] += 1;
            }
            let even = 20_000 / usize::from(shards);
            assert!(sizes.iter().all(|size| size.abs_diff(even) < even / 3), "{shards}: {sizes:?}");
        }
    }

    #[test]
    fn standings_know_their_edges() {
        let standings = Standings::new([10, 4, 7]);
        assert_eq!((standings.shards(), standings.lowest(), standings.highest()), (3, 4, 10));
        assert_eq!([0, 1, 2].map(|shard| standings.of(shard)), [10, 4, 7]);
        assert_eq!((standings.sent_to(), [0, 1, 2].map(|shard| standings.totals_of(shard))), (4, [10, 4, 7]));
    }

    #[test]
    fn restored_totals_reach_further_than_the_rest() {
        let standings = Standings::new([10, 4, 7]).with_totals([Some(8), Some(12), None]);
        assert_eq!((standings.lowest(), standings.highest(), standings.sent_to()), (4, 12, 7));
        assert_eq!([0, 1, 2].map(|shard| standings.of(shard)), [10, 4, 7]);
        assert_eq!([0, 1, 2].map(|shard| standings.totals_of(shard)), [10, 12, 7]);
    }
}
