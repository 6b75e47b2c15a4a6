//! The embedded broker: a small single-node broker that speaks the Kafka protocol on loopback.
//!
//! The embedded mode runs the same Kafka code as production against it, and any Kafka client (kcat, librdkafka, KafkaJS, the
//! Java client) can produce to it and read from it by assigned partitions.
//!
//! # What is durable when
//! * A publish is answered when write(2) has taken it: it survives any death of the process, `kill -9` included.
//! * A thread of its own syncs (fdatasync) what was written; one sync covers all before it. The high watermark moves only
//!   then, and with it what Fetch shows and ListOffsets calls the end. So nobody can have read, counted and checkpointed what
//!   a power cut takes away, and an offset that was seen is not given to another record by a power cut.
//! * On opening, all that passes its checksum is kept, synced and visible. What is not whole batches at the end is cut off,
//!   and the log says where, how much and why.
//! * A topic that was created, changed or deleted is so durably when the call is answered; a deletion that a crash cut short is
//!   finished on opening. So are deleted records.
//! * A committed offset survives the death of the process; a power cut may take back the newest ones.
//! * A full disk: the records are refused with `KAFKA_STORAGE_ERROR`, which clients try again, what was written of them is
//!   taken back, and the next ones are taken once there is room. After a *sync* that failed the partition takes nothing until
//!   a restart has checked what the disk really holds.
//!
//! # Files
//! ```text
//! LOCK                                   held while the process lives; a second one is refused. Says its pid, and where it listens
//! broker.json                            cluster id; topics with their ids, partition counts and settings; replaced whole
//! offsets.jsonl                          committed offsets, appended to and now and then written anew
//! video.views-0/00000000000000000000.log    record batches as Kafka has them (v2), by base offset
//! video.views-0/00000000000000000000.index  beside a segment that is full: whole, synced, never written again ("sealed")
//! video.views-0/00000000000000004711.producers  the idempotent producers as they were at this offset, a segment's end
//! video.views-0/log-start                the first offset that is held, once records were deleted
//! ```
//! Batches are kept as they came, compressed or not, unless the topic names a codec; else only base offset and leader epoch are
//! filled in, which the checksum does not cover. The last segment is checked whole on opening (256 MiB at most, a few hundred milliseconds if it is cold);
//! sealed ones by their length then, and batch by batch when they are read: a batch that fails is answered with
//! `CORRUPT_MESSAGE` and named in the log, never skipped. A sealed segment that is missing or shortened refuses the start
//! ([`BrokerError::SealedSegmentCorrupt`]).
//!
//! # Producers that are idempotent
//! As in Kafka (KIP-98, KIP-360): a producer's last five batches of a partition are remembered; one that comes again is
//! answered with its first offset, a gap with `OUT_OF_ORDER_SEQUENCE_NUMBER`, an older epoch with `INVALID_PRODUCER_EPOCH`. A
//! producer that is not known, or was silent for a day, may begin anywhere, so `UNKNOWN_PRODUCER_ID` is never answered.
//! Transactions are refused: with `UNSUPPORTED_VERSION` where one asks for an id or the coordinator of one.
//!
//! # What is kept how long
//! Kafka's `retention.ms` (7 days unless the topic says otherwise) and `retention.bytes` (no limit), looked at every five
//! minutes and at the start. Whole segments go, oldest first. A segment's age counts from its newest record's own time or from
//! when it was last written, whichever is later (Kafka looks at the former only). Further settings of topics:
//! `max.message.bytes`, `segment.bytes`, `compression.type` (a batch in another codec is compressed anew before it is kept), and
//! `cleanup.policy` with its one value; others are refused by name.
//!
//! # Limits
//! No replication, group membership (JoinGroup is not offered; consumers choose their partitions and may commit offsets),
//! transactions, compaction or fetch sessions. The calls and their versions are listed in `calls/offers.rs`. Topics are not
//! made by naming them (librdkafka looks for a new one for 30 seconds before it reports "unknown topic"). Leader epochs stay
//! 0. A bit that flips in the last segment *below* its end cuts the log there, as a torn tail does, and the offsets behind are
//! given again. Caps: batches of 16 MiB, requests of 100 MiB, 512 connections, 512 partitions, 2,000 producers a partition,
//! 100,000 committed offsets.
//!
//! Kept out of here: TLS and SASL. It listens on loopback unless told otherwise; whoever reaches it may write.

mod batch;
mod calls;
mod connection;
mod error;
mod flusher;
mod index;
mod lock;
mod offsets;
mod partition;
mod producers;
mod reading;
mod retention;
mod segment;
mod settings;
mod shape;
mod times;
mod topics;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use error::BrokerError;
pub use lock::{DataDirLock, address_of};

use self::{calls::Serving, flusher::Flusher, offsets::Offsets, retention::Retention, topics::Topics};

/// Size at which a segment is full and the next one begins.
pub const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;

/// Rest after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How to run the broker.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// The broker's own folder; made if it is not there.
    pub data_dir: PathBuf,
    /// Where to listen (`KAFKA_LISTEN`); port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether to take a free port where the one asked for is in use.
    pub fall_back_to_free_port: bool,
    /// Size at which a segment is full, bytes; [`SEGMENT_BYTES`] unless a test wants many.
    pub segment_bytes: u64,
}

/// A running broker. Dropping it stops it without waiting; [`Broker::shutdown`] waits.
#[derive(Debug)]
pub struct Broker {
    local_addr: SocketAddr,
    serving: Arc<Serving>,
    stop: DropGuard,
    accepting: JoinSet<()>,
    flusher: Flusher,
    retention: Retention,
    lock: DataDirLock,
}

impl Broker {
    /// Locks the folder, opens and recovers the logs, listens, and serves in tasks of its own.
    ///
    /// # Errors
    /// See [`BrokerError`]; nothing is left running then.
    pub async fn start(config: BrokerConfig) -> Result<Self, BrokerError> {
        let (lock, topics, offsets) = open(config.clone()).await?;
        let listener = listen(&config).await?;
        let local_addr =
            listener.local_addr().map_err(|source| BrokerError::Listen { address: config.listen, source })?;
        lock.tell(local_addr)
            .map_err(|source| BrokerError::io("cannot write the lock in", &config.data_dir, source))?;
        let flusher = Flusher::start().map_err(|source| BrokerError::Thread {
            thread: "flusher",
            reason: format!("was not started: {source}"),
        })?;
        let serving = Arc::new(Serving { topics, offsets, syncs: flusher.queue() });
        let stop = CancellationToken::new();
        let mut accepting = JoinSet::new();
        let retention = Retention::start(serving.clone()).map_err(|source| BrokerError::Thread {
            thread: "retention",
            reason: format!("was not started: {source}"),
        })?;
        accepting.spawn(accept(listener, serving.clone(), stop.clone()));
        tracing::debug!(%local_addr, data_dir = %config.data_dir.display(), "the embedded broker takes Kafka clients");
        Ok(Self { local_addr, serving, stop: stop.drop_guard(), accepting, flusher, retention, lock })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers one request, given without its length prefix, as a connection would; `None` where that would be closed, or has
    /// no answer. For tests that bring bytes and no socket.
    #[doc(hidden)]
    pub async fn answer(&self, request: Bytes) -> Option<BytesMut> {
        calls::answer(&self.serving, self.local_addr, request).await.ok().flatten()
    }

    /// Takes no more requests, ends all connections, syncs what was written, and gives the folder back.
    ///
    /// # Errors
    /// [`BrokerError::Thread`] if the flusher had died.
    pub async fn shutdown(self) -> Result<(), BrokerError> {
        let Self { stop, mut accepting, flusher, retention, lock, .. } = self;
        drop(stop);
        while accepting.join_next().await.is_some() {}
        retention.finish().await;
        flusher.finish().await?;
        drop(lock);
        Ok(())
    }
}

/// Opens the logs on a thread of its own: checking a segment can take long enough to hold up other tasks.
async fn open(config: BrokerConfig) -> Result<(DataDirLock, Topics, Offsets), BrokerError> {
    const THREAD: &str = "opening";
    let (done, opened) = oneshot::channel();
    let work = move || {
        let result = DataDirLock::acquire(&config.data_dir).and_then(|lock| {
            let topics = Topics::open(&config.data_dir, config.segment_bytes)?;
            Ok((lock, topics, Offsets::open(&config.data_dir)?))
        });
        // Nobody waits any more if the start was given up.
        let _ = done.send(result);
    };
    thread::Builder::new()
        .name("broker-open".into())
        .spawn(work)
        .map_err(|source| BrokerError::Thread { thread: THREAD, reason: format!("was not started: {source}") })?;
    opened.await.map_err(|_| BrokerError::Thread { thread: THREAD, reason: "panicked".into() })?
}

async fn listen(config: &BrokerConfig) -> Result<TcpListener, BrokerError> {
    let address = config.listen;
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && config.fall_back_to_free_port => {
            tracing::warn!(%address, "the port is in use; the embedded broker takes a free one");
            TcpListener::bind(SocketAddr::new(address.ip(), 0)).await
        }
        bound => bound,
    }
    .map_err(|source| BrokerError::Listen { address, source })
}

/// The time, milliseconds since 1970.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

async fn accept(listener: TcpListener, serving: Arc<Serving>, stop: CancellationToken) {
    let memory = connection::request_memory();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task died");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((_, peer)) if connections.len() >= connection::MAX_CONNECTIONS => {
                    tracing::warn!(%peer, "refused a connection: {} are open", connection::MAX_CONNECTIONS);
                }
                Ok((stream, peer)) => {
                    let serve = connection::serve(stream, serving.clone(), memory.clone());
                    connections.spawn(until_stopped(stop.clone(), peer, serve));
                }
                Err(error) => {
                    // Out of file handles, mostly: without a pause this would spin until one is free.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn until_stopped(
    stop: CancellationToken,
    peer: SocketAddr,
    serve: impl Future<Output = Result<(), connection::ConnectionError>>,
) {
    // An append has no await in it, so a stop never cuts one in half.
    tokio::select! {
        () = stop.cancelled() => {}
        ended = serve => if let Err(error) = ended {
            tracing::warn!(%peer, %error, "closed a client's connection");
        }
    }
}
