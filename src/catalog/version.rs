//! Versions of event types: which one an event is of.

use super::plan::Topic;

impl Topic {
    /// Index of the event type of this name that an event of this version is of, which is given as its JSON has it: text,
    /// number, or nothing. Of several versions the one named. An event that names none, or one that is not there, is of the
    /// newest; where the type has schemas, of the newest that begins with the same number, if there is one.
    pub fn version_of(&self, name: &str, version: &str) -> Option<usize> {
        let (mut newest, mut newest_alike, mut has_schema) = (None, None, false);
        // Of several versions the newest stands last.
        for (index, event) in self.events.iter().enumerate().filter(|(_, event)| &*event.name == name) {
            if is_version(version, &event.version) {
                return Some(index);
            }
            newest = Some(index);
            has_schema |= event.schema.is_some();
            if first_number(version) == first_number(&event.version) {
                newest_alike = newest;
            }
        }
        if has_schema { newest_alike.or(newest) } else { newest }
    }
}

/// Whether a raw version is this one of the catalogue, whose trailing zeros are cut: `1`, `1.0` and `1.0.0` are the same.
fn is_version(raw: &str, version: &str) -> bool {
    let zeros = raw.trim_matches('"').strip_prefix(version);
    zeros.is_some_and(|mut zeros| {
        while let Some(rest) = zeros.strip_prefix(".0") {
            zeros = rest;
        }
        zeros.is_empty()
    })
}

fn first_number(raw: &str) -> &str {
    let version = raw.trim_matches('"');
    version.split_once('.').map_or(version, |(first, _)| first)
}
