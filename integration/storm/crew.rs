//! Members of one group that are killed, replaced, stopped and continued.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use streamgauge::{
    log::{At, Log},
    model::{MemberId, TopicPartition},
    store::Store,
};
use tokio_util::sync::CancellationToken;

use super::source::PARTITIONS;
use crate::{
    place::{Place, ready},
    support::{events::Random, process::Process, results},
};

/// How long a member may be silent.
pub const SESSION: Duration = Duration::from_millis(2_000);
/// The group that counts, by default.
const GROUP: &str = "streamgauge";
/// How long a member is stopped: past its session.
const STOPPED_FOR: Duration = Duration::from_secs(3);
/// When the first one is: it should hold something by then.
const STOP_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked whether something is to be done.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often members are asked for what they have counted, and how long they may take to answer.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// How long what is behind may take to be counted once nothing is in the way.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);

/// What is done to members.
#[derive(Clone, Copy)]
pub struct Harm {
    /// How often one is killed and replaced.
    pub kill_every: Duration,
    /// Whether others are stopped past their session and continued.
    pub stops: bool,
}

/// What members have told of themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub conflicts: f64,
    pub tenures: f64,
    pub duplicates: f64,
    pub failed_flushes: f64,
}

impl std::ops::AddAssign for Told {
    fn add_assign(&mut self, other: Self) {
        self.conflicts += other.conflicts;
        self.tenures += other.tenures;
        self.duplicates += other.duplicates;
        self.failed_flushes += other.failed_flushes;
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conflicts, tenures, duplicates, failed_flushes } = self;
        write!(f, "at least {tenures} tenures, {conflicts} conflicts, {failed_flushes} failed flushes")?;
        write!(f, ", {duplicates} duplicates (with those counted anew)")
    }
}

/// A member, and what is known of it.
pub struct Member {
    process: Process,
    told: Told,
    goes_on_at: Option<Instant>,
}

impl Member {
    fn start(place: &Place) -> Self {
        let session = SESSION.as_millis().to_string();
        Self { process: place.start(&[("SESSION_TIMEOUT_MS", &session)]), told: Told::default(), goes_on_at: None }
    }

    /// Asks for what it has counted. One that does not answer keeps what it told before.
    async fn ask(&mut self) {
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.process.get_text("/metrics")).await;
        let Ok((200, text)) = answer else { return };
        let sum = |name: &str| {
            let mine = text.lines().filter(|line| line.starts_with(name));
            mine.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        self.told = Told {
            conflicts: sum("streamgauge_conflicts_total"),
            tenures: sum("streamgauge_takeover_duration_seconds_count"),
            duplicates: sum("streamgauge_duplicates_total"),
            failed_flushes: sum("streamgauge_flush_failures_total"),
        };
    }

    /// Leaves as it is asked to.
    pub async fn leave(mut self) {
        assert_eq!(self.process.terminate().await.code(), Some(0), "{}", self.process.said());
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.process.kill();
    }

    fn go_on(&mut self) {
        if self.goes_on_at.take().is_some() {
            self.process.signal("CONT");
        }
    }
}

/// The members of a place.
pub struct Crew<'p> {
    place: &'p Place,
    members: Vec<Member>,
    /// What those told that are gone.
    gone: Told,
    pub kills: usize,
    pub stops: usize,
}

impl<'p> Crew<'p> {
    /// So many members, all ready.
    pub async fn start(place: &'p Place, count: usize) -> Self {
        let mut members: Vec<Member> = (0..count).map(|_| Member::start(place)).collect();
        for member in &mut members {
            ready(&mut member.process).await;
        }
        Self { place, members, gone: Told::default(), kills: 0, stops: 0 }
    }

    /// Harms members until it is over; then those that are stopped go on.
    pub async fn suffer(&mut self, random: &mut Random, harm: Harm, over: &CancellationToken) {
        let begun = Instant::now();
        let (mut kill_at, mut stop_at, mut ask_at) = (begun + harm.kill_every, begun + STOP_AFTER, begun + ASK_EVERY);
        while !over.is_cancelled() {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = Instant::now();
            for member in self.members.iter_mut().filter(|member| member.goes_on_at.is_some_and(|at| at <= now)) {
                member.go_on();
                stop_at = now + Duration::from_millis(random.below(1_000) as u64);
            }
            if now >= kill_at {
                kill_at += harm.kill_every;
                let member = self.one_awake(random);
                self.replace(member).await;
            }
            if harm.stops && now >= stop_at && self.members.iter().all(|member| member.goes_on_at.is_none()) {
                let member = self.one_awake(random);
                self.members[member].process.signal("STOP");
                self.members[member].goes_on_at = Some(now + STOPPED_FOR);
                self.stops += 1;
            }
            if now >= ask_at {
                ask_at = now + ASK_EVERY;
                self.ask().await;
            }
        }
        self.members.iter_mut().for_each(Member::go_on);
    }

    fn one_awake(&self, random: &mut Random) -> usize {
        let awake = self.members.iter().enumerate().filter(|(_, member)| member.goes_on_at.is_none());
        let awake: Vec<usize> = awake.map(|(number, _)| number).collect();
        awake[random.below(awake.len())]
    }

    async fn replace(&mut self, number: usize) {
        let member = &mut self.members[number];
        member.ask().await;
        member.process.kill();
        self.gone += member.told;
        *member = Member::start(self.place);
        self.kills += 1;
    }

    /// Takes one out, which goes on until something is done to it.
    pub fn part(&mut self) -> Member {
        self.members.remove(0)
    }

    /// Another one comes.
    pub fn welcome(&mut self) {
        self.members.push(Member::start(self.place));
    }

    /// How many partitions were taken over by those who are there now, and how long that took them in all, in seconds.
    pub async fn took_over(&self) -> (f64, f64) {
        let (mut count, mut seconds) = (0.0, 0.0);
        for Member { process, .. } in &self.members {
            count += process.metric("streamgauge_takeover_duration_seconds_count", "").await;
            seconds += process.metric("streamgauge_takeover_duration_seconds_sum", "").await;
        }
        (count, seconds)
    }

    /// Waits until each of them has an equal share, and says who holds what.
    pub async fn shares(&self) -> BTreeMap<TopicPartition, MemberId> {
        let (store, began) = (self.place.store(), Instant::now());
        let (partitions, count) = (partitions(self.place).len(), self.members.len());
        let level = partitions / count..=partitions.div_ceil(count);
        loop {
            let roster = store.roster(GROUP).await.unwrap();
            let is_level = |member: &MemberId| {
                let held = roster.leases.values().filter(|lease| lease.holder == *member && lease.next.is_none());
                level.contains(&held.count())
            };
            if roster.members.len() == count && roster.leases.len() == partitions && roster.members.keys().all(is_level)
            {
                return roster.leases.into_iter().map(|(partition, lease)| (partition, lease.holder)).collect();
            }
            assert!(began.elapsed() < CAUGHT_UP_WITHIN, "{count} members do not share level: {roster:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn ask(&mut self) {
        for member in self.members.iter_mut().filter(|member| member.goes_on_at.is_none()) {
            member.ask().await;
        }
    }

    /// What all have told, also those that are gone.
    pub async fn told(&mut self) -> Told {
        self.ask().await;
        let mut sum = self.gone;
        self.members.iter().for_each(|member| sum += member.told);
        sum
    }

    /// Waits until the store has everything that lies in the log now, and no member shows a lag. Gives how long that took.
    pub async fn caught_up(&mut self) -> Duration {
        let (log, store, began) = (self.place.log(), self.place.store(), Instant::now());
        let (mut names, mut ends) = (partitions(self.place), Vec::new());
        for name in &names {
            ends.push(log.offset_at(name, At::End).await.unwrap());
        }
        let mut counts = ends.iter().map(|end| *end > 0);
        names.retain(|_| counts.next().unwrap());
        ends.retain(|end| *end > 0);
        loop {
            let stored = store.positions(&names).await.unwrap_or_default();
            let stored: Vec<i64> = stored.iter().map(|shards| results::counted_to(shards)).collect();
            if stored == ends && self.lag().await == 0.0 {
                return began.elapsed();
            }
            if began.elapsed() > CAUGHT_UP_WITHIN {
                let behind = names.iter().zip(stored).zip(&ends).filter(|((_, stored), end)| stored != *end);
                let behind: Vec<String> =
                    behind.map(|((name, stored), end)| format!("{name}: {stored} of {end}")).collect();
                let said: Vec<String> = self.members.iter().map(|member| member.process.said()).collect();
                panic!("not caught up within {CAUGHT_UP_WITHIN:?}: {behind:?}\n{}", said.join("\n\n"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn lag(&self) -> f64 {
        let mut lag = 0.0;
        for member in &self.members {
            lag += member.process.metric("streamgauge_partition_lag_records", "").await;
        }
        lag
    }

    /// All leave as they are asked to.
    pub async fn leave(self) {
        for member in self.members {
            member.leave().await;
        }
    }
}

/// All partitions that are counted at a place.
pub fn partitions(place: &Place) -> Vec<TopicPartition> {
    let topics = results::topics_of(&place.catalog());
    let numbered = topics.iter().flat_map(|topic| (0..PARTITIONS).map(move |number| (topic.as_str(), number)));
    numbered.map(|(topic, number)| TopicPartition::new(topic, number)).collect()
}
