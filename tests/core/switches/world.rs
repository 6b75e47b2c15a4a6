//! The model: a log, a store of some shards, notes outside of it, members that take one small step after the other, and what
//! happens to all of them.
//!
//! Longer than most files, since the model is read as a whole.

use streamgauge::{
    core::{
        register::{Note, Register, Scope},
        switches::{InForce, Seen, ShardRules, Step, SwitchError, UNKNOWN, next},
    },
    model::{Checkpoint, Fingerprint, RulesMark, Switch, Switches, TopicPartition},
};

const VERSIONS: [Fingerprint; 3] = [Fingerprint(0xa), Fingerprint(0xb), Fingerprint(0xc)];

/// splitmix64.
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// What a shard holds: as a result the runs of offsets that were counted, and by which rules, in order.
#[derive(Clone, Default)]
pub struct Held {
    pub checkpoint: Option<Checkpoint>,
    pub table: Option<Switches>,
    pub counted: Vec<(std::ops::Range<i64>, Fingerprint)>,
}

impl Held {
    /// Applies a section, as the stores do.
    pub fn apply(&mut self, section: &Sent) -> bool {
        if self.checkpoint == Some(section.next) {
            return true;
        }
        if self.checkpoint != section.expect {
            return false;
        }
        let from = section.expect.map_or(0, |expect| expect.offset);
        if from < section.next.offset {
            self.counted.push((from..section.next.offset, section.by));
        }
        self.checkpoint = Some(section.next);
        self.table = section.table.clone().or(self.table.take());
        true
    }
}

#[derive(Clone)]
pub struct Sent {
    pub shard: usize,
    pub expect: Option<Checkpoint>,
    pub next: Checkpoint,
    pub table: Option<Switches>,
    pub by: Fingerprint,
}

/// A defect put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Harm {
    None,
    /// Sections are sent without looking at the other shards and the table outside once more.
    Unchecked,
    /// X is the highest checkpoint instead of the log's end.
    HighestCheckpoint,
    /// X is the log's end of before the announcement was seen.
    EarlierEnd,
    /// The table outside lies in the store, and falls back with it.
    OutsideInside,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weather {
    /// Everything.
    Any,
    /// Members come after each other, and nothing comes late.
    Calm,
}

pub struct Tenure {
    rules: InForce,
    believed: Vec<Option<Checkpoint>>,
    /// Read up to here; `None` until something was read.
    fetched: Option<i64>,
    checked: bool,
}

pub enum Doing {
    /// Shard by shard; with the log's end of when it began.
    Looking(Vec<Held>, i64),
    Acting(Step, Vec<Held>, Register),
    Counting(Tenure),
}

pub struct World {
    pub shards: Vec<Held>,
    pub older: Vec<(Vec<Held>, Register)>,
    pub outside: Register,
    pub log_end: i64,
    pub in_flight: Vec<Sent>,
    pub notes_in_flight: Vec<Note>,
    /// The longest table that ever stood outside, without what was announced.
    pub noted: Vec<Switch>,
    pub weather: Weather,
    pub harm: Harm,
    pub random: Random,
    pub switched: usize,
    pub fell_back: usize,
}

pub type Member = (Fingerprint, Doing);

impl World {
    /// An empty store of so many shards, and an empty log.
    pub fn new(seed: u64, shards: usize, weather: Weather, harm: Harm) -> Self {
        Self {
            shards: vec![Held::default(); shards],
            older: Vec::new(),
            outside: Register::default(),
            log_end: 0,
            in_flight: Vec::new(),
            notes_in_flight: Vec::new(),
            noted: Vec::new(),
            weather,
            harm,
            random: Random(seed),
            switched: 0,
            fell_back: 0,
        }
    }

    pub fn look(&self) -> Doing {
        Doing::Looking(Vec::new(), self.log_end)
    }

    pub fn member(&mut self) -> Member {
        (VERSIONS[self.random.below(VERSIONS.len())], self.look())
    }

    /// One small step of a member. Between two of them anything may happen.
    pub fn step(&mut self, (own, doing): &mut Member) -> Result<(), SwitchError> {
        let again = self.look();
        *doing = match std::mem::replace(doing, again) {
            Doing::Looking(mut shards, began) if shards.len() < self.shards.len() => {
                shards.push(self.shards[shards.len()].clone());
                Doing::Looking(shards, began)
            }
            Doing::Looking(shards, began) => {
                let furthest = shards.iter().filter_map(|held| held.checkpoint).map(|stored| stored.offset).max();
                let of = |held: &Held| ShardRules {
                    checkpoint: held.checkpoint,
                    from: held.checkpoint.map_or(0, |stored| stored.offset),
                    table: held.table.clone(),
                };
                let log_end = match self.harm {
                    Harm::HighestCheckpoint => furthest.unwrap_or(0),
                    Harm::EarlierEnd => began,
                    Harm::None | Harm::Unchecked | Harm::OutsideInside => self.log_end,
                };
                let noted = self.outside.noted(&partition(), None);
                let (outside, own) = (Some(noted.switches()), *own);
                let shards_seen = shards.iter().map(of).collect();
                let seen = Seen { shards: shards_seen, outside, recounted: noted.recounted, own, log_end };
                Doing::Acting(next(&seen)?, shards, self.outside.clone())
            }
            Doing::Acting(step, shards, outside) => self.act(step, &shards, outside),
            Doing::Counting(tenure) => self.count(tenure),
        };
        Ok(())
    }

    fn act(&mut self, step: Step, shards: &[Held], outside: Register) -> Doing {
        match step {
            Step::Keep(table) => {
                for note in outside.noted(&partition(), None).missing(&partition(), &table) {
                    self.note(note);
                }
            }
            Step::Set { shard, next, table } => {
                let shard = usize::from(shard);
                let expect = shards[shard].checkpoint;
                self.send(Sent { shard, expect, next, table, by: next.fingerprint });
            }
            Step::Count(rules) => {
                let believed = shards.iter().map(|held| held.checkpoint).collect();
                return Doing::Counting(Tenure { rules, believed, fetched: None, checked: false });
            }
        }
        self.look()
    }

    fn count(&mut self, mut tenure: Tenure) -> Doing {
        let Some(fetched) = tenure.fetched else {
            let lowest = tenure.believed.iter().map(|stored| stored.map_or(0, |stored| stored.offset)).min();
            let far = lowest.unwrap_or(0) + 1 + self.random.below(20) as i64;
            tenure.fetched = Some(far.min(self.log_end).min(tenure.rules.end.unwrap_or(i64::MAX)));
            return Doing::Counting(tenure);
        };
        if !tenure.checked && self.harm != Harm::Unchecked && self.shards.len() > 1 {
            let mark = |stored: &Option<Checkpoint>| stored.map(|stored| stored.rules);
            let same =
                self.shards.iter().zip(&tenure.believed).all(|(held, known)| mark(&held.checkpoint) == mark(known));
            tenure.checked = true;
            return match same && self.outside.noted(&partition(), None).switches() == tenure.rules.table {
                true => Doing::Counting(tenure),
                false => self.look(),
            };
        }
        for shard in 0..self.shards.len() {
            let expect = tenure.believed[shard];
            let from = expect.map_or(0, |stored| stored.offset);
            if fetched <= from {
                continue;
            }
            let is_told = expect.is_none() && tenure.rules.table.0.len() > 1;
            let table = is_told.then(|| tenure.rules.table.clone());
            let told = table.as_ref().map_or_else(RulesMark::default, |table| table.mark(tenure.rules.entry));
            let rules = expect.map_or(told, |stored| stored.rules);
            let by = tenure.rules.fingerprint;
            let next = Checkpoint { offset: fetched, fingerprint: by, rules, ..Checkpoint::default() };
            if !self.send(Sent { shard, expect, next, table, by }) {
                return self.look();
            }
            tenure.believed[shard] = Some(next);
        }
        (tenure.fetched, tenure.checked) = (None, false);
        match tenure.rules.end.is_some_and(|end| fetched >= end) {
            true => self.look(),
            false => Doing::Counting(tenure),
        }
    }

    /// A note is added at once, later, or twice.
    fn note(&mut self, note: Note) {
        match if self.weather == Weather::Calm { 7 } else { self.random.below(8) } {
            0 => return self.notes_in_flight.push(note),
            1 => self.notes_in_flight.push(note.clone()),
            _ => {}
        }
        self.take_in(&note);
    }

    pub fn take_in(&mut self, note: &Note) {
        let record = note.record(&scope(), None);
        self.outside.take_in(&scope(), record.key.as_deref(), record.value.as_deref()).unwrap();
        let settled = self.settled();
        if settled.len() > self.noted.len() {
            self.switched += usize::from(settled.len() > 1);
            self.noted = settled;
        }
    }

    pub fn settled(&self) -> Vec<Switch> {
        let table = self.outside.noted(&partition(), None).switches();
        table.0.into_iter().filter(|switch| switch.from != UNKNOWN).collect()
    }

    /// At times the answer does not come, and the section is on its way still.
    fn send(&mut self, section: Sent) -> bool {
        match if self.weather == Weather::Calm { 7 } else { self.random.below(8) } {
            0 => {
                self.in_flight.push(section);
                false
            }
            1 => {
                self.in_flight.push(section.clone());
                self.shards[section.shard].apply(&section)
            }
            _ => self.shards[section.shard].apply(&section),
        }
    }

    pub fn disturb(&mut self) {
        let shard = self.random.below(self.shards.len());
        match self.random.below(14) {
            0..4 => self.log_end += self.random.below(10) as i64,
            4..6 => self.older.push((self.shards.clone(), self.outside.clone())),
            6 if !self.older.is_empty() => {
                let copy = self.random.below(self.older.len());
                self.shards[shard] = self.older[copy].0[shard].clone();
                self.forget_behind(copy);
            }
            7 if self.random.below(4) == 0 => {
                self.shards[shard] = Held::default();
                self.forget_all();
            }
            8 if self.random.below(4) == 0 && !self.older.is_empty() => {
                let copy = self.random.below(self.older.len());
                let (shards, outside) = self.older[copy].clone();
                self.shards = shards;
                if self.harm == Harm::OutsideInside {
                    self.outside = outside;
                }
                self.forget_behind(copy);
            }
            9 if self.random.below(6) == 0 => {
                self.shards.fill(Held::default());
                self.forget_all();
            }
            10..13 if !self.in_flight.is_empty() => {
                let late = self.in_flight.swap_remove(self.random.below(self.in_flight.len()));
                self.shards[late.shard].apply(&late);
            }
            13 if !self.notes_in_flight.is_empty() => {
                let late = self.notes_in_flight.swap_remove(self.random.below(self.notes_in_flight.len()));
                self.take_in(&late);
            }
            _ => {}
        }
    }

    /// In calm weather what came after a copy is lost for good: nobody has it any more.
    fn forget_behind(&mut self, copy: usize) {
        self.fell_back += 1;
        if self.weather == Weather::Calm {
            self.older.truncate(copy + 1);
        }
    }

    fn forget_all(&mut self) {
        if self.weather == Weather::Calm {
            self.older.clear();
        }
    }

    /// The rules that a shard must have been counted by.
    pub fn table_of(&self, held: &Held) -> Switches {
        let noted = self.outside.noted(&partition(), None).switches();
        match (self.shards.len(), self.weather, held.checkpoint) {
            (1, Weather::Any, Some(stored)) if stored.rules == RulesMark::default() => {
                Switches::only(stored.fingerprint)
            }
            (1, Weather::Any, Some(_)) => held.table.clone().unwrap_or_default(),
            _ => noted,
        }
    }
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn scope() -> Scope {
    Scope { prefix: String::new(), group: "g".to_owned(), shards: 1 }
}
