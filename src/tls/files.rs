//! From PEM files to what rustls takes.

use std::{fs::File, io::Read, path::Path, sync::Arc, time::SystemTime};

use rustls::{
    ClientConfig, InconsistentKeys, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, pem, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{TlsError, TlsOptions, validity::Validity};

/// Largest file that is read, bytes. The bundle of a whole system is about 200 KB.
const MAX_FILE_BYTES: u64 = 4 << 20;

const CA: &str = "the CA file";
const CERT: &str = "the client certificate";
const KEY: &str = "the client key";

/// The files' contents, as read. No Debug of its own: the key is among them.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files(***)")
    }
}

/// Authorities to trust.
pub(super) struct Roots {
    pub(super) roots: Vec<TrustAnchor<'static>>,
    /// Until when the last of them is valid, where each of them says it.
    pub(super) until: Option<SystemTime>,
}

impl Files {
    pub(super) fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let identity = options.identity.as_ref();
        Ok(Self {
            ca: options.ca.as_deref().map(|path| read(CA, path)).transpose()?,
            cert: identity.map(|files| read(CERT, &files.cert)).transpose()?,
            key: identity.map(|files| read(KEY, &files.key)).transpose()?,
        })
    }

    /// The configuration, and until when the CA file's authorities are valid.
    pub(super) fn config(&self, options: &TlsOptions) -> Result<(ClientConfig, Option<SystemTime>), TlsError> {
        let Roots { roots, until } = match options.ca {
            Some(_) => self.ca_roots(options)?,
            None => Roots { roots: system_roots()?, until: None },
        };
        let (Some(files), Some(cert), Some(key)) = (&options.identity, &self.cert, &self.key) else {
            return Ok((config_with(roots)?, until));
        };
        let chain = certificates(CERT, &files.cert, cert)?;
        let key = private_key(&files.key, key)?;
        let unusable = |reason: String| TlsError::Invalid { what: KEY, path: files.key.clone(), reason };
        let key = ring::sign::any_supported_type(&key).map_err(|error| unusable(error.to_string()))?;
        let identity = CertifiedKey::new(chain, key);
        // Only this: rustls cannot read the certificates of X.509 version 1 that many a recipe for Kafka makes, and brokers
        // take these.
        if let Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) = identity.keys_match() {
            return Err(unusable(format!("it does not belong to the certificate in {}", files.cert.display())));
        }
        let resolver = Arc::new(SingleCertAndKey::from(identity));
        let config = builder()?.with_root_certificates(store(roots)).with_client_cert_resolver(resolver);
        Ok((config, until))
    }

    /// The authorities of the CA file; none where there is no such file.
    pub(super) fn ca_roots(&self, options: &TlsOptions) -> Result<Roots, TlsError> {
        let (Some(path), Some(text)) = (&options.ca, &self.ca) else {
            return Ok(Roots { roots: Vec::new(), until: None });
        };
        let certificates = certificates(CA, path, text)?;
        let until = certificates.iter().map(|der| Some(Validity::of(der)?.not_after)).collect::<Option<Vec<_>>>();
        let roots = certificates
            .iter()
            .map(webpki_anchor)
            .collect::<Result<_, String>>()
            .map_err(|reason| TlsError::Invalid { what: CA, path: path.clone(), reason })?;
        Ok(Roots { roots, until: until.and_then(|all| all.into_iter().max()) })
    }

    /// From when to when our certificate is valid.
    pub(super) fn identity_validity(&self) -> Option<Validity> {
        CertificateDer::pem_slice_iter(self.cert.as_deref()?).next()?.ok().and_then(|der| Validity::of(&der))
    }
}

/// The authorities that this system trusts. Single ones that cannot be read are left out, as everyone does.
pub(super) fn system_roots() -> Result<Vec<TrustAnchor<'static>>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let roots: Vec<_> = found.certs.iter().filter_map(|der| webpki_anchor(der).ok()).collect();
    if roots.is_empty() {
        let reason = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(TlsError::NoSystemRoots { reason });
    }
    Ok(roots)
}

/// A configuration without a certificate of our own.
pub(super) fn config_with(roots: Vec<TrustAnchor<'static>>) -> Result<ClientConfig, TlsError> {
    Ok(builder()?.with_root_certificates(store(roots)).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))
}

fn store(roots: Vec<TrustAnchor<'static>>) -> RootCertStore {
    RootCertStore { roots }
}

fn webpki_anchor(der: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, String> {
    let mut store = RootCertStore::empty();
    store.add(der.clone().into_owned()).map_err(|error| error.to_string())?;
    store.roots.pop().ok_or_else(|| "it is no certificate".to_owned())
}

fn certificates(what: &'static str, path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let invalid = |reason: String| TlsError::Invalid { what, path: path.to_path_buf(), reason };
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(not_pem(&error)))?;
    if certificates.is_empty() {
        return Err(invalid("it holds no certificate; a PEM file begins with -----BEGIN CERTIFICATE-----".to_owned()));
    }
    Ok(certificates)
}

fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let is_encrypted = text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
        let reason = match error {
            pem::Error::NoItemsFound if is_encrypted => {
                "it is encrypted; decrypt it with: openssl pkey -in FILE -out NEW_FILE".to_owned()
            }
            pem::Error::NoItemsFound => "it holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)".to_owned(),
            error => not_pem(&error),
        };
        TlsError::Invalid { what: KEY, path: path.to_path_buf(), reason }
    })
}

/// Names the kind of fault only: the error may quote what it read.
fn not_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it ends in the middle of a section; is it being written?",
        pem::Error::Base64Decode(_) => "it holds a section that is not base64",
        pem::Error::SectionTooLarge => "it holds a section that is too large",
        _ => "it is not PEM",
    }
    .to_owned()
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |reason: String| TlsError::Unreadable { what, path: path.to_path_buf(), reason };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}
