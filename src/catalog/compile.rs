//! From files to the plan: read, check together, and name the rules.

use std::{collections::HashMap, sync::Arc};

use super::{check, draft::DraftFile, finding::Finding, fingerprint, plan::Catalog, read_topic};

/// A catalogue file as text.
#[derive(Clone, Debug)]
pub struct Source {
    /// What findings call it.
    pub file: String,
    /// Its TOML.
    pub text: String,
}

/// Everything that is wrong with catalogues that are used together, in the order of files and lines.
pub fn lint(sources: &[Source]) -> Vec<Finding> {
    read(sources).1
}

fn read(sources: &[Source]) -> (Vec<DraftFile>, Vec<Finding>) {
    let mut findings = Vec::new();
    let files: Vec<DraftFile> =
        sources.iter().map(|source| read_topic::file(&source.file, &source.text, &mut findings)).collect();
    check::all(&files, &mut findings);
    let order: HashMap<&str, usize> = sources.iter().zip(0..).map(|(source, index)| (&*source.file, index)).collect();
    findings.sort_by_cached_key(|finding| (order.get(&*finding.file).copied(), finding.clone()));
    findings.dedup();
    (files, findings)
}

/// Compiles catalogues that are used together.
///
/// # Errors
/// All findings of [`lint`], where there are any.
pub fn compile(sources: &[Source]) -> Result<Catalog, Vec<Finding>> {
    let (files, findings) = read(sources);
    if !findings.is_empty() {
        return Err(findings);
    }
    let mut catalog = Catalog::default();
    for file in files {
        if !catalog.names.contains(&file.name) {
            catalog.names.push(file.name);
        }
        for draft in file.topics {
            let mut topic = draft.topic;
            let text = fingerprint::canonical_text(&topic, 1).map_err(|error| {
                let message = format!("topic `{}` cannot be written as JSON: {error}", topic.name);
                vec![Finding::at(&draft.place, message, "this is a defect of streamgauge: please report it")]
            })?;
            topic.fingerprint = fingerprint::fingerprint(&text);
            topic.text = text.into();
            catalog.by_name.insert(Arc::clone(&topic.name), catalog.topics.len());
            catalog.topics.push(Arc::new(topic));
        }
    }
    Ok(catalog)
}

impl Catalog {
    /// The catalogue for a store of so many shards (`STORE_SHARDS`): its rules are named anew. As compiled it is for one.
    ///
    /// # Errors
    /// Never in fact: the same text was written as JSON when the catalogue was compiled.
    pub fn for_shards(mut self, shards: u16) -> Result<Self, serde_json::Error> {
        for topic in &mut self.topics {
            let text = fingerprint::canonical_text(topic, shards)?;
            let topic = Arc::make_mut(topic);
            topic.fingerprint = fingerprint::fingerprint(&text);
            topic.text = text.into();
        }
        Ok(self)
    }
}
