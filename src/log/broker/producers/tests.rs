//! What is stored, what is answered as stored before, and what is refused.

use super::*;
use crate::log::broker::batch::Stamp;

fn header(producer_id: i64, epoch: i16, sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
    let stamp = Some(Stamp { producer_id, epoch, sequence });
    BatchHeader { base_offset, size_bytes: 100, last_offset_delta: count - 1, max_timestamp_ms: 0, stamp }
}

#[test]
fn what_follows_is_taken_what_was_stored_is_known_and_the_rest_is_refused() {
    let mut producers = Producers::default();
    let out_of_order = |sequence, expected| Err(SequenceError::OutOfOrder { producer_id: 7, sequence, expected });
    // (epoch, sequence, records, answer); what is taken is stored at ten times its place in the table.
    let table = [
        (0, 0, 3, Ok(None)),
        (0, 0, 3, Ok(Some(0))),
        (0, 4, 1, out_of_order(4, 3)),
        (0, 0, 2, out_of_order(0, 3)),
        (0, 3, 1, Ok(None)),
        (0, 4, 1, Ok(None)),
        (0, 5, 1, Ok(None)),
        (0, 6, 1, Ok(None)),
        (0, 0, 3, Ok(Some(0))),
        (0, 7, 1, Ok(None)),
        (0, 0, 3, out_of_order(0, 8)),
        (0, 3, 1, Ok(Some(40))),
        (2, 5, 1, out_of_order(5, 0)),
        (2, 0, 1, Ok(None)),
        (1, 8, 1, Err(SequenceError::Epoch { producer_id: 7, epoch: 1, current: 2 })),
        (2, 0, 1, Ok(Some(130))),
    ];
    for (at, (epoch, sequence, count, answer)) in table.into_iter().enumerate() {
        let header = header(7, epoch, sequence, count, at as i64 * 10);
        assert_eq!(producers.check(&header), answer, "row {at}");
        if answer == Ok(None) {
            producers.push(&header, 0);
        }
        assert_eq!(Producers::parse(&producers.to_bytes()).as_ref(), Some(&producers), "row {at}");
    }
    assert_eq!(producers.check(&header(8, 3, 99, 1, 0)), Ok(None), "one that is not known begins anywhere");
}

#[test]
fn sequences_begin_again_behind_the_greatest() {
    let mut producers = Producers::default();
    producers.push(&header(1, 0, i32::MAX - 1, 4, 0), 0);
    assert_eq!(producers.check(&header(1, 0, i32::MAX - 1, 4, 0)), Ok(Some(0)));
    assert_eq!(producers.check(&header(1, 0, 2, 1, 0)), Ok(None));
    let mut producers = Producers::default();
    producers.push(&header(1, 0, i32::MAX, 1, 0), 0);
    assert_eq!(producers.check(&header(1, 0, 0, 1, 0)), Ok(None));
}

#[test]
fn the_longest_silent_is_forgotten_for_one_too_many_and_after_a_day() {
    let mut producers = Producers::default();
    for id in 0..=MAX_PRODUCERS as i64 {
        producers.push(&header(id, 0, 0, 1, id), id);
    }
    assert_eq!(producers.by_id.len(), MAX_PRODUCERS);
    assert_eq!(producers.check(&header(0, 0, 0, 1, 9)), Ok(None), "forgotten");
    assert_eq!(producers.check(&header(1, 0, 0, 1, 9)), Ok(Some(1)));
    producers.expire(PRODUCER_EXPIRY_MS + 2);
    assert_eq!(producers.check(&header(1, 0, 0, 1, 9)), Ok(None));
    assert_eq!(producers.check(&header(2, 0, 0, 1, 9)), Ok(Some(2)));
}

#[test]
fn the_newest_whole_snapshot_that_fits_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Producers::load(dir.path(), 100).unwrap(), (Producers::default(), 0));
    let mut producers = Producers::default();
    producers.push(&header(1, 0, 0, 1, 5), 0);
    producers.save(dir.path(), 6).unwrap();
    let first = producers.clone();
    producers.push(&header(1, 0, 1, 1, 6), 0);
    let newer = dir.path().join(format!("{:020}.{SNAPSHOT_EXTENSION}", 7));
    fs::write(&newer, producers.to_bytes()).unwrap();
    assert_eq!(Producers::load(dir.path(), 6).unwrap(), (first.clone(), 6), "not beyond the log");
    assert_eq!(Producers::load(dir.path(), 9).unwrap(), (producers.clone(), 7));
    let mut damaged = producers.to_bytes();
    damaged[20] ^= 1;
    fs::write(&newer, damaged).unwrap();
    assert_eq!(Producers::load(dir.path(), 9).unwrap(), (first, 6));
    producers.save(dir.path(), 8).unwrap();
    assert_eq!(snapshots(dir.path()).unwrap().len(), 1, "older ones are dropped");
}
