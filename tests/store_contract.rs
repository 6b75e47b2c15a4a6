//! The contract of `Store` on the embedded one.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use streamgauge::store::{
    Store, StoreError,
    embedded::{EmbeddedExchange, EmbeddedStore},
};
use support::{
    memory_store::{MemoryStore, exchange::MemoryExchange},
    store_contract::{Fixture, count, exchange, section},
};

async fn embedded() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path().join("store.redb")).unwrap();
    Fixture { store: Box::new(store), raw: None, prefix: String::new(), keep: Box::new(folder) }
}

store_contract_tests!(crate::embedded);

/// The store that other tests have in memory: the rest of it is tried by what it is used for.
mod in_memory {
    use crate::support::{memory_store::MemoryStore, store_contract::Fixture};

    async fn memory() -> Fixture {
        Fixture { store: Box::<MemoryStore>::default(), raw: None, prefix: String::new(), keep: Box::new(()) }
    }

    crate::store_contract_tests!(memory, members only);
}

/// The same in three shards.
mod in_memory_sharded {
    use crate::support::{memory_store::MemoryStore, store_contract::Fixture};

    async fn memory() -> Fixture {
        Fixture { store: Box::new(MemoryStore::of(3)), raw: None, prefix: String::new(), keep: Box::new(()) }
    }

    crate::store_contract_tests!(memory, sharded);
}

#[tokio::test]
async fn results_give_way_to_those_of_a_shadow() {
    let (live, shadow, folder) = two_files();
    let exchange = EmbeddedExchange::new(Arc::clone(&live), Some(Arc::clone(&shadow)));
    exchange::results_give_way_to_those_of_the_shadow(&*live, &*shadow, &exchange).await;
    drop(folder);
    for shards in [1, 3] {
        let (live, shadow) = (Arc::new(MemoryStore::of(shards)), Arc::new(MemoryStore::of(shards)));
        let both = MemoryExchange { live: Arc::clone(&live), shadow: Arc::clone(&shadow) };
        exchange::results_give_way_to_those_of_the_shadow(&*live, &*shadow, &both).await;
    }
}

#[tokio::test]
async fn counters_of_a_day_expire_where_they_went() {
    let (live, shadow, folder) = two_files();
    let exchange = EmbeddedExchange::new(Arc::clone(&live), Some(Arc::clone(&shadow)));
    exchange::counters_of_a_day_expire_where_they_went(&*live, &*shadow, &exchange).await;
    drop(folder);
}

#[tokio::test]
async fn for_the_lack_of_a_shadow_nothing_is_removed() {
    let (live, shadow, folder) = two_files();
    let exchange = EmbeddedExchange::new(Arc::clone(&live), Some(Arc::clone(&shadow)));
    let lost = EmbeddedExchange::new(Arc::clone(&live), None);
    exchange::for_the_lack_of_a_shadow_nothing_is_removed(&*live, &*shadow, &exchange, &lost).await;
    drop(folder);
}

fn two_files() -> (Arc<EmbeddedStore>, Arc<EmbeddedStore>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let open = |name| Arc::new(EmbeddedStore::open(folder.path().join(name)).unwrap());
    (open("store.redb"), open("shadow.redb"), folder)
}

#[tokio::test]
async fn a_file_belongs_to_one_process_and_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    store.apply(0, &[section(0, -1, 1, vec![count("c", 5)])]).await.unwrap();
    let error = EmbeddedStore::open(&path).err().unwrap();
    assert!(matches!(&error, StoreError::Refused { .. }), "{error}");
    assert!(!error.is_retriable() && error.to_string().contains("another process"), "{error}");
    drop(store);
    let page = EmbeddedStore::open(&path).unwrap().scan("", "", 10).await.unwrap();
    assert_eq!(page.counters, [("c".to_owned(), 5)]);
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    std::fs::write(&path, vec![7; 10_000]).unwrap();
    let error = EmbeddedStore::open(&path).err().unwrap();
    assert!(matches!(&error, StoreError::Corrupt { .. }), "{error}");
    let error = EmbeddedStore::open(folder.path().join("missing/store.redb")).err().unwrap();
    assert!(matches!(&error, StoreError::Refused { .. }), "{error}");
}
