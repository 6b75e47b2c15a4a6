//! The shadow: an empty store beside the one that is verified, and its removal.
//!
//! In Redis it lies under `sg:verify:ID:`, where no rule can make a key; embedded it is a file of its own beside the store's.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio_util::task::AbortOnDropHandle;

use super::{Parts, engine, redis_options};
use crate::{
    catalog::plan::Topic,
    config::{Config, StoreChoice},
    model::{Swap, SwapOutcome},
    runtime::recount::{Recount, RecountParts, Side},
    store::{
        Store, StoreError,
        embedded::EmbeddedStore,
        redis::{RedisOptions, RedisStore},
    },
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
    /// Another one is at work.
    #[error(
        "another verification of these results is at work, or was killed within the last minute: wait for it, then try again"
    )]
    InUse,
    /// A file of an earlier shadow cannot be removed.
    #[error("removing the shadow {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// An empty store that is removed when it is done with.
pub struct Shadow {
    side: Side,
    place: Place,
}

enum Place {
    File(PathBuf),
    Redis { all: Box<RedisStore>, live: Arc<dyn Store>, mark: Vec<u8>, _renewing: AbortOnDropHandle<()> },
}

impl Shadow {
    /// Opens one. What an earlier one left that was killed is removed first.
    ///
    /// # Errors
    /// Another one is in use; the store cannot be reached, or the file not be made.
    pub async fn open(config: &Config, parts: &Parts) -> Result<Self, ShadowError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        match &config.store {
            StoreChoice::Embedded => {
                // The folder is ours as long as we have its lock.
                for path in left_files(config) {
                    remove_file(&path)?;
                }
                let path = config.data_dir.join(format!("{}{id}{}", FILE.0, FILE.1));
                let side = Side::new(Arc::new(EmbeddedStore::open(&path)?));
                Ok(Self { side, place: Place::File(path) })
            }
            StoreChoice::Redis(redis) => {
                let options = redis_options(redis);
                let under = |prefix: String| RedisOptions { key_prefix: prefix, ..options.clone() };
                let all = Box::new(RedisStore::connect(&under(format!("{}{PREFIX}", options.key_prefix))));
                let mark = id.clone().into_bytes();
                if !set_mark(&*parts.store, None, Some(&mark)).await? {
                    return Err(ShadowError::InUse);
                }
                let side =
                    Side::new(Arc::new(RedisStore::connect(&under(format!("{}{PREFIX}{id}:", options.key_prefix)))));
                let (live, kept) = (Arc::clone(&parts.store), mark.clone());
                let renewing = AbortOnDropHandle::new(tokio::spawn(async move {
                    loop {
                        tokio::time::sleep(RENEW_EVERY).await;
                        // Where it is lost, whoever comes next removes the shadow, and the recount ends with a conflict.
                        if let Err(error) = set_mark(&*live, Some(&kept), Some(&kept)).await {
                            tracing::warn!(%error, "the mark of the verification was not renewed");
                        }
                    }
                }));
                let live = Arc::clone(&parts.store);
                let shadow = Self { side, place: Place::Redis { all, live, mark, _renewing: renewing } };
                if let Place::Redis { all, .. } = &shadow.place {
                    all.remove_all().await?;
                }
                Ok(shadow)
            }
        }
    }

    /// A recount of some topics into this shadow. `is_part` where these are not all.
    pub fn recount(&self, config: &Config, parts: &Parts, topics: Vec<Arc<Topic>>, is_part: bool) -> Recount {
        Recount::new(RecountParts {
            log: Arc::clone(&parts.log),
            live: Side { store: Arc::clone(&parts.store), keys: Arc::clone(&parts.keys) },
            shadow: self.side.clone(),
            topics,
            is_part,
            limits: engine::fetch_limits(config),
            fetch_max_bytes: config.kafka.fetch_max_bytes,
            batch_events: config.counting.batch_size,
            secret: Arc::new(engine::identity_secret()),
        })
    }

    /// Removes it. Nothing may use it any more.
    ///
    /// # Errors
    /// The store cannot be reached, or the file not be removed: what is left is removed before the next shadow is opened.
    pub async fn remove(self) -> Result<(), ShadowError> {
        let Self { side, place } = self;
        match place {
            Place::File(path) => {
                drop(side);
                remove_file(&path)
            }
            Place::Redis { all, live, mark, _renewing } => {
                all.remove_all().await?;
                set_mark(&*live, Some(&mark), None).await?;
                Ok(())
            }
        }
    }
}

async fn set_mark(store: &dyn Store, expect: Option<&[u8]>, next: Option<&[u8]>) -> Result<bool, StoreError> {
    let (expect, next) = (expect.map(<[u8]>::to_vec), next.map(<[u8]>::to_vec));
    let swap = Swap { name: MARK.to_owned(), expect, next, ttl_ms: Some(MARK_TTL_MS) };
    Ok(store.swap(&[swap]).await?.pop() == Some(SwapOutcome::Swapped))
}

fn left_files(config: &Config) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&config.data_dir).into_iter().flatten().flatten();
    let is_shadow = |name: &str| name.starts_with(FILE.0) && name.ends_with(FILE.1);
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_shadow)).map(|entry| entry.path()).collect()
}

fn remove_file(path: &std::path::Path) -> Result<(), ShadowError> {
    std::fs::remove_file(path).map_err(|source| ShadowError::File { path: path.to_owned(), source })
}
