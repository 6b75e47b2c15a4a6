//! What a tenure takes in: blocks, read as far as there is room for their events.
//!
//! Events that are read and not finished are held in memory. A partition holds no more of them than the subscription's
//! `unfinished`, and all partitions together about [`MAX_HELD_BYTES`]; then the partition is not asked for, and a metric says
//! so. One that holds nothing may always take some, and one that waits gives back its blocks, so that none starves behind the
//! others.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use super::{begin::ask, group::Group, tenure::Tenure};
use crate::{
    core::{
        delivery::{Parcel, Reader, Unwanted},
        translate::Translating,
    },
    log::{At, LogError},
    model::TopicPartition,
    runtime::{
        fetcher::{Held, Subscription},
        schemas,
    },
};

/// Bytes of events that all partitions of a process hold unfinished, about.
pub const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;
/// Most events that are read out of a block at once. Each reading goes over the whole block and decompresses it, so what there is no
/// room for yet is kept; and answers are taken in between two of them.
const READ_AT_ONCE: usize = 2_000;
/// Most bytes of such events; a larger one comes alone.
const READ_AT_ONCE_BYTES: usize = 1024 * 1024;

/// Why nothing more is taken in.
pub(super) enum Broken {
    /// The log's error.
    Log(LogError),
    /// The log is not what it was: how the tenure begins is looked at again.
    Changed(String),
}

/// What one reading of a block gives.
struct Read {
    parcels: VecDeque<(i64, Parcel)>,
    bytes: usize,
    /// Events that the group passes over and that it is told of what becomes, by their offsets.
    passed: Vec<(i64, Box<str>)>,
    /// Records that are no events.
    unreadable: u64,
    /// Schemas to ask for first.
    unknown: Vec<u32>,
    /// Where to go on, if not behind the block.
    reached: Option<i64>,
}

/// What a tenure takes in.
pub(super) struct Intake {
    group: Arc<Group>,
    tenure: Arc<Tenure>,
    reader: Reader,
    partition: TopicPartition,
    /// `None` while it is paused, and before it begins.
    blocks: Option<Subscription>,
    /// A block that was not read to its end, and where to go on.
    open: Option<(Held, i64)>,
    /// Events that were read, and wait for room.
    ahead: VecDeque<(i64, Parcel)>,
    /// Everything below it was read.
    read_to: i64,
    /// Bytes of each event that is unfinished.
    sizes: HashMap<i64, usize>,
    /// Bytes of these and of those that wait for room.
    held_bytes: usize,
    /// The epoch of the last block.
    epoch: Option<i32>,
}

impl Intake {
    pub fn new(group: Arc<Group>, tenure: Arc<Tenure>, reader: Reader, read_to: i64) -> Self {
        let (ahead, sizes, partition) = (VecDeque::new(), HashMap::new(), tenure.partition.clone());
        let (blocks, open, held_bytes, epoch) = (None, None, 0, None);
        Self { group, tenure, reader, partition, blocks, open, ahead, read_to, sizes, held_bytes, epoch }
    }

    /// How many events may be taken in now.
    pub fn room(&self) -> usize {
        let all = self.group.shared.held_bytes.load(Ordering::Acquire);
        let room = match all >= MAX_HELD_BYTES && !self.sizes.is_empty() {
            true => 0,
            false => self.group.unfinished.saturating_sub(self.sizes.len()),
        };
        self.tenure.is_waiting.store(room == 0, Ordering::Relaxed);
        room
    }

    /// Takes in up to `room` events. `None` where the fetcher has ended.
    pub async fn next(&mut self, room: usize) -> Option<Result<(), Broken>> {
        if self.ahead.is_empty() {
            // Nothing is lost where this is dropped while it waits for a block.
            if self.open.is_none() {
                let begin = || self.group.fetcher.subscribe(self.partition.clone(), self.read_to);
                match self.blocks.get_or_insert_with(begin).next().await? {
                    Ok(held) => self.open = Some((held, i64::MIN)),
                    Err(error) => return Some(Err(Broken::Log(error))),
                }
            }
            if let Err(broken) = self.follow().await {
                return Some(Err(broken));
            }
            if let Err(error) = self.read_ahead().await {
                return Some(Err(Broken::Log(error)));
            }
        }
        self.take(room);
        Some(Ok(()))
    }

    /// Lets go of the blocks that it has not read, while there is no room: what they take is needed by other partitions. They are
    /// fetched again.
    pub fn pause(&mut self) {
        self.open = None;
        self.blocks = None;
    }

    /// Where another leader sent the block, the log is looked at first: it may not have all that was read, and have grown past
    /// it since.
    async fn follow(&mut self) -> Result<(), Broken> {
        let Some(sent) = self.open.as_ref().and_then(|(held, _)| held.block.leader_epoch) else { return Ok(()) };
        let (newest, read_to) = (self.tenure.newest_epoch(), self.tenure.queue().taken_to());
        if self.epoch.is_some_and(|before| sent < before) {
            let why = format!("records of an older leader (epoch {sent}) came at offset {read_to}");
            return Err(Broken::Changed(why));
        }
        if let Some(known) = newest.filter(|known| sent > *known) {
            let partition = &self.partition;
            let ended = ask(&self.group, || self.group.shared.log.offset_at(partition, At::EpochEnd(known))).await;
            match ended {
                Ok(ended) if ended < read_to => {
                    let why = format!(
                        "another leader has the partition (epoch {known}, now {sent}); what was written up to epoch {known} \
                         ends at offset {ended}, and it was read up to {read_to}"
                    );
                    return Err(Broken::Changed(why));
                }
                Ok(_) | Err(LogError::Unsupported { .. }) => {}
                Err(error) => return Err(Broken::Log(error)),
            }
        }
        self.epoch = Some(sent);
        self.tenure.read_under(sent);
        Ok(())
    }

    /// Reads on in the open block.
    async fn read_ahead(&mut self) -> Result<(), LogError> {
        let mut is_last = false;
        let read = loop {
            let Some((held, from)) = &self.open else { return Ok(()) };
            let translating = self.group.shared.schemas.as_ref().map(|by| Translating { by: &**by, is_last });
            let read = read(&mut self.reader, held, *from, translating)?;
            match &self.group.shared.schemas {
                Some(known) if !read.unknown.is_empty() && !is_last => {
                    schemas::learn(&**known, &read.unknown, &self.group.shared.health).await;
                    is_last = true;
                }
                _ => break read,
            }
        };
        let Some((held, _)) = self.open.take() else { return Ok(()) };
        self.group.metrics.unreadable.increment(read.unreadable);
        self.tell_passed(read.passed);
        self.tenure.high_watermark.store(held.block.high_watermark, Ordering::Relaxed);
        self.held_bytes += read.bytes;
        self.group.shared.held_bytes.fetch_add(read.bytes, Ordering::AcqRel);
        self.ahead = read.parcels;
        self.read_to = read.reached.unwrap_or(held.block.next_offset);
        self.open = read.reached.map(|reached| (held, reached));
        Ok(())
    }

    /// Has it told of tracked events that they are nothing to this group.
    fn tell_passed(&self, passed: Vec<(i64, Box<str>)>) {
        let queue = self.tenure.queue();
        for (offset, event_id) in passed.into_iter().filter(|(offset, _)| queue.wants(*offset)) {
            self.group.shared.keeper.statuses.passed(&self.tenure, offset, event_id);
        }
    }

    /// Takes in what was read, as far as there is room.
    fn take(&mut self, room: usize) {
        let mut unwanted_bytes = 0;
        {
            let mut queue = self.tenure.queue();
            for (offset, parcel) in self.ahead.drain(..room.min(self.ahead.len())) {
                // One that an earlier tenure has finished is not held.
                if queue.wants(offset) {
                    self.sizes.insert(offset, parcel.size_bytes());
                    let (key, priority) = (parcel.record.key.clone(), parcel.priority);
                    queue.take(offset, key.as_deref(), priority, Arc::new(parcel));
                } else {
                    unwanted_bytes += parcel.size_bytes();
                }
            }
            queue.read_to(self.ahead.front().map_or(self.read_to, |(offset, _)| *offset));
        }
        self.held_bytes -= unwanted_bytes;
        self.group.shared.held_bytes.fetch_sub(unwanted_bytes, Ordering::AcqRel);
        self.group.shared.keeper.touch(&self.tenure);
    }

    /// An event is finished.
    pub fn gone(&mut self, offset: i64) {
        if let Some(bytes) = self.sizes.remove(&offset) {
            self.held_bytes -= bytes;
            self.group.shared.held_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    /// Nothing is held any more.
    pub fn let_go(&mut self) {
        self.sizes.clear();
        self.ahead.clear();
        self.group.shared.held_bytes.fetch_sub(std::mem::take(&mut self.held_bytes), Ordering::AcqRel);
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Reads some events of a block, from an offset on.
fn read(reader: &mut Reader, held: &Held, from: i64, translating: Option<Translating<'_>>) -> Result<Read, LogError> {
    let mut read = Read {
        parcels: VecDeque::new(),
        bytes: 0,
        passed: Vec::new(),
        unreadable: 0,
        unknown: Vec::new(),
        reached: None,
    };
    held.block.records.visit(&mut |record| {
        if record.offset < from || read.reached.is_some() {
            return;
        }
        if read.parcels.len() + read.passed.len() >= READ_AT_ONCE || read.bytes >= READ_AT_ONCE_BYTES {
            read.reached = Some(record.offset);
            return;
        }
        match reader.read(&record, translating, &mut read.unknown) {
            Ok(parcel) => {
                read.bytes += parcel.size_bytes();
                read.parcels.push_back((record.offset, parcel));
            }
            Err(Unwanted::Passed) => {}
            Err(Unwanted::Unasked(event_id)) => read.passed.extend(event_id.map(|event_id| (record.offset, event_id))),
            Err(Unwanted::Unreadable(_, event_id)) => {
                read.unreadable += 1;
                read.passed.extend(event_id.map(|event_id| (record.offset, event_id)));
            }
        }
    })?;
    Ok(read)
}
