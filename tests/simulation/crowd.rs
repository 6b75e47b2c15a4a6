//! A hundred members and 5,000 partitions: what is decided and said, without a log. Members come, leave and die; each time the
//! shares must be level again, after the fewest moves. What heartbeats cost is printed.

use std::{collections::BTreeMap, sync::Arc};

use streamgauge::{
    core::{
        card::{self, Card, TopicCard},
        coordination::{Orders, Phase, Targets, orders, targets},
        roster::Group,
    },
    model::{Beat, Fingerprint, LeaseStep, MemberId, Roster, TopicPartition},
};

use crate::{seeds::setting, support::events::Random};

const MEMBERS: usize = 100;
const TOPICS: usize = 10;
const PARTITIONS: usize = 5_000;
const SESSION_MS: u64 = 6_000;
const HEARTBEAT_MS: u64 = 2_000;
const MOVE_MS: u64 = 100;
/// A group is quiet when nothing has changed for so long.
const QUIET_MS: u64 = SESSION_MS + 2 * HEARTBEAT_MS;
const BEATS_PER_FULL_ROSTER: u64 = 10;

/// What heartbeats cost: one request each. Bytes are those of names, documents and numbers, without a protocol's own.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    requests: u64,
    sent_bytes: usize,
    received_bytes: usize,
}

/// A member: what a coordinator remembers.
struct Member {
    me: MemberId,
    roster: Arc<Roster>,
    targets: Arc<Targets>,
    /// Each partition's phase, and when it has read the window or flushed the last.
    doing: BTreeMap<TopicPartition, (Phase, u64)>,
    beats: u64,
    next_ms: u64,
}

struct Crowd {
    random: Random,
    now_ms: u64,
    group: Group,
    version: u64,
    changed_ms: u64,
    holders: BTreeMap<TopicPartition, MemberId>,
    /// Holders that have changed since the last event.
    handed_over: usize,
    cost: Cost,
    members: Vec<Member>,
    next_name: usize,
    about: Vec<u8>,
    /// The roster of the last version, and what all who see it compute of it.
    known: Option<(Arc<Roster>, Arc<Targets>)>,
}

fn steps_bytes(steps: &[(TopicPartition, LeaseStep)]) -> usize {
    steps.iter().map(|(partition, _)| partition.topic.len() + 6).sum()
}

fn roster_bytes(roster: &Roster) -> usize {
    let members = roster.members.iter().map(|(member, about)| member.len() + about.len());
    let leases = roster.leases.iter().map(|(partition, lease)| {
        partition.topic.len() + 5 + lease.holder.len() + lease.next.as_ref().map_or(0, |next| next.len())
    });
    members.sum::<usize>() + leases.sum::<usize>()
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let topic = |number| {
            (format!("topic-{number:02}"), TopicCard::new((PARTITIONS / TOPICS) as i32, Fingerprint(number), None))
        };
        let card = Card { version: card::VERSION, topics: (0..TOPICS as u128).map(topic).collect(), ..Card::default() };
        Self {
            random: Random::new(seed),
            now_ms: 1_000_000,
            group: Group::default(),
            version: 0,
            changed_ms: 0,
            holders: BTreeMap::new(),
            handed_over: 0,
            cost: Cost::default(),
            members: Vec::new(),
            next_name: 0,
            about: card.to_bytes(),
            known: None,
        }
    }

    /// All are there from the start: else most of what is computed is for groups that grow every few milliseconds.
    fn found(&mut self) {
        for at in 0..MEMBERS {
            self.join();
            let beat = beat(&self.members[at].me, Some(self.about.clone()), None, Vec::new());
            self.say(&beat);
        }
    }

    fn join(&mut self) {
        let (name, next_ms) = (self.next_name, self.now_ms + self.random.below(1_000) as u64);
        self.next_name += 1;
        let me = format!("member-{name:020}").into();
        let (roster, targets) = Default::default();
        self.members.push(Member { me, roster, targets, doing: BTreeMap::new(), beats: 0, next_ms });
    }

    /// One of them dies, or says goodbye.
    fn lose_one(&mut self, says_goodbye: bool) {
        let at = self.random.below(self.members.len());
        let member = self.members.remove(at);
        if says_goodbye {
            self.say(&beat(&member.me, None, None, Vec::new()));
        }
    }

    fn say(&mut self, beat: &Beat) -> Option<Roster> {
        let beaten = self.group.beat(beat, self.now_ms).unwrap();
        self.cost.requests += 1;
        self.cost.sent_bytes += beat.member.len() + beat.about.as_ref().map_or(0, Vec::len) + steps_bytes(&beat.steps);
        self.cost.received_bytes += 8 + beaten.roster.as_ref().map_or(0, roster_bytes);
        if beaten.version != self.version {
            (self.version, self.changed_ms, self.known) = (beaten.version, self.now_ms, None);
            for (partition, lease) in beaten.roster.iter().flat_map(|roster| &roster.leases) {
                if self.holders.get(partition) != Some(&lease.holder) {
                    self.handed_over += 1;
                    self.holders.insert(partition.clone(), lease.holder.clone());
                }
            }
        }
        beaten.roster
    }

    /// The member that is next says that it lives, and does what follows.
    fn go_on(&mut self) {
        let at = (0..self.members.len()).min_by_key(|at| self.members[*at].next_ms).unwrap();
        let member = &mut self.members[at];
        self.now_ms = self.now_ms.max(member.next_ms);
        let before = member.orders(self.now_ms);
        let knows = !member.roster.members.is_empty() && !member.beats.is_multiple_of(BEATS_PER_FULL_ROSTER);
        let known = knows.then_some(member.roster.version);
        member.beats += 1;
        let beat = beat(&member.me, Some(self.about.clone()), known, before.steps);
        let news = self.say(&beat);
        let (now_ms, wait_ms) = (self.now_ms, self.random.below(200) as u64);
        let member = &mut self.members[at];
        let has_news = news.is_some();
        if let Some(roster) = news {
            let known = self.known.get_or_insert_with(|| {
                let (targets, _) = targets(&roster);
                (Arc::new(roster), Arc::new(targets))
            });
            (member.roster, member.targets) = known.clone();
        }
        let orders = member.orders(now_ms);
        let pause_ms = if has_news && !orders.steps.is_empty() {
            1
        } else if orders.is_moving {
            MOVE_MS
        } else {
            HEARTBEAT_MS * 9 / 10 + wait_ms
        };
        member.next_ms = now_ms + pause_ms;
        member.follow(orders, now_ms + wait_ms);
    }

    fn until_quiet(&mut self) {
        while self.now_ms < self.changed_ms + QUIET_MS {
            self.go_on();
        }
    }

    /// The fewest moves to level shares, from the holders as they are: what the gone had, and what others have beyond theirs.
    fn fewest_moves(&self) -> usize {
        let held = |member: &Member| self.holders.values().filter(|holder| **holder == member.me).count();
        let mut loads: Vec<usize> = self.members.iter().map(held).collect();
        loads.sort_unstable_by(|a, b| b.cmp(a));
        let (quota, larger) = (PARTITIONS / loads.len(), PARTITIONS % loads.len());
        let kept = |(rank, load): (usize, &usize)| *load.min(&(quota + usize::from(rank < larger)));
        PARTITIONS - loads.iter().enumerate().map(kept).sum::<usize>()
    }

    fn assert_settled(&self, context: &str) {
        let mut shares = Vec::new();
        for member in &self.members {
            assert!(member.doing.values().all(|(phase, _)| *phase == Phase::Counting), "{context}: {}", member.me);
            let own = self.holders.iter().filter(|(_, holder)| **holder == member.me).map(|(partition, _)| partition);
            assert!(member.doing.keys().eq(own), "{context}: {} counts what it does not hold", member.me);
            shares.push(member.doing.len());
        }
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= 1, "{context}: shares from {least} to {most}");
        assert_eq!(shares.iter().sum::<usize>(), PARTITIONS, "{context}");
    }
}

fn beat(me: &MemberId, about: Option<Vec<u8>>, known: Option<u64>, steps: Vec<(TopicPartition, LeaseStep)>) -> Beat {
    let (group, member) = ("g".into(), MemberId::clone(me));
    Beat { group, member, about, session_timeout_ms: SESSION_MS, known_version: known, steps }
}

impl Member {
    fn orders(&mut self, now_ms: u64) -> Orders {
        self.doing.retain(|_, (phase, until_ms)| *phase != Phase::Stopping || *until_ms > now_ms);
        for (phase, until_ms) in self.doing.values_mut() {
            if *phase == Phase::Warming && *until_ms <= now_ms {
                *phase = Phase::Warm;
            }
        }
        let doing = self.doing.iter().map(|(partition, (phase, _))| (partition.clone(), *phase)).collect();
        orders(&self.me, &self.targets, &self.roster, &doing)
    }

    fn follow(&mut self, orders: Orders, until_ms: u64) {
        for (partitions, phase) in
            [(orders.stop, Phase::Stopping), (orders.warm, Phase::Warming), (orders.count, Phase::Counting)]
        {
            self.doing.extend(partitions.into_iter().map(|partition| (partition, (phase, until_ms))));
        }
    }
}

#[test]
fn a_hundred_members_share_5_000_partitions_with_the_fewest_moves() {
    let seed = setting("CROWD_SEED").unwrap_or(0);
    let mut crowd = Crowd::new(seed);
    crowd.found();
    crowd.until_quiet();
    crowd.assert_settled("all have come");
    for round in 0..4 {
        (crowd.handed_over, crowd.cost) = (0, Cost::default());
        let began_ms = crowd.now_ms;
        let event = ["joins", "leaves", "joins", "dies"][round];
        match event {
            "joins" => crowd.join(),
            event => crowd.lose_one(event == "leaves"),
        }
        let fewest = crowd.fewest_moves();
        crowd.changed_ms = crowd.now_ms;
        crowd.until_quiet();
        let (moved, took_ms, cost) = (crowd.handed_over, crowd.changed_ms - began_ms, crowd.cost);
        eprintln!("one {event}: {moved} moves, at least {fewest}, level after {took_ms} ms; {cost:?}");
        crowd.assert_settled(&format!("CROWD_SEED={seed}, round {round}, one {event}"));
        assert_eq!(moved, fewest, "CROWD_SEED={seed}, round {round}, one {event}");
    }
    crowd.cost = Cost::default();
    let until_ms = crowd.now_ms + BEATS_PER_FULL_ROSTER * HEARTBEAT_MS;
    while crowd.now_ms < until_ms {
        crowd.go_on();
    }
    eprintln!("{} members in 20 quiet seconds: {:?}", crowd.members.len(), crowd.cost);
}
