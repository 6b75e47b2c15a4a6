//! `SCHEMA_REGISTRY_*`: who knows the schemas that values name.

use std::path::PathBuf;

use super::{
    reader::Reader,
    table::{self as t},
    types::RegistryConfig,
};

/// Reads the settings; `None` where no registry is named.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<RegistryConfig> {
    let username = reader.text(&t::SCHEMA_REGISTRY_USERNAME).map(str::to_owned);
    let password = reader.secret(&t::SCHEMA_REGISTRY_PASSWORD).map(|source| source.value);
    let ca = reader.text(&t::SCHEMA_REGISTRY_TLS_CA).map(PathBuf::from);
    let Some(url) = reader.secret(&t::SCHEMA_REGISTRY_URL).map(|source| source.value) else {
        for setting in [&t::SCHEMA_REGISTRY_USERNAME, &t::SCHEMA_REGISTRY_PASSWORD, &t::SCHEMA_REGISTRY_TLS_CA] {
            if reader.is_given(setting) {
                reader.refuse(setting, "needs SCHEMA_REGISTRY_URL, such as http://registry:8081");
            }
        }
        return None;
    };
    if !["http://", "https://"].iter().any(|scheme| url.reveal().starts_with(scheme)) {
        reader.refuse(&t::SCHEMA_REGISTRY_URL, "is no URL; http://registry:8081 would be right");
    }
    if username.is_some() != password.is_some() {
        reader.refuse(&t::SCHEMA_REGISTRY_USERNAME, "and SCHEMA_REGISTRY_PASSWORD go together");
    }
    Some(RegistryConfig { url, username, password, ca })
}

#[cfg(test)]
mod tests {
    use crate::config::{Environment, load};

    #[test]
    fn the_registry_is_named_with_its_user_and_nothing_of_it_shows() {
        assert_eq!(loaded(&[]).unwrap(), None);
        let url = ("SCHEMA_REGISTRY_URL", "https://me:hunter2@registry:8081");
        let named = loaded(&[url]).unwrap();
        assert!(!format!("{named:?}").contains("hunter2"));
        assert_eq!(named.unwrap().url.reveal(), url.1);
        for (pairs, part) in [
            (&[("SCHEMA_REGISTRY_URL", "registry:hunter2")][..], "no URL"),
            (&[("SCHEMA_REGISTRY_PASSWORD", "hunter2")], "needs SCHEMA_REGISTRY_URL"),
            (&[url, ("SCHEMA_REGISTRY_PASSWORD", "hunter2")], "go together"),
        ] {
            let error = loaded(pairs).unwrap_err();
            assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
        }
    }

    fn loaded(pairs: &[(&str, &str)]) -> Result<Option<crate::config::RegistryConfig>, String> {
        let environment: Environment =
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        load(&environment, None).map(|loaded| loaded.config.registry).map_err(|error| error.to_string())
    }
}
