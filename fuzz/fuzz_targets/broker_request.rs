//! Any bytes as one request to the embedded broker, answered as a connection would, without the socket.
//!
//! One broker for the whole run, in a folder of its own that goes with the process. The clock is paused, so that a long poll
//! ends at once.

#![no_main]

use std::{cell::LazyCell, net::SocketAddr};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use streamgauge::log::broker::{Broker, BrokerConfig, SEGMENT_BYTES};
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};

struct Running {
    runtime: Runtime,
    broker: Broker,
    _dir: TempDir,
}

thread_local! {
    static RUNNING: LazyCell<Running> = LazyCell::new(start);
}

fn start() -> Running {
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let config = BrokerConfig {
        data_dir: dir.path().to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        fall_back_to_free_port: true,
        segment_bytes: SEGMENT_BYTES,
    };
    let broker = runtime.block_on(Broker::start(config)).expect("a broker");
    Running { runtime, broker, _dir: dir }
}

fuzz_target!(|data: &[u8]| {
    RUNNING.with(|running| {
        let _ = running.runtime.block_on(running.broker.answer(Bytes::copy_from_slice(data)));
    });
});
