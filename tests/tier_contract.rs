//! The contract of `Tier` on the one that other tests have in memory; `integration/` runs it on Redis and PostgreSQL.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use streamgauge::model::ShardId;
use support::{
    memory_store::{Held, MemoryStore, tier::MemoryTier},
    tier_contract::Tiered,
};

async fn memory() -> Tiered {
    of_shards(1)
}

fn of_shards(shards: ShardId) -> Tiered {
    let store = Arc::new(MemoryStore::of(shards));
    let tier = Arc::new(MemoryTier::new(Arc::clone(&store), |store: &MemoryStore| store));
    let emptied = Arc::clone(&store);
    let empty = move || {
        (0..shards).for_each(|shard| emptied.put_back_shard(shard, Held::default()));
        Box::pin(async {}) as _
    };
    Tiered { store, tier, empty: Box::new(empty), keep: Box::new(()) }
}

tier_contract_tests!(crate::memory);

mod in_shards {
    use super::*;

    async fn three() -> Tiered {
        of_shards(3)
    }

    tier_contract_tests!(three);
}
