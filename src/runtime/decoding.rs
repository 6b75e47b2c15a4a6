//! Decoding blocks beside everything else: as many at a time as there are cores, and the next blocks of a partition before it is
//! their turn.
//!
//! A block whose turn it is is decoded by its partition's task, which then counts it on the same thread: one that is woken for it
//! may have to wait behind the one that wakes it, though another core has nothing to do (a virtual machine's idle core is often
//! taken for one that the host has lent to others). Sockets are read and the API answers meanwhile, since the binary's runtime
//! has a thread more than there are cores. In a runtime without one, such as that of a program around `handlers`, a large block
//! is decoded on a thread of its own.

use std::{
    num::NonZero,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
    thread::available_parallelism,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinHandle, spawn_blocking},
};

use super::{
    fetcher::Held,
    health::Health,
    schemas::{self, Schemas},
};
use crate::{
    core::{
        decode::{Decoded, Decoder},
        translate::Translating,
    },
    log::{Block, LogError},
};

/// Blocks below this are decoded where and when they are needed: another thread would cost more than it saves.
pub(super) const SMALL_BYTES: usize = 16 * 1024;

/// How many there are. Asked once: the system answers out of files.
static CORES: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, NonZero::get));

/// The cores, and memory for decoded blocks: at most two for each core, one whose turn it is and one ahead
/// (invariant 5).
pub struct Decoding {
    /// A block that is decoded now; where it is its turn, until it is counted.
    cores: Arc<Semaphore>,
    /// A block that is decoded before its turn, until then.
    ahead: Arc<Semaphore>,
    idle: Mutex<Vec<Decoded>>,
    max_idle: usize,
    /// Who knows the schemas that values name; set before counting begins, or never.
    schemas: OnceLock<(Arc<dyn Schemas>, Arc<Health>)>,
}

/// How often a block is decoded again after schemas were asked for, at most.
const MAX_ROUNDS: usize = 3;

/// A decoded block, or why it cannot be read. Its memory goes back when it is dropped.
pub struct DecodedBlock {
    /// The records.
    pub decoded: Decoded,
    /// Whether it could be read to its end.
    pub outcome: Result<(), LogError>,
    /// Where the next block begins.
    pub next_offset: i64,
    /// End of the readable log when the block was fetched.
    pub high_watermark: i64,
    /// Epoch of the leader, where known.
    pub leader_epoch: Option<i32>,
    /// The block itself, where schemas must be asked for before it can be decoded.
    waits: Option<Held>,
    home: Arc<Decoding>,
    room: Option<OwnedSemaphorePermit>,
}

impl Drop for DecodedBlock {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.decoded));
        // Given back before the room is: whoever takes it finds the memory.
        self.room.take();
    }
}

/// A block that is decoded before its turn.
pub struct Ahead(JoinHandle<Result<DecodedBlock, JoinError>>);

impl Ahead {
    /// Waits for it.
    ///
    /// # Errors
    /// The task has failed: a defect of ours.
    pub async fn decoded(self) -> Result<DecodedBlock, JoinError> {
        self.0.await?
    }
}

impl Default for Decoding {
    fn default() -> Self {
        let cores = *CORES;
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            ahead: Arc::new(Semaphore::new(cores)),
            idle: Mutex::default(),
            max_idle: 2 * cores,
            schemas: OnceLock::new(),
        }
    }
}

impl Decoding {
    /// Values that name a schema are read by those that `schemas` knows; `health` is told while it cannot be reached.
    pub fn read_by(&self, schemas: Arc<dyn Schemas>, health: Arc<Health>) {
        // Once for each counting.
        let _ = self.schemas.set((schemas, health));
    }

    /// Decodes a block again for which schemas must be asked for; waits until they are known.
    ///
    /// # Errors
    /// The task has failed: a defect of ours.
    pub async fn complete(
        self: &Arc<Self>,
        decoder: &Arc<Decoder>,
        count_from: i64,
        mut block: DecodedBlock,
    ) -> Result<DecodedBlock, JoinError> {
        for round in 1..=MAX_ROUNDS {
            let (Some(held), Some((schemas, health))) = (block.waits.take(), self.schemas.get()) else { break };
            let unknown = block.decoded.unknown().to_vec();
            // Its memory and core are others' while this one waits.
            drop(block);
            schemas::learn(&**schemas, &unknown, health).await;
            block = self.spawn(decoder, count_from, held, None, round == MAX_ROUNDS).await??;
        }
        Ok(block)
    }

    /// Decodes a block whose turn it is.
    ///
    /// # Errors
    /// The task has failed: a defect of ours.
    pub async fn decode(
        self: &Arc<Self>,
        decoder: &Arc<Decoder>,
        count_from: i64,
        held: Held,
    ) -> Result<DecodedBlock, JoinError> {
        if held.block.size_bytes < SMALL_BYTES {
            return Ok(self.decode_now(decoder, count_from, held, false));
        }
        if Handle::current().metrics().num_workers() <= *CORES {
            return self.spawn(decoder, count_from, held, None, false).await?;
        }
        // Never closed.
        let core = Arc::clone(&self.cores).acquire_owned().await.ok();
        let mut decoded = self.decode_now(decoder, count_from, held, false);
        decoded.room = core;
        // The block's memory is free now: whoever fetches goes first.
        tokio::task::yield_now().await;
        Ok(decoded)
    }

    /// Waits for room to decode a block ahead; `None` never.
    pub async fn room_ahead(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.ahead).acquire_owned().await.ok()
    }

    /// Begins to decode a block before its turn.
    pub fn decode_ahead(
        self: &Arc<Self>,
        room: OwnedSemaphorePermit,
        decoder: &Arc<Decoder>,
        count_from: i64,
        held: Held,
    ) -> Ahead {
        Ahead(self.spawn(decoder, count_from, held, Some(room), false))
    }

    fn spawn(
        self: &Arc<Self>,
        decoder: &Arc<Decoder>,
        count_from: i64,
        held: Held,
        ahead: Option<OwnedSemaphorePermit>,
        is_last: bool,
    ) -> JoinHandle<Result<DecodedBlock, JoinError>> {
        let (decoding, decoder) = (Arc::clone(self), Arc::clone(decoder));
        tokio::spawn(async move {
            // Never closed. A block ahead of its turn gives its core back before it waits, so that nobody waits for a core
            // behind someone who waits himself.
            let core = Arc::clone(&decoding.cores).acquire_owned().await.ok();
            let (core, room) = if ahead.is_some() { (core, ahead) } else { (None, core) };
            #[expect(clippy::disallowed_methods, reason = "bounded work on memory, which ends by itself")]
            let work = spawn_blocking(move || {
                let _core = core;
                let mut decoded = decoding.decode_now(&decoder, count_from, held, is_last);
                decoded.room = room;
                decoded
            });
            work.await
        })
    }

    fn decode_now(self: &Arc<Self>, decoder: &Decoder, count_from: i64, held: Held, is_last: bool) -> DecodedBlock {
        let mut decoded = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let translating = self.schemas.get().map(|(schemas, _)| Translating { by: &**schemas, is_last });
        let outcome = decoder.translated(&held.block, count_from, translating, &mut decoded);
        let Block { next_offset, high_watermark, leader_epoch, .. } = held.block;
        let waits = (outcome.is_ok() && !decoded.unknown().is_empty()).then_some(held);
        let home = Arc::clone(self);
        DecodedBlock { decoded, outcome, next_offset, high_watermark, leader_epoch, waits, home, room: None }
    }

    fn give_back(&self, mut decoded: Decoded) {
        decoded.clear();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.max_idle {
            idle.push(decoded);
        }
    }
}
