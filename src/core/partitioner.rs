//! Which partition a key belongs to, decided as Kafka's Java client and KafkaJS decide it.
//!
//! Events of one key must meet in one partition whoever publishes them, so the hash is not ours to choose: it is the
//! 32-bit murmur2 of `org.apache.kafka.common.utils.Utils`, seed and sign bit included.

/// The seed that Kafka's clients use.
const SEED: u32 = 0x9747_b28c;
/// Murmur2's multiplier.
const MULTIPLIER: u32 = 0x5bd1_e995;
/// Murmur2's shift.
const SHIFT: u32 = 24;

/// Murmur2 of `bytes`, as `Utils.murmur2` of Kafka's Java client.
pub fn murmur2(bytes: &[u8]) -> i32 {
    let mut hash = SEED ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MULTIPLIER);
        k ^= k >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> 15)) as i32
}

/// The partition of a key in a topic of `partitions` partitions.
///
/// The sign bit is cleared, not negated, as the Java client does. A topic without partitions cannot exist; 0 is answered.
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX).checked_rem(partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own test, `UtilsTest.testMurmur2`.
    #[test]
    fn hashes_as_the_java_client_does() {
        let table: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in table {
            assert_eq!(murmur2(key), hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn a_partition_is_always_one_that_exists() {
        for partitions in [1, 2, 3, 7, 12, 1000, i32::MAX] {
            for number in 0..500 {
                let partition = partition_for_key(format!("key-{number}").as_bytes(), partitions);
                assert!((0..partitions).contains(&partition), "{partition} of {partitions}");
            }
        }
        // -973932308 with the sign bit cleared is 1173551340.
        assert_eq!(partition_for_key(b"21", 12), 1_173_551_340 % 12);
        assert_eq!(partition_for_key(b"21", 0), 0);
        assert_eq!(partition_for_key(b"", 1), 0);
    }
}
