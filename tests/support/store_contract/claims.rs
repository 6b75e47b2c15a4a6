//! Groups, first offsets, documents.

use std::time::{Duration, Instant};

use super::*;
use streamgauge::{
    model::{Swap, SwapOutcome},
    store::StoreError,
};

pub async fn topics_belong_to_one_group(f: &Fixture) {
    let topics = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    f.store.open("one", &topics(&["a", "b"])).await.unwrap();
    f.store.open("one", &topics(&["a", "b", "c"])).await.unwrap();
    let error = f.store.open("two", &topics(&["d", "b", "e"])).await.unwrap_err();
    assert_eq!(error, StoreError::ClaimedByOther { topic: "b".into(), owner: "one".into() });
    // Nothing of it was claimed.
    f.store.open("three", &topics(&["d", "e"])).await.unwrap();
    f.store.open("two", &[]).await.unwrap();
}

pub async fn first_offsets_are_fixed_once(f: &Fixture) {
    assert_eq!(f.store.fix_origins(&[(partition(0), 5), (partition(1), 0)]).await.unwrap(), [5, 0]);
    let again = [(partition(2), 7), (partition(1), 9), (partition(0), 6)];
    assert_eq!(f.store.fix_origins(&again).await.unwrap(), [7, 0, 5]);
    assert_eq!(f.store.fix_origins(&[]).await.unwrap(), Vec::<i64>::new());
    f.apply_one(section(1, -1, 3, vec![])).await;
    let positions = f.store.positions(&[partition(0), partition(1), partition(99)]).await.unwrap();
    let found: Vec<_> = positions.iter().map(|shards| (shards.len(), shards[0].checkpoint, shards[0].origin)).collect();
    assert_eq!(found, [(1, None, Some(5)), (1, Some(checkpoint(3)), Some(0)), (1, None, None)]);
    assert_eq!(f.store.positions(&[]).await.unwrap(), Vec::<Vec<_>>::new());
}

pub async fn documents_compare_and_set(f: &Fixture) {
    let swap = |expect: Option<&[u8]>, next: Option<&[u8]>, ttl_ms| Swap {
        name: "doc".into(),
        expect: expect.map(<[u8]>::to_vec),
        next: next.map(<[u8]>::to_vec),
        ttl_ms,
    };
    let stored = |bytes: &[u8]| SwapOutcome::Differs(Some(bytes.to_vec()));
    let binary: &[u8] = b"\x00\xff\r\n\x80";
    let cases = [
        (swap(None, None, None), SwapOutcome::Swapped),
        (swap(Some(b"a"), Some(b"b"), None), SwapOutcome::Differs(None)),
        (swap(None, Some(b"a"), None), SwapOutcome::Swapped),
        (swap(None, None, None), stored(b"a")),
        (swap(None, Some(b"b"), None), stored(b"a")),
        (swap(Some(b"a"), Some(binary), Some(60_000)), SwapOutcome::Swapped),
        (swap(Some(b"a"), None, None), stored(binary)),
        (swap(Some(binary), None, None), SwapOutcome::Swapped),
        (swap(None, None, None), SwapOutcome::Swapped),
    ];
    for (i, (swap, expected)) in cases.iter().enumerate() {
        assert_eq!(f.store.swap(std::slice::from_ref(swap)).await.unwrap(), std::slice::from_ref(expected), "{i}");
    }
    let all: Vec<Swap> = cases.iter().map(|(swap, _)| swap.clone()).collect();
    let expected: Vec<SwapOutcome> = cases.iter().map(|(_, outcome)| outcome.clone()).collect();
    assert_eq!(f.store.swap(&all).await.unwrap(), expected);
    assert_eq!(f.store.swap(&[]).await.unwrap(), []);
    // Several in one call, wherever they lie.
    let others: Vec<Swap> =
        (0..6).map(|n| Swap { name: format!("other{n}"), ..swap(None, Some(b"x"), None) }).collect();
    assert_eq!(f.store.swap(&others).await.unwrap(), vec![SwapOutcome::Swapped; 6]);
    assert_eq!(f.store.swap(&others).await.unwrap(), vec![stored(b"x"); 6]);
    assert_eq!(f.store.swap(&[swap(None, Some(b"short"), Some(30))]).await.unwrap(), [SwapOutcome::Swapped]);
    let deadline = Instant::now() + Duration::from_secs(5);
    while f.store.swap(&[swap(None, None, None)]).await.unwrap() != [SwapOutcome::Swapped] {
        assert!(Instant::now() < deadline, "the document outlived its time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(f.store.swap(&[swap(None, Some(b"new"), None)]).await.unwrap(), [SwapOutcome::Swapped]);
    assert_eq!(f.store.swap(&[swap(None, None, None)]).await.unwrap(), [stored(b"new")]);
}
