//! The task of one partition of one group: it waits for the lease, then has one tenure after the other. A tenure reads blocks,
//! keeps what is wanted in its queue, sends what may go, and takes in what came back.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    begin::{self, Obstacle},
    flight::{Landed, bury, flight},
    gate::Pass,
    group::Group,
    intake::{Broken, Intake},
    now_ms, statuses,
    tenure::Tenure,
};
use crate::{
    catalog::plan::Topic,
    core::{
        backoff::Backoff,
        delivery::{Attempt, Mode, Outcome, Parcel, Reader, Trouble, Verdict},
    },
    log::LogError,
    model::TopicPartition,
    runtime::handover::Handover,
};

/// How often a partition without room looks whether others have made some, where the memory of all is used up. One that has had none
/// for so long gives back what it has fetched.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(50);
/// A tenure that lasted so long began well: the next trouble is a new one.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// Most bytes of the events of one batch; a larger one goes alone.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// Why a tenure is over.
enum End {
    Stopped,
    Again(String),
    Stuck(String),
}

/// The task of one partition.
pub(super) struct PartitionTask {
    pub group: Arc<Group>,
    pub topic: Arc<Topic>,
    pub partition: TopicPartition,
    pub handover: Arc<Handover>,
}

impl PartitionTask {
    /// Delivers the partition once its lease is granted, until it is stopped; what is on its way then is waited for.
    pub async fn run(self) -> TopicPartition {
        // There is nothing to read ahead of the lease.
        self.handover.is_warm_now();
        let stop = &self.handover.stop;
        tokio::select! {
            biased;
            () = stop.cancelled() => return self.partition,
            _ = self.handover.granted_or_counted_beyond(i64::MAX) => {}
        }
        let (mut again, mut stuck) = (Backoff::store(), Backoff::person());
        loop {
            let began = Instant::now();
            let end = self.tenure(stop).await;
            if began.elapsed() >= SETTLED_AFTER {
                (again, stuck) = (Backoff::store(), Backoff::person());
            }
            let (topic, partition, group) = (&self.partition.topic, self.partition.partition, &self.group.name);
            let delay = match end {
                End::Stopped => return self.partition,
                End::Again(why) => {
                    tracing::info!(%topic, partition, %group, "begins again: {why}");
                    again.next()
                }
                End::Stuck(why) => {
                    let delay = stuck.next();
                    tracing::error!(%topic, partition, %group, retry_in_ms = delay.as_millis() as u64,
                        "delivery of this partition has stopped: {why}");
                    delay
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.partition,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn tenure(&self, stop: &CancellationToken) -> End {
        let begun = tokio::select! {
            biased;
            () = stop.cancelled() => return End::Stopped,
            begun = begin::begin(&self.group, &self.partition) => begun,
        };
        let tenure = match begun {
            Ok(tenure) => tenure,
            Err(Obstacle::Again(why)) => return End::Again(why),
            Err(Obstacle::Stuck(why)) => return End::Stuck(why),
        };
        let read_from = tenure.queue().taken_to();
        tracing::info!(topic = %self.partition.topic, partition = self.partition.partition, group = %self.group.name,
            offset = read_from, "delivers from offset {read_from} on");
        self.group.shared.keeper.add(&tenure);
        let mut round = Round::new(self, &tenure, read_from);
        let end = round.run(stop).await;
        if matches!(end, End::Stopped) {
            round.finish().await;
            tenure.settled().await;
        }
        round.let_go();
        self.group.shared.keeper.remove(&tenure);
        end
    }
}

/// A tenure at work.
struct Round<'a> {
    task: &'a PartitionTask,
    tenure: &'a Arc<Tenure>,
    intake: Intake,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    /// Leave that is waited for.
    entering: Option<BoxFuture<'static, Pass>>,
}

impl<'a> Round<'a> {
    fn new(task: &'a PartitionTask, tenure: &'a Arc<Tenure>, read_from: i64) -> Self {
        let group = &task.group;
        let reader = Reader::new(&task.topic, task.partition.clone(), &group.name, group.filter.clone());
        let intake = Intake::new(Arc::clone(group), Arc::clone(tenure), reader, read_from);
        Self { task, tenure, intake, flights: FuturesUnordered::new(), entering: None }
    }

    async fn run(&mut self, stop: &CancellationToken) -> End {
        let group = &self.task.group;
        let mut may_send = group.shared.keeper.may_send();
        loop {
            let (has_ready, due) = {
                let mut queue = self.tenure.queue();
                (queue.has_ready(now_ms()), queue.next_due())
            };
            let may_go = has_ready && *may_send.borrow_and_update();
            if !may_go {
                // Whoever waits for leave and does not look would keep it from others.
                self.entering = None;
            } else if self.entering.is_none() {
                self.entering = Some(Arc::clone(&group.gate).enter().boxed());
            }
            let room = self.intake.room();
            let wait = due.map(|due| Duration::from_millis(u64::try_from(due - now_ms()).unwrap_or(0)));
            tokio::select! {
                biased;
                () = self.tenure.ended.cancelled() => return End::Again("the store has another position".to_owned()),
                () = stop.cancelled() => return End::Stopped,
                Some(landed) = self.flights.next() => self.take_in(landed),
                pass = entered(&mut self.entering), if may_go => self.launch(pass),
                taken = self.intake.next(room), if room > 0 => match taken {
                    None => return End::Stopped,
                    Some(Ok(())) => {}
                    Some(Err(Broken::Changed(why))) => return End::Again(why),
                    Some(Err(Broken::Log(error @ (LogError::OffsetOutOfRange { .. } | LogError::Recreated { .. })))) => {
                        return End::Again(error.to_string());
                    }
                    Some(Err(Broken::Log(error))) => {
                        group.topics_stale.notify_one();
                        return End::Stuck(error.to_string());
                    }
                },
                _ = may_send.changed() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() && !has_ready => {}
                () = tokio::time::sleep(LOOK_FOR_ROOM), if room == 0 => self.intake.pause(),
            }
        }
    }

    /// Waits for what is on its way, and begins nothing more.
    async fn finish(&mut self) {
        self.entering = None;
        while let Some(landed) = tokio::select! {
            biased;
            () = self.tenure.ended.cancelled() => None,
            landed = self.flights.next() => landed,
        } {
            self.take_in(landed);
        }
    }

    /// What it holds is no longer counted as held.
    fn let_go(&mut self) {
        self.intake.let_go();
    }

    /// Sends what may go, as far as there is leave.
    fn launch(&mut self, pass: Pass) {
        let mut pass = Some(pass);
        while let Some(leave) = pass {
            let sent = self.next_batch();
            if sent.is_empty() {
                return;
            }
            let group = &self.task.group;
            let first = statuses::first_of(&sent);
            let flight = flight(Arc::clone(group), self.task.partition.clone(), leave, sent);
            self.flights.push(statuses::told(group, self.tenure, first, flight));
            pass = self.task.group.gate.try_enter();
        }
    }

    fn next_batch(&self) -> Vec<(Attempt, Arc<Parcel>)> {
        let most = if let Mode::Batch(most) = self.task.group.mode { most } else { 1 };
        let (mut queue, now) = (self.tenure.queue(), now_ms());
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < most && bytes < MAX_BATCH_BYTES {
            let Some(attempt) = queue.next(now) else { break };
            let Some(parcel) = queue.payload(attempt.offset).cloned() else { break };
            bytes += parcel.size_bytes();
            batch.push((attempt, parcel));
        }
        batch
    }

    fn take_in(&mut self, landed: Landed) {
        match landed {
            Landed::Buried(offset) => {
                self.intake.gone(offset);
                self.tenure.queue().buried(offset);
            }
            Landed::Answered { sent, began_ms, outcomes } => {
                let now_ms = now_ms();
                for (attempt, (outcome, trouble)) in sent.into_iter().zip(outcomes) {
                    self.settle(attempt, outcome, trouble, (began_ms, now_ms));
                }
            }
        }
        self.task.group.shared.keeper.touch(self.tenure);
    }

    fn settle(&mut self, attempt: Attempt, outcome: Outcome, trouble: Option<Trouble>, (began_ms, now_ms): (i64, i64)) {
        let Attempt { offset, number } = attempt;
        let group = &self.task.group;
        if outcome == Outcome::Processed || outcome == Outcome::Dropped {
            self.intake.gone(offset);
        }
        let mut queue = self.tenure.queue();
        let parcel = queue.payload(offset).cloned();
        let verdict = queue.outcome(offset, outcome, began_ms, now_ms);
        let statuses = &group.shared.keeper.statuses;
        if let (Some(parcel), Some(verdict)) = (&parcel, verdict) {
            statuses.attempted(self.tenure, parcel, attempt, (verdict, trouble.as_ref()));
        }
        drop(queue);
        group.metrics.attempted(outcome, number);
        match (verdict, parcel, trouble) {
            (Some(Verdict::Dead(tried)), Some(parcel), Some(trouble)) => {
                group.metrics.dead.increment(1);
                let (group, tenure) = (Arc::clone(group), Arc::clone(self.tenure));
                let (buried, why) = (Arc::clone(&parcel), trouble.clone());
                let burial = bury(Arc::clone(&group), self.task.partition.clone(), offset, parcel, trouble, tried);
                self.flights.push(
                    burial
                        .inspect(move |_| {
                            group.shared.keeper.statuses.died(&tenure, &buried, offset, (tried, &why));
                        })
                        .boxed(),
                );
            }
            (Some(Verdict::Again(due)), _, Some(trouble)) => {
                tracing::debug!(topic = %self.task.partition.topic, partition = self.task.partition.partition, offset,
                    group = %group.name, attempt = number, retry_in_ms = due - now_ms, "not delivered: {trouble}");
            }
            _ => {}
        }
    }
}

/// The leave that was waited for.
async fn entered(entering: &mut Option<BoxFuture<'static, Pass>>) -> Pass {
    match entering {
        Some(waiting) => {
            let pass = waiting.await;
            *entering = None;
            pass
        }
        None => std::future::pending().await,
    }
}
