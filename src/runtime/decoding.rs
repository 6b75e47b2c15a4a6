//! Decoding blocks beside everything else: a large block on a thread of its own, so that sockets are read and the API answers
//! meanwhile, and the next blocks of a partition on other cores before it is their turn.

use std::{
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread::available_parallelism,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinHandle, spawn_blocking},
};

use super::fetcher::Held;
use crate::{
    core::decode::{Decoded, Decoder},
    log::{Block, LogError},
};

/// Blocks below this are decoded where and when they are needed: another thread would cost more than it saves.
pub(super) const SMALL_BYTES: usize = 16 * 1024;

/// The cores, and memory for decoded blocks: at most two for each core, one whose turn it is and one ahead
/// (invariant 5).
pub struct Decoding {
    /// A block that is decoded now; where it is its turn, until it is counted.
    cores: Arc<Semaphore>,
    /// A block that is decoded before its turn, until then.
    ahead: Arc<Semaphore>,
    idle: Mutex<Vec<Decoded>>,
    max_idle: usize,
}

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
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            ahead: Arc::new(Semaphore::new(cores)),
            idle: Mutex::default(),
            max_idle: 2 * cores,
        }
    }
}

impl Decoding {
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
            return Ok(self.decode_now(decoder, count_from, held));
        }
        self.spawn(decoder, count_from, held, None).await?
    }

    /// Room to decode a block ahead, if there is any.
    pub fn room_ahead(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.ahead).try_acquire_owned().ok()
    }

    /// Begins to decode a block before its turn.
    pub fn decode_ahead(
        self: &Arc<Self>,
        room: OwnedSemaphorePermit,
        decoder: &Arc<Decoder>,
        count_from: i64,
        held: Held,
    ) -> Ahead {
        Ahead(self.spawn(decoder, count_from, held, Some(room)))
    }

    fn spawn(
        self: &Arc<Self>,
        decoder: &Arc<Decoder>,
        count_from: i64,
        held: Held,
        ahead: Option<OwnedSemaphorePermit>,
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
                let mut decoded = decoding.decode_now(&decoder, count_from, held);
                decoded.room = room;
                decoded
            });
            work.await
        })
    }

    fn decode_now(self: &Arc<Self>, decoder: &Decoder, count_from: i64, held: Held) -> DecodedBlock {
        let mut decoded = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let outcome = decoder.block(&held.block, count_from, &mut decoded);
        let Block { next_offset, high_watermark, leader_epoch, .. } = held.block;
        DecodedBlock { decoded, outcome, next_offset, high_watermark, leader_epoch, home: Arc::clone(self), room: None }
    }

    fn give_back(&self, mut decoded: Decoded) {
        decoded.clear();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.max_idle {
            idle.push(decoded);
        }
    }
}
