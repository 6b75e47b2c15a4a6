//! What a partition's log promises, on its files.

use std::{
    fs::{self, File},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::log::broker::{
    batch::tests::{batch, seal, stamped},
    reading::ReadError,
};

fn open(dir: &Path, segment_bytes: u64) -> Partition {
    Partition::open("t", 0, dir, segment_bytes).unwrap()
}

#[test]
fn the_watermark_moves_only_past_what_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    // Every batch rolls, so that a sync covers several segments as well.
    for segment_bytes in [u64::MAX, 1] {
        let dir = dir.path().join(segment_bytes.to_string());
        fs::create_dir(&dir).unwrap();
        let partition = open(&dir, segment_bytes);
        assert_eq!((partition.append(&batch(3, b"a")).unwrap(), partition.append(&batch(2, b"b")).unwrap()), (0, 3));
        assert_eq!(partition.high_watermark(), 0);
        assert!(partition.read(0, 1_000, true).unwrap().bytes.is_empty(), "unsynced records were shown");
        assert!(
            partition.read(5, 1_000, true).unwrap().bytes.is_empty(),
            "the end that a producer knows is waited for"
        );
        assert_eq!(partition.offset_at_time(0).unwrap(), None);
        assert!(matches!(partition.read(6, 1_000, true), Err(ReadError::OutOfRange)));

        partition.sync().unwrap();
        partition.append(&batch(1, b"c")).unwrap();
        assert_eq!(partition.high_watermark(), 5);
        let first = partition.read(0, 1_000, true).unwrap();
        let second = partition.read(3, 1_000, true).unwrap();
        assert_eq!(first.next_offset, if segment_bytes == 1 { 3 } else { 5 });
        assert_eq!(second.next_offset, 5, "the third batch is not synced");
        assert!(partition.read(5, 1_000, true).unwrap().bytes.is_empty());
        assert_eq!(partition.offset_at_time(1_000).unwrap(), Some((0, 1_000)));
        partition.sync().unwrap();
        assert_eq!(partition.high_watermark(), 6);
    }
}

#[test]
fn a_failed_write_leaves_nothing_and_the_next_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let partition = open(dir.path(), u64::MAX);
    partition.append(&batch(1, b"first")).unwrap();
    let (path, good) = {
        let mut log = partition.log();
        let path = log.segments[0].path.clone();
        let good = log.segments[0].file.replace(Arc::new(File::open(&path).unwrap()));
        // What a full disk leaves: a piece of the batch behind the end, which cannot be taken back through this handle.
        fs::File::options()
            .append(true)
            .open(&path)
            .map(|mut f| io::Write::write_all(&mut f, b"piece"))
            .unwrap()
            .unwrap();
        (path, good)
    };
    assert!(matches!(partition.append(&batch(1, b"lost")), Err(AppendError::Storage(_))));
    partition.log().segments[0].file = good;
    assert_eq!(partition.append(&batch(1, b"second")).unwrap(), 1);
    partition.sync().unwrap();
    assert_eq!(partition.read(0, 1_000, true).unwrap().next_offset, 2);
    let size = fs::metadata(path).unwrap().len();
    assert_eq!(size as usize, batch(1, b"first").len() + batch(1, b"second").len());
}

#[test]
fn retention_takes_whole_closed_segments_from_the_start_only() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
    let now = now_ms();
    let of_age = |age_ms| Retention { age_ms, size_bytes: -1 };
    let of_size = |size_bytes| Retention { age_ms: -1, size_bytes };
    let size = batch(2, b"records").len() as i64;
    // Five segments of two records, the last one open; how long ago the first of them were written, in days.
    let table = [
        ("no limits", vec![9, 9, 9, 9, 9], of_size(-1), 0),
        ("all young", vec![0; 5], of_age(DAY_MS), 0),
        ("two old", vec![9, 8, 0, 0, 0], of_age(DAY_MS), 4),
        ("an old one behind a young one", vec![9, 0, 9, 0, 0], of_age(DAY_MS), 2),
        ("all old", vec![9; 5], of_age(DAY_MS), 10),
        ("small enough", vec![0; 5], of_size(size * 5), 0),
        ("one too many", vec![0; 5], of_size(size * 4), 2),
        ("not below what is asked", vec![0; 5], of_size(size * 4 - 1), 2),
        ("never the open one", vec![0; 5], of_size(0), 8),
    ];
    for (name, ages, retention, start) in table {
        let dir = tempfile::tempdir().unwrap();
        let partition = open(dir.path(), 1);
        for _ in 0..5 {
            partition.append(&batch(2, b"records")).unwrap();
        }
        assert_eq!(partition.retain(of_size(0), now).unwrap(), 0, "{name}: nothing that is not synced");
        partition.sync().unwrap();
        for (segment, days) in partition.log().segments.iter().zip(ages) {
            let written = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 60 * 60);
            File::options().write(true).open(&segment.path).unwrap().set_modified(written).unwrap();
        }
        assert_eq!(partition.retain(retention, now).unwrap(), start, "{name}");
        assert_eq!(partition.append(&batch(1, b"next")).unwrap(), 10, "{name}");
        partition.sync().unwrap();
        drop(partition);
        let partition = open(dir.path(), 1);
        assert_eq!((partition.start(), partition.high_watermark()), (start, 11), "{name} after a restart");
        assert!(start == 0 || matches!(partition.read(start - 1, 1, true), Err(ReadError::OutOfRange)), "{name}");
        assert!(!partition.read(start, usize::MAX, true).unwrap().bytes.is_empty(), "{name}");
    }
}

#[test]
fn producers_outlive_the_segments_that_they_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let partition = open(dir.path(), 1);
    for sequence in 0..3 {
        assert_eq!(partition.append(&stamped(1, 7, 0, sequence)).unwrap(), i64::from(sequence));
    }
    partition.sync().unwrap();
    assert_eq!(partition.delete_before(-1).unwrap(), 3);
    assert_eq!(partition.size_bytes(), 0);
    drop(partition);
    let partition = open(dir.path(), 1);
    assert_eq!(partition.append(&stamped(1, 7, 0, 2)).unwrap(), 2, "answered, not stored");
    assert_eq!(partition.append(&stamped(1, 7, 0, 3)).unwrap(), 3);
    partition.sync().unwrap();
    assert!(matches!(partition.delete_before(5), Err(TrimError::OutOfRange)));
}

#[test]
fn a_deleted_topic_takes_and_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let partition = open(dir.path(), u64::MAX);
    partition.append(&batch(1, b"a")).unwrap();
    partition.retire();
    assert!(matches!(partition.append(&batch(1, b"b")), Err(AppendError::Gone)));
    assert!(matches!(partition.read(0, 1_000, true), Err(ReadError::Gone)));
    assert!(matches!(partition.delete_before(0), Err(TrimError::Gone)));
    partition.sync().unwrap();
    assert_eq!(partition.high_watermark(), 0);
}

#[test]
fn limits_hold_but_one_batch_comes_whole() {
    let dir = tempfile::tempdir().unwrap();
    let partition = open(dir.path(), u64::MAX);
    let large = vec![7; 100_000];
    for _ in 0..5 {
        partition.append(&batch(2, &large)).unwrap();
    }
    partition.sync().unwrap();
    let size = batch(2, &large).len();
    let read =
        |offset, max, one| partition.read(offset, max, one).map(|c| (c.bytes.len() / size, c.next_offset)).unwrap();
    assert_eq!(read(5, 10, true), (1, 6));
    assert_eq!(read(5, 10, false), (0, 5));
    assert_eq!(read(4, size * 2, false), (2, 8));
    assert_eq!(read(0, usize::MAX, false), (5, 10));
}

proptest! {
    /// The log after any cut or flip of its unsealed bytes is a prefix of what was appended, and goes on from there.
    #[test]
    fn what_is_left_after_damage_is_a_prefix(
        counts in proptest::collection::vec(1..5_i32, 1..30),
        at in any::<proptest::sample::Index>(),
        flip in proptest::option::of(0..8_u8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let partition = open(dir.path(), u64::MAX);
        let mut ends = vec![0];
        for count in &counts {
            partition.append(&batch(*count, &vec![1; *count as usize * 40])).unwrap();
            ends.push(ends.last().unwrap() + i64::from(*count));
        }
        let path = partition.log().segments[0].path.clone();
        drop(partition);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        match flip {
            Some(bit) => bytes[at] ^= 1 << bit,
            None => bytes.truncate(at),
        }
        fs::write(&path, bytes).unwrap();
        let partition = open(dir.path(), u64::MAX);
        let end = partition.high_watermark();
        prop_assert!(ends.contains(&end));
        prop_assert_eq!(partition.append(&batch(1, b"next")).unwrap(), end);
        partition.sync().unwrap();
        prop_assert_eq!(partition.read(0, usize::MAX, true).unwrap().next_offset, end + 1);
    }

    #[test]
    fn no_records_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..80_usize) {
        let dir = tempfile::tempdir().unwrap();
        let partition = open(dir.path(), u64::MAX);
        let _ = partition.append(&bytes);
        let mut good = batch(2, b"records");
        good.truncate(cut);
        prop_assert_eq!(partition.append(&good).is_ok(), cut >= batch(2, b"records").len());
        let mut header = batch(1, b"");
        header[12..16].copy_from_slice(&bytes.first_chunk::<4>().copied().unwrap_or_default());
        seal(&mut header);
        prop_assert!(partition.append(&header).is_ok());
    }
}
