//! What a reader is promised of single batches and of their sequence.

use streamgauge::log::record::{Batch, MAX_BATCH_BYTES, RecordError, batches};

use super::fixture::{Draft, Owned, record, simple, varint, visited};

fn offsets(draft: &Draft, from_offset: i64) -> Vec<i64> {
    let bytes = draft.bytes();
    visited(&Batch::read(&bytes).unwrap(), from_offset).unwrap().iter().map(|record| record.offset).collect()
}

#[test]
fn every_field_arrives() {
    let mut draft = Draft::of(&[
        record(-5, 0, Some(b"key"), Some(b"value"), &[(b"h", Some(b"1")), (b"\xff\xfe", None), (b"h", Some(b""))]),
        record(1 << 40, 1, None, None, &[]),
    ]);
    draft.attributes = 0x10;
    draft.producer_id = 77;
    let bytes = draft.bytes();
    let batch = Batch::read(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!((batch.base_offset, batch.leader_epoch, batch.next_offset()), (100, 7, 102));
    assert_eq!((batch.producer_id, batch.producer_epoch, batch.base_sequence), (77, 3, 9));
    assert!(batch.attributes.is_transactional() && !batch.attributes.is_control());
    assert_eq!(
        visited(&batch, 0).unwrap(),
        [
            Owned {
                offset: 100,
                timestamp_ms: 995,
                key: Some(b"key".to_vec()),
                value: Some(b"value".to_vec()),
                headers: vec![
                    (b"h".to_vec(), Some(b"1".to_vec())),
                    (b"\xff\xfe".to_vec(), None),
                    (b"h".to_vec(), Some(vec![])),
                ],
            },
            Owned { offset: 101, timestamp_ms: 1_000 + (1 << 40), ..Owned::default() },
        ]
    );
}

#[test]
fn log_append_time_is_the_batchs_greatest_time() {
    for (attributes, times) in [(0x00, [1_000, 1_010]), (0x08, [5_000, 5_000]), (0x48, [5_000, 5_000])] {
        let bytes = Draft { attributes, ..Draft::of(&[simple(0, b"a"), simple(1, b"b")]) }.bytes();
        let seen = visited(&Batch::read(&bytes).unwrap(), 0).unwrap();
        assert_eq!(seen.iter().map(|record| record.timestamp_ms).collect::<Vec<_>>(), times, "{attributes:#x}");
    }
}

#[test]
fn gaps_and_starts() {
    // Compaction has left the offsets 102 and 105 of 100 to 109.
    let gaps = Draft { last_offset_delta: 9, ..Draft::of(&[simple(2, b"a"), simple(5, b"b")]) };
    for (from_offset, expected) in
        [(0, vec![102, 105]), (102, vec![102, 105]), (103, vec![105]), (106, vec![]), (110, vec![]), (i64::MAX, vec![])]
    {
        assert_eq!(offsets(&gaps, from_offset), expected, "from {from_offset}");
    }
    assert_eq!(Batch::read(&gaps.bytes()).unwrap().next_offset(), 110);
    // All records compacted away: the header stays, for its sequence number.
    let empty = Draft { last_offset_delta: 9, attributes: 3, ..Draft::default() };
    assert_eq!(offsets(&empty, 0), [] as [i64; 0]);
    assert_eq!(Batch::read(&empty.bytes()).unwrap().next_offset(), 110);
}

#[test]
fn control_batches_have_no_records() {
    let control = Draft { attributes: 0x30, ..Draft::of(&[record(0, 0, Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[])]) };
    assert_eq!(offsets(&control, 0), [] as [i64; 0]);
    assert_eq!(Batch::read(&control.bytes()).unwrap().next_offset(), 101);
}

#[test]
fn a_last_batch_that_is_cut_off_ends_the_iteration() {
    let first = Draft::of(&[simple(0, b"a")]).bytes();
    let second = Draft { base_offset: 101, ..Draft::of(&[simple(0, b"b")]) }.bytes();
    let both = [first.clone(), second].concat();
    for cut in first.len()..both.len() {
        let mut read = batches(&both[..cut]);
        assert_eq!(read.next().unwrap().unwrap().base_offset, 100, "cut at {cut}");
        assert!(read.next().is_none(), "cut at {cut}");
        assert_eq!(read.rest().len(), cut - first.len());
    }
    assert_eq!(batches(&both).map(|batch| batch.unwrap().base_offset).collect::<Vec<_>>(), [100, 101]);
    assert!(batches(&[]).next().is_none());
    for cut in 1..first.len() {
        let mut read = batches(&first[..cut]);
        let error = read.next().unwrap().unwrap_err();
        assert!(
            matches!(error, RecordError::Incomplete { have_bytes, .. } if have_bytes == cut),
            "cut at {cut}: {error}"
        );
        assert!(read.next().is_none(), "nothing follows an error");
    }
}

#[test]
fn headers_that_are_refused() {
    let good = Draft::of(&[simple(0, b"a")]);
    let length = |length: i32| {
        let mut bytes = good.bytes();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    for (name, bytes, expected) in [
        ("v0", Draft { magic: 0, ..good.clone() }.bytes(), "message format v0"),
        ("v1", Draft { magic: 1, ..good.clone() }.bytes()[..30].to_vec(), "copy what is still needed into a new topic"),
        ("v3", Draft { magic: 3, ..good.clone() }.bytes(), "none that exists"),
        ("negative length", length(-1), "negative length"),
        ("short length", length(48), "less than a header's"),
        ("absurd length", length(MAX_BATCH_BYTES as i32), "absurd"),
        ("negative offset", Draft { base_offset: -1, ..good.clone() }.bytes(), "negative base offset"),
        ("negative delta", Draft { last_offset_delta: -1, ..good.clone() }.bytes(), "negative last offset delta"),
        ("end of offsets", Draft { base_offset: i64::MAX, ..good.clone() }.bytes(), "63 bits"),
        ("negative count", Draft { record_count: -1, ..good.clone() }.bytes(), "record count"),
        ("too many records", Draft { record_count: 2, ..good.clone() }.bytes(), "record count"),
    ] {
        let error = Batch::read(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        let mut after_good = good.bytes();
        after_good.extend(bytes);
        assert!(batches(&after_good).nth(1).unwrap().is_err(), "{name}: no truncation");
    }
}

#[test]
fn damage_is_found() {
    let good = Draft::of(&[simple(0, b"some bytes")]).bytes();
    for at in 21..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        let found = Batch::read(&bytes).and_then(|batch| batch.check_crc());
        assert!(found.is_err(), "byte {at}");
    }
}

#[test]
fn malformed_records_name_the_batch() {
    let good = simple(0, b"value");
    let with_body = |body: &[u8]| [varint(body.len() as i64), body.to_vec()].concat();
    // Attributes, time, offset, key (null), value (null), headers.
    for (name, records) in [
        ("no length", vec![0x80]),
        ("negative length", varint(-1)),
        ("length beyond the batch", varint(500)),
        ("length beyond 32 bits", varint(1 << 33)),
        ("no body", varint(0)),
        ("no offset", with_body(&[0, 0])),
        ("key beyond the record", with_body(&[0, 0, 0, 40, 1, 0])),
        ("value beyond the record", with_body(&[0, 0, 0, 1, 40, 0])),
        ("no header count", with_body(&[0, 0, 0, 1, 1])),
        ("negative header count", with_body(&[0, 0, 0, 1, 1, 1])),
        ("headers that are not there", with_body(&[0, 0, 0, 1, 1, 4, 2, b'h', 1])),
        ("null header name", with_body(&[0, 0, 0, 1, 1, 2, 1, 1])),
        ("bytes behind the headers", with_body(&[0, 0, 0, 1, 1, 0, 0])),
        ("negative offset", simple(-1, b"")),
        ("offset beyond the batch", simple(3, b"")),
        ("offset again", simple(0, b"")),
        ("one record too many", [simple(1, b""), simple(2, b"")].concat()),
        ("one record too few", vec![]),
    ] {
        let draft = Draft {
            last_offset_delta: 2,
            record_count: 2,
            payload: [good.clone(), records].concat(),
            ..Draft::default()
        };
        let bytes = draft.bytes();
        let mut seen = 0;
        let mut scratch = streamgauge::log::record::Scratch::default();
        let error = Batch::read(&bytes).unwrap().visit(0, &mut scratch, &mut |_| seen += 1).unwrap_err();
        assert!(matches!(error, RecordError::Malformed { base_offset: 100, index: 1 | 2, .. }), "{name}: {error}");
        assert!(seen >= 1, "{name}: what lies before is visited");
    }
}

#[test]
fn a_codec_that_does_not_exist_is_an_error() {
    for attributes in 5..=7 {
        let bytes = Draft { attributes, ..Draft::of(&[simple(0, b"")]) }.bytes();
        let error = visited(&Batch::read(&bytes).unwrap(), 0).unwrap_err();
        assert!(matches!(error, RecordError::Header { base_offset: 100, .. }), "{error}");
    }
}
