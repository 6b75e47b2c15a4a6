//! One connection to a broker: requests go out in the order in which they are begun, and answers come back in that order.

use std::{
    collections::VecDeque,
    io,
    marker::PhantomData,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    frames::Frames,
    greeting::Greeting,
    message::{self, name},
    stream::{self, Stream},
    versions::Versions,
};
use crate::log::{
    LogError,
    kafka::{KafkaOptions, access::AccessError},
};

/// Requests that may wait for their answers on one connection.
const MAX_WAITING: usize = 1024;
/// Share of a session's life after which another connection takes over, so that none is cut off amid a request.
const SESSION_SHARE: f64 = 0.8;
/// Longest wait that a broker may ask for by its throttle time.
const MAX_THROTTLE: Duration = Duration::from_secs(30);

/// An open connection.
pub(in crate::log::kafka) struct Connection {
    address: Arc<str>,
    client_id: StrBytes,
    versions: Versions,
    queue: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
    /// The broker ends the session then (KIP-368).
    session_ends_at: Option<Instant>,
    _reader: AbortOnDropHandle<()>,
    _writer: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<VecDeque<Waiting>>,
    quiet_until: Mutex<Option<Instant>>,
    failure: OnceLock<LogError>,
    closed: CancellationToken,
}

struct Outgoing {
    frame: Bytes,
    answer: oneshot::Sender<Result<Bytes, LogError>>,
}

struct Waiting {
    correlation: i32,
    answer: oneshot::Sender<Result<Bytes, LogError>>,
}

/// A request under way.
pub(in crate::log::kafka) struct Pending<R> {
    answer: oneshot::Receiver<Result<Bytes, LogError>>,
    version: i16,
    address: Arc<str>,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Pending<R> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// The connection broke, or the answer cannot be read.
    pub(in crate::log::kafka) async fn answer(self) -> Result<R::Response, LogError> {
        let gone = || unavailable(&self.address, "the connection was closed");
        let bytes = self.answer.await.map_err(|_| gone())??;
        message::decode::<R>(bytes, self.version).map_err(|reason| unreadable::<R>(&self.address, &reason))
    }
}

impl Connection {
    /// Connects, authenticates and asks for the broker's versions. The caller has the deadline.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses us.
    pub(super) async fn open(address: &str, options: &KafkaOptions) -> Result<Self, LogError> {
        let security = &options.security;
        let refused = |error: AccessError| error.into_log_error(format!("broker {address}"));
        let mut stream = stream::open(address, security).await.map_err(refused)?;
        let mut greeting = Greeting::new(&mut stream, address, &options.client_id, security);
        let session = greeting.authenticate().await.map_err(refused)?;
        let session_ends_at = session.map(|session| Instant::now() + session.mul_f64(SESSION_SHARE));
        let versions = greeting.ask_versions().await.map_err(|error| match error {
            // No refusal, which ends the search for a broker: one of several may be named wrongly.
            AccessError::NotKafka { .. } | AccessError::WantsTls { .. } => unavailable(address, &error.to_string()),
            error => refused(error),
        })?;
        let client_id = StrBytes::from_string(options.client_id.clone());
        let (reading, writing) = tokio::io::split(stream);
        let (queue, outgoing) = mpsc::channel(MAX_WAITING);
        let shared = Arc::new(Shared::default());
        let address: Arc<str> = address.into();
        let reader = read_loop(reading, Arc::clone(&shared), Arc::clone(&address), options.max_message_bytes);
        let writer = write_loop(writing, outgoing, Arc::clone(&shared), Arc::clone(&address));
        Ok(Self {
            address,
            client_id,
            versions,
            queue,
            shared,
            session_ends_at,
            _reader: AbortOnDropHandle::new(tokio::spawn(reader)),
            _writer: AbortOnDropHandle::new(tokio::spawn(writer)),
        })
    }

    /// `host:port`.
    pub(in crate::log::kafka) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it takes requests.
    pub(super) fn is_open(&self) -> bool {
        self.shared.failure.get().is_none() && self.session_ends_at.is_none_or(|end| Instant::now() < end)
    }

    /// The newest version of a call that both sides know, within `wanted`.
    ///
    /// # Errors
    /// There is none.
    pub(in crate::log::kafka) fn version<R: Request>(&self, wanted: &RangeInclusive<i16>) -> Result<i16, LogError> {
        self.versions.choose::<R>(wanted, &self.address)
    }

    /// Puts a request on its way. Requests leave in the order of these calls.
    ///
    /// # Errors
    /// The connection is closed or has too many requests waiting.
    pub(in crate::log::kafka) fn begin<R: Request>(&self, request: &R, version: i16) -> Result<Pending<R>, LogError> {
        if let Some(failure) = self.shared.failure.get() {
            return Err(failure.clone());
        }
        let frame = message::encode(request, version, &self.client_id)
            .map_err(|reason| LogError::Invalid { what: format!("a request to {}", self.address), reason })?;
        let (sender, answer) = oneshot::channel();
        self.queue.try_send(Outgoing { frame, answer: sender }).map_err(|_| {
            self.shared.failure.get().cloned().unwrap_or_else(|| {
                unavailable(&self.address, "too many requests wait for this broker, or the connection was closed")
            })
        })?;
        Ok(Pending { answer, version, address: Arc::clone(&self.address), request: PhantomData })
    }

    /// Sends a request and waits for its answer. A connection that does not answer in time is closed: what comes behind
    /// would wait as long.
    ///
    /// # Errors
    /// As [`Connection::begin`] and [`Pending::answer`], or the deadline has passed.
    pub(in crate::log::kafka) async fn call<R: Request>(
        &self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<R::Response, LogError> {
        let began = Instant::now();
        let pending = self.begin(request, version)?;
        match timeout_at(deadline, pending.answer()).await {
            Ok(answer) => answer,
            Err(_) => {
                let after_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let error = LogError::TimedOut { what: format!("{} of {}", name::<R>(), self.address), after_ms };
                self.close(error.clone());
                Err(error)
            }
        }
    }

    /// Sends nothing for as long as the broker asks (KIP-219).
    pub(in crate::log::kafka) fn throttle(&self, throttle_ms: i32) {
        let Ok(throttle_ms @ 1..) = u64::try_from(throttle_ms) else { return };
        let until = Instant::now() + Duration::from_millis(throttle_ms).min(MAX_THROTTLE);
        *self.shared.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Closes it: requests under way and later ones get this error.
    pub(in crate::log::kafka) fn close(&self, why: LogError) {
        self.shared.fail(why);
    }
}

impl Shared {
    fn fail(&self, why: LogError) {
        let why = self.failure.get_or_init(|| why).clone();
        self.closed.cancel();
        for waiting in std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)) {
            let _ = waiting.answer.send(Err(why.clone()));
        }
    }

    async fn quiet(&self) {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }
}

async fn write_loop(
    mut writing: WriteHalf<Stream>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
    address: Arc<str>,
) {
    let next_correlation = AtomicI32::new(1);
    let write = async {
        while let Some(Outgoing { frame, answer }) = outgoing.recv().await {
            shared.quiet().await;
            let correlation = next_correlation.fetch_add(1, Ordering::Relaxed);
            // Enrolled before it is sent, so that the answer finds it.
            shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(Waiting { correlation, answer });
            writing.write_all_buf(&mut message::correlated(frame, correlation)).await?;
            // TLS may still hold the end of it.
            writing.flush().await?;
        }
        Ok::<(), io::Error>(())
    };
    let written = tokio::select! {
        written = write => written,
        () = shared.closed.cancelled() => Ok(()),
    };
    shared.fail(unavailable(&address, &written.err().map_or_else(|| "closed".to_owned(), |error| error.to_string())));
    // What is still in the queue is answered by dropping it.
}

async fn read_loop(reading: ReadHalf<Stream>, shared: Arc<Shared>, address: Arc<str>, max_bytes: usize) {
    let frames = Arc::new(Frames::default());
    let mut reading = BufReader::new(reading);
    let read = async {
        loop {
            let length = usize::try_from(reading.read_i32().await?).unwrap_or(usize::MAX);
            if !(4..=max_bytes).contains(&length) {
                return Err(io::Error::other(format!(
                    "it announced an answer of {length} bytes; 4 to {max_bytes} are taken (is this a Kafka listener?)"
                )));
            }
            let frame = frames.read(&mut reading, length).await?;
            let next = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(next) if message::correlation(&frame) == Some(next.correlation) => {
                    // Whoever asked may have given up.
                    let _ = next.answer.send(Ok(frame));
                }
                _ => return Err(io::Error::other("it answered something that was not asked")),
            }
        }
    };
    let ended: Result<(), io::Error> = tokio::select! {
        ended = read => ended,
        () = shared.closed.cancelled() => return,
    };
    let reason = match ended {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        Err(error) => error.to_string(),
        Ok(()) => "closed".to_owned(),
    };
    shared.fail(unavailable(&address, &reason));
}

fn unavailable(address: &str, reason: &str) -> LogError {
    LogError::Unavailable { what: format!("broker {address}"), reason: reason.to_owned() }
}

fn unreadable<R: Request>(address: &str, reason: &str) -> LogError {
    LogError::Unsupported {
        what: format!("the answer of {address} to {}", name::<R>()),
        reason: format!("{reason}; the broker speaks another protocol or a newer one"),
    }
}
