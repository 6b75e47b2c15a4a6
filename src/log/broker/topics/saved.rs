//! `broker.json`: what the broker knows of its topics, replaced whole at each change.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::is_valid_name;
use crate::log::broker::{BrokerError, index::write_atomically, settings::Settings};

const METADATA_FILE_NAME: &str = "broker.json";
const FORMAT_VERSION: u32 = 1;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    version: u32,
    /// Drawn when the folder was begun.
    pub cluster_id: String,
    /// By name.
    pub topics: BTreeMap<String, SavedTopic>,
    /// Topics whose files are to go, and their partition counts. What a crash left of that is done on opening.
    #[serde(default)]
    pub deleting: BTreeMap<String, i32>,
    /// Producer ids below were handed out, or may have been.
    #[serde(default)]
    pub next_producer_id: i64,
}

/// A topic in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SavedForm")]
pub struct SavedTopic {
    /// Never used again once the topic is deleted.
    #[serde(with = "as_text")]
    pub id: Uuid,
    /// How many partitions.
    pub partitions: i32,
    /// What was set.
    pub settings: Settings,
}

/// Older folders hold the number of partitions only; such a topic gets its id now.
#[derive(Deserialize)]
#[serde(untagged)]
enum SavedForm {
    Partitions(i32),
    Whole {
        #[serde(with = "as_text")]
        id: Uuid,
        partitions: i32,
        settings: Settings,
    },
}

/// Ids as they are written for people, with dashes.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use uuid::Uuid;

    pub fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        Uuid::parse_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl From<SavedForm> for SavedTopic {
    fn from(form: SavedForm) -> Self {
        match form {
            SavedForm::Partitions(partitions) => Self { id: Uuid::new_v4(), partitions, settings: Settings::default() },
            SavedForm::Whole { id, partitions, settings } => Self { id, partitions, settings },
        }
    }
}

/// Reads the file, or begins one in a new folder. Ids that are drawn here are kept before they are told to anyone.
pub fn load(dir: &Path) -> Result<Saved, BrokerError> {
    let path = dir.join(METADATA_FILE_NAME);
    let unusable = |reason: String| BrokerError::MetadataUnusable { path: path.clone(), reason };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut entries = fs::read_dir(dir).map_err(|source| BrokerError::io("cannot list", dir, source))?;
            if entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir())) {
                return Err(unusable("is missing, though there are logs beside it".into()));
            }
            let cluster_id = uuid::Uuid::new_v4().to_string();
            let metadata = Saved {
                version: FORMAT_VERSION,
                cluster_id,
                topics: BTreeMap::new(),
                deleting: BTreeMap::new(),
                next_producer_id: 0,
            };
            save(dir, &metadata)?;
            return Ok(metadata);
        }
        Err(source) => return Err(BrokerError::io("cannot read", path, source)),
    };
    let metadata: Saved =
        serde_json::from_slice(&text).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    if metadata.version != FORMAT_VERSION {
        return Err(unusable(format!("has format {}, this version knows {FORMAT_VERSION}", metadata.version)));
    }
    if let Some(name) = metadata.topics.keys().chain(metadata.deleting.keys()).find(|name| !is_valid_name(name)) {
        return Err(unusable(format!("holds the invalid topic name {name:?}")));
    }
    // Only then: a full disk must not keep an unchanged broker from starting.
    if serde_json::to_vec_pretty(&metadata).ok().as_deref() != Some(text.as_slice()) {
        save(dir, &metadata)?;
    }
    Ok(metadata)
}

/// Replaces the file; it is durable when this returns.
pub fn save(dir: &Path, metadata: &Saved) -> Result<(), BrokerError> {
    let path = dir.join(METADATA_FILE_NAME);
    let text = serde_json::to_vec_pretty(metadata).map_err(std::io::Error::other);
    text.and_then(|text| write_atomically(&path, &text)).map_err(|source| BrokerError::io("cannot write", path, source))
}
