//! Documents: compared and set by `swap.lua`.

use std::collections::HashSet;

use fred::types::Value;
use futures::{StreamExt, TryStreamExt, stream};

use super::{CALL_DEADLINE, RedisStore, pack, reading::list, script};
use crate::{
    model::{Swap, SwapOutcome},
    store::StoreError,
};

/// Most documents of one script call: it takes Redis a few milliseconds, in which it answers nobody else.
const SWAPS_AT_ONCE: usize = 1_000;
/// Calls under way at a time in a cluster, where each document has a slot of its own, and one call is about one slot.
const CALLS_AT_ONCE: usize = 32;

/// Compares and sets documents, in order. In a cluster different documents that follow each other are compared at once.
pub(super) async fn swap(store: &RedisStore, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
    let mut outcomes = Vec::with_capacity(swaps.len());
    if !store.lanes.is_cluster() {
        for swaps in swaps.chunks(SWAPS_AT_ONCE) {
            outcomes.extend(call(store, swaps).await?);
        }
        return Ok(outcomes);
    }
    for wave in waves(swaps) {
        let calls: Vec<_> = wave.chunks(1).map(|swap| call(store, swap)).collect();
        outcomes.extend(stream::iter(calls).buffered(CALLS_AT_ONCE).try_concat().await?);
    }
    Ok(outcomes)
}

/// Swaps one after the other, cut where a document comes again: those of one piece may be made at once.
fn waves(swaps: &[Swap]) -> Vec<&[Swap]> {
    let (mut waves, mut begin, mut names) = (Vec::new(), 0, HashSet::new());
    for (at, swap) in swaps.iter().enumerate() {
        if !names.insert(&*swap.name) {
            waves.extend(swaps.get(begin..at));
            (begin, names) = (at, HashSet::from([&*swap.name]));
        }
    }
    waves.extend(swaps.get(begin..));
    waves
}

async fn call(store: &RedisStore, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
    let doing = format!("comparing and setting {} documents, the first {:?}", swaps.len(), swaps[0].name);
    let documents = store.layouts.common.key("sg:doc:");
    let first = format!("{documents}{}", swaps[0].name);
    let args = vec![Value::from(documents), Value::Bytes(pack::swaps(swaps))];
    let answer = store.swap.run(&store.lanes, &doing, &[&first], args, CALL_DEADLINE).await?;
    list(answer).into_iter().map(|outcome| script::swap_outcome(&doing, outcome)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_once_in_a_wave() {
        for (names, expected) in [
            ("", vec![""]),
            ("a", vec!["a"]),
            ("abc", vec!["abc"]),
            ("aab", vec!["a", "ab"]),
            ("abcaba", vec!["abc", "ab", "a"]),
        ] {
            let swap = |name: char| Swap { name: name.to_string(), expect: None, next: None, ttl_ms: None };
            let swaps: Vec<Swap> = names.chars().map(swap).collect();
            let told = |wave: &[Swap]| wave.iter().map(|swap| &*swap.name).collect::<String>();
            assert_eq!(waves(&swaps).into_iter().map(told).collect::<Vec<_>>(), expected, "{names}");
        }
    }
}
