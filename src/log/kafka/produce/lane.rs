//! The task of one partition: takes calls in, sends their batches, takes answers in.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, PoisonError, Weak, atomic::AtomicBool},
    time::Duration,
};

use futures::future::BoxFuture;
use kafka_protocol::messages::ProduceResponse;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{IDLE, LaneHandle, Lanes, batch::Batch, outcome, queue::Queue, route::Route};
use crate::{
    log::{LogError, kafka::wire::Wire},
    model::TopicPartition,
};

/// A part of the deadline for one try, so that a connection that does not answer leaves time for another.
const TRIES_PER_DEADLINE: u32 = 3;

/// A call that came.
pub(super) struct Arrival {
    pub(super) built: Built,
}

/// The batches of a call.
pub(super) enum Built {
    Now(Vec<Batch>),
    /// They are being compressed.
    Later(JoinHandle<Vec<Batch>>),
}

/// A request under way.
struct Flight {
    answer: BoxFuture<'static, Result<ProduceResponse, LogError>>,
    sent_at: Instant,
}

/// One partition's task.
pub(super) struct Lane {
    wire: Arc<Wire>,
    partition: TopicPartition,
    what: Arc<str>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    /// The call that arrived first and is still being compressed: those behind it wait.
    building: Option<JoinHandle<Vec<Batch>>>,
    queue: Queue,
    flights: VecDeque<Flight>,
    /// The same for all that is under way, so that answers come in order.
    route: Option<Route>,
    last_answer_at: Option<Instant>,
    retry_at: Option<Instant>,
    is_warned: Arc<AtomicBool>,
    lanes: Weak<Lanes>,
}

/// What woke the lane.
enum Event {
    Arrived(Option<Arrival>),
    Built(Vec<Batch>),
    Answered(Result<ProduceResponse, LogError>),
    /// The answer under way takes too long.
    Late,
    Woken,
}

impl Lane {
    pub(super) fn new(
        wire: Arc<Wire>,
        partition: TopicPartition,
        what: Arc<str>,
        arrivals: mpsc::UnboundedReceiver<Arrival>,
        is_warned: Arc<AtomicBool>,
        lanes: Weak<Lanes>,
    ) -> Self {
        let queue = Queue::new(wire.options.max_in_flight, wire.options.retries);
        Self {
            wire,
            partition,
            what,
            arrivals,
            building: None,
            queue,
            flights: VecDeque::new(),
            route: None,
            last_answer_at: None,
            retry_at: None,
            is_warned,
            lanes,
        }
    }

    /// Runs until there was nothing to do for long.
    pub(super) async fn run(mut self) {
        loop {
            while self.building.is_none()
                && let Ok(arrival) = self.arrivals.try_recv()
            {
                self.take(arrival.built);
            }
            if self.queue.is_empty() && self.flights.is_empty() && self.building.is_none() {
                match timeout(IDLE, self.arrivals.recv()).await {
                    Ok(Some(arrival)) => self.take(arrival.built),
                    Ok(None) => return,
                    Err(_) if self.leave() => return,
                    Err(_) => {}
                }
                continue;
            }
            self.step().await;
        }
    }

    /// Takes itself off the list, unless something has come.
    fn leave(&self) -> bool {
        let Some(lanes) = self.lanes.upgrade() else { return true };
        // Calls are counted under this lock.
        let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.get(&self.partition).is_some_and(LaneHandle::is_busy) {
            return false;
        }
        lanes.remove(&self.partition);
        true
    }

    fn take(&mut self, built: Built) {
        match built {
            Built::Now(batches) => batches.into_iter().for_each(|batch| self.queue.push(batch)),
            Built::Later(handle) => self.building = Some(handle),
        }
    }

    async fn step(&mut self) {
        let now = Instant::now();
        self.queue.expire(now);
        if self.queue.is_unsettled() {
            self.route = None;
            if let Some(failures) = self.queue.settle(now) {
                let pause = self.wire.options.pause_after(failures);
                self.retry_at = Some(now + pause);
            }
        }
        self.retry_at = self.retry_at.filter(|at| *at > now);
        if self.retry_at.is_none() && self.queue.wants_to_send() {
            if self.flights.is_empty() && !self.prepare().await {
                return;
            }
            while self.send() {}
        }
        if self.queue.is_empty() && self.flights.is_empty() && self.building.is_none() || self.queue.is_unsettled() {
            return;
        }
        match self.wait().await {
            Event::Arrived(arrival) => arrival.into_iter().for_each(|arrival| self.take(arrival.built)),
            Event::Built(batches) => {
                self.building = None;
                self.take(Built::Now(batches));
            }
            Event::Answered(answer) => self.land(answer),
            Event::Late => self.close(),
            Event::Woken => {}
        }
    }

    /// Finds the leader, a connection to it and an identity. Whether it has them all.
    async fn prepare(&mut self) -> bool {
        let deadline = self.queue.deadline().unwrap_or_else(|| Instant::now() + self.wire.options.request_timeout);
        let prepared = match timeout_at(
            deadline,
            Route::find(&self.wire, &self.partition, &mut self.queue.identity, &self.is_warned, deadline),
        )
        .await
        {
            Ok(Ok(route)) => {
                self.route = Some(route);
                return true;
            }
            Ok(Err(error)) => error,
            Err(_) => LogError::Unavailable {
                what: self.what.to_string(),
                reason: "the leader of the partition was not found in time".to_owned(),
            },
        };
        tracing::warn!(partition = %self.partition, error = %prepared, "cannot send now");
        self.queue.unreachable(&prepared);
        false
    }

    /// Sends the next batch. Whether there was one.
    fn send(&mut self) -> bool {
        let Some(route) = &self.route else { return false };
        let Some(batch) = self.queue.send() else { return false };
        // Less than we wait: an answer that it took too long is worth more than none.
        let request = route.request(
            &self.partition,
            &batch.bytes,
            self.wire.options.request_timeout / TRIES_PER_DEADLINE * 3 / 4,
        );
        match route.connection.begin(&request, route.version) {
            Ok(pending) => {
                let answer = Box::pin(pending.answer());
                self.flights.push_back(Flight { answer, sent_at: Instant::now() });
                true
            }
            Err(error) => {
                self.queue.not_sent(&error);
                false
            }
        }
    }

    fn try_limit(&self) -> Duration {
        self.wire.options.request_timeout / TRIES_PER_DEADLINE
    }

    fn land(&mut self, answer: Result<ProduceResponse, LogError>) {
        self.flights.pop_front();
        let now = Instant::now();
        self.last_answer_at = Some(now);
        if let (Ok(answer), Some(route)) = (&answer, &self.route) {
            route.connection.throttle(answer.throttle_time_ms);
        }
        let outcome = outcome::read(answer, &self.wire, &self.partition, &self.what);
        if let outcome::Outcome::Again { error, .. } = &outcome {
            tracing::warn!(partition = %self.partition, %error, "sending again");
        }
        self.queue.answered(outcome, now);
    }

    /// Closes the connection: what is under way on it ends with an error.
    fn close(&self) {
        let after_ms = u64::try_from(self.try_limit().as_millis()).unwrap_or(u64::MAX);
        if let Some(route) = &self.route {
            let what = format!("{} on broker {}", self.what, route.connection.address());
            route.connection.close(LogError::TimedOut { what, after_ms });
        }
        self.wire.distrust();
    }

    async fn wait(&mut self) -> Event {
        let late_at = self.flights.front().map(|flight| {
            // A broker answers a connection's requests one after the other.
            self.last_answer_at.map_or(flight.sent_at, |at| at.max(flight.sent_at)) + self.try_limit()
        });
        let wake_at = [self.queue.deadline(), self.retry_at].into_iter().flatten().min();
        let is_building = self.building.is_some();
        tokio::select! {
            answer = async {
                match self.flights.front_mut() {
                    Some(flight) => (&mut flight.answer).await,
                    None => pending().await,
                }
            } => Event::Answered(answer),
            built = async {
                match &mut self.building {
                    Some(building) => building.await,
                    None => pending().await,
                }
            } => {
                // A task that panicked drops its call, which answers.
                Event::Built(built.unwrap_or_default())
            }
            arrival = self.arrivals.recv(), if !is_building => Event::Arrived(arrival),
            () = until(late_at) => Event::Late,
            () = until(wake_at) => Event::Woken,
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
