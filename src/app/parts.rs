//! The implementations that the configuration chooses, opened.

use std::{net::SocketAddr, sync::Arc};

use super::{AppError, kafka, registry};
use crate::{
    catalog::plan::Catalog,
    config::{Config, LogChoice, RedisConfig, StoreChoice},
    core::register::Scope,
    log::{
        Log,
        broker::{Broker, BrokerConfig, DataDirLock, SEGMENT_BYTES},
        kafka::{Admin, KafkaLog, KafkaOptions},
    },
    registry::Registry,
    runtime::{
        outside::{LogOutside, Outside},
        recount::Side,
    },
    store::{
        Inventory, Store, Tier,
        embedded::EmbeddedStore,
        postgres::{PostgresOptions, PostgresTier},
        redis::{Password, RedisOptions, RedisStore},
    },
    tls::TlsError,
};

/// Name of the embedded log's folder in `DATA_DIR`.
pub(super) const LOG_FOLDER: &str = "log";
/// Name of the embedded store's file in `DATA_DIR`.
const STORE_FILE: &str = "store.redb";

/// The implementations that the configuration chooses.
pub struct Parts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// What lies in the store besides counters, by name.
    pub keys: Arc<dyn Inventory>,
    /// Where totals are copied to; nowhere with the embedded store, whose file is lost as a whole.
    pub tier: Option<Arc<dyn Tier>>,
    /// What is noted outside of the store, in the log.
    pub outside: Arc<dyn Outside>,
    /// What is asked of the log's cluster beside records.
    pub admin: Admin,
    /// The schemas that values name.
    pub registry: Option<Arc<Registry>>,
    pub(super) opened: Opened,
    /// How the log is reached.
    reached: KafkaOptions,
    broker: Option<Broker>,
    _lock: Option<DataDirLock>,
}

impl Parts {
    /// Opens the embedded parts, and clients for the others. Neither Kafka nor Redis need be up.
    ///
    /// # Errors
    /// The data folder is in use, or embedded data cannot be opened.
    pub async fn open(config: &Config, catalog: &Catalog) -> Result<Self, AppError> {
        let is_embedded = matches!(config.log, LogChoice::Embedded { .. }) || config.store == StoreChoice::Embedded;
        let lock = if is_embedded { Some(DataDirLock::acquire(&config.data_dir)?) } else { None };
        let (reached, broker) = open_log(config, catalog).await?;
        let log = KafkaLog::connect(reached.clone());
        let admin = log.admin();
        let registry = registry::open(config)?;
        let opened = open_store(config)?;
        let Side { store, keys } = match &opened {
            Opened::Embedded(store) => Side::new(Arc::clone(store)),
            Opened::Redis(store) => Side::new(Arc::clone(store)),
        };
        let tier = tier_of(config, &opened)?;
        let log: Arc<dyn Log> = Arc::new(log);
        let outside = LogOutside::new(Arc::clone(&log), scope(config), config.counting.topics_auto_apply);
        Ok(Self {
            log,
            store,
            keys,
            tier,
            outside: Arc::new(outside),
            admin,
            registry,
            opened,
            reached,
            broker,
            _lock: lock,
        })
    }

    /// Another client of the log, with connections of its own: for a group that reads the same partitions at other offsets.
    pub fn reader(&self) -> Arc<dyn Log> {
        Arc::new(KafkaLog::connect(self.reached.clone()))
    }

    /// Where the embedded broker listens, if there is one.
    pub fn broker_addr(&self) -> Option<SocketAddr> {
        self.broker.as_ref().map(Broker::local_addr)
    }

    /// Closes the embedded log: what it holds is synced.
    ///
    /// # Errors
    /// The sync failed.
    pub async fn close(self) -> Result<(), AppError> {
        match self.broker {
            Some(broker) => Ok(broker.shutdown().await?),
            None => Ok(()),
        }
    }
}

pub(super) async fn open_log(config: &Config, catalog: &Catalog) -> Result<(KafkaOptions, Option<Broker>), AppError> {
    let (brokers, broker) = match &config.log {
        LogChoice::Kafka { brokers } => (brokers.clone(), None),
        LogChoice::Embedded { listen } => {
            let broker = Broker::start(BrokerConfig {
                data_dir: config.data_dir.join(LOG_FOLDER),
                listen: *listen,
                fall_back_to_free_port: true,
                segment_bytes: SEGMENT_BYTES,
            })
            .await?;
            (vec![broker.local_addr().to_string()], Some(broker))
        }
    };
    Ok((kafka::kafka_options(config, catalog, brokers)?, broker))
}

/// Whose notes outside of the store are this group's.
fn scope(config: &Config) -> Scope {
    let prefix = match &config.store {
        StoreChoice::Redis(redis) => redis.key_prefix.clone(),
        StoreChoice::Embedded => String::new(),
    };
    Scope { prefix, group: config.kafka.group.clone(), shards: config.store.shards() }
}

/// The store by its kind, for what the seams do not say.
pub(super) enum Opened {
    Embedded(Arc<EmbeddedStore>),
    Redis(Arc<RedisStore>),
}

/// Where totals are copied to: nowhere with the embedded store.
fn tier_of(config: &Config, opened: &Opened) -> Result<Option<Arc<dyn Tier>>, AppError> {
    let (StoreChoice::Redis(redis), Opened::Redis(store)) = (&config.store, opened) else { return Ok(None) };
    Ok(Some(match &config.database {
        Some(url) => {
            let options = PostgresOptions { url: url.clone() };
            Arc::new(PostgresTier::new(Arc::clone(store) as _, &redis.key_prefix, options)?)
        }
        None => Arc::clone(store) as _,
    }))
}

fn open_store(config: &Config) -> Result<Opened, AppError> {
    Ok(match &config.store {
        StoreChoice::Embedded => Opened::Embedded(Arc::new(EmbeddedStore::open(config.data_dir.join(STORE_FILE))?)),
        StoreChoice::Redis(redis) => {
            let options = redis_options(redis).map_err(AppError::RedisTls)?;
            Opened::Redis(Arc::new(RedisStore::connect(&options)))
        }
    })
}

/// How the store reaches the Redis that the configuration names.
///
/// # Errors
/// The TLS files cannot be used: someone is looking at the start, so it is said at once.
pub fn redis_options(redis: &RedisConfig) -> Result<RedisOptions, TlsError> {
    let tls = redis.tls.as_deref().map(kafka::client_tls).transpose()?;
    Ok(RedisOptions {
        tls: tls.map(Arc::new),
        servers: redis.servers.clone(),
        username: redis.username.clone(),
        password: redis.password.as_ref().map(|password| Password::new(password.reveal())),
        db: redis.database,
        key_prefix: redis.key_prefix.clone(),
        shards: redis.shards,
        allow_eviction: redis.allow_eviction,
    })
}
