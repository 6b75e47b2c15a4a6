//! Where a time is in the log: the very record, in every compression, against a naive look at all of them.

use streamgauge::log::{
    broker::Broker,
    record::{Compression, NO_PRODUCER},
};

use crate::{
    fixture::{TOPIC, config},
    wire::{Wire, batch_at},
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const GREATEST_TIME: i64 = -3;

#[tokio::test]
async fn a_time_is_answered_with_the_first_record_that_is_not_older() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config(dir.path(), 1_000)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    wire.create(TOPIC, 1, &[]).await;
    assert_eq!(wire.offset_at(GREATEST_TIME).await, (0, -1, -1), "of an empty log");
    // Not in order: producers' clocks differ.
    let times: Vec<i64> = (0..400_i64).map(|at| 1_000 + at * 3 - (at % 7) * 20).collect();
    for (chunk, compression) in times.chunks(9).zip(Compression::ALL.iter().cycle()) {
        assert_eq!(wire.produce(batch_at(chunk, *compression, NO_PRODUCER)).await.0, 0, "{compression}");
    }
    wire.shown(400).await;
    let naive = |start: usize, time: i64| {
        let found = times.iter().enumerate().skip(start).find(|(_, of_record)| **of_record >= time);
        found.map_or((0, -1, -1), |(offset, of_record)| (0, offset as i64, *of_record))
    };
    for time in (800..2_400).step_by(7).chain([0, i64::MAX]) {
        assert_eq!(wire.offset_at(time).await, naive(0, time), "time {time}");
    }
    let greatest = *times.iter().max().unwrap();
    assert_eq!(wire.offset_at(GREATEST_TIME).await, naive(0, greatest));
    assert_eq!((wire.offset_at(LATEST).await.1, wire.offset_at(EARLIEST).await.1), (400, 0));

    assert_eq!(wire.delete_records(205).await, (0, 205));
    for time in (800..2_400).step_by(50) {
        assert_eq!(wire.offset_at(time).await, naive(205, time), "time {time} behind the new start");
    }
    broker.shutdown().await.unwrap();
}
