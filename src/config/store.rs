//! Where the results go.

use crate::model::{RedisServers, Secret};

use super::{
    reader::Reader,
    redis_url::{self, RedisUrl},
    security::{TlsSettings, tls},
    table as t,
    types::{RedisConfig, StoreChoice},
};

const REDIS_TLS: TlsSettings = TlsSettings {
    enabled: &t::REDIS_TLS_ENABLED,
    ca: &t::REDIS_TLS_CA,
    cert: &t::REDIS_TLS_CERT,
    key: &t::REDIS_TLS_KEY,
};

/// The store that the settings choose.
pub(super) fn store(reader: &mut Reader<'_>, warnings: &mut Vec<String>) -> StoreChoice {
    let port = reader.number(&t::REDIS_PORT);
    let database = reader.number(&t::REDIS_DB);
    let allow_eviction = reader.flag(&t::REDIS_ALLOW_EVICTION).unwrap_or(false);
    let shards: u16 = reader.number(&t::STORE_SHARDS);
    let username = reader.text(&t::REDIS_USERNAME).map(str::to_owned);
    let password = reader.text(&t::REDIS_PASSWORD).map(Secret::new);
    let host = reader.text(&t::REDIS_HOST).map(|host| host.trim().to_owned());
    let url = reader.text(&t::REDIS_URL).map(|text| redis_url::parse(text.trim()));
    let mut tls = tls(reader, warnings, &REDIS_TLS);
    let place = match (url, host) {
        (Some(Ok(url)), _) => {
            one_way_only(reader, &url);
            if url.tls && reader.flag(&t::REDIS_TLS_ENABLED) == Some(false) {
                reader.refuse(
                    &t::REDIS_TLS_ENABLED,
                    "is false, and REDIS_URL asks for TLS: leave it out, or take a URL with redis in place of rediss",
                );
            }
            if url.tls {
                tls.get_or_insert_default();
            }
            let servers = signed_in(reader, url.servers, warnings);
            RedisUrl { servers, username: url.username.or(username), password: url.password.or(password), ..url }
        }
        (None, Some(host)) => {
            let servers = signed_in(reader, RedisServers::one(host, port), warnings);
            RedisUrl { servers, username, password, database, tls: tls.is_some() }
        }
        (Some(Err(wrong)), _) => {
            reader.refuse(&t::REDIS_URL, wrong);
            return StoreChoice::Embedded;
        }
        (None, None) => {
            let idle = [
                &t::REDIS_PORT,
                &t::REDIS_USERNAME,
                &t::REDIS_PASSWORD,
                &t::REDIS_DB,
                &t::REDIS_TLS_ENABLED,
                &t::REDIS_TLS_CA,
                &t::REDIS_TLS_CERT,
                &t::REDIS_TLS_KEY,
                &t::REDIS_KEY_PREFIX,
                &t::COUNTER_FLUSH_INTERVAL,
            ];
            for setting in idle.into_iter().filter(|setting| reader.is_given(setting)) {
                let name = setting.name;
                warnings.push(format!(
                    "{name} does nothing: neither REDIS_URL nor REDIS_HOST is set, so the store is embedded"
                ));
            }
            if shards > 1 {
                let message = "splits results among Redis' slots, and the store is embedded: one file, written by one \
                               transaction at a time, which gains nothing by it. Leave it out, or set REDIS_URL";
                reader.refuse(&t::STORE_SHARDS, message);
            }
            return StoreChoice::Embedded;
        }
    };
    let key_prefix = reader.text(&t::REDIS_KEY_PREFIX).unwrap_or_default().to_owned();
    if key_prefix.contains(['{', '}']) {
        reader.refuse(
            &t::REDIS_KEY_PREFIX,
            "must not hold braces: what stands in them decides where Redis Cluster puts a key",
        );
    }
    StoreChoice::Redis(RedisConfig {
        servers: place.servers,
        username: place.username,
        password: place.password,
        database: place.database,
        tls: tls.map(Box::new),
        key_prefix,
        allow_eviction,
        shards,
    })
}

/// The servers, with what signs in at sentinels.
fn signed_in(reader: &mut Reader<'_>, servers: RedisServers, warnings: &mut Vec<String>) -> RedisServers {
    let own = [&t::REDIS_SENTINEL_USERNAME, &t::REDIS_SENTINEL_PASSWORD];
    let RedisServers::Sentinel { sentinels, service, username, password } = servers else {
        for setting in own.into_iter().filter(|setting| reader.is_given(setting)) {
            warnings.push(format!("{} does nothing: REDIS_URL is no redis-sentinel:// URL", setting.name));
        }
        return servers;
    };
    for (setting, said) in own.into_iter().zip([username.is_some(), password.is_some()]) {
        if said && reader.is_given(setting) {
            reader.refuse(setting, "is given together with REDIS_URL, which says it already; leave one of them out");
        }
    }
    let username = username.or_else(|| reader.text(&t::REDIS_SENTINEL_USERNAME).map(str::to_owned));
    let password = password.or_else(|| reader.text(&t::REDIS_SENTINEL_PASSWORD).map(Secret::new));
    RedisServers::Sentinel { sentinels, service, username, password }
}

/// Settings that say again what the URL says.
fn one_way_only(reader: &mut Reader<'_>, url: &RedisUrl) {
    let doubled = [
        (&t::REDIS_HOST, true),
        (&t::REDIS_PORT, true),
        (&t::REDIS_DB, true),
        (&t::REDIS_USERNAME, url.username.is_some()),
        (&t::REDIS_PASSWORD, url.password.is_some()),
    ];
    for (setting, said) in doubled {
        if said && reader.is_given(setting) {
            reader.refuse(setting, "is given together with REDIS_URL, which says it already; leave one of them out");
        }
    }
}
