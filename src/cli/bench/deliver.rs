//! `bench --deliver`: from a loaded topic to a service that answers at once, one request an event or in batches.

use std::{io::Write, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Args, GIVE_UP_AFTER, target::Target, usage::Usage};
use crate::{
    app::{self, Engine, Parts},
    catalog::plan::Catalog,
    config::{Config, DeliveryMode, OffsetReset, PostConfig, RetryConfig, SubscriptionConfig},
    model::Secret,
};

/// How often the end is looked for: each look is a request to the target.
const POLL: Duration = Duration::from_millis(25);
/// `unfinished` of the subscription; SPEC 7's default.
const UNFINISHED: usize = 10_000;
const GROUP: &str = "bench";

/// How the events are written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Mode {
    /// A request an event, its data as the body.
    Binary,
    /// A request an event, the event as the body.
    Structured,
    /// A request for up to 100 events.
    Batch,
}

impl Mode {
    fn config(self) -> DeliveryMode {
        match self {
            Self::Binary => DeliveryMode::Binary,
            Self::Structured => DeliveryMode::Structured,
            Self::Batch => DeliveryMode::Batch(100),
        }
    }
}

fn subscription(topic: &str, url: &str, args: &Args) -> SubscriptionConfig {
    SubscriptionConfig {
        group: GROUP.to_owned(),
        topics: vec![topic.to_owned()],
        types: Vec::new(),
        priorities: Vec::new(),
        data: Vec::new(),
        concurrency: args.concurrency as usize,
        timeout: Duration::from_secs(10),
        unfinished: UNFINISHED,
        start: OffsetReset::Earliest,
        retry: RetryConfig::default(),
        post: Some(PostConfig { url: Secret::new(url), mode: args.mode.config(), secret: None }),
    }
}

/// Delivers what lies in the topic. The exit code is 1 where the target did not get each event once.
pub(super) async fn measure(
    (args, topic): (&Args, &str),
    mut config: Config,
    parts: &Parts,
    catalog: &Catalog,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let target = Target::start().await?;
    config.roles.deliver = true;
    config.subscriptions = vec![subscription(topic, &target.url, args)];
    let engine = Engine::new(&config, parts);
    let delivery = app::delivery(&config, catalog, parts, &engine, app::Handlers::new())?;
    let delivery = delivery.ok_or_else(|| anyhow::anyhow!("there is nothing to deliver"))?;
    let stop = CancellationToken::new();
    Usage::forget_peak();
    let (before, began) = (Usage::now(), Instant::now());
    let running = tokio::spawn(Arc::clone(&delivery).run(stop.clone()));
    let got = loop {
        anyhow::ensure!(began.elapsed() < GIVE_UP_AFTER && !running.is_finished(), "delivery has not come to its end");
        let got = target.got().await?;
        if got >= args.events {
            break got;
        }
        tokio::time::sleep(POLL).await;
    };
    let took = began.elapsed();
    let used = Usage::now().since(&before);
    stop.cancel();
    running.await??;
    let got = got.max(target.got().await?);
    target.end().await?;
    let (seconds, events) = (took.as_secs_f64(), args.events as f64);
    writeln!(
        out,
        "delivered {} events in {seconds:.3} s, {:?}, {} requests at once: {:.0} events/s",
        args.events,
        args.mode,
        args.concurrency,
        events / seconds
    )?;
    writeln!(
        out,
        "own CPU {:.2} s ({:.1} µs an event), peak memory {} MB; the target's CPU {:.1} µs an event",
        used.cpu_seconds,
        used.cpu_seconds * 1e6 / events,
        used.peak_bytes / 1_000_000,
        Usage::of_children() * 1e6 / events
    )?;
    writeln!(out, "the target got {got} events, {} more than there are", got - args.events)?;
    Ok(u8::from(got != args.events))
}
