//! Redis over TLS: counting by an ACL user with a client certificate, and what is said where a certificate, the port or a right
//! is wrong.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

use crate::{
    place::{Place, ready},
    redis_servers::{RedisServer, cli, free_port, wait},
    support::{
        events::{events_of_these_days, fresh_seed},
        process::Process,
        results,
    },
};

const PASSWORD: &str = "of-the-user";
/// From and until which year a certificate is valid.
const NOW: (i32, i32) = (2020, 2090);
const PAST: (i32, i32) = (2001, 2002);

/// Signs certificates, which lie in a folder.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = params(name, NOW);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn ca(&self) -> String {
        self.path("ca.pem")
    }

    /// The files of a certificate and of its key.
    fn issue(&self, file: &str, name: &str, years: (i32, i32)) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let cert = params(name, years).signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.folder.join(format!("{file}.pem")), cert.pem()).unwrap();
        std::fs::write(self.folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
        [self.path(&format!("{file}.pem")), self.path(&format!("{file}.key"))]
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).to_str().unwrap().to_owned()
    }
}

fn params(name: &str, (from, until): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

/// A server that speaks TLS on one port, to whom it knows by a certificate, and none on another.
struct Server {
    plain: RedisServer,
    tls: u16,
}

impl Server {
    fn start(folder: &Path, ca: &Authority, [cert, key]: &[String; 2]) -> Self {
        let (plain, tls) = (free_port(), free_port());
        let ports = [plain.to_string(), tls.to_string()];
        let args = ["--port", &ports[0], "--tls-port", &ports[1], "--bind", "127.0.0.1", "--save", ""];
        let files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", &ca.ca()];
        let clients = ["--tls-auth-clients", "yes"];
        let plain = RedisServer::start(plain, folder, &[&args[..], &files, &clients].concat());
        wait("the server answers", || cli(plain.port, "", &["ping"]).starts_with("PONG"));
        Self { plain, tls }
    }

    /// Has a user that may use these keys.
    fn user(&self, name: &str, keys: &str) {
        let words = ["acl", "setuser", name, "on", &format!(">{PASSWORD}"), &format!("~{keys}"), "+@all"];
        assert!(cli(self.plain.port, "", &words).starts_with("OK"));
    }

    fn url(&self, user: &str) -> String {
        format!("rediss://{user}:{PASSWORD}@127.0.0.1:{}", self.tls)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counted_over_tls_by_a_user_with_a_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "authority.test");
    let server = Server::start(folder.path(), &ca, &ca.issue("server", "127.0.0.1", NOW));
    let place = Place { redis_url: format!("redis://127.0.0.1:{}", server.plain.port), ..Place::own_topics() };
    server.user("gauge", &format!("{}*", place.key_prefix));
    let (log, catalog) = (place.log(), place.catalog());
    results::create(&log, &results::topics_of(&catalog), 3).await;
    results::publish(&log, &place.topic_prefix, &events_of_these_days(fresh_seed(), 3_000, 100)).await;
    let [cert, key] = ca.issue("client", "gauge", NOW);
    let (url, trusted) = (server.url("gauge"), ca.ca());
    let settings =
        [("REDIS_URL", url.as_str()), ("REDIS_TLS_CA", &trusted), ("REDIS_TLS_CERT", &cert), ("REDIS_TLS_KEY", &key)];
    let mut process = place.start(&settings);
    ready(&mut process).await;
    place.caught_up(&mut process).await;
    // Its connections are all encrypted: what is not is this test's own.
    let clients = cli(server.plain.port, "", &["client", "list"]);
    assert!(clients.lines().any(|client| client.contains("user=gauge")), "{clients}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    assert!(place.assert_complete().await > 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_tls_or_the_user_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Authority::new(folder.path(), "authority.test"), Authority::new(folder.path(), "other.test"));
    let start = |name: &str, server_name: &str, years| {
        let identity = ca.issue(name, server_name, years);
        let server = Server::start(&folder.path().join(name), &ca, &identity);
        server.user("gauge", "*");
        server.user("few", "elsewhere:*");
        server
    };
    let good = start("good", "127.0.0.1", NOW);
    let (expired, named) = (start("expired", "127.0.0.1", PAST), start("named", "redis.test", NOW));
    let (own, foreign) = (ca.issue("client", "gauge", NOW), other.issue("client", "gauge", NOW));
    let old = ca.issue("old", "gauge", PAST);
    let plain_port = format!("rediss://gauge:{PASSWORD}@127.0.0.1:{}", good.plain.port);
    let wrong_password = format!("rediss://gauge:guessed@127.0.0.1:{}", good.tls);
    let missing = "/no/such/ca.pem".to_owned();
    for (url, trusted, identity, expected) in [
        (good.url("gauge"), &other.ca(), Some(&own), "REDIS_TLS_CA"),
        (good.url("gauge"), &missing, Some(&own), "cannot read"),
        (good.url("gauge"), &ca.ca(), None, "set REDIS_TLS_CERT and REDIS_TLS_KEY"),
        (good.url("gauge"), &ca.ca(), Some(&foreign), "tls-ca-cert-file"),
        (good.url("gauge"), &ca.ca(), Some(&old), "renew it"),
        (expired.url("gauge"), &ca.ca(), Some(&own), "expired on 2002"),
        (named.url("gauge"), &ca.ca(), Some(&own), "is made for redis.test, not for 127.0.0.1"),
        (plain_port, &ca.ca(), Some(&own), "TLS"),
        (wrong_password, &ca.ca(), Some(&own), "refused the user or password"),
        (good.url("few"), &ca.ca(), Some(&own), "lacks a right"),
    ] {
        let place = Place::own_topics();
        let mut settings = vec![("REDIS_URL", url.as_str()), ("REDIS_TLS_CA", trusted)];
        if let Some([cert, key]) = identity {
            settings.extend([("REDIS_TLS_CERT", cert.as_str()), ("REDIS_TLS_KEY", key)]);
        }
        let mut process: Process = place.start(&settings);
        assert_ne!(process.ended().await.code(), Some(0));
        let said = process.last_words();
        assert!(said.contains(expected) && !said.contains(PASSWORD), "{expected}: {said}");
    }
}
