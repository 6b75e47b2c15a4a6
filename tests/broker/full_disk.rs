//! A disk that is full, and has room again: nothing acknowledged is lost, and the broker goes on by itself.
//!
//! The limit on the size of files stands for the disk: writes fail in the middle in the same way. It holds for a whole
//! process, so the test runs in one of its own.

use std::{
    fs,
    process::{Command, Stdio},
};

use streamgauge::log::{
    OutRecord,
    broker::SEGMENT_BYTES,
    record::{BuildOptions, Builder, Compression, Producer},
};

use crate::{
    fixture::{TOPIC, config, segments, start},
    wire::Wire,
};

const STORAGE_ERROR: i16 = 56;
const LIMIT_BYTES: u64 = 20_000;
const VALUE_BYTES: usize = 1_500;

#[test]
fn a_full_disk_is_answered_and_survived() {
    // The signal of the limit is ignored, as it is where a disk is full; that is inherited.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact full_disk::in_a_process_of_its_own --ignored --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&child.stderr));
}

fn limit_files(most: &str) {
    let limit = format!("--fsize={most}:unlimited");
    let pid = std::process::id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

fn batch(id: i64, sequence: i32) -> Vec<u8> {
    let record = OutRecord { value: Some(vec![b'x'; VALUE_BYTES]), timestamp_ms: Some(1), ..OutRecord::default() };
    let producer = Producer { id, epoch: 0, base_sequence: sequence };
    let mut bytes = Vec::new();
    let options = BuildOptions { compression: Compression::None, producer, now_ms: 0 };
    Builder::default().build(&[record], &options, &mut bytes).unwrap();
    bytes
}

#[tokio::test]
#[ignore = "limits its whole process; the test above runs it in one of its own"]
async fn in_a_process_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut wire = Wire::to(&broker).await;
    assert_eq!(wire.create(TOPIC, 1, &[]).await.0, 0);
    let id = wire.producer_id().await;
    let batch_bytes = batch(id, 0).len() as u64;
    limit_files(&LIMIT_BYTES.to_string());
    let mut acknowledged = 0_i32;
    loop {
        let (code, offset) = wire.produce(batch(id, acknowledged)).await;
        if code != 0 {
            assert_eq!((code, offset), (STORAGE_ERROR, -1));
            break;
        }
        assert_eq!(offset, i64::from(acknowledged));
        acknowledged += 1;
        assert!(u64::try_from(acknowledged).unwrap() * batch_bytes <= LIMIT_BYTES, "the limit does not hold");
    }
    assert_eq!(u64::try_from(acknowledged).unwrap(), LIMIT_BYTES / batch_bytes);
    for _ in 0..3 {
        assert_eq!(wire.produce(batch(id, acknowledged)).await.0, STORAGE_ERROR);
    }
    let kept_bytes = |batches: i32| u64::try_from(batches).unwrap() * batch_bytes;
    let on_disk = || fs::metadata(&segments(dir.path())[0]).unwrap().len();
    assert_eq!(on_disk(), kept_bytes(acknowledged), "what was written of a refused batch is taken back");
    wire.shown(acknowledged.into()).await;

    limit_files("unlimited");
    assert_eq!(
        wire.produce(batch(id, acknowledged)).await,
        (0, i64::from(acknowledged)),
        "the same batch, tried again"
    );
    assert_eq!(wire.produce(batch(id, acknowledged)).await, (0, i64::from(acknowledged)), "and stored once");
    wire.shown(i64::from(acknowledged) + 1).await;
    assert_eq!(on_disk(), kept_bytes(acknowledged + 1));
    broker.shutdown().await.unwrap();

    let broker = streamgauge::log::broker::Broker::start(config(dir.path(), SEGMENT_BYTES)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    assert_eq!(wire.offset_at(-1).await.1, i64::from(acknowledged) + 1);
    assert_eq!(on_disk(), kept_bytes(acknowledged + 1));
    broker.shutdown().await.unwrap();
}
