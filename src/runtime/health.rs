//! How the process is: its parts, whether it can accept events, and whether its loops still turn.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How a part is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Works.
    Ok,
    /// Works, but not as it should.
    Degraded,
    /// Does not work.
    Down,
}

impl Level {
    /// The name in answers: `ok`, `degraded`, `down`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// A part as reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartReport {
    /// Name: `log`, `store`, `counting`, `http`.
    pub name: &'static str,
    /// How it is.
    pub level: Level,
    /// Why it is not ok; empty where it is.
    pub reason: String,
    /// For how long it has been at this level.
    pub lasting: Duration,
}

/// A loop that has not given a sign of life in its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Name of the loop.
    pub name: String,
    /// For how long it has been silent.
    pub silent: Duration,
    /// How long it may be silent.
    pub allowed: Duration,
}

/// The health of the process. Time is an argument everywhere, so that tests own it.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    draining: AtomicBool,
    parts: Mutex<BTreeMap<&'static str, Part>>,
    loops: Mutex<Vec<Loop>>,
}

#[derive(Debug)]
struct Part {
    level: Level,
    reason: String,
    since: Instant,
    needed_to_accept: bool,
    /// Nobody has said yet that it is there.
    is_starting: bool,
}

#[derive(Debug)]
struct Loop {
    name: String,
    allowed: Duration,
    last_beat_ms: Arc<AtomicU64>,
}

/// A loop's sign of life: call [`Beat::beat`] at least once in the time that was registered. Dropping it ends the watch,
/// so a loop that has ended is not taken for one that hangs.
#[derive(Debug)]
pub struct Beat {
    started: Instant,
    last_beat_ms: Arc<AtomicU64>,
}

impl Beat {
    /// Says that the loop turns.
    pub fn beat(&self, now: Instant) {
        self.last_beat_ms.store(millis_between(self.started, now), Ordering::Relaxed);
    }
}

impl Health {
    /// A process without parts, which accepts.
    pub fn new(now: Instant) -> Self {
        Self { started: now, draining: AtomicBool::new(false), parts: Mutex::default(), loops: Mutex::default() }
    }

    /// Adds a part that is down until it says otherwise. Where it is `needed_to_accept`, the process is not ready while the
    /// part is down.
    pub fn add_part(&self, name: &'static str, needed_to_accept: bool, now: Instant) {
        let (level, reason) = (Level::Down, "starting".to_owned());
        let part = Part { level, reason, since: now, needed_to_accept, is_starting: true };
        lock(&self.parts).insert(name, part);
    }

    /// Says how a part is. `reason` is left out where it is ok. Unknown parts are added as not needed to accept.
    pub fn set(&self, name: &'static str, level: Level, reason: impl Into<String>, now: Instant) {
        let reason = if level == Level::Ok { String::new() } else { reason.into() };
        let mut parts = lock(&self.parts);
        let part = parts.entry(name).or_insert_with(|| Part {
            level,
            reason: String::new(),
            since: now,
            needed_to_accept: false,
            is_starting: false,
        });
        part.is_starting &= level == Level::Down;
        if part.level != level {
            (part.level, part.since) = (level, now);
        }
        part.reason = reason;
    }

    /// The same, from whoever meets the part in passing: nothing while it is starting, since one call that went well does not
    /// say that the others would.
    pub fn notice(&self, name: &'static str, level: Level, reason: impl Into<String>, now: Instant) {
        if !lock(&self.parts).get(name).is_some_and(|part| part.is_starting) {
            self.set(name, level, reason, now);
        }
    }

    /// Says that a part is ok where it is known at all: one that nobody asks about until something is wrong with it.
    pub fn mend(&self, name: &'static str, now: Instant) {
        if lock(&self.parts).contains_key(name) {
            self.set(name, Level::Ok, "", now);
        }
    }

    /// Says that the process is going down and takes nothing new.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The worst level of all parts, and each part by name.
    pub fn report(&self, now: Instant) -> (Level, Vec<PartReport>) {
        let parts = lock(&self.parts);
        let worst = parts.values().map(|part| part.level).max().unwrap_or(Level::Ok);
        let reports = parts.iter().map(|(name, part)| PartReport {
            name,
            level: part.level,
            reason: part.reason.clone(),
            lasting: now.saturating_duration_since(part.since),
        });
        (worst, reports.collect())
    }

    /// Why the process cannot accept events now; empty where it can.
    pub fn obstacles(&self) -> Vec<String> {
        let parts = lock(&self.parts);
        let down = parts.iter().filter(|(_, part)| part.needed_to_accept && part.level == Level::Down);
        let mut obstacles: Vec<String> = down.map(|(name, part)| format!("{name}: {}", part.reason)).collect();
        if self.draining.load(Ordering::Relaxed) {
            obstacles.push("shutting down".to_owned());
        }
        obstacles
    }

    /// Watches a loop that must beat at least once in `allowed`.
    pub fn watch(&self, name: impl Into<String>, allowed: Duration, now: Instant) -> Beat {
        let last_beat_ms = Arc::new(AtomicU64::new(millis_between(self.started, now)));
        let mut loops = lock(&self.loops);
        loops.retain(|one| Arc::strong_count(&one.last_beat_ms) > 1);
        loops.push(Loop { name: name.into(), allowed, last_beat_ms: last_beat_ms.clone() });
        Beat { started: self.started, last_beat_ms }
    }

    /// The loops that have been silent for longer than they may.
    pub fn stalled(&self, now: Instant) -> Vec<Stalled> {
        let now_ms = millis_between(self.started, now);
        let loops = lock(&self.loops);
        let living = loops.iter().filter(|one| Arc::strong_count(&one.last_beat_ms) > 1);
        let silences = living.map(|one| Stalled {
            name: one.name.clone(),
            silent: Duration::from_millis(now_ms.saturating_sub(one.last_beat_ms.load(Ordering::Relaxed))),
            allowed: one.allowed,
        });
        silences.filter(|one| one.silent > one.allowed).collect()
    }
}

/// The values under these locks are whole after every statement, so a panic elsewhere leaves nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis_between(earlier: Instant, later: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_worst_part_decides_and_needed_parts_gate() {
        let start = Instant::now();
        let health = Health::new(start);
        assert_eq!((health.report(start).0, health.obstacles()), (Level::Ok, vec![]));
        health.add_part("log", true, start);
        health.add_part("store", false, start);
        health.set("log", Level::Down, "starting", start);
        health.notice("log", Level::Ok, "", start);
        assert_eq!(health.obstacles(), ["log: starting"]);
        health.set("log", Level::Ok, "ignored", start + SECOND);
        health.set("store", Level::Down, "refused", start + SECOND);
        let (worst, parts) = health.report(start + 3 * SECOND);
        assert_eq!((worst, health.obstacles()), (Level::Down, vec![]));
        let log = PartReport { name: "log", level: Level::Ok, reason: String::new(), lasting: 2 * SECOND };
        // The store was down before and still is: only the reason is new.
        let store = PartReport { name: "store", level: Level::Down, reason: "refused".into(), lasting: 3 * SECOND };
        assert_eq!(parts, [log, store]);
        health.set("store", Level::Degraded, "slow", start + SECOND);
        assert_eq!(health.report(start + SECOND).0, Level::Degraded);
        health.notice("log", Level::Degraded, "slow", start + SECOND);
        assert_eq!(health.report(start + SECOND).1[0].level, Level::Degraded);
        health.drain();
        assert_eq!(health.obstacles(), ["shutting down"]);
    }

    #[test]
    fn a_silent_loop_is_named_and_an_ended_one_is_not() {
        let start = Instant::now();
        let health = Health::new(start);
        let (flusher, reader) = (health.watch("flusher", SECOND, start), health.watch("reader", SECOND, start));
        flusher.beat(start + 5 * SECOND);
        let silent = Stalled { name: "reader".into(), silent: 5 * SECOND, allowed: SECOND };
        assert_eq!(health.stalled(start + 5 * SECOND), [silent]);
        drop(reader);
        assert_eq!(health.stalled(start + 6 * SECOND), []);
    }
}
