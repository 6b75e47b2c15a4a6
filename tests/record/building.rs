//! What is built is what is read, and what Kafka's own schema reads (`kafka-protocol` as the judge).

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression as TheirCompression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::{collection::vec, option, prelude::*};
use streamgauge::log::{
    OutRecord, RecordRef,
    record::{
        Batch, BuildError, BuildOptions, Builder, Compression, MAX_BATCH_BYTES, NO_PRODUCER, Producer, Scratch,
        batches, stamp,
    },
};

use super::fixture::{Owned, visited};

const NOW_MS: i64 = 1_700_000_000_000;

fn options(compression: Compression) -> BuildOptions {
    BuildOptions { compression, producer: NO_PRODUCER, now_ms: NOW_MS }
}

fn build(records: &[OutRecord], options: &BuildOptions) -> Vec<u8> {
    let mut out = Vec::new();
    Builder::default().build(records, options, &mut out).unwrap();
    out
}

fn owned(offset: usize, record: &OutRecord) -> Owned {
    let header = |(name, value): &(String, Vec<u8>)| (name.clone().into_bytes(), Some(value.clone()));
    Owned {
        offset: offset as i64,
        timestamp_ms: record.timestamp_ms.unwrap_or(NOW_MS),
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.iter().map(header).collect(),
    }
}

/// What another implementation sees in the batch.
fn judged(bytes: &[u8]) -> Vec<Owned> {
    let decompress = |input: &mut Bytes, compression: TheirCompression| {
        let compression = Compression::from_bits(compression as i16).unwrap();
        Ok(Bytes::copy_from_slice(Scratch::default().decompress(compression, input)?))
    };
    let mut buffer = Bytes::copy_from_slice(bytes);
    let set = RecordBatchDecoder::decode_with_custom_compression(&mut buffer, Some(decompress)).unwrap();
    let owned = |record: Record| Owned {
        offset: record.offset,
        timestamp_ms: record.timestamp,
        key: record.key.map(Vec::from),
        value: record.value.map(Vec::from),
        headers: record
            .headers
            .into_iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.map(Vec::from)))
            .collect(),
    };
    set.records.into_iter().map(owned).collect()
}

fn out_record() -> impl Strategy<Value = OutRecord> {
    let bytes = || option::of(vec(any::<u8>(), 0..80));
    // The judge keeps headers in a map, so that names are told apart by their place.
    let headers = vec(("[a-z]{0,3}", vec(any::<u8>(), 0..10)), 0..12).prop_map(|headers| {
        headers.into_iter().enumerate().map(|(at, (name, value))| (format!("{name}{at}"), value)).collect()
    });
    (bytes(), bytes(), headers, option::of(any::<i64>().prop_map(|time| time >> 8)))
        .prop_map(|(key, value, headers, timestamp_ms)| OutRecord { key, value, headers, timestamp_ms })
}

fn compression() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

proptest! {
    #[test]
    fn what_is_built_is_read(records in vec(out_record(), 1..40), compression in compression()) {
        let bytes = build(&records, &options(compression));
        let batch = Batch::read(&bytes).unwrap();
        batch.check_crc().unwrap();
        prop_assert_eq!(batch.bytes.len(), bytes.len());
        prop_assert_eq!(batch.attributes.compression(), Some(compression));
        let expected: Vec<Owned> = records.iter().enumerate().map(|(offset, record)| owned(offset, record)).collect();
        prop_assert_eq!(batch.max_timestamp_ms, expected.iter().map(|record| record.timestamp_ms).max().unwrap());
        prop_assert_eq!(&visited(&batch, 0).unwrap(), &expected);
        prop_assert_eq!(&judged(&bytes), &expected);
    }

    #[test]
    fn what_another_builds_is_read(
        records in vec((out_record(), option::of(0_usize..3)), 1..40),
        base_offset in 0_i64..1 << 40,
        gap in 1_i64..50,
    ) {
        let theirs: Vec<Record> = records.iter().enumerate().map(|(at, (record, null_header))| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 5,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: base_offset + at as i64 * gap,
            sequence: (base_offset + at as i64 * gap) as i32,
            timestamp: record.timestamp_ms.unwrap_or(NOW_MS),
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record.headers.iter().enumerate().map(|(at, (name, value))| {
                (name.clone().into(), (Some(at) != *null_header).then(|| Bytes::from(value.clone())))
            }).collect(),
        }).collect();
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: TheirCompression::None };
        RecordBatchEncoder::encode(&mut bytes, &theirs, &options).unwrap();
        let batch = Batch::read(&bytes).unwrap();
        batch.check_crc().unwrap();
        prop_assert_eq!(batch.next_offset(), base_offset + (records.len() as i64 - 1) * gap + 1);
        prop_assert_eq!(visited(&batch, base_offset).unwrap(), judged(&bytes));
    }
}

#[test]
fn a_stamp_is_as_if_built_so() {
    let records = vec![OutRecord { value: Some(b"value".to_vec()), ..OutRecord::default() }; 100];
    for compression in Compression::ALL {
        let producer = Producer { id: 1 << 40, epoch: 12, base_sequence: 345 };
        let mut stamped = build(&records, &options(compression));
        let expected = build(&records, &BuildOptions { producer, ..options(compression) });
        assert_ne!(stamped, expected);
        let behind = stamped.len();
        stamped.extend(b"what follows is let be");
        stamp(&mut stamped, producer).unwrap();
        assert_eq!((&stamped[..behind], &stamped[behind..]), (&expected[..], &b"what follows is let be"[..]));
        let batch = Batch::read(&stamped).unwrap();
        batch.check_crc().unwrap();
        assert_eq!((batch.producer_id, batch.producer_epoch, batch.base_sequence), (1 << 40, 12, 345));
    }
    assert!(stamp(&mut [0; 70], NO_PRODUCER).is_err());
}

#[test]
fn sequences_begin_again_at_zero() {
    for (base, records, next) in [(0, 3, 3), (i32::MAX, 1, 0), (i32::MAX - 2, 5, 2), (i32::MAX - 1, 1, i32::MAX)] {
        let producer = Producer { id: 1, epoch: 0, base_sequence: base };
        assert_eq!(producer.after(records), Producer { base_sequence: next, ..producer }, "{base} + {records}");
    }
}

#[test]
fn batches_are_appended_by_one_builder() {
    let (mut builder, mut out) = (Builder::default(), Vec::new());
    let record = |n: usize| OutRecord { value: Some(vec![n as u8; 50 * n]), ..OutRecord::default() };
    for compression in Compression::ALL.iter().chain(&Compression::ALL) {
        builder.build(&[record(1), record(900), record(3)], &options(*compression), &mut out).unwrap();
    }
    let read: Vec<Batch<'_>> = batches(&out).map(Result::unwrap).collect();
    assert_eq!(read.len(), 10);
    for batch in read {
        batch.check_crc().unwrap();
        assert_eq!(visited(&batch, 2).unwrap()[0].value, Some(vec![3; 150]));
    }
}

#[test]
fn null_headers_can_be_passed_on() {
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"\xff", None), (b"", Some(b"x"))];
    let record = RecordRef { offset: 9, timestamp_ms: 3, key: None, value: None, headers: &headers };
    let mut bytes = Vec::new();
    Builder::default().build(&[record], &options(Compression::None), &mut bytes).unwrap();
    let seen = visited(&Batch::read(&bytes).unwrap(), 0).unwrap();
    assert_eq!(seen[0].headers, [(b"\xff".to_vec(), None), (vec![], Some(b"x".to_vec()))]);
    assert_eq!(seen[0].timestamp_ms, 3);
}

#[test]
fn what_is_not_built_leaves_no_trace() {
    let mut out = b"before".to_vec();
    let mut builder = Builder::default();
    assert_eq!(builder.build::<OutRecord>(&[], &options(Compression::None), &mut out), Err(BuildError::Empty));
    let half = OutRecord { value: Some(vec![0; MAX_BATCH_BYTES / 2]), ..OutRecord::default() };
    let error = builder.build(&[half.clone(), half], &options(Compression::Lz4), &mut out).unwrap_err();
    assert!(matches!(error, BuildError::TooLarge { .. }), "{error}");
    assert_eq!(out, b"before");
}
