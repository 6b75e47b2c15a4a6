//! TLS of the connections that we open: one crypto provider, and certificates that may be renewed while we run.
//!
//! [`ClientTls`] reads its files again whenever a connection is about to be opened, so that a renewed certificate is used
//! without a restart. What a failed handshake means is told by [`Failure`]. Imports nothing of ours.

mod failure;
mod files;
mod outgoing;
mod validity;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use chrono::{DateTime, Utc};
use rustls::{ClientConfig, crypto::ring};

use self::files::Files;
pub use self::{
    failure::Failure,
    outgoing::{http_client, repeated, why},
    validity::Validity,
};

/// Makes ring the provider of this process, for libraries that ask for one. Called first thing in `main`, and by whatever
/// uses an HTTP client in process; calling it again does nothing.
pub fn install_provider() {
    // An error says that one is installed; ring is the only one that is compiled in.
    let _ = ring::default_provider().install_default();
}

/// Which certificates to use. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates of the authorities that sign the servers'; `None` takes the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate with its chain, and its key.
    pub identity: Option<IdentityFiles>,
}

/// Where a client's certificate lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate, then those between it and the authority.
    pub cert: PathBuf,
    /// Its key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Why certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what} {}: {reason}", path.display())]
    Unreadable {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A file does not hold what it should.
    #[error("{what} {} cannot be used: {reason}", path.display())]
    Invalid {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Every authority in the file has expired.
    #[error("the CA certificate in {} expired on {}; put the renewed one there", path.display(), told(*until))]
    Expired {
        /// The file.
        path: PathBuf,
        /// When the last of them expired.
        until: SystemTime,
    },
    /// The system has no certificates of authorities.
    #[error(
        "this system has no CA certificates ({reason}); install ca-certificates, or name a file with the CA to trust"
    )]
    NoSystemRoots {
        /// Why.
        reason: String,
    },
    /// rustls takes none of this.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// What a connection is opened with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// For rustls.
    pub config: Arc<ClientConfig>,
    /// Goes up by one each time other certificates are taken.
    pub generation: u64,
    /// From when to when our own certificate is valid, where there is one.
    pub identity: Option<Validity>,
}

/// TLS towards servers, with files that are read again when they were renewed.
#[derive(Debug)]
pub struct ClientTls {
    options: TlsOptions,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    files: Files,
    credentials: Credentials,
    ca_until: Option<SystemTime>,
    /// The last complaint about newer files, so that it is said once.
    complaint: Option<String>,
}

impl ClientTls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// A file is missing, is not what it should be, or the key does not belong to the certificate.
    pub fn load(options: TlsOptions) -> Result<Self, TlsError> {
        let files = Files::read(&options)?;
        let (config, ca_until) = files.config(&options)?;
        let identity = files.identity_validity();
        warn_of_expiry(&options, identity);
        let credentials = Credentials { config: Arc::new(config), generation: 0, identity };
        Ok(Self { options, loaded: Mutex::new(Loaded { files, credentials, ca_until, complaint: None }) })
    }

    /// Which files it reads.
    pub fn options(&self) -> &TlsOptions {
        &self.options
    }

    /// What the next connection is opened with. Reads the files again (they are small and local); newer ones that cannot be
    /// used, such as half-written ones, are warned about once, and the last good ones stay.
    ///
    /// # Errors
    /// Every authority in the CA file has expired.
    pub fn current(&self) -> Result<Credentials, TlsError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match self.newer(&loaded) {
            Ok(None) => loaded.complaint = None,
            Ok(Some(newer)) => {
                tracing::info!("the TLS certificates have changed; new connections use the new ones");
                warn_of_expiry(&self.options, newer.credentials.identity);
                *loaded = newer;
            }
            Err(error) => {
                let complaint = error.to_string();
                if loaded.complaint.as_ref() != Some(&complaint) {
                    tracing::warn!("{complaint}; going on with the certificates that were read before");
                    loaded.complaint = Some(complaint);
                }
            }
        }
        match (&self.options.ca, loaded.ca_until) {
            (Some(path), Some(until)) if until < SystemTime::now() => {
                Err(TlsError::Expired { path: path.clone(), until })
            }
            _ => Ok(loaded.credentials.clone()),
        }
    }

    fn newer(&self, loaded: &Loaded) -> Result<Option<Loaded>, TlsError> {
        let files = Files::read(&self.options)?;
        if files == loaded.files {
            return Ok(None);
        }
        let (config, ca_until) = files.config(&self.options)?;
        let generation = loaded.credentials.generation + 1;
        let credentials = Credentials { config: Arc::new(config), generation, identity: files.identity_validity() };
        Ok(Some(Loaded { files, credentials, ca_until, complaint: None }))
    }
}

/// A configuration for HTTPS: the system's authorities, and those in `ca`.
///
/// # Errors
/// There is neither the one nor the other, or the file cannot be used.
pub fn https(ca: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let options = TlsOptions { ca: ca.map(Path::to_path_buf), identity: None };
    let mut roots =
        files::system_roots().or_else(|error| if ca.is_some() { Ok(Default::default()) } else { Err(error) })?;
    roots.extend(Files::read(&options)?.ca_roots(&options)?.roots);
    files::config_with(roots)
}

/// A certificate of ours that is not valid now is the server's to refuse, but a reason to say so at once.
fn warn_of_expiry(options: &TlsOptions, identity: Option<Validity>) {
    if let (Some(files), Some(wrong)) = (&options.identity, identity.and_then(|validity| validity.wrong_now())) {
        tracing::warn!("the client certificate in {} {wrong}", files.cert.display());
    }
}

/// A time as people write it.
fn told(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests;
