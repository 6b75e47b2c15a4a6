//! The records of one partition in an answer, as a [`Block`] that visits them where they lie.

use std::cell::RefCell;

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::PartitionData;

use crate::{
    log::{
        Block, LogError, RecordRef, Records,
        record::{self, AbortedFilter, AbortedTransaction, RecordError, Scratch},
    },
    model::TopicPartition,
};

/// A block that is a smaller part of its answer than this is copied out of it: else a few bytes that wait for long would keep
/// the whole answer's memory.
const SMALLEST_SLICE: usize = 16;

thread_local! {
    /// Buffers for decompression, kept by each thread that visits records.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What an answer holds of a partition.
pub(super) enum Found {
    /// Nothing new.
    Nothing,
    /// Offsets to go on from, mostly with records.
    Block(Block),
    /// The first batch does not fit; it needs so many bytes.
    MoreBytes(usize),
}

/// Walks the batches' headers. Only whole batches count: a broker cuts the last one where its limit lies (KIP-74).
///
/// # Errors
/// The first batch is of an old format, or is none, or there is nothing but what lies before the offset.
pub(super) fn read(
    data: PartitionData,
    partition: &TopicPartition,
    offset: i64,
    answer_bytes: usize,
) -> Result<Found, LogError> {
    let bytes = data.records.unwrap_or_default();
    let (mut next_offset, mut end, mut leader_epoch) = (offset, 0, None);
    for batch in record::batches(&bytes) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(RecordError::Incomplete { needed_bytes, .. }) => return Ok(Found::MoreBytes(needed_bytes)),
            // What lies before is handed out; who goes on from there is told.
            Err(_) if end > 0 => break,
            Err(error) => return Err(unreadable(partition, offset, &error)),
        };
        // Later records would be taken for earlier ones, and those counted again.
        if end > 0 && batch.base_offset < next_offset {
            break;
        }
        next_offset = next_offset.max(batch.next_offset());
        leader_epoch = Some(batch.leader_epoch).filter(|epoch| *epoch >= 0);
        end += batch.bytes.len();
    }
    if bytes.is_empty() {
        return Ok(Found::Nothing);
    }
    if next_offset == offset {
        // Not "nothing": asking again at once would go round without end.
        return Err(LogError::Unavailable {
            what: format!("reading {partition} from offset {offset}"),
            reason: "the broker answered with earlier records only".to_owned(),
        });
    }
    let bytes = bytes.slice(..end);
    let bytes = if end < answer_bytes / SMALLEST_SLICE { Bytes::copy_from_slice(&bytes) } else { bytes };
    let aborted = data
        .aborted_transactions
        .unwrap_or_default()
        .into_iter()
        .map(|aborted| AbortedTransaction { producer_id: aborted.producer_id.0, first_offset: aborted.first_offset });
    let readable_end = if data.last_stable_offset >= 0 { data.last_stable_offset } else { data.high_watermark };
    Ok(Found::Block(Block {
        next_offset,
        // The two are read at different moments by the broker, and the records prove that it was here.
        high_watermark: readable_end.max(next_offset),
        log_start: Some(data.log_start_offset).filter(|start| *start >= 0),
        leader_epoch,
        size_bytes: bytes.len(),
        records: Box::new(Batches {
            bytes,
            from: offset,
            filter: AbortedFilter::new(aborted.collect()),
            partition: partition.clone(),
        }),
    }))
}

/// Whole batches, as they came.
struct Batches {
    bytes: Bytes,
    /// The offset asked for: a batch may begin before it.
    from: i64,
    filter: AbortedFilter,
    partition: TopicPartition,
}

impl Records for Batches {
    fn visit(&self, visitor: &mut dyn FnMut(RecordRef<'_>)) -> Result<(), LogError> {
        // Taken, not borrowed: a visitor may visit another block.
        let mut scratch = SCRATCH.take();
        let mut filter = self.filter.clone();
        let visited = record::batches(&self.bytes).try_for_each(|batch| {
            let batch = batch?;
            batch.check_crc()?;
            if filter.is_aborted(&batch)? { Ok(()) } else { batch.visit(self.from, &mut scratch, visitor) }
        });
        SCRATCH.set(scratch);
        visited.map_err(|error| unreadable(&self.partition, self.from, &error))
    }
}

fn unreadable(partition: &TopicPartition, offset: i64, error: &RecordError) -> LogError {
    LogError::Unsupported { what: format!("reading {partition} from offset {offset}"), reason: error.to_string() }
}
