//! Which batches are aborted, against tables of logs.

use streamgauge::log::record::{AbortedFilter, AbortedTransaction, Batch, Marker, batches};

use super::fixture::{Draft, record, simple};

/// One batch of one offset: `t` in a transaction, `n` by an idempotent producer without one, `p` by a plain producer,
/// `A`, `C` markers, `?` a marker of an unknown kind.
fn batch(kind: char, producer_id: i64, offset: i64) -> Vec<u8> {
    let marker = |kind: u8| Draft::of(&[record(0, 0, Some(&[0, 0, 0, kind]), Some(&[0; 6]), &[])]);
    let draft = match kind {
        't' => Draft { attributes: 0x10, ..Draft::of(&[simple(0, b"t")]) },
        'n' | 'p' => Draft::of(&[simple(0, b"n")]),
        'A' => Draft { attributes: 0x30, ..marker(0) },
        'C' => Draft { attributes: 0x30, ..marker(1) },
        _ => Draft { attributes: 0x30, ..marker(5) },
    };
    let producer_id = if kind == 'p' { -1 } else { producer_id };
    Draft { base_offset: offset, producer_id, ..draft }.bytes()
}

#[test]
fn aborted_batches() {
    // The log (kind and producer by offset), the aborted transactions (producer and first offset), the offsets left out.
    for (log, aborted, left_out) in [
        ("t1 t1 C1 t1", &[][..], &[][..]),
        ("t1 t1 A1", &[(1, 0)], &[0, 1]),
        ("t1 A1 t1 C1", &[(1, 0)], &[0]),
        ("t1 C1 t1 A1", &[(1, 2)], &[2]),
        ("t1 t2 t1 A1 t2 C2", &[(1, 0)], &[0, 2]),
        ("t1 t2 A2 t1 A1 t2 C2", &[(2, 1), (1, 0)], &[0, 1, 3]),
        ("t1 n1 p1 A1", &[(1, 0)], &[0]),
        ("t1 ?1 t1 A1 t1", &[(1, 0)], &[0, 2]),
        ("t1 A1 t1 A1 t1 C1", &[(1, 0), (1, 2)], &[0, 2]),
        // The transaction began before what was fetched, and goes on behind it.
        ("t1 t1", &[(1, -9)], &[0, 1]),
    ] {
        let bytes: Vec<u8> = log
            .split(' ')
            .enumerate()
            .flat_map(|(offset, word)| {
                let (kind, producer) = word.split_at(1);
                batch(kind.chars().next().unwrap(), producer.parse().unwrap(), offset as i64)
            })
            .collect();
        let aborted =
            aborted.iter().map(|&(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
        let mut filter = AbortedFilter::new(aborted.collect());
        let found: Vec<i64> = batches(&bytes)
            .map(Result::unwrap)
            .filter(|batch| filter.is_aborted(batch).unwrap())
            .map(|batch| batch.base_offset)
            .collect();
        assert_eq!(found, left_out, "{log}");
    }
}

#[test]
fn an_abort_begins_within_a_longer_batch_sequence() {
    // The transaction's first offset is that of a batch's first record, but the batch is asked about by its last one.
    let draft = Draft { attributes: 0x10, producer_id: 4, ..Draft::of(&[simple(0, b""), simple(1, b"")]) };
    let mut filter = AbortedFilter::new(vec![AbortedTransaction { producer_id: 4, first_offset: 101 }]);
    assert!(filter.is_aborted(&Batch::read(&draft.bytes()).unwrap()).unwrap());
    let mut filter = AbortedFilter::new(vec![AbortedTransaction { producer_id: 4, first_offset: 102 }]);
    assert!(!filter.is_aborted(&Batch::read(&draft.bytes()).unwrap()).unwrap());
}

#[test]
fn markers() {
    let kind = |kind| Batch::read(&batch(kind, 1, 0)).unwrap().marker();
    assert_eq!(kind('A'), Ok(Some(Marker::Abort)));
    assert_eq!(kind('C'), Ok(Some(Marker::Commit)));
    assert_eq!((kind('?'), kind('t')), (Ok(None), Ok(None)));
    for key in [None, Some(&b""[..]), Some(b"\0\0\0")] {
        let bytes = Draft { attributes: 0x30, ..Draft::of(&[record(0, 0, key, None, &[])]) }.bytes();
        let error = Batch::read(&bytes).unwrap().marker().unwrap_err().to_string();
        assert!(error.contains("offset 100") && error.contains("control key"), "{error}");
    }
}
