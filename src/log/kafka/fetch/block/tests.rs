//! What answers become, by tables, and that no bytes make it panic.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use bytes::Bytes;
use kafka_protocol::messages::{
    ProducerId,
    fetch_response::{AbortedTransaction as Aborted, PartitionData},
};
use proptest::prelude::*;

use super::*;
use crate::log::{
    OutRecord,
    record::{BuildOptions, Builder, Compression, Producer},
};

const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const TRANSACTIONAL: u8 = 0x10;
const CONTROL: u8 = 0x20;
/// The key of an abort marker: version 0, type 0.
const ABORT: &[u8] = &[0, 0, 0, 0];

/// A batch of values from `base` on, of producer `id`, with more attribute bits.
fn batch(base: i64, values: &[&str], id: i64, bits: u8) -> Vec<u8> {
    let key = (bits & CONTROL != 0).then(|| ABORT.to_vec());
    let record =
        |value: &&str| OutRecord { key: key.clone(), value: Some(value.as_bytes().to_vec()), ..OutRecord::default() };
    let records: Vec<OutRecord> = values.iter().map(record).collect();
    let producer = Producer { id, epoch: 0, base_sequence: 0 };
    let compression = if bits & CONTROL == 0 { Compression::Lz4 } else { Compression::None };
    let mut bytes = Vec::new();
    Builder::default().build(&records, &BuildOptions { compression, producer, now_ms: 0 }, &mut bytes).unwrap();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[ATTRIBUTES_AT + 1] |= bits;
    seal(bytes)
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn plain(base: i64, values: &[&str]) -> Vec<u8> {
    batch(base, values, -1, 0)
}

fn data(bytes: Vec<u8>, aborted: &[(i64, i64)]) -> PartitionData {
    let aborted = aborted
        .iter()
        .map(|(id, first)| Aborted::default().with_producer_id(ProducerId(*id)).with_first_offset(*first));
    PartitionData::default()
        .with_high_watermark(100)
        .with_last_stable_offset(50)
        .with_log_start_offset(3)
        .with_aborted_transactions(Some(aborted.collect()))
        .with_records(Some(Bytes::from(bytes)))
}

fn found(data: PartitionData, offset: i64) -> Result<Found, LogError> {
    read(data, &TopicPartition::new("t", 4), offset, 0)
}

/// Where to go on, the records, and the error that ended them.
fn told(data: PartitionData, offset: i64) -> (i64, Vec<String>, Option<String>) {
    match found(data, offset) {
        Ok(Found::Block(block)) => {
            let mut values = Vec::new();
            let visited = block.records.visit(&mut |record| {
                values.push(format!("{}={}", record.offset, String::from_utf8_lossy(record.value.unwrap())));
            });
            (block.next_offset, values, visited.err().map(|error| error.to_string()))
        }
        Ok(Found::Nothing) => (offset, vec!["nothing".to_owned()], None),
        Ok(Found::MoreBytes(bytes)) => (offset, vec![format!("{bytes} bytes")], None),
        Err(error) => (offset, Vec::new(), Some(error.to_string())),
    }
}

#[test]
#[expect(clippy::type_complexity, reason = "the rows of a table")]
fn whole_batches_are_visited_from_the_offset_on_and_the_header_tells_where_to_go_on() {
    let two = [plain(10, &["a", "b"]), plain(12, &["c"])].concat();
    let cut = two[..two.len() - 1].to_vec();
    let needed = format!("{} bytes", plain(10, &["a", "b"]).len());
    let mut compacted = plain(20, &["a"]);
    compacted[LAST_OFFSET_DELTA_AT..LAST_OFFSET_DELTA_AT + 4].copy_from_slice(&7_i32.to_be_bytes());
    let marker = batch(30, &["m"], 1, TRANSACTIONAL | CONTROL);
    let backwards = [plain(10, &["a", "b"]), plain(11, &["x"])].concat();
    let cases: [(&str, Vec<u8>, i64, i64, &[&str]); 10] = [
        ("nothing", vec![], 10, 10, &["nothing"]),
        ("whole", two.clone(), 10, 13, &["10=a", "11=b", "12=c"]),
        ("from within a batch", two.clone(), 11, 13, &["11=b", "12=c"]),
        ("from before the first that is left", two.clone(), 5, 13, &["10=a", "11=b", "12=c"]),
        ("a last batch that is cut", cut, 10, 12, &["10=a", "11=b"]),
        ("a first batch that is cut", two[..50].to_vec(), 10, 10, &[&needed]),
        ("a first batch that is cut early", two[..12].to_vec(), 10, 10, &["61 bytes"]),
        ("compacted", seal(compacted), 20, 28, &["20=a"]),
        ("a marker alone", marker, 30, 31, &[]),
        ("offsets that go back", backwards, 10, 12, &["10=a", "11=b"]),
    ];
    for (name, bytes, offset, next_offset, values) in cases {
        let values = values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        assert_eq!(told(data(bytes, &[]), offset), (next_offset, values, None), "{name}");
    }
}

#[test]
fn aborted_records_are_left_out_and_others_of_that_producer_are_not() {
    let bytes = [
        batch(0, &["before"], 7, TRANSACTIONAL),
        batch(1, &["aborted"], 7, TRANSACTIONAL),
        batch(2, &["other"], 8, TRANSACTIONAL),
        batch(3, &["abort"], 7, TRANSACTIONAL | CONTROL),
        batch(4, &["after"], 7, TRANSACTIONAL),
    ]
    .concat();
    let told = told(data(bytes, &[(7, 1)]), 0);
    assert_eq!(told, (5, ["0=before", "2=other", "4=after"].map(str::to_owned).to_vec(), None));
}

#[test]
fn what_cannot_be_read_is_named_with_its_place_and_comes_behind_what_can() {
    let good = plain(10, &["a"]);
    let mut damaged = plain(11, &["b"]);
    *damaged.last_mut().unwrap() ^= 1;
    let mut old = plain(11, &["b"]);
    old[16] = 1;
    let (next, values, error) = told(data([good.clone(), damaged.clone()].concat(), &[]), 10);
    assert_eq!((next, values), (12, vec!["10=a".to_owned()]));
    let error = error.unwrap();
    assert!(error.contains("t:4") && error.contains("offset 11") && error.contains("damaged"), "{error}");
    // Another format ends the block, and is told to who goes on from there.
    assert_eq!(told(data([good.clone(), old.clone()].concat(), &[]), 10), (11, vec!["10=a".to_owned()], None));
    let error = told(data(old, &[]), 11).2.unwrap();
    assert!(error.contains("t:4") && error.contains("v1"), "{error}");
    // Asking again at once would go round without end, so this is no "nothing".
    assert!(found(data(good, &[]), 11).is_err_and(|error| error.is_retriable()));
}

#[test]
fn lag_is_told_from_the_end_of_what_may_be_read() {
    let Ok(Found::Block(block)) = found(data(plain(10, &["a"]), &[]), 10) else { unreachable!("a block") };
    assert_eq!((block.high_watermark, block.log_start), (50, Some(3)));
    let old = data(plain(10, &["a"]), &[]).with_last_stable_offset(-1).with_log_start_offset(-1);
    let Ok(Found::Block(block)) = found(old, 10) else { unreachable!("a block") };
    assert_eq!((block.high_watermark, block.log_start), (100, None));
    let behind = data(plain(60, &["a"]), &[]);
    let Ok(Found::Block(block)) = found(behind, 60) else { unreachable!("a block") };
    assert_eq!(block.high_watermark, 61, "the record proves it");
}

#[test]
fn a_small_part_of_a_large_answer_does_not_keep_its_memory() {
    let batch = plain(10, &["a"]);
    for (answer_bytes, is_kept) in [(batch.len() * 8, true), (batch.len() * 100, false)] {
        let answer = Bytes::from(batch.clone());
        let data = data(Vec::new(), &[]).with_records(Some(answer.clone()));
        let block = read(data, &TopicPartition::new("t", 4), 10, answer_bytes);
        assert_eq!(!answer.is_unique(), is_kept, "{answer_bytes}");
        assert!(matches!(block, Ok(Found::Block(block)) if block.size_bytes == batch.len()));
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_block_that_goes_on_or_an_error(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        junk in proptest::collection::vec(any::<u8>(), 0..100),
        is_junk in proptest::bool::weighted(0.2),
        offset in 0_i64..20,
    ) {
        let mut bytes = [plain(10, &["a", "b"]), batch(12, &["c"], 3, TRANSACTIONAL), plain(13, &["d"])].concat();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let bytes = if is_junk { junk } else { bytes };
        if let Ok(Found::Block(block)) = found(data(bytes, &[(3, 12)]), offset) {
            prop_assert!(block.next_offset > offset && block.high_watermark >= block.next_offset);
            let mut last = offset - 1;
            let _ = block.records.visit(&mut |record| {
                assert!(record.offset > last && record.offset < block.next_offset);
                last = record.offset;
            });
        }
    }
}
