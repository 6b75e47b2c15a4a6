//! `counters rebuild`: recounts, and puts the outcome in place of what is stored, while counting goes on.
//!
//! Longer than most files, since what is asked, refused, done and told is one way through.

use std::{
    io::{BufRead, IsTerminal, Write, stdin},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Map, Value as Json, json};

use super::{
    super::run,
    open, progress,
    verify::{chosen, say},
    wants_json,
};
use crate::{
    app::{Parts, Shadow, ShadowError, broken_off},
    catalog::plan::{Catalog, Topic},
    cli::explain,
    config::Config,
    model::{ExchangeState, TopicPartition},
    runtime::recount::{self, Progress, RebuildPlan, Rebuilt, Recount},
};

/// How long one that may still be at work is waited for: longer than it is taken for at work after a kill.
const TAKE_UP_WITHIN: Duration = Duration::from_secs(90);
/// Between two looks.
const TAKE_UP_LOOK: Duration = Duration::from_millis(500);
/// Not done, since nobody said yes.
const NOT_DONE: u8 = 1;
/// It cannot be done.
const CANNOT: u8 = 2;

#[derive(clap::Args, Clone, Debug)]
pub(super) struct RebuildArgs {
    /// Only this topic, and those that share counters with it; may be given more than once [default: all]
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Count from where the log begins now, where it no longer holds what was counted: that is in no counter afterwards
    #[arg(long)]
    accept_loss: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

/// The exit code is 0 where it is done (or told, with `--dry-run`), 1 where the answer was not yes, 2 where it cannot be done.
pub(super) async fn run(args: &RebuildArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<u8> {
    let catalog = run::catalog(config)?;
    let parts = match open(config, &catalog).await {
        Ok(parts) => parts,
        Err(error) => return Ok(cannot(&error)),
    };
    let done = act(args, config, &catalog, &parts, out).await;
    parts.close().await?;
    Ok(done.unwrap_or_else(|error| cannot(&error)))
}

fn cannot(error: &anyhow::Error) -> u8 {
    say(&format!("streamgauge: {}", explain(error)));
    CANNOT
}

async fn act(
    args: &RebuildArgs,
    config: &Config,
    catalog: &Arc<Catalog>,
    parts: &Parts,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    // Where it is exchanged just now, that shows in the mark of its shadow, which is taken first.
    let begun = broken_off(config, parts).await.context("looking for a rebuild that was broken off")?;
    if let Some(state) = begun.as_ref().filter(|state| state.has_shadow) {
        if args.dry_run {
            bail!(
                "a rebuild of {} was broken off while it exchanged results: without --dry-run that is ended first",
                state.plan.topics.join(", ")
            );
        }
        return end(args, config, catalog, parts, state, out).await;
    }
    let mut topics = chosen(catalog, &args.topics)?;
    let instead_of = begun.map(|state| state.plan);
    if let Some(plan) = &instead_of {
        say("a rebuild was broken off, and what it had recounted is gone: its topics are recounted again");
        topics.retain(|topic| !plan.topics.iter().any(|name| **name == *topic.name));
        topics.extend(chosen(catalog, &plan.topics)?);
    }
    let is_part = topics.len() < catalog.topics.len();
    let shadow = Shadow::for_rebuild(config, parts).await.context("making room for the recount")?;
    let (done, is_needed) = with_shadow(
        args,
        config,
        parts,
        &shadow,
        topics,
        is_part,
        instead_of.as_ref().map(|plan| plan.id.as_str()),
        out,
    )
    .await;
    let left = if is_needed { shadow.leave().await } else { shadow.remove().await };
    if let Err(error) = left {
        say(&format!("the shadow could not be put away, which the next one does: {error}"));
    }
    done
}

/// The shadow of a rebuild that was broken off. Who was killed within the last minute cannot be told from who is still at it, so that
/// minute is waited for; `None` where it was done meanwhile.
async fn take_up(config: &Config, parts: &Parts, id: &str) -> anyhow::Result<Option<Shadow>> {
    let began = Instant::now();
    let mut is_said = false;
    loop {
        match Shadow::resume(config, parts, id).await {
            Err(ShadowError::InUse) if began.elapsed() < TAKE_UP_WITHIN => {
                if !is_said {
                    say("a rebuild exchanges results just now, or was killed within the last minute: waiting for it");
                    is_said = true;
                }
                tokio::time::sleep(TAKE_UP_LOOK).await;
                if broken_off(config, parts).await?.is_none() {
                    return Ok(None);
                }
            }
            other => return other.map(Some).context("going on with a rebuild that was broken off"),
        }
    }
}

/// Ends a rebuild that was broken off.
async fn end(
    args: &RebuildArgs,
    config: &Config,
    catalog: &Catalog,
    parts: &Parts,
    state: &ExchangeState,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let feeds = recount::feeds_of(state, catalog)?;
    let Some(shadow) = take_up(config, parts, &state.plan.id).await? else {
        say("the rebuild that was under way is done by now: run this again for another");
        return Ok(0);
    };
    let mut begun = 0;
    for shard in 0..shadow.exchange().shards() {
        begun += u32::from(shadow.exchange().state(shard).await?.is_some());
    }
    if let Err(error) = recount::finish(shadow.exchange(), &feeds, &Progress::default()).await {
        shadow.leave().await?;
        return Err(error.into());
    }
    recount::note_recounted(&*parts.log, &*parts.outside, &state.plan.targets).await?;
    recount::open_for_imports(&*parts.store).await?;
    let shards = u32::from(shadow.exchange().shards());
    shadow.remove().await?;
    let topics = state.plan.topics.join(", ");
    if wants_json(args.json) {
        writeln!(out, "{}", json!({ "ended": state.plan.topics, "shardsEnded": begun, "shards": shards }))?;
    } else {
        writeln!(
            out,
            "the rebuild of {topics} that was broken off is done, in {begun} of {shards} shards; run it again for another"
        )?;
    }
    Ok(0)
}

/// What became of it, and whether the shadow is still needed.
#[expect(clippy::too_many_arguments, reason = "what a command has")]
async fn with_shadow(
    args: &RebuildArgs,
    config: &Config,
    parts: &Parts,
    shadow: &Shadow,
    topics: Vec<Arc<Topic>>,
    is_part: bool,
    instead_of: Option<&str>,
    out: &mut dyn Write,
) -> (anyhow::Result<u8>, bool) {
    let mut recount = shadow.recount(config, parts, topics, is_part);
    if args.accept_loss {
        recount = recount.accept_loss();
    }
    let done = recounted(args, config, &mut recount, shadow, instead_of, out).await;
    recount.end().await;
    // Where that cannot be asked, it stays: what is too much is removed the next time.
    let is_needed = recount::is_under_way(shadow.exchange()).await.unwrap_or(true);
    (done, is_needed)
}

async fn recounted(
    args: &RebuildArgs,
    config: &Config,
    recount: &mut Recount,
    shadow: &Shadow,
    instead_of: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let plan = recount.plan(&config.kafka.group).await?;
    let json = wants_json(args.json);
    if args.dry_run {
        tell(&plan, json, out)?;
        return Ok(0);
    }
    if !plan.obstacles.is_empty() {
        bail!("nothing was changed: {}", plan.obstacles.join("; "));
    }
    if !plan.lost.is_empty() && !args.accept_loss {
        bail!(
            "nothing was changed: the log no longer holds {}, and what they brought would be in no counter any more. --topic rebuilds \
             topics that are whole; --accept-loss does without these records",
            told_lost(&plan)
        );
    }
    if plan.partitions.is_empty() {
        bail!("nothing was counted yet of {}", plan.topics.join(", "));
    }
    if !args.yes {
        if !stdin().is_terminal() {
            bail!("nothing was changed: --yes rebuilds without asking");
        }
        show(&plan, out)?;
        write!(out, "Rebuild these counters now? Type yes: ")?;
        out.flush()?;
        let mut line = String::new();
        stdin().lock().read_line(&mut line).context("reading the answer")?;
        if line.trim() != "yes" {
            writeln!(out, "Nothing was changed.")?;
            return Ok(NOT_DONE);
        }
    }
    let rebuilt = watched(recount, shadow, instead_of).await?;
    done(&plan, &rebuilt, json, out)?;
    Ok(0)
}

/// A signal ends the recount, but not the exchange: that takes seconds, and members wait for it.
async fn watched(recount: &mut Recount, shadow: &Shadow, instead_of: Option<&str>) -> anyhow::Result<Rebuilt> {
    let progress = recount.progress();
    let stopped = async {
        let name = run::stop_signal().await?;
        if progress.is_exchanging.load(Ordering::Acquire) {
            say(&format!("{name} received: the results are being exchanged, which is brought to its end"));
            std::future::pending::<()>().await;
        }
        Err::<Rebuilt, _>(anyhow::anyhow!("{name} received before it was done: nothing was changed"))
    };
    tokio::select! {
        biased;
        rebuilt = recount.rebuild(shadow.exchange(), shadow.id(), instead_of) => Ok(rebuilt?),
        stopped = stopped => stopped,
        never = progress::show(Arc::clone(&progress)) => match never {},
    }
}

fn told_lost(plan: &RebuildPlan) -> String {
    let total: i64 = plan.lost.iter().map(|(_, gap)| gap.to - gap.from).sum();
    let each: Vec<String> =
        plan.lost.iter().map(|(partition, gap)| format!("{partition} offsets {} to {}", gap.from, gap.to)).collect();
    format!("up to {total} records ({})", each.join(", "))
}

fn tell(plan: &RebuildPlan, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if !json {
        show(plan, out)?;
        writeln!(out, "Nothing is changed: without --dry-run it is done.")?;
        return Ok(());
    }
    let lost: Vec<Json> = plan
        .lost
        .iter()
        .map(|(partition, gap)| json!({ "partition": partition.to_string(), "from": gap.from, "to": gap.to }))
        .collect();
    let told = json!({ "topics": plan.topics, "positions": positions(&plan.partitions), "offsets": plan.offsets,
        "lost": lost, "obstacles": plan.obstacles });
    writeln!(out, "{told}")?;
    Ok(())
}

fn show(plan: &RebuildPlan, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "{} offsets of {} partitions are counted again, and the outcome takes the place of all that these topics have made: {}",
        plan.offsets,
        plan.partitions.len(),
        plan.topics.join(", ")
    )?;
    if !plan.lost.is_empty() {
        writeln!(
            out,
            "LOST, since the log no longer holds it: {}. It is done with --accept-loss only.",
            told_lost(plan)
        )?;
    }
    for obstacle in &plan.obstacles {
        writeln!(out, "It would be refused now: {obstacle}.")?;
    }
    Ok(())
}

fn positions(of: &[(TopicPartition, i64)]) -> Map<String, Json> {
    of.iter().map(|(partition, offset)| (partition.to_string(), json!(offset))).collect()
}

fn done(plan: &RebuildPlan, rebuilt: &Rebuilt, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let Rebuilt { recounted, names, strangers, pause, .. } = rebuilt;
    let pause_ms = pause.as_millis() as u64;
    if json {
        let told = json!({ "topics": plan.topics, "recounted": recounted, "keys": names, "left": strangers,
            "pauseMs": pause_ms, "positions": positions(&rebuilt.positions) });
        writeln!(out, "{told}")?;
        return Ok(());
    }
    writeln!(
        out,
        "rebuilt: {recounted} offsets recounted, {names} keys exchanged; counting of these topics paused for {pause_ms} ms"
    )?;
    if *strangers > 0 {
        writeln!(out, "{strangers} counters that no rule of these topics makes were left as they are")?;
    }
    Ok(())
}
