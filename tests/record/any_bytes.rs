//! No bytes make the room panic, or hand out a record outside what its batch announces.

use proptest::{collection::vec, prelude::*};
use streamgauge::log::{
    OutRecord,
    record::{AbortedFilter, AbortedTransaction, BuildOptions, Builder, Compression, NO_PRODUCER, Scratch, batches},
};

use super::fixture::Draft;

/// Reads everything that can be read, the checksum aside.
fn read_all(bytes: &[u8]) {
    let mut scratch = Scratch::default();
    let mut filter = AbortedFilter::new(vec![AbortedTransaction { producer_id: 7, first_offset: 0 }]);
    for batch in batches(bytes) {
        let Ok(batch) = batch else { return };
        let _ = batch.check_crc();
        let _ = filter.is_aborted(&batch);
        let _ = batch.marker();
        let mut expected = batch.base_offset..batch.next_offset();
        let mut seen = 0;
        let _ = batch.visit(0, &mut scratch, &mut |record| {
            assert!(expected.contains(&record.offset), "{} is not in {expected:?}", record.offset);
            expected.start = record.offset + 1;
            seen += 1;
        });
        assert!(seen <= batch.record_count);
    }
}

fn built(compression: Compression, values: &[Vec<u8>]) -> Vec<u8> {
    let record = |value: &Vec<u8>| OutRecord {
        key: Some(value.clone()),
        value: Some(value.repeat(20)),
        headers: vec![("name".to_owned(), value.clone())],
        timestamp_ms: None,
    };
    let records: Vec<OutRecord> = values.iter().map(record).collect();
    let mut bytes = Vec::new();
    let options = BuildOptions { compression, producer: NO_PRODUCER, now_ms: 0 };
    Builder::default().build(&records, &options, &mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn any_payload(
        payload in vec(any::<u8>(), 0..300),
        attributes in 0_i16..0x40,
        record_count in 0..20,
        producer_id in 7_i64..9,
    ) {
        let draft = Draft { attributes, record_count, producer_id, last_offset_delta: 20, payload, ..Draft::default() };
        read_all(&draft.bytes());
    }

    #[test]
    fn small_numbers(payload in vec(0_u8..24, 0..200), record_count in 0..20) {
        read_all(&Draft { record_count, last_offset_delta: 20, payload, ..Draft::default() }.bytes());
    }

    #[test]
    fn changed_batches(
        compression in proptest::sample::select(&Compression::ALL[..]),
        values in vec(vec(any::<u8>(), 0..30), 1..10),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = built(compression, &values).repeat(2);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(&bytes);
        read_all(&bytes[..cut.index(bytes.len())]);
    }
}
