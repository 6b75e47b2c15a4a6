//! `catalog activate`: puts this catalogue's rules in force while members of others run.
//!
//! The command takes part in the group as a member that counts nothing and asks for its rules ([`Card::activate`]). Who counts by
//! others stands by then: it lets go of its partitions, one planned move after the other, to members that have them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;

use crate::{
    app::redis_options,
    catalog::plan::{Catalog, Topic},
    cli::offsets::standing::chosen,
    config::{Config, StoreChoice},
    core::card::{self, Card, TopicCard},
    model::{Beat, MemberId, Roster, TopicPartition},
    store::{Store, redis::RedisStore},
};

/// How often it looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long members are waited for; a partition moves within seconds once its duplicate window is read.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// Arguments of `catalog activate`.
#[derive(Args, Clone, Debug)]
pub struct ActivateArgs {
    /// Only these topics. Default: all that are counted here.
    pub topics: Vec<String>,
    /// Do it; else it is only said what would be done.
    #[arg(long)]
    pub execute: bool,
    /// Writes JSON, as it is written anyway where the output is no terminal.
    #[arg(long)]
    pub json: bool,
}

/// How the rules of a topic stand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    topic: String,
    /// The first digits of this catalogue's rules.
    rules: String,
    /// Those of the rules that it is counted by; `None` where nobody counts it.
    in_force: Option<String>,
    /// Members that have this catalogue's rules.
    ready: Vec<String>,
    /// Partitions that are not held by one of these, and who holds them.
    waits_for: Vec<String>,
}

impl Standing {
    fn is_in_force(&self) -> bool {
        self.waits_for.is_empty() && self.in_force.as_ref().is_none_or(|rules| *rules == self.rules)
    }

    fn text(&self) -> String {
        match &self.in_force {
            None => "nobody counts it; whoever comes first with other rules than the last ones changes them".to_owned(),
            Some(_) if self.is_in_force() => "in force".to_owned(),
            Some(_) if self.ready.is_empty() => {
                "no member has these rules: start one with this catalogue first".to_owned()
            }
            Some(_) => format!("{} partitions are held by others", self.waits_for.len()),
        }
    }
}

/// How the rules of topics stand in a group.
fn standings(roster: &Roster, topics: &[Arc<Topic>]) -> Vec<Standing> {
    let cards = card::cards(roster);
    let in_force = card::in_force(&cards, roster);
    let partitions = card::partitions(&cards);
    let named = |member: &MemberId| match cards.get(member).map(|card| &card.host) {
        Some(host) if !host.is_empty() => format!("{member} on {host}"),
        _ => member.to_string(),
    };
    let standing = |topic: &Arc<Topic>| {
        let name = topic.name.to_string();
        let rules = TopicCard::new(0, topic.fingerprint, None).rules;
        let has_them = |member: &MemberId| {
            cards.get(member).and_then(|card| card.topics.get(&name)).is_some_and(|own| own.rules == rules)
        };
        let waits_for = |partition: &&TopicPartition| match roster.leases.get(partition) {
            Some(lease) if has_them(&lease.holder) => None,
            Some(lease) => Some(format!("{partition} of member {}", named(&lease.holder))),
            None => Some(format!("{partition}, which nobody holds")),
        };
        Standing {
            in_force: in_force.get(&name).map(|(_, rules)| rules.clone()),
            ready: cards.keys().filter(|member| has_them(member)).map(named).collect(),
            waits_for: partitions
                .iter()
                .filter(|partition| *partition.topic == name)
                .filter_map(|p| waits_for(&p))
                .collect(),
            topic: name,
            rules,
        }
    };
    topics.iter().map(standing).collect()
}

/// Says how the rules stand; with `--execute` asks for this catalogue's and waits until they are in force. Exit code 1 where they
/// are not within ten minutes.
///
/// # Errors
/// The store is the embedded one or cannot be asked, a topic is not known, no member has the rules, or `out` cannot be written.
pub async fn run(
    args: &ActivateArgs,
    config: &Config,
    catalog: &Catalog,
    is_terminal: bool,
    out: &mut dyn Write,
) -> Result<u8> {
    let StoreChoice::Redis(redis) = &config.store else {
        bail!(
            "the embedded store belongs to one process, which counts by the catalogue that it was started with: stop it and start \
             it with this one, and its rules are in force from there on"
        )
    };
    let topics = chosen(config, catalog, &args.topics)?;
    let store = RedisStore::connect(&redis_options(redis)?);
    let json = args.json || !is_terminal;
    let roster = store.roster(&config.kafka.group).await?;
    let standings = standings(&roster, &topics);
    let moving: Vec<Arc<Topic>> =
        topics.into_iter().zip(&standings).filter(|(_, s)| !s.is_in_force()).map(|(t, _)| t).collect();
    if !args.execute || moving.is_empty() {
        show(&standings, args.execute, json, out)?;
        return Ok(0);
    }
    refuse_where_nobody_is_ready(&standings)?;
    let asking = Asking { store: &store, config, me: format!("activate-{}", uuid::Uuid::new_v4()).into() };
    let outcome = asking.until_in_force(&moving).await;
    // Whoever is asked for holds the partitions by now, or is not asked for any more.
    asking.beat(None).await?;
    let standings = outcome?;
    show(&standings, true, json, out)?;
    Ok(u8::from(!standings.iter().all(Standing::is_in_force)))
}

fn refuse_where_nobody_is_ready(standings: &[Standing]) -> Result<()> {
    let unready = standings.iter().filter(|standing| !standing.is_in_force() && standing.ready.is_empty());
    let unready: Vec<&str> = unready.map(|standing| &*standing.topic).collect();
    if unready.is_empty() {
        return Ok(());
    }
    bail!(
        "no living member has this catalogue's rules for {}: start one with it first (it stands by until it is asked for), then \
         run this again",
        unready.join(", ")
    )
}

/// This command as a member of the group.
struct Asking<'a> {
    store: &'a RedisStore,
    config: &'a Config,
    me: MemberId,
}

impl Asking<'_> {
    /// One heartbeat, which asks for rules; `None` says goodbye.
    async fn beat(&self, asks: Option<&[Arc<Topic>]>) -> Result<Roster> {
        let activate = |topic: &Arc<Topic>| (topic.name.to_string(), TopicCard::new(0, topic.fingerprint, None).rules);
        let card = |topics: &[Arc<Topic>]| Card {
            version: card::VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            activate: topics.iter().map(activate).collect(),
            ..Card::default()
        };
        let beat = Beat {
            group: self.config.kafka.group.as_str().into(),
            member: Arc::clone(&self.me),
            about: asks.map(|topics| card(topics).to_bytes()),
            session_timeout_ms: u64::try_from(self.config.counting.session_timeout.as_millis()).unwrap_or(u64::MAX),
            known_version: None,
            steps: Vec::new(),
        };
        let (beaten, _) = self.store.beat(&beat, &[]).await?;
        Ok(beaten.roster.unwrap_or_default())
    }

    /// Asks until every partition is held by a member that has the rules, and says on standard error what it waits for.
    async fn until_in_force(&self, topics: &[Arc<Topic>]) -> Result<Vec<Standing>> {
        let began = Instant::now();
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        loop {
            let standings = standings(&self.beat(Some(topics)).await?, topics);
            refuse_where_nobody_is_ready(&standings)?;
            let waits = |standing: &Standing| (standing.topic.clone(), standing.waits_for.iter().cloned().collect());
            let waiting: BTreeMap<String, BTreeSet<String>> = standings.iter().map(waits).collect();
            if standings.iter().all(Standing::is_in_force) || began.elapsed() > MAX_WAIT {
                return Ok(standings);
            }
            if waiting != told {
                for (topic, partitions) in waiting.iter().filter(|(_, partitions)| !partitions.is_empty()) {
                    eprintln!("{topic}: waits for {}", Vec::from_iter(partitions.iter().cloned()).join(", "));
                }
                told = waiting;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

fn show(standings: &[Standing], executed: bool, json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        let topic = |standing: &Standing| {
            json!({
                "topic": standing.topic,
                "rules": standing.rules,
                "inForce": standing.in_force,
                "isInForce": standing.is_in_force(),
                "members": standing.ready,
                "waitsFor": standing.waits_for,
            })
        };
        let topics: Vec<_> = standings.iter().map(topic).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "executed": executed, "topics": topics }))?)?;
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header([
        "topic",
        "this catalogue",
        "counted by",
        "members",
        "",
    ]);
    for standing in standings {
        table.add_row([
            standing.topic.clone(),
            standing.rules.clone(),
            standing.in_force.clone().unwrap_or_else(|| "-".to_owned()),
            standing.ready.len().to_string(),
            standing.text(),
        ]);
    }
    writeln!(out, "{table}")?;
    if !executed && !standings.iter().all(Standing::is_in_force) {
        writeln!(out, "Nothing was done. With --execute members of other rules are asked to let go of these topics.")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::CatalogChoice,
        model::{Fingerprint, Lease},
    };

    #[test]
    fn what_is_waited_for_is_every_partition_that_no_member_of_these_rules_holds() {
        let catalog = Catalog::load(&CatalogChoice::default()).unwrap();
        let topic = Arc::clone(catalog.topic("video.views").unwrap());
        let (own, other) = (topic.fingerprint, Fingerprint(7));
        let about = |rules: Fingerprint| {
            let topics = BTreeMap::from([("video.views".to_owned(), TopicCard::new(2, rules, None))]);
            Card { version: card::VERSION, host: "h".to_owned(), topics, ..Card::default() }.to_bytes()
        };
        // Members with their rules, who holds both partitions; in force, members that are ready, waited for, the exit.
        type Case<'a> = (&'a [(&'a str, Fingerprint)], [&'a str; 2], usize, usize, bool, bool);
        let cases: &[Case<'_>] = &[
            (&[], ["", ""], 0, 0, true, true),
            (&[("m", own)], ["m", "m"], 1, 0, true, true),
            (&[("m", own)], ["m", ""], 1, 1, false, true),
            (&[("m", other)], ["m", "m"], 0, 2, false, false),
            (&[("m", other), ("n", own)], ["m", "m"], 1, 2, false, true),
            (&[("m", other), ("n", own)], ["n", "m"], 1, 1, false, true),
            (&[("m", other), ("n", own)], ["n", "n"], 1, 0, true, true),
        ];
        for (members, holders, ready, waits, in_force, may_begin) in cases {
            let members: BTreeMap<MemberId, Vec<u8>> =
                members.iter().map(|(name, rules)| (MemberId::from(*name), about(*rules))).collect();
            let lease = |(number, holder): (i32, &&str)| {
                let lease = Lease { holder: MemberId::from(*holder), next: None };
                (!holder.is_empty()).then(|| (TopicPartition::new("video.views", number), lease))
            };
            let leases = (0..).zip(holders).filter_map(lease).collect();
            let found = standings(&Roster { version: 1, members, leases }, &[Arc::clone(&topic)]);
            let [standing] = &found[..] else { panic!("{found:?}") };
            let counted = (standing.ready.len(), standing.waits_for.len(), standing.is_in_force());
            assert_eq!(counted, (*ready, *waits, *in_force), "{standing:?}");
            assert_eq!(refuse_where_nobody_is_ready(&found).is_ok(), *may_begin, "{standing:?}");
        }
    }
}
