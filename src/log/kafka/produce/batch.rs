//! Records on their way to one partition, and who waits for them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use crate::{
    catalog::plan,
    log::{
        LogError, OutRecord,
        record::{BuildError, BuildOptions, Builder, Compression, NO_PRODUCER, Producer, stamp},
    },
};

/// An answer for each record of a call, in order.
pub(super) type Answers = Vec<Result<i64, LogError>>;

/// A call of `Log::produce`. When its last record is answered, and what refers to it is dropped, the caller hears of it.
pub(super) struct Call {
    answers: Mutex<Vec<Option<Result<i64, LogError>>>>,
    caller: Option<oneshot::Sender<Answers>>,
    what: Arc<str>,
    /// Its share of the memory.
    _room: OwnedSemaphorePermit,
    /// Counts the calls of a lane.
    _busy: Arc<()>,
}

impl Call {
    pub(super) fn new(
        records: usize,
        what: Arc<str>,
        room: OwnedSemaphorePermit,
        busy: Arc<()>,
    ) -> (Arc<Self>, oneshot::Receiver<Answers>) {
        let (caller, receiver) = oneshot::channel();
        let call =
            Self { answers: Mutex::new(vec![None; records]), caller: Some(caller), what, _room: room, _busy: busy };
        (Arc::new(call), receiver)
    }

    fn answer(&self, position: usize, answer: Result<i64, LogError>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place @ None) = answers.get_mut(position) {
            *place = Some(answer);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(caller) = self.caller.take() else { return };
        let answers = std::mem::take(self.answers.get_mut().unwrap_or_else(PoisonError::into_inner));
        let closed = || LogError::TimedOut { what: format!("{} until the log was closed", self.what), after_ms: 0 };
        // Whoever called may have stopped waiting.
        let _ = caller.send(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(closed()))).collect());
    }
}

/// Where a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be sent, or sent again.
    Waiting,
    /// Sent, and the answer is awaited.
    Flying,
    /// The broker surely did not store it, and never will as it is.
    Refused(Refusal),
}

/// Why a batch cannot be stored as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has too many bytes, or one of its records has.
    TooLarge,
    /// The records at these places in the batch are invalid, each for a reason (KIP-467); none named: any of them.
    Invalid {
        /// Of the whole batch.
        reason: String,
        /// Of single records.
        records: Vec<(usize, Option<String>)>,
    },
    /// All of it.
    Whole(LogError),
}

/// Records that are sent together. They are compressed once.
pub(super) struct Batch {
    records: Vec<OutRecord>,
    /// The place of each record in its call.
    positions: Vec<usize>,
    /// The time of records that have none, milliseconds since 1970.
    now_ms: i64,
    compression: Compression,
    pub(super) bytes: Vec<u8>,
    /// `None` once the caller has its answer.
    call: Option<Arc<Call>>,
    /// The identity that it was sent with, or is about to be.
    pub(super) stamp: Option<Producer>,
    pub(super) state: State,
    /// It was sent, and no answer said that it was not stored.
    pub(super) is_in_doubt: bool,
    /// How often it could not be sent, or was refused for a reason that may pass.
    pub(super) failures: u32,
    pub(super) last_error: Option<LogError>,
    pub(super) began: Instant,
    pub(super) deadline: Instant,
}

/// What the batches of a call have in common.
pub(super) struct Terms {
    pub(super) compression: Compression,
    pub(super) max_bytes: usize,
    pub(super) began: Instant,
    pub(super) deadline: Instant,
    pub(super) now_ms: i64,
}

/// The codec's name for a compression of the catalogue.
pub(super) fn codec(compression: plan::Compression) -> Compression {
    match compression {
        plan::Compression::None => Compression::None,
        plan::Compression::Gzip => Compression::Gzip,
        plan::Compression::Snappy => Compression::Snappy,
        plan::Compression::Lz4 => Compression::Lz4,
        plan::Compression::Zstd => Compression::Zstd,
    }
}

/// Builds the batches of a call: one, unless it has more than `max_bytes`. A record that alone has more is answered.
pub(super) fn build(records: Vec<OutRecord>, call: &Arc<Call>, terms: &Terms) -> Vec<Batch> {
    let mut built = Vec::with_capacity(1);
    let (mut chunk, mut positions, mut chunk_bytes) = (Vec::with_capacity(records.len()), Vec::new(), 0);
    for (position, record) in records.into_iter().enumerate() {
        let size_bytes = record.size_bytes();
        if size_bytes > terms.max_bytes {
            // The broker would close the connection without saying why.
            call.answer(position, Err(LogError::TooLarge { what: call.what.to_string() }));
            continue;
        }
        if chunk_bytes + size_bytes > terms.max_bytes {
            let full = (std::mem::take(&mut chunk), std::mem::take(&mut positions));
            built.extend(Batch::build(full, call, terms));
            chunk_bytes = 0;
        }
        chunk_bytes += size_bytes;
        chunk.push(record);
        positions.push(position);
    }
    built.extend(Batch::build((chunk, positions), call, terms));
    built
}

impl Batch {
    fn build((records, positions): (Vec<OutRecord>, Vec<usize>), call: &Arc<Call>, terms: &Terms) -> Vec<Self> {
        let batch = Self {
            records,
            positions,
            now_ms: terms.now_ms,
            compression: terms.compression,
            bytes: Vec::new(),
            call: Some(Arc::clone(call)),
            stamp: None,
            state: State::Waiting,
            is_in_doubt: false,
            failures: 0,
            last_error: None,
            began: terms.began,
            deadline: terms.deadline,
        };
        batch.encoded()
    }

    /// The batch with its bytes; more than one where it would be too large, none where nothing is left of it.
    fn encoded(mut self) -> Vec<Self> {
        if self.records.is_empty() {
            return Vec::new();
        }
        let options = BuildOptions { compression: self.compression, producer: NO_PRODUCER, now_ms: self.now_ms };
        self.bytes.clear();
        match Builder::default().build(&self.records, &options, &mut self.bytes) {
            Ok(()) => vec![self],
            Err(BuildError::TooLarge { .. }) => self.without(&Refusal::TooLarge),
            Err(error) => {
                let error = LogError::Invalid { what: self.what().to_string(), reason: error.to_string() };
                self.without(&Refusal::Whole(error))
            }
        }
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the caller has its answer.
    pub(super) fn is_told(&self) -> bool {
        self.call.is_none()
    }

    fn what(&self) -> Arc<str> {
        self.call.as_ref().map_or_else(|| "producing".into(), |call| Arc::clone(&call.what))
    }

    /// Gives it an identity to be sent with.
    pub(super) fn stamp(&mut self, producer: Producer) {
        // Built here, so that it can be read.
        if stamp(&mut self.bytes, producer).is_ok() {
            self.stamp = Some(producer);
        }
    }

    /// It was surely not stored, and is sent with another identity or none.
    pub(super) fn unstamp(&mut self) {
        self.stamp = None;
        self.is_in_doubt = false;
        // Built here, so that it can be read.
        let _ = stamp(&mut self.bytes, NO_PRODUCER);
    }

    /// Answers its records: the broker has them from this offset on; below 0 where it does not say.
    pub(super) fn tell_stored(&mut self, base_offset: i64) {
        let Some(call) = self.call.take() else { return };
        for (index, position) in (0..).zip(&self.positions) {
            call.answer(*position, Ok(if base_offset < 0 { -1 } else { base_offset + index }));
        }
    }

    /// Answers its records with an error.
    pub(super) fn tell(&mut self, error: &LogError) {
        let Some(call) = self.call.take() else { return };
        for position in &self.positions {
            call.answer(*position, Err(error.clone()));
        }
    }

    /// Answers its records: they may or may not have been stored.
    pub(super) fn tell_doubt(&mut self, now: Instant) {
        let last = self.last_error.as_ref().map_or_else(String::new, |error| format!(" (last: {error})"));
        let what = format!("{}, which may or may not have been stored{last}", self.what());
        let after_ms = u64::try_from((now - self.began).as_millis()).unwrap_or(u64::MAX);
        self.tell(&LogError::TimedOut { what, after_ms });
    }

    /// What is left of a refused batch: the records that were refused are answered, the others are batches again.
    pub(super) fn without(mut self, refusal: &Refusal) -> Vec<Self> {
        self.state = State::Waiting;
        match refusal {
            Refusal::Whole(error) => {
                self.tell(error);
                Vec::new()
            }
            Refusal::TooLarge if self.len() > 1 => self.halves(),
            Refusal::TooLarge => {
                self.tell(&LogError::TooLarge { what: self.what().to_string() });
                Vec::new()
            }
            Refusal::Invalid { records, .. } if records.iter().any(|(index, _)| *index < self.len()) => {
                self.without_records(refusal)
            }
            Refusal::Invalid { .. } if self.len() > 1 => self.halves(),
            Refusal::Invalid { reason, .. } => {
                self.tell(&LogError::Invalid { what: self.what().to_string(), reason: reason.clone() });
                Vec::new()
            }
        }
    }

    fn without_records(mut self, refusal: &Refusal) -> Vec<Self> {
        let Refusal::Invalid { reason, records: refused } = refusal else { return vec![self] };
        let mut is_refused = vec![false; self.len()];
        for (index, own_reason) in refused {
            let (Some(flag), Some(call)) = (is_refused.get_mut(*index), &self.call) else { continue };
            *flag = true;
            let reason = own_reason.as_ref().unwrap_or(reason).clone();
            call.answer(self.positions[*index], Err(LogError::Invalid { what: call.what.to_string(), reason }));
        }
        let mut flags = is_refused.iter();
        self.records.retain(|_| flags.next() == Some(&false));
        let mut flags = is_refused.iter();
        self.positions.retain(|_| flags.next() == Some(&false));
        self.encoded()
    }

    fn halves(mut self) -> Vec<Self> {
        let middle = self.len() / 2;
        let behind = Self {
            records: self.records.split_off(middle),
            positions: self.positions.split_off(middle),
            bytes: Vec::new(),
            call: self.call.clone(),
            stamp: None,
            state: State::Waiting,
            last_error: None,
            ..self
        };
        let mut halves = self.encoded();
        halves.extend(behind.encoded());
        halves
    }
}
