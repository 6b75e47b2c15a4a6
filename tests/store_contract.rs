//! The contract of `Store` on the embedded one.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use streamgauge::store::{Store, StoreError, embedded::EmbeddedStore};
use support::store_contract::{Fixture, count, section};

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
