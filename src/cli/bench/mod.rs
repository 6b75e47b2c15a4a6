//! `bench`: the whole path, from a loaded topic to counters in the store, or to a service that is delivered to, with the
//! configured broker and store.

mod deliver;
mod kcat;
mod load;
mod order;
mod target;
mod timed;
mod usage;

use std::{io::Write, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{timed::Timed, usage::Usage};
use crate::{
    app::{Engine, Parts},
    catalog::{
        Source, compile,
        plan::{Catalog, Compression, dead_letter_topic},
    },
    config::{Config, LogChoice, StoreChoice},
    log::TopicSpec,
    telemetry,
};

/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(5);
/// How long a broker rests after loading.
const REST: Duration = Duration::from_secs(5);
/// How long the counting may take altogether.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Events to load and count
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    events: u64,
    /// Videos, and so keys of the counter
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    videos: u64,
    /// Users
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    users: u64,
    /// Partitions of the topic
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=100))]
    partitions: i32,
    /// Which rules: one count, or all of video.views
    #[arg(long, value_enum, default_value_t = Rules::Count)]
    rules: Rules,
    /// Shape of the events
    #[arg(long, value_enum, default_value_t = Shape::Flat)]
    shape: Shape,
    /// Share of the events that lies in one partition, percent; 0 is an even share for all
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=99))]
    skew: u64,
    /// Compression of the loaded records
    #[arg(long, value_enum, default_value_t = Codec::Lz4)]
    compression: Codec,
    /// Deliver the events to a service on this machine that answers at once, instead of counting them
    #[arg(long)]
    deliver: bool,
    /// With --deliver: how the events are written
    #[arg(long, value_enum, default_value_t = deliver::Mode::Binary, requires = "deliver")]
    mode: deliver::Mode,
    /// With --deliver: requests in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1000), requires = "deliver")]
    concurrency: u64,
    /// Only load this topic; what the measurement starts itself
    #[arg(long, hide = true)]
    load: Option<String>,
    /// Only be the service that is delivered to; what the measurement starts itself
    #[arg(long, hide = true)]
    answer: bool,
}

/// The shape of the events.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shape {
    /// One object of about 110 bytes.
    Flat,
    /// Metadata and data, about 400 bytes.
    Nested,
    /// order.created of the commerce catalogue with its rules, about 430 bytes, each held against a JSON Schema.
    Order,
}

impl Shape {
    fn told(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Nested => "nested",
            Self::Order => "order",
        }
    }

    /// What stands before the counters that add up to the events.
    fn counters(self) -> &'static str {
        if matches!(self, Self::Order) { "user:" } else { "video:" }
    }
}

/// The rules that are measured.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Rules {
    /// One count rule, with the identity of video.views.
    Count,
    /// All rules of video.views: count, unique, recent, top over two windows.
    All,
}

/// Compression.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Rules {
    fn told(self) -> &'static str {
        match self {
            Self::Count => "one count",
            Self::All => "all of video.views",
        }
    }
}

impl Codec {
    fn told(self) -> &'static str {
        match self {
            Self::None => "not compressed",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip => Compression::Gzip,
            Self::Snappy => Compression::Snappy,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::Zstd,
        }
    }
}

/// The catalogue that is measured, on a topic of its own.
fn catalogue(topic: &str, args: &Args) -> String {
    let rest = r#",
  { unique = "video:{videoId}:viewers", of = "{userId}", per = "day", retention = "35d" },
  { recent = "user:{userId}:history", of = "{videoId}", cap = 100 },
  { top = "trending:videos", of = "{videoId}", windows = ["1h", "1d"] }"#;
    let rest = if matches!(args.rules, Rules::All) { rest } else { "" };
    format!(
        "name = \"bench\"\n[[topic]]\nname = \"{topic}\"\nkey = [\"videoId\"]\nshape = [\"{}\"]\npartitions = {}\n\
         identity = [\"type\", \"videoId\", \"userId\", \"timestamp\"]\n[[topic.event]]\ntype = \"video.view\"\n\
         required = [\"videoId\", \"userId\"]\nrules = [\n  {{ count = \"video:{{videoId}}:views\" }}{rest}\n]\n",
        args.shape.told(),
        args.partitions
    )
}

fn compiled(topic: &str, args: &Args) -> anyhow::Result<Arc<Catalog>> {
    let is_order = matches!(args.shape, Shape::Order);
    let text = if is_order { order::catalogue(topic, args.partitions) } else { catalogue(topic, args) };
    let source = Source { file: "bench.toml".to_owned(), text };
    let mut catalog =
        compile(&[source]).map_err(|findings| anyhow::anyhow!("the bench's catalogue is wrong: {findings:?}"))?;
    if is_order {
        order::hold_against_schema(&mut catalog)?;
    }
    Ok(Arc::new(catalog))
}

/// Runs the measurement. The exit code is 1 where the counters do not add up to the events.
pub(super) async fn run(args: Args, mut config: Config, out: &mut dyn Write) -> anyhow::Result<u8> {
    telemetry::logging::install("warn", telemetry::logging::Format::Text)?;
    if args.answer {
        target::answer(out).await?;
        return Ok(0);
    }
    let run = uuid::Uuid::new_v4().simple().to_string();
    let topic = args.load.clone().unwrap_or_else(|| format!("bench.{}", &run[..8]));
    let catalog = compiled(&topic, &args)?;
    // Results, claims and checkpoints of a bench never touch the user's.
    if let StoreChoice::Redis(redis) = &mut config.store {
        redis.key_prefix = format!("{topic}:");
    }
    config.kafka.compression = args.compression.compression();
    config.counting.topics = None;
    config.counting.partitions = None;
    let mut parts = Parts::open(&config, &catalog).await?;
    if args.load.is_some() {
        writeln!(out, "{}", load::load(&parts.log, &config, &topic, &args).await?)?;
        parts.close().await?;
        return Ok(0);
    }
    writeln!(out, "bench: {}", config.mode())?;
    let store = Arc::new(Timed::new(Arc::clone(&parts.store)));
    parts.store = Arc::clone(&store) as _;
    // Both before the clock runs: making topics is no part of counting.
    for name in [topic.clone(), dead_letter_topic(&topic)] {
        parts.log.create_topic(&TopicSpec { name, partitions: args.partitions, ..TopicSpec::default() }).await?;
    }
    // The embedded log is this process' own: nobody else can load it.
    let loaded = match &config.log {
        LogChoice::Kafka { .. } => load::load_elsewhere(&topic).await?,
        LogChoice::Embedded { .. } => load::load(&parts.log, &config, &topic, &args).await?,
    };
    let spread = if args.skew == 0 { "evenly".to_owned() } else { format!("{} % in one", args.skew) };
    writeln!(out, "{loaded}: {topic}, {} partitions ({spread}), {}", args.partitions, args.compression.told())?;
    if let LogChoice::Kafka { .. } = &config.log {
        // On the same cores it goes on for a while with what it was given: writing, compiling, collecting garbage.
        writeln!(out, "the broker is left alone for {} s", REST.as_secs())?;
        tokio::time::sleep(REST).await;
    }
    if args.deliver {
        let code = deliver::measure((&args, &topic), config, &parts, &catalog, out).await?;
        parts.close().await?;
        return Ok(code);
    }
    let code = measure(&args, &config, &parts, &store, catalog, out).await?;
    if let LogChoice::Kafka { brokers } = &config.log
        && let Some(told) = kcat::drain(&brokers.join(","), &topic, args.events).await?
    {
        writeln!(out, "{told}")?;
    }
    parts.close().await?;
    Ok(code)
}

async fn measure(
    args: &Args,
    config: &Config,
    parts: &Parts,
    store: &Timed,
    catalog: Arc<Catalog>,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let engine = Engine::new(config, parts);
    let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
    Usage::forget_peak();
    let before = Usage::now();
    let began = Instant::now();
    let counting = tokio::spawn(Arc::clone(&engine.counting).run(catalog, stop.clone(), abandon));
    while engine.counting.tally.total().records < args.events {
        anyhow::ensure!(began.elapsed() < GIVE_UP_AFTER && !counting.is_finished(), "counting has not come to its end");
        tokio::time::sleep(POLL).await;
    }
    for tenure in engine.counting.tenures.alive() {
        engine.counting.generations.flushed(&tenure).await;
    }
    let took = began.elapsed();
    let used = Usage::now().since(&before);
    stop.cancel();
    counting.await??;

    let sum = counted(&engine, args.shape.counters()).await?;
    let seconds = took.as_secs_f64();
    let rules = if matches!(args.shape, Shape::Order) { order::RULES } else { args.rules.told() };
    writeln!(out, "rules: {rules}")?;
    writeln!(out, "counted {} events in {seconds:.3} s: {:.0} events/s", args.events, args.events as f64 / seconds)?;
    writeln!(
        out,
        "own CPU {:.2} s ({:.0} ns an event), peak memory {} MB, store busy {:.0} % of the time",
        used.cpu_seconds,
        used.cpu_seconds * 1e9 / args.events as f64,
        used.peak_bytes / 1_000_000,
        store.busy().as_secs_f64() / seconds * 100.0
    )?;
    let duplicates = engine.counting.tally.total().duplicates;
    let difference = (args.events - duplicates).abs_diff(sum);
    writeln!(out, "the counters in the store add up to {sum}, difference {difference}")?;
    Ok(u8::from(difference != 0))
}

/// The sum over the counters in the store whose names begin like this.
async fn counted(engine: &Engine, prefix: &str) -> anyhow::Result<u64> {
    const PAGE: usize = 1000;
    let (mut sum, mut cursor) = (0_i64, String::new());
    loop {
        let page = engine.counting.store.scan(prefix, &cursor, PAGE).await?;
        sum += page.counters.iter().map(|(_, value)| value).sum::<i64>();
        match page.cursor {
            Some(next) => cursor = next,
            None => return Ok(sum.unsigned_abs()),
        }
    }
}
