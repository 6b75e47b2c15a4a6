//! What an event costs between the socket and the core, on one thread: `cargo bench --bench record`.
//!
//! Each number is per event of 108 bytes (`thrpt`), out of batches of 1,000.

#![allow(missing_docs, reason = "Criterion's macros make functions without")]
#![allow(clippy::unwrap_used, reason = "what is wrong in a benchmark ends it")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use streamgauge::log::{
    OutRecord,
    record::{Batch, BuildOptions, Builder, Compression, NO_PRODUCER, Scratch},
};

/// Events of a batch, as a producer with a linger of a few milliseconds makes them.
const EVENTS: usize = 1_000;
const VIDEOS: usize = 10_000;
const USERS: usize = 50_000;

/// Flat views, with the video as the key.
fn events() -> Vec<OutRecord> {
    let one = |n: usize| {
        let (video, user) = (n * 7919 % VIDEOS, n * 104_729 % USERS);
        let time_ms = 1_700_000_000_000 + n;
        let value = format!(
            "{{\"type\":\"video.view\",\"videoId\":\"video-{video:08}\",\"userId\":\"user-{user:09}\",\"timestamp\":{time_ms},\"q\":\"0\"}}"
        );
        assert_eq!(value.len(), 108);
        OutRecord { value: Some(value.into_bytes()), timestamp_ms: Some(time_ms as i64), ..OutRecord::default() }
    };
    (0..EVENTS).map(one).collect()
}

fn built(compression: Compression) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = BuildOptions { compression, producer: NO_PRODUCER, now_ms: 0 };
    Builder::default().build(&events(), &options, &mut bytes).unwrap();
    bytes
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let mut scratch = Scratch::default();
    for compression in Compression::ALL {
        let bytes = built(compression);
        let batch = Batch::read(&bytes).unwrap();
        group.bench_function(format!("crc/{compression}"), |bencher| bencher.iter(|| batch.check_crc().unwrap()));
        group.bench_function(format!("decompress/{compression}"), |bencher| {
            bencher.iter(|| scratch.decompress(compression, black_box(batch.payload())).unwrap().len());
        });
        group.bench_function(format!("visit/{compression}"), |bencher| {
            bencher.iter(|| {
                let mut value_bytes = 0;
                batch.visit(0, &mut scratch, &mut |record| value_bytes += record.value.map_or(0, <[u8]>::len)).unwrap();
                value_bytes
            });
        });
    }
    group.finish();
}

fn building(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let (events, mut builder, mut out) = (events(), Builder::default(), Vec::new());
    for compression in Compression::ALL {
        let options = BuildOptions { compression, producer: NO_PRODUCER, now_ms: 0 };
        group.bench_function(format!("build/{compression}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                builder.build(black_box(&events), &options, &mut out).unwrap();
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, reading, building);
criterion_main!(benches);
