//! Keys of results.

use std::hash::{Hash, Hasher};

/// What a key holds, and so how its deltas merge and how a store applies them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// An integer sum, a field of `counters:aggregated`.
    Count,
    /// A highest value, a field of `counters:aggregated`.
    Max,
    /// The value of the latest event, a field of `counters:aggregated`; what it needs to compare lies in `counters:last`.
    Last,
    /// A HyperLogLog.
    Unique,
    /// Newest elements by event time: a sorted set.
    Recent,
    /// Sums per element of one window: a sorted set.
    Top,
    /// A set of elements.
    Member,
}

/// A result's key: its kind, its full name without `REDIS_KEY_PREFIX`, and a hash that is computed once.
#[derive(Clone, Debug, Eq)]
pub struct Key {
    hash: u64,
    /// What the key holds.
    pub kind: Kind,
    /// The full name, windows and days included.
    pub name: Box<str>,
}

impl Key {
    /// Makes a key and hashes it.
    pub fn new(kind: Kind, name: impl Into<Box<str>>) -> Self {
        let name = name.into();
        Self { hash: Self::hash_of(kind, &name), kind, name }
    }

    /// Makes a key whose [`Key::hash_of`] is already known.
    pub fn with_hash(hash: u64, kind: Kind, name: &str) -> Self {
        debug_assert_eq!(hash, Self::hash_of(kind, name));
        Self { hash, kind, name: name.into() }
    }

    /// The hash of a key with this kind and name.
    pub fn hash_of(kind: Kind, name: &str) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), kind as u64)
    }

    /// The key's own hash.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.kind == other.kind && self.name == other.name
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
