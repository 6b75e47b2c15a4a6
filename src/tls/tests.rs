//! What TLS promises, against a server in this process.

use std::{
    io,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

const HELLO: &[u8] = b"hello";

/// A year from which a certificate is valid, and one until which it is.
type Years = (i32, i32);
const NOW: Years = (2020, 2090);
const PAST: Years = (2001, 2002);
const FUTURE: Years = (2090, 2095);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(years: Years) -> Self {
        // A name of its own: one whose name another has would be told by its wrong signature.
        let mut params = params(&format!("ca-{}.test", uuid::Uuid::new_v4()), years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key.
    fn issue(&self, name: &str, years: Years) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let cert = params(name, years).signed_by(&key, &self.0).expect("a certificate");
        (cert.pem(), key.serialize_pem())
    }
}

fn params(name: &str, (from, until): Years) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

/// A server that says hello to whom it lets in; with `clients` it wants certificates that this CA signed.
async fn server(identity: &(String, String), clients: Option<&Authority>) -> std::net::SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("PEM")).expect("a CA");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(identity.0.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(identity.1.as_bytes()).expect("PEM");
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("an identity")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                stream.write_all(HELLO).await?;
                stream.shutdown().await
            });
        }
    });
    address
}

/// Connects and listens to the hello.
async fn visit(tls: &ClientTls, address: std::net::SocketAddr) -> Result<(), Failure> {
    let credentials = tls.current().expect("credentials");
    let name = ServerName::try_from("broker.test").expect("a name");
    let tcp = TcpStream::connect(address).await.expect("a connection");
    let heard = async {
        let mut stream = TlsConnector::from(credentials.config).connect(name, tcp).await?;
        let mut hello = Vec::new();
        stream.read_to_end(&mut hello).await?;
        assert_eq!(hello, HELLO);
        Ok::<(), io::Error>(())
    };
    heard.await.map_err(|error| Failure::of(&error).unwrap_or_else(|| Failure::Other(error.to_string())))
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn trusting(&self, ca: &Authority) -> TlsOptions {
        TlsOptions { ca: Some(self.write("ca.pem", &ca.pem())), identity: None }
    }

    fn known_as(&self, ca: &Authority, (cert, key): &(String, String)) -> TlsOptions {
        let identity = IdentityFiles { cert: self.write("cert.pem", cert), key: self.write("key.pem", key) };
        TlsOptions { identity: Some(identity), ..self.trusting(ca) }
    }
}

fn load(options: TlsOptions) -> ClientTls {
    ClientTls::load(options).expect("files")
}

#[tokio::test]
async fn a_servers_certificate_must_be_signed_in_time_and_for_its_name() {
    let (ours, other, folder) = (Authority::new(NOW), Authority::new(NOW), Folder::new());
    let tls = load(folder.trusting(&ours));
    for (what, identity, expected) in [
        ("good", ours.issue("broker.test", NOW), Ok(())),
        ("another CA", other.issue("broker.test", NOW), Err(Failure::Untrusted)),
        (
            "expired",
            ours.issue("broker.test", PAST),
            Err(Failure::ServerCertificate("expired on 2002-01-01 00:00:00 UTC".to_owned())),
        ),
        (
            "too early",
            ours.issue("broker.test", FUTURE),
            Err(Failure::ServerCertificate(
                "is not valid before 2090-01-01 00:00:00 UTC (is this machine's clock right?)".to_owned(),
            )),
        ),
        (
            "another name",
            ours.issue("elsewhere.test", NOW),
            Err(Failure::ServerCertificate("is made for elsewhere.test, not for broker.test".to_owned())),
        ),
    ] {
        assert_eq!(visit(&tls, server(&identity, None).await).await, expected, "{what}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_refusal_is_told() {
    let (ours, other) = (Authority::new(NOW), Authority::new(NOW));
    let address = server(&ours.issue("broker.test", NOW), Some(&ours)).await;
    let refused = |alert: &str| Err(Failure::ClientCertificate(alert.to_owned()));
    for (what, identity, expected) in [
        ("good", Some(ours.issue("client", NOW)), Ok(())),
        ("none", None, refused("CertificateRequired")),
        ("expired", Some(ours.issue("client", PAST)), refused("CertificateExpired")),
        ("another CA", Some(other.issue("client", NOW)), refused("UnknownCA")),
    ] {
        let folder = Folder::new();
        let options = match &identity {
            Some(identity) => folder.known_as(&ours, identity),
            None => folder.trusting(&ours),
        };
        assert_eq!(visit(&load(options), address).await, expected, "{what}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_told_from_what_says_nothing() {
    for (answer, expected) in [(&b"\0\0\0\x0aplain"[..], Failure::NotTls), (b"", Failure::Closed)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            let mut hello = [0; 16];
            stream.read_exact(&mut hello).await?;
            stream.write_all(answer).await?;
            stream.shutdown().await?;
            // Reads what is left, else closing would be a reset.
            stream.read_to_end(&mut Vec::new()).await
        });
        let folder = Folder::new();
        assert_eq!(visit(&load(folder.trusting(&Authority::new(NOW))), address).await, Err(expected));
    }
}

#[tokio::test]
async fn renewed_files_are_used_by_the_next_connection_and_half_written_ones_are_not() {
    let (old, new, folder) = (Authority::new(NOW), Authority::new(NOW), Folder::new());
    let of_new = server(&new.issue("broker.test", NOW), Some(&new)).await;
    let tls = load(folder.known_as(&old, &old.issue("client", NOW)));
    assert_eq!(visit(&tls, of_new).await, Err(Failure::Untrusted));
    assert_eq!(tls.current().expect("credentials").generation, 0);

    let half: String = new.pem().chars().take(100).collect();
    for wrong in [half.as_str(), "", "no PEM at all"] {
        folder.write("ca.pem", wrong);
        assert_eq!(visit(&tls, of_new).await, Err(Failure::Untrusted), "{wrong:?}");
    }
    folder.write("ca.pem", &new.pem());
    assert_eq!(visit(&tls, of_new).await, Err(Failure::ClientCertificate("UnknownCA".to_owned())));

    // Certificate and key are two files: for a moment they do not belong together.
    let (cert, key) = new.issue("client", NOW);
    folder.write("cert.pem", &cert);
    assert_eq!(visit(&tls, of_new).await, Err(Failure::ClientCertificate("UnknownCA".to_owned())));
    folder.write("key.pem", &key);
    assert_eq!(visit(&tls, of_new).await, Ok(()));
    assert_eq!(tls.current().expect("credentials").generation, 2);
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_would_be_right() {
    let (ca, folder) = (Authority::new(NOW), Folder::new());
    let (cert, key) = ca.issue("client", NOW);
    let (_, other_key) = ca.issue("client", NOW);
    let good = || folder.known_as(&ca, &(cert.clone(), key.clone()));
    let error = |options: TlsOptions| ClientTls::load(options).expect_err("must be refused").to_string();
    let with_key = |text: &str| {
        let options = good();
        folder.write("key.pem", text);
        error(options)
    };
    load(good());
    let nowhere = TlsOptions { ca: Some(Path::new("/nowhere/ca.pem").to_owned()), identity: None };
    for (error, hint) in [
        (error(nowhere), "cannot read the CA file /nowhere/ca.pem"),
        (error(TlsOptions { ca: Some(folder.write("empty.pem", "")), identity: None }), "holds no certificate"),
        (with_key(&other_key), "does not belong to the certificate"),
        (with_key(&cert), "holds no private key"),
        (with_key(&key.replace("PRIVATE", "ENCRYPTED PRIVATE")), "openssl pkey"),
        (with_key(&key[..key.len() / 2]), "middle of a section"),
    ] {
        assert!(error.contains(hint) && !error.contains(&key[40..60]), "{hint}: {error}");
    }
}

#[test]
fn an_authority_that_has_expired_is_told_at_the_next_connection() {
    let folder = Folder::new();
    let tls = load(folder.trusting(&Authority::new(PAST)));
    let error = tls.current().expect_err("expired").to_string();
    assert!(error.contains("expired on 2002-01-01") && error.contains("ca.pem"), "{error}");
    // One that is valid beside it is enough.
    let both = format!("{}{}", Authority::new(PAST).pem(), Authority::new(NOW).pem());
    folder.write("ca.pem", &both);
    assert!(tls.current().is_ok());
}

#[test]
fn validity_is_read_from_a_certificate() {
    let (cert, _) = Authority::new(NOW).issue("client", PAST);
    let der = CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM");
    let validity = Validity::of(&der).expect("a certificate");
    assert_eq!(told(validity.not_before), "2001-01-01 00:00:00 UTC");
    assert_eq!(validity.wrong_now().as_deref(), Some("expired on 2002-01-01 00:00:00 UTC"));
    let now = Authority::new(NOW).issue("client", NOW).0;
    let der = CertificateDer::from_pem_slice(now.as_bytes()).expect("PEM");
    assert_eq!(Validity::of(&der).expect("a certificate").wrong_now(), None);
}

#[test]
fn invariant_10_no_key_in_debug() {
    let (ca, folder) = (Authority::new(NOW), Folder::new());
    let (cert, key) = ca.issue("client", NOW);
    let shown = format!("{:?}", load(folder.known_as(&ca, &(cert, key.clone()))));
    assert!(!shown.contains("BEGIN") && !shown.contains(&key[40..60]), "{shown}");
}
