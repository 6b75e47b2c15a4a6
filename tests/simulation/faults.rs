//! What may go wrong, how often in a seed, and how often it did.

use streamgauge::model::ShardId;

use crate::support::events::Random;

macro_rules! faults {
    ($($(#[doc = $what:literal])* $name:ident: $rate:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[doc = $what])* $name,)*
        }

        impl Fault {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// How often it happens in a seed that has it: of 1000 steps or calls.
            fn rate(self) -> usize {
                match self {
                    $(Self::$name => $rate,)*
                }
            }
        }
    };
}

faults! {
    /// A member's tasks are dropped where they stand.
    Crash: 40,
    /// A member is stopped as by SIGTERM.
    Stop: 15,
    /// A member is not run for a while and then goes on, its clock having moved.
    Pause: 40,
    /// A request to the store never comes there.
    StoreRequestLost: 40,
    /// A request to the store is done and its answer lost.
    StoreAnswerLost: 40,
    /// The caller gives a request up, and it is done later.
    StoreDelayed: 30,
    /// A request is done, answered, and done once more later.
    StoreDoubled: 50,
    /// All shards of the store are put back to older copies, or forward again to ones they had before that.
    RolledBack: 40,
    /// One shard is; the others stay.
    ShardRolledBack: 60,
    /// The store loses everything.
    Emptied: 8,
    /// One shard does.
    ShardEmptied: 15,
    /// The store answers nobody for a while.
    StoreDown: 8,
    /// One shard does not.
    ShardDown: 20,
    /// A fetch fails.
    FetchFailed: 30,
    /// A fetch is answered late, with what the log had when it was asked.
    FetchLate: 60,
    /// Another question to the log fails.
    LogCallFailed: 40,
    /// A record that is produced never comes to the log.
    ProduceLost: 150,
    /// A record that is produced is in the log, and the answer is lost.
    ProduceAnswerLost: 150,
    /// Another leader, which has everything.
    LeaderChange: 25,
    /// Retention moves the log's start.
    Retention: 20,
    /// Another leader lacks records that nobody has counted.
    TailLost: 8,
    /// Another leader lacks records that were counted: the log is cut off before a checkpoint.
    CountedTailLost: 4,
    /// Seen, not made: a section met a conflict.
    Conflict: 0,
    /// Seen, not made: a section was applied already.
    AlreadyApplied: 0,
    /// Seen, not made: a request that came late was applied, as nothing had come between.
    LateAndFitting: 0,
    /// Seen, not made: a request met a shard that was down.
    AskedWhileDown: 0,
    /// Seen, not made: a shard had more than another one when a tenure began, and got a section of its own.
    ShardAhead: 0,
    /// Seen, not made: retention passed a checkpoint, so that records were gone before they were counted.
    Gap: 0,
    /// Seen, not made: another member's counts of records that the log has lost were taken for one's own.
    LostRecordsKept: 0,
    /// Seen, not made: two living members had a partition.
    TwoOwners: 0,
    /// Seen, not made: a partition went from its holder to a member that had read its window.
    WarmedMove: 0,
    /// Seen, not made: a member got a partition whose holder was taken for dead.
    Takeover: 0,
    /// Seen, not made: a member was taken for dead that stood still only.
    DeadWhileStill: 0,
    /// Seen, not made: the store fell back or was emptied, and leases with it.
    RosterLost: 0,
    /// Seen, not made: a partition stopped loudly, and counting began anew under another prefix.
    CountedAnew: 0,
}

impl Fault {
    /// Whether it needs a store of several shards.
    pub fn is_of_shards(self) -> bool {
        matches!(self, Self::ShardRolledBack | Self::ShardEmptied | Self::ShardDown | Self::ShardAhead)
    }
}

/// How often each kind happened.
pub type Counts = [u64; Fault::ALL.len()];

/// The faults of a seed: not all kinds in each, so that some seeds have few and much of them.
pub struct Faults {
    rates: [usize; Fault::ALL.len()],
    pub counts: Counts,
    /// Nothing fails any more.
    pub is_calm: bool,
}

impl Faults {
    pub fn new(random: &mut Random, shards: ShardId) -> Self {
        let scale = [0, 1, 1, 3, 6][random.below(5)];
        let mut rates = [0; Fault::ALL.len()];
        for fault in Fault::ALL {
            let often = random.below(2) * [1, 1, 2][random.below(3)];
            let can_happen = usize::from(shards > 1 || !fault.is_of_shards());
            rates[*fault as usize] = (fault.rate() * scale * often * can_happen).min(500);
        }
        Self { rates, counts: [0; Fault::ALL.len()], is_calm: false }
    }

    /// Throws the dice for a fault, and counts it.
    pub fn happens(&mut self, fault: Fault, random: &mut Random) -> bool {
        let rate = self.rates[fault as usize];
        let happens = !self.is_calm && rate > 0 && random.below(1000) < rate;
        if happens {
            self.saw(fault);
        }
        happens
    }

    /// Takes back what was counted and could not be done.
    pub fn did_not(&mut self, fault: Fault) {
        self.counts[fault as usize] -= 1;
    }

    pub fn saw(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }
}
