//! What the configuration promises, as tables.

use std::{io::Write, time::Duration};

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn loaded(pairs: &[(&str, &str)]) -> Loaded {
    load(&environment(pairs), None).unwrap_or_else(|error| panic!("{pairs:?}: {error}"))
}

/// The error of a configuration that must be refused.
fn refused(pairs: &[(&str, &str)]) -> String {
    match load(&environment(pairs), None) {
        Ok(_) => panic!("{pairs:?} was taken"),
        Err(error) => error.to_string(),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

#[test]
fn nothing_set_runs_embedded_with_the_defaults_of_the_specification() {
    let Loaded { config, warnings } = loaded(&[("NODE_ENV", "production"), ("PATH", "/bin")]);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.log, LogChoice::Embedded { listen: ([127, 0, 0, 1], 9092).into() });
    assert_eq!(config.store, StoreChoice::Embedded);
    assert_eq!(config.kafka.group, "streamgauge");
    assert_eq!(config.kafka.retries, 8);
    assert_eq!(config.kafka.retry_backoff, Duration::from_millis(100));
    assert_eq!(config.counting.catalogs, ["video"]);
    assert_eq!(config.counting.flush_interval, Duration::from_millis(100));
    assert_eq!(config.http.listen, ([127, 0, 0, 1], 3007).into());
    assert_eq!(config.running.shutdown_timeout, Duration::from_millis(8000));
}

#[test]
fn log_and_store_are_chosen_independently() {
    for (pairs, mode) in [
        (&[("KAFKA_BROKERS", "a:1,b:2")][..], "Kafka at a:1,b:2, embedded store in ./streamgauge-data"),
        (&[("REDIS_HOST", "r")], "embedded log on 127.0.0.1:9092, Redis at r:6379/0"),
        (&[("REDIS_URL", "redis://:p@r:1/2")], "embedded log on 127.0.0.1:9092, Redis at r:1/2"),
        (
            &[("REDIS_URL", "redis-sentinel://a,b:1/main/2")],
            "embedded log on 127.0.0.1:9092, Redis service main of the sentinels at a:26379,b:1, database 2",
        ),
        (
            &[("REDIS_URL", "redis-cluster://a,[::1]:2")],
            "embedded log on 127.0.0.1:9092, Redis Cluster at a:6379,[::1]:2",
        ),
        (
            &[("KAFKA_BROKERS", "a:1"), ("KAFKA_ENABLED", "false"), ("REDIS_HOST", "r"), ("REDIS_PORT", "7")],
            "embedded log on 127.0.0.1:9092, Redis at r:7/0",
        ),
        (
            &[("KAFKA_BROKERS", "a:1"), ("KAFKA_ENABLED", "true"), ("REDIS_HOST", "r")],
            "Kafka at a:1, Redis at r:6379/0",
        ),
        (
            &[("KAFKA_BROKERS", ""), ("REDIS_HOST", "")],
            "embedded log on 127.0.0.1:9092, embedded store in ./streamgauge-data",
        ),
    ] {
        assert_eq!(loaded(pairs).config.mode(), mode, "{pairs:?}");
    }
}

#[test]
fn what_kubernetes_injects_is_ignored_silently() {
    let loaded = loaded(&[
        ("REDIS_HOST", "r"),
        ("REDIS_PORT", "tcp://10.0.0.11:6379"),
        ("REDIS_SERVICE_HOST", "10.0.0.11"),
        ("REDIS_PORT_6379_TCP_ADDR", "10.0.0.11"),
        ("KAFKA_PORT", "tcp://10.0.0.12:9092"),
    ]);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.mode(), "embedded log on 127.0.0.1:9092, Redis at r:6379/0");
}

#[test]
fn the_environment_wins_over_the_file() {
    let file =
        file("port = 4000\ncatalog = [\"video\", \"social\"]\nflush_interval_ms = 20\ntopics_auto_apply = false\n");
    let environment = environment(&[("PORT", "5000")]);
    let config = load(&environment, Some(file.path())).expect("valid").config;
    assert_eq!(config.http.listen.port(), 5000);
    assert_eq!(config.counting.catalogs, ["video", "social"]);
    assert_eq!(config.counting.flush_interval, Duration::from_millis(20));
    assert!(!config.counting.topics_auto_apply);
    let (sources, problems) = Sources::read(&environment, Some(file.path()));
    assert!(problems.is_empty(), "{problems:?}");
    let source = |setting| sources.given(setting).map(|given| given.source.clone());
    assert_eq!(source(&table::PORT), Some(Source::Environment));
    assert_eq!(source(&table::CATALOG), Some(Source::File));
    assert_eq!(source(&table::HTTP_ADDR), None);
}

#[test]
fn config_file_names_the_file_too() {
    let file = file("port = 4000\n");
    let path = file.path().to_str().expect("UTF-8");
    assert_eq!(loaded(&[("CONFIG_FILE", path)]).config.http.listen.port(), 4000);
    assert!(refused(&[("CONFIG_FILE", "/nowhere/at/all.toml")]).contains("/nowhere/at/all.toml"));
}

#[test]
fn an_unknown_key_of_the_file_names_the_nearest() {
    for (text, hint) in [
        ("kafka_broker = \"a:1\"", "the nearest is kafka_brokers"),
        ("PORT = 1", "lower case: port"),
        ("colour = \"red\"", "colour: is not a setting"),
        ("prot = 1", "prot: is not a setting; the nearest is port"),
        ("port = [1]", "port: must be a whole number"),
        ("port = ", "is not TOML"),
        ("[[subscripton]]\ngroup = \"g\"", "the nearest is subscription"),
    ] {
        let error = load(&Environment::new(), Some(file(text).path())).expect_err(text).to_string();
        assert!(error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let error =
        refused(&[("PORT", "70000"), ("KAFKA_BROKERS", "localhost"), ("LOG_FORMAT", "xml"), ("BATCH_SIZE", "0")]);
    for part in ["4 problems", "PORT: \"70000\"", "localhost:9092 would be right", "json, text", "from 1 to 1000000"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn what_comes_later_is_refused_by_name_and_its_only_value_taken() {
    for name in ["API_KEYS", "HTTP_TLS_CERT"] {
        let error = refused(&[(name, "hunter2")]);
        assert!(error.contains(name) && error.contains("not done by this version"), "{error}");
    }
    loaded(&[("KAFKA_TLS_ENABLED", "false")]);
    assert_eq!(loaded(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4317")]).warnings.len(), 1);
}

#[test]
fn shards_are_of_redis() {
    let shards = |pairs: &[(&str, &str)]| loaded(pairs).config.store.shards();
    let redis = ("REDIS_HOST", "localhost");
    assert_eq!([shards(&[]), shards(&[redis]), shards(&[("STORE_SHARDS", "1")])], [1; 3]);
    assert_eq!(shards(&[redis, ("STORE_SHARDS", "64")]), 64);
    for (pairs, part) in [
        (&[("STORE_SHARDS", "2")][..], "the store is embedded"),
        (&[redis, ("STORE_SHARDS", "0")], "from 1 to 64"),
        (&[redis, ("STORE_SHARDS", "65")], "from 1 to 64"),
    ] {
        let error = refused(pairs);
        assert!(error.contains("STORE_SHARDS") && error.contains(part), "{error}");
    }
}

#[test]
fn roles_and_heartbeats() {
    let config = |pairs: &[(&str, &str)]| loaded(pairs).config;
    for (roles, [publish, count, deliver]) in [
        ("publish,count,deliver,console", [true; 3]),
        ("Count", [false, true, false]),
        (" publish , deliver", [true, false, true]),
    ] {
        assert_eq!(config(&[("ROLES", roles)]).roles, Roles { publish, count, deliver }, "{roles}");
    }
    assert_eq!(config(&[]).roles, Roles { publish: true, count: true, deliver: true });
    for (session, heartbeat, expected_ms) in
        [(None, None, 3_000), (Some("2000"), None, 666), (Some("60000"), None, 3_000), (None, Some("500"), 500)]
    {
        let session = session.map(|ms| ("SESSION_TIMEOUT_MS", ms));
        let heartbeat = heartbeat.map(|ms| ("HEARTBEAT_INTERVAL_MS", ms));
        let pairs: Vec<_> = session.into_iter().chain(heartbeat).collect();
        assert_eq!(config(&pairs).counting.heartbeat_interval.as_millis(), expected_ms, "{pairs:?}");
    }
}

#[test]
fn relations_are_checked() {
    for (pairs, hint) in [
        (&[("KAFKA_ENABLED", "true")][..], "needs KAFKA_BROKERS"),
        (&[("REDIS_URL", "redis://r"), ("REDIS_KEY_PREFIX", "{app}:")], "must not hold braces"),
        (&[("KAFKA_LISTEN", "0.0.0.0:9092")], "must be loopback"),
        (&[("HTTP_ADDR", "0.0.0.0")], "HTTP_INSECURE=true"),
        (&[("METRICS_ADDR", "0.0.0.0:3007")], "take another port"),
        (&[("KAFKA_LISTEN", "127.0.0.1:3007")], "take another port"),
        (&[("BATCH_TIMEOUT", "30000")], "below KAFKA_REQUEST_TIMEOUT_MS"),
        (&[("FLUSH_INTERVAL_MS", "60000")], "below SHUTDOWN_TIMEOUT"),
        (&[("KAFKA_FETCH_MAX_BYTES", "65536")], "must not exceed KAFKA_FETCH_MAX_BYTES"),
        (&[("KAFKA_FETCH_MIN_BYTES", "2000000")], "must not exceed KAFKA_FETCH_MAX_PARTITION_BYTES"),
        (&[("TOPICS", "a"), ("PARTITIONS", "b:0")], "names b, which TOPICS leaves out"),
        (&[("REDIS_URL", "redis://r"), ("REDIS_HOST", "r")], "given together with REDIS_URL"),
        (&[("REDIS_URL", "rediss://r"), ("REDIS_TLS_ENABLED", "false")], "asks for TLS"),
        (&[("REDIS_HOST", "r"), ("REDIS_TLS_CERT", "c.pem")], "needs REDIS_TLS_KEY"),
        (&[("REDIS_HOST", "r"), ("REDIS_TLS_KEY", "c.key")], "needs REDIS_TLS_CERT"),
        (&[("KAFKA_CONSUMER_GROUP", " ")], "must name the group"),
        (&[("CATALOG", ",")], "names no catalogue"),
        (&[("LOG_LEVEL", "info,=,[")], "LOG_LEVEL"),
        (&[("HEARTBEAT_INTERVAL_MS", "10000")], "below SESSION_TIMEOUT_MS"),
        (&[("ROLES", "count,pubish")], "\"pubish\" is no role"),
        (&[("ROLES", ",")], "names no role"),
        (&[("CORS_ORIGIN", "example.com")], "https://example.com"),
    ] {
        let error = refused(pairs);
        assert!(error.contains(hint), "{pairs:?}: {error}");
    }
    loaded(&[("HTTP_ADDR", "0.0.0.0"), ("HTTP_INSECURE", "true"), ("METRICS_ADDR", "0.0.0.0:9308")]);
    loaded(&[("LOG_LEVEL", "info,streamgauge::log=debug"), ("CORS_ORIGIN", "*")]);
    assert!(loaded(&[("CATALOG_PATH", "my.toml")]).config.counting.catalogs.is_empty());
}

#[test]
fn a_secret_comes_from_a_file_and_from_one_place_only() {
    let secret = file("hunter2\n");
    let path = secret.path().to_str().expect("UTF-8");
    let StoreChoice::Redis(redis) = loaded(&[("REDIS_HOST", "r"), ("REDIS_PASSWORD_FILE", path)]).config.store else {
        panic!("not Redis");
    };
    assert_eq!(redis.password, Some(Secret::new("hunter2")));
    let error = refused(&[("REDIS_HOST", "r"), ("REDIS_PASSWORD_FILE", path), ("REDIS_PASSWORD", "hunter3")]);
    assert!(error.contains("give one of them") && !error.contains("hunter"), "{error}");
    assert!(refused(&[("REDIS_URL_FILE", "/nowhere/at/all")]).contains("cannot read"));
}

#[test]
fn invariant_10_no_secret_in_errors_or_debug() {
    let error =
        refused(&[("REDIS_URL", "redis://:hunter2@r:x"), ("REDIS_PASSWORD", "hunter2"), ("API_KEYS", "hunter2")]);
    assert!(!error.contains("hunter2"), "{error}");
    let broken = file("port = 1\nredis_password = \"hunter2\n");
    let error = load(&Environment::new(), Some(broken.path())).expect_err("no TOML").to_string();
    assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    let config = loaded(&[("REDIS_URL", "redis://:hunter2@r")]).config;
    assert!(!format!("{config:?} {}", config.mode()).contains("hunter2"));
}

#[test]
fn every_setting_that_works_is_read() {
    // A value that no kind takes must be refused by name; what takes any text is left out.
    for setting in table::ALL.iter().filter(|setting| setting.state == State::Works) {
        if !matches!(setting.kind, Kind::Text | Kind::Path | Kind::List | Kind::Tables) {
            let error = refused(&[(setting.name, ":[ nonsense")]);
            assert!(error.contains(&format!("{}: ", setting.name)), "{}: {error}", setting.name);
        }
    }
}

#[test]
fn env_example_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    if std::env::var_os("UPDATE_ENV_EXAMPLE").is_some() {
        std::fs::write(path, env_example()).expect("written");
    }
    let on_disk = std::fs::read_to_string(path).expect(".env.example");
    assert_eq!(on_disk, env_example(), "run: UPDATE_ENV_EXAMPLE=1 cargo test --lib env_example");
}

#[test]
fn sentinels_have_a_password_of_their_own() {
    let url = ("REDIS_URL", "redis-sentinel://:servers@a/main");
    let secret = file("hunter2\n");
    let path = secret.path().to_str().expect("UTF-8");
    let StoreChoice::Redis(redis) = loaded(&[url, ("REDIS_SENTINEL_PASSWORD_FILE", path)]).config.store else {
        panic!("not Redis");
    };
    let crate::model::RedisServers::Sentinel { password, .. } = redis.servers else { panic!("no sentinels") };
    assert_eq!((password, redis.password), (Some(Secret::new("hunter2")), Some(Secret::new("servers"))));
    let twice = ("REDIS_URL", "redis-sentinel://a/main?sentinelPassword=x");
    assert!(refused(&[twice, ("REDIS_SENTINEL_PASSWORD", "y")]).contains("given together with REDIS_URL"));
    let warnings = loaded(&[("REDIS_URL", "redis://r"), ("REDIS_SENTINEL_PASSWORD", "y")]).warnings;
    assert!(warnings.iter().any(|warning| warning.contains("REDIS_SENTINEL_PASSWORD does nothing")), "{warnings:?}");
}

#[test]
fn totals_are_copied_from_redis() {
    let redis = ("REDIS_HOST", "localhost");
    let config = loaded(&[redis]).config;
    assert_eq!((config.counting.counter_flush_interval, config.database), (Duration::from_secs(30), None));
    let url = ("DATABASE_URL", "postgres://user:hunter2@host/name");
    let config = loaded(&[redis, url, ("COUNTER_FLUSH_INTERVAL", "1000")]).config;
    assert_eq!(config.counting.counter_flush_interval, Duration::from_secs(1));
    assert!(!format!("{config:?}").contains("hunter2"));
    for (pairs, part) in [
        (&[url][..], "the store is embedded"),
        (&[redis, ("DATABASE_URL", "mysql://hunter2")], "no PostgreSQL URL"),
        (&[("COUNTER_FLUSH_INTERVAL", "10")], "from 1000 to 86400000"),
    ] {
        let error = refused(pairs);
        assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
    }
    assert!(loaded(&[("COUNTER_FLUSH_INTERVAL", "2000")]).warnings[0].contains("does nothing"));
}
