//! The shadow: an empty store beside the one that is verified or rebuilt, and its removal.
//!
//! In Redis it lies under `sg:verify:ID:`, where no rule can make a key; embedded it is a file of its own beside the store's.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_util::task::AbortOnDropHandle;

use super::{Parts, engine, parts::Opened, redis_options};
use crate::{
    catalog::plan::Topic,
    config::{Config, StoreChoice},
    model::{ExchangeState, ShardId, Swap, SwapOutcome},
    runtime::recount::{Recount, RecountParts, Side},
    store::{
        Exchange, Store, StoreError,
        embedded::{EmbeddedExchange, EmbeddedStore},
        redis::{RedisExchange, RedisOptions, RedisStore},
    },
    tls::TlsError,
};

/// Where shadows lie in Redis, behind REDIS_KEY_PREFIX.
const PREFIX: &str = "sg:verify:";
/// Beginning and end of the name of a shadow's file.
const FILE: (&str, &str) = ("verify-", ".redb");
/// The document that says that a shadow is in use.
const MARK: &str = "verify";
/// How long the mark stays when nobody renews it.
const MARK_TTL_MS: u64 = 60_000;
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(15);

/// Why there is no shadow.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificates for Redis.
    #[error("TLS to Redis (REDIS_TLS_*): {0}")]
    Tls(#[from] TlsError),
    /// Another one is at work.
    #[error(
        "another verification or rebuild of these results is at work, or was killed within the last minute: wait for it, then \
         try again"
    )]
    InUse,
    /// One was broken off in the midst of the exchange.
    #[error(
        "a rebuild was broken off while it exchanged results: run `streamgauge counters rebuild`, which ends it first"
    )]
    BrokenOff,
    /// A file of an earlier shadow cannot be removed.
    #[error("removing the shadow {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A store of its own that is removed when it is done with.
pub struct Shadow {
    id: String,
    side: Side,
    exchange: Box<dyn Exchange>,
    place: Place,
}

enum Place {
    File(PathBuf),
    Redis { own: Box<RedisStore>, live: Arc<dyn Store>, mark: Vec<u8>, _renewing: AbortOnDropHandle<()> },
}

/// What a shadow is opened for.
#[derive(Clone, Copy)]
enum For<'a> {
    Looking,
    Rebuilding,
    /// An exchange that was broken off, with the shadow of this name.
    Ending(&'a str),
}

/// Whether what earlier shadows left may be removed: not what an exchange still needs.
async fn may_remove(config: &Config, parts: &Parts, what_for: For<'_>) -> Result<(), ShadowError> {
    match broken_off(config, parts).await? {
        None => Ok(()),
        Some(state) if !state.has_shadow && matches!(what_for, For::Rebuilding) => Ok(()),
        Some(_) => Err(ShadowError::BrokenOff),
    }
}

impl Shadow {
    /// Opens an empty one in one shard, to be looked at. What an earlier one left that was killed is removed first.
    ///
    /// # Errors
    /// Another one is in use; an exchange was broken off; the store cannot be reached, or the file not be made.
    pub async fn open(config: &Config, parts: &Parts) -> Result<Self, ShadowError> {
        Self::make(config, parts, 1, For::Looking).await
    }

    /// Opens an empty one whose results can take the place of the store's: in as many shards. An exchange that was broken off and
    /// has lost its shadow is no matter.
    ///
    /// # Errors
    /// As [`Shadow::open`].
    pub async fn for_rebuild(config: &Config, parts: &Parts) -> Result<Self, ShadowError> {
        Self::make(config, parts, config.store.shards(), For::Rebuilding).await
    }

    /// Opens the one of an exchange that was broken off.
    ///
    /// # Errors
    /// As [`Shadow::open`].
    pub async fn resume(config: &Config, parts: &Parts, id: &str) -> Result<Self, ShadowError> {
        Self::make(config, parts, config.store.shards(), For::Ending(id)).await
    }

    async fn make(config: &Config, parts: &Parts, shards: ShardId, what_for: For<'_>) -> Result<Self, ShadowError> {
        let id = match what_for {
            For::Ending(id) => id.to_owned(),
            For::Looking | For::Rebuilding => uuid::Uuid::new_v4().simple().to_string(),
        };
        match (&config.store, &parts.opened) {
            (StoreChoice::Redis(redis), Opened::Redis(live)) => {
                let options = redis_options(redis)?;
                // In a cluster the shards lie where the store's do: their tags are the same.
                let under = |prefix: String, shards| RedisOptions { key_prefix: prefix, shards, ..options.clone() };
                // Of its own for each time, so that two that end the same exchange do not take each other for one.
                let mark = uuid::Uuid::new_v4().simple().to_string().into_bytes();
                if !set_mark(&*parts.store, None, Some(&mark)).await? {
                    return Err(ShadowError::InUse);
                }
                let renewing = renew(Arc::clone(&parts.store), mark.clone());
                if !matches!(what_for, For::Ending(_)) {
                    if let Err(error) = may_remove(config, parts, what_for).await {
                        set_mark(&*parts.store, Some(&mark), None).await?;
                        return Err(error);
                    }
                    RedisStore::connect(&under(format!("{}{PREFIX}", options.key_prefix), 1)).remove_all().await?;
                }
                let own = format!("{}{PREFIX}{id}:", options.key_prefix);
                let exchange = Box::new(RedisExchange::new(Arc::clone(live), &format!("{PREFIX}{id}:")));
                let side = Side::new(Arc::new(RedisStore::connect(&under(own.clone(), shards))));
                let own = Box::new(RedisStore::connect(&under(own, 1)));
                let live = Arc::clone(&parts.store);
                Ok(Self { id, side, exchange, place: Place::Redis { own, live, mark, _renewing: renewing } })
            }
            (_, opened) => {
                // The folder is ours as long as we have its lock.
                if !matches!(what_for, For::Ending(_)) {
                    may_remove(config, parts, what_for).await?;
                    for path in left_files(config) {
                        remove_file(&path)?;
                    }
                }
                let path = file(config, &id);
                let shadow = Arc::new(EmbeddedStore::open(&path)?);
                let exchange = exchange_of(opened, &id, Some(Arc::clone(&shadow)));
                Ok(Self { id, side: Side::new(shadow), exchange, place: Place::File(path) })
            }
        }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The store and this shadow of it.
    pub fn exchange(&self) -> &dyn Exchange {
        &*self.exchange
    }

    /// A recount of some topics into this shadow. `is_part` where these are not all.
    pub fn recount(&self, config: &Config, parts: &Parts, topics: Vec<Arc<Topic>>, is_part: bool) -> Recount {
        let recount = Recount::new(RecountParts {
            log: Arc::clone(&parts.log),
            live: Side { store: Arc::clone(&parts.store), keys: Arc::clone(&parts.keys) },
            group: config.kafka.group.as_str().into(),
            outside: Arc::clone(&parts.outside),
            shadow: self.side.clone(),
            topics,
            is_part,
            accepts_loss: false,
            snapshot: None,
            limits: engine::fetch_limits(config),
            fetch_max_bytes: config.kafka.fetch_max_bytes,
            batch_events: config.counting.batch_size,
            secret: Arc::new(engine::identity_secret()),
        });
        parts.lend_registry_to(&recount);
        recount
    }

    /// Removes it. Nothing may use it any more, and no exchange may need it.
    ///
    /// # Errors
    /// The store cannot be reached, or the file not be removed: what is left is removed before the next shadow is opened.
    pub async fn remove(self) -> Result<(), ShadowError> {
        let Self { side, exchange, place, .. } = self;
        match place {
            Place::File(path) => {
                drop((side, exchange));
                remove_file(&path)
            }
            Place::Redis { own, live, mark, _renewing } => {
                own.remove_all().await?;
                set_mark(&*live, Some(&mark), None).await?;
                Ok(())
            }
        }
    }

    /// Leaves it to the next one, which brings the exchange to its end.
    ///
    /// # Errors
    /// The store cannot be reached: the next one must wait a minute.
    pub async fn leave(self) -> Result<(), ShadowError> {
        if let Place::Redis { live, mark, .. } = self.place {
            set_mark(&*live, Some(&mark), None).await?;
        }
        Ok(())
    }
}

/// The exchange that was broken off, or is under way, if there is one: of several shards, the first that has one. All have the
/// same one, begun one after the other.
///
/// # Errors
/// The store.
pub async fn broken_off(config: &Config, parts: &Parts) -> Result<Option<ExchangeState>, StoreError> {
    let found = first_state(&*exchange_of(&parts.opened, "", None)).await?;
    let Some(state) = found else { return Ok(None) };
    // Asked again with its name: whether the shadow is there.
    let has_file = matches!(parts.opened, Opened::Embedded(_)) && file(config, &state.plan.id).exists();
    let again = first_state(&*exchange_of(&parts.opened, &state.plan.id, None)).await?;
    Ok(again.map(|state| ExchangeState { has_shadow: state.has_shadow || has_file, ..state }))
}

async fn first_state(exchange: &dyn Exchange) -> Result<Option<ExchangeState>, StoreError> {
    for shard in 0..exchange.shards() {
        if let Some(state) = exchange.state(shard).await? {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

fn exchange_of(opened: &Opened, id: &str, shadow: Option<Arc<EmbeddedStore>>) -> Box<dyn Exchange> {
    match opened {
        Opened::Embedded(live) => Box::new(EmbeddedExchange::new(Arc::clone(live), shadow)),
        Opened::Redis(live) => Box::new(RedisExchange::new(Arc::clone(live), &format!("{PREFIX}{id}:"))),
    }
}

fn renew(live: Arc<dyn Store>, mark: Vec<u8>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            // Where it is lost, whoever comes next removes the shadow, and the recount ends with a conflict.
            if let Err(error) = set_mark(&*live, Some(&mark), Some(&mark)).await {
                tracing::warn!(%error, "the mark of the recount was not renewed");
            }
        }
    }))
}

async fn set_mark(store: &dyn Store, expect: Option<&[u8]>, next: Option<&[u8]>) -> Result<bool, StoreError> {
    let (expect, next) = (expect.map(<[u8]>::to_vec), next.map(<[u8]>::to_vec));
    let swap = Swap { name: MARK.to_owned(), expect, next, ttl_ms: Some(MARK_TTL_MS) };
    Ok(store.swap(&[swap]).await?.pop() == Some(SwapOutcome::Swapped))
}

fn file(config: &Config, id: &str) -> PathBuf {
    config.data_dir.join(format!("{}{id}{}", FILE.0, FILE.1))
}

fn left_files(config: &Config) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&config.data_dir).into_iter().flatten().flatten();
    let is_shadow = |name: &str| name.starts_with(FILE.0) && name.ends_with(FILE.1);
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_shadow)).map(|entry| entry.path()).collect()
}

fn remove_file(path: &Path) -> Result<(), ShadowError> {
    std::fs::remove_file(path).map_err(|source| ShadowError::File { path: path.to_owned(), source })
}
