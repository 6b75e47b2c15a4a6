//! The schema registry: what Confluent's serializers write becomes the event's JSON.
//!
//! A value names its schema by an id; the registry is asked for it once ([`client`]), and what it says is kept compiled: for
//! Avro ([`avro`]), Protobuf ([`protobuf`]) and JSON Schema, whose values are JSON behind the id. An id means the same for ever,
//! so nothing that is known is asked for again; that there is no such schema is believed for a while only.

mod avro;
mod client;
mod protobuf;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

pub use self::client::{RegistryError, RegistryOptions};
use self::{
    avro::Avro,
    client::{Client, Kind, Registered},
    protobuf::Protobuf,
};
use crate::core::translate::{Translate, Translation};

/// Most schemas that are kept; the oldest is forgotten for another.
const MAX_SCHEMAS: usize = 10_000;
/// How long it is believed that there is no such schema: a follower of the registry may not have it yet.
const MISSING_FOR: Duration = Duration::from_secs(30);
/// Largest value after translation, bytes.
const MAX_JSON_BYTES: usize = 16 * 1024 * 1024;

/// What is known of an id.
enum Known {
    /// The value is JSON.
    Json,
    Avro(Avro),
    Protobuf(Protobuf),
    /// There was no such schema at that time.
    Missing(Instant),
    /// We cannot use it, and why.
    Unusable(String),
}

/// The schemas of a registry, as far as they are known.
pub struct Registry {
    client: Client,
    known: RwLock<Schemas>,
}

#[derive(Default)]
struct Schemas {
    by_id: HashMap<u32, Arc<Known>>,
    /// In the order in which they became known.
    order: VecDeque<u32>,
}

impl Registry {
    /// A registry; nothing is asked yet.
    ///
    /// # Errors
    /// The URL or the CA file cannot be used.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        Ok(Self { client: Client::new(options)?, known: RwLock::default() })
    }

    /// Asks for a schema that is not known.
    ///
    /// # Errors
    /// The registry does not answer as one does.
    pub async fn learn(&self, id: u32) -> Result<(), RegistryError> {
        if self.find(id).is_some() {
            return Ok(());
        }
        let known = match self.client.schema(id).await? {
            Some(registered) => compile(&registered),
            None => Known::Missing(Instant::now()),
        };
        let mut schemas = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if schemas.by_id.insert(id, Arc::new(known)).is_none() {
            schemas.order.push_back(id);
        }
        if schemas.order.len() > MAX_SCHEMAS
            && let Some(oldest) = schemas.order.pop_front()
        {
            schemas.by_id.remove(&oldest);
        }
        Ok(())
    }

    fn find(&self, id: u32) -> Option<Arc<Known>> {
        let schemas = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let known = schemas.by_id.get(&id)?;
        match &**known {
            Known::Missing(since) if since.elapsed() >= MISSING_FOR => None,
            _ => Some(Arc::clone(known)),
        }
    }
}

impl Translate for Registry {
    fn translate(&self, id: u32, payload: &[u8], json: &mut Vec<u8>) -> Translation {
        let Some(known) = self.find(id) else { return Translation::Unknown };
        let written = match &*known {
            Known::Json => {
                json.extend_from_slice(payload);
                Ok(())
            }
            Known::Avro(schema) => schema.json(payload, json),
            Known::Protobuf(schema) => schema.json(payload, json),
            Known::Missing(_) => return Translation::NoSchema,
            Known::Unusable(why) => Err(why.clone()),
        };
        written.map_or_else(Translation::Unreadable, |()| Translation::Done)
    }
}

fn compile(registered: &Registered) -> Known {
    let compiled = match registered.kind {
        Kind::Json => Ok(Known::Json),
        Kind::Avro => Avro::compile(registered).map(Known::Avro),
        Kind::Protobuf => Protobuf::compile(registered).map(Known::Protobuf),
    };
    compiled.unwrap_or_else(Known::Unusable)
}

#[cfg(test)]
mod tests;
