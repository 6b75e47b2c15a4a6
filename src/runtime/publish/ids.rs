//! Ids of events whose sender gave none: UUIDs of version 7.

use uuid::{Builder, Uuid};

/// Makes the ids of one batch: the first from the clock and the system's random numbers, each further one by counting on.
///
/// RFC 9562 names both parts: 48 bits of milliseconds, then 74 random bits that may be counted up for ids of one moment
/// (6.2, method 2). Asking the system for each id would cost a call into the kernel for each event.
pub(super) struct Ids {
    /// Milliseconds and random bits of the next id, without the bits that say version and variant.
    next: Option<u128>,
}

/// Bits of an id that are random or counted.
const RANDOM_BITS: u32 = 74;

impl Ids {
    pub(super) const fn new() -> Self {
        Self { next: None }
    }

    pub(super) fn next(&mut self) -> Uuid {
        let number = self.next.unwrap_or_else(first);
        // Past the last random number the count goes on into the next millisecond, which is as good.
        self.next = Some(number.wrapping_add(1));
        spread(number)
    }
}

fn first() -> u128 {
    let now_ms = u128::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
    let random = Uuid::new_v4().as_u128();
    // Of a version 4 id the 62 lowest bits and the 48 highest are random.
    let random = (random & ((1 << 62) - 1)) | (random >> 80 << 62);
    (now_ms << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1))
}

/// Puts the bits where they belong: 48 of time, 4 of version, 12 counted, 2 of variant, 62 counted.
fn spread(number: u128) -> Uuid {
    let (time_ms, high, low) = (number >> 74, (number >> 62) & 0xfff, number & ((1 << 62) - 1));
    // The builder sets the bits of version and variant.
    let bytes = ((time_ms << 80) | (high << 64) | low).to_be_bytes();
    Builder::from_bytes(bytes).with_version(uuid::Version::SortRand).with_variant(uuid::Variant::RFC4122).into_uuid()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_a_batch_are_of_version_7_of_now_distinct_and_in_order() {
        let before_ms = chrono::Utc::now().timestamp_millis();
        let mut ids = Ids::new();
        let made: Vec<Uuid> = (0..10_000).map(|_| ids.next()).collect();
        let after_ms = chrono::Utc::now().timestamp_millis();
        assert!(made.is_sorted());
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), made.len());
        for id in &made {
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122), "{id}");
            let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
            let time_ms = i64::try_from(seconds).unwrap() * 1_000 + i64::from(nanos) / 1_000_000;
            assert!((before_ms..=after_ms + 1).contains(&time_ms), "{id}: {time_ms}");
        }
    }

    #[test]
    fn batches_begin_anywhere() {
        let tail = |id: Uuid| id.as_u128() & ((1 << 62) - 1);
        let begun: HashSet<u128> = (0..1_000).map(|_| tail(Ids::new().next())).collect();
        assert_eq!(begun.len(), 1_000);
    }

    #[test]
    fn the_count_passes_the_fixed_bits() {
        let last_of_low = (1_u128 << RANDOM_BITS) | ((1 << 62) - 1);
        assert_eq!(spread(last_of_low).to_string(), "00000000-0001-7000-bfff-ffffffffffff");
        assert_eq!(spread(last_of_low + 1).to_string(), "00000000-0001-7001-8000-000000000000");
        let last = (2_u128 << RANDOM_BITS) - 1;
        assert_eq!(spread(last).to_string(), "00000000-0001-7fff-bfff-ffffffffffff");
        assert_eq!(spread(last + 1).to_string(), "00000000-0002-7000-8000-000000000000");
    }
}
