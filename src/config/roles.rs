//! `ROLES`: what a process does.

use super::{reader::Reader, table as t, types::Roles};

/// What a process can do.
const NAMES: [&str; 4] = ["publish", "count", "deliver", "console"];

/// Reads the setting.
pub fn read(reader: &mut Reader<'_>) -> Roles {
    let named = reader.list(&t::ROLES).unwrap_or_default();
    if let Some(unknown) = named.iter().find(|name| !NAMES.contains(&name.to_ascii_lowercase().as_str())) {
        reader.refuse(&t::ROLES, format!("{unknown:?} is no role; there are {}", NAMES.join(", ")));
    }
    if named.is_empty() {
        reader.refuse(&t::ROLES, format!("names no role; leave it out, or take some of {}", NAMES.join(", ")));
    }
    let has = |role: &str| named.iter().any(|name| name.eq_ignore_ascii_case(role));
    Roles { publish: has("publish"), count: has("count"), deliver: has("deliver") }
}
