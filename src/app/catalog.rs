//! The catalogues as the configuration chooses them, and what it names of them.

use std::sync::Arc;

use super::topics_of;
use crate::{
    catalog::{CatalogChoice, CatalogError, nearest, plan::Catalog},
    config::Config,
};

/// Why the configuration has no catalogues to run with.
#[derive(Debug, thiserror::Error)]
pub enum ChosenError {
    /// They cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// They could not be named anew for the store's shards: a defect of ours.
    #[error(transparent)]
    Shards(#[from] serde_json::Error),
    /// The configuration names what they do not have, each with the nearest.
    #[error("{}", .0.join("\n"))]
    Unknown(Vec<String>),
}

/// Which catalogues the configuration names.
pub fn choice(config: &Config) -> CatalogChoice {
    CatalogChoice { names: config.counting.catalogs.clone(), path: config.counting.catalog_path.clone() }
}

/// The catalogues that the configuration names.
///
/// # Errors
/// They cannot be used, or do not have a topic or an event type that the configuration names.
pub fn catalog(config: &Config) -> Result<Arc<Catalog>, ChosenError> {
    let catalog = Catalog::load(&choice(config))?.for_shards(config.store.shards())?;
    let by_hand =
        config.counting.partitions.iter().flat_map(|partitions| partitions.keys()).map(|name| ("PARTITIONS", name));
    let chosen = config.counting.topics.iter().flatten().map(|name| ("TOPICS", name)).chain(by_hand);
    for (setting, name) in chosen {
        if catalog.topic(name).is_none() {
            let known: Vec<&str> = catalog.topics.iter().map(|topic| &*topic.name).collect();
            let hint =
                nearest(name, known.iter().copied()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(ChosenError::Unknown(vec![format!(
                "{setting} names the topic {name:?}, which no catalogue has{hint} (there are {})",
                known.join(", ")
            )]));
        }
    }
    topics_of(config, &catalog).map_err(ChosenError::Unknown)?;
    Ok(Arc::new(catalog))
}
