//! What a failed handshake means, out of the error that rustls put into an `io::Error`.

use std::{
    fmt, io,
    time::{Duration, SystemTime},
};

use rustls::{AlertDescription, CertificateError, Error, pki_types::UnixTime};

use super::told;

/// Most names of a certificate that an error repeats.
const MAX_NAMES: usize = 8;

/// Why TLS failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server's certificate is signed by no authority that we trust.
    Untrusted,
    /// Something else is wrong with the server's certificate: expired, made for another name.
    ServerCertificate(String),
    /// The server did not take our certificate, or wants one; the alert that it sent.
    ClientCertificate(String),
    /// The two sides share no version or cipher; the alert.
    NothingInCommon(String),
    /// What answered is not TLS.
    NotTls,
    /// The other side ended the connection without a word.
    Closed,
    /// Something else.
    Other(String),
}

impl Failure {
    /// What an error of reading or writing a TLS stream means; `None` where TLS has nothing to do with it.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Some(Self::of_rustls(error)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Some(Self::Closed),
            None => None,
        }
    }

    fn of_rustls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Self::Untrusted
            }
            Error::InvalidCertificate(wrong) => Self::ServerCertificate(wrong_certificate(wrong)),
            Error::AlertReceived(alert) => alerted(*alert),
            Error::PeerIncompatible(why) => Self::NothingInCommon(format!("{why:?}")),
            Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other.to_string()),
        }
    }
}

/// JDKs refuse a missing certificate with bad_certificate, an unknown signer with certificate_unknown, others by the book.
fn alerted(alert: AlertDescription) -> Failure {
    use AlertDescription as A;
    let told = format!("{alert:?}");
    match alert {
        A::CertificateRequired
        | A::NoCertificate
        | A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied
        | A::DecryptError => Failure::ClientCertificate(told),
        A::HandshakeFailure | A::ProtocolVersion | A::InsufficientSecurity => Failure::NothingInCommon(told),
        _ => Failure::Other(format!("the other side ended TLS with {told}")),
    }
}

fn wrong_certificate(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!("expired on {}", told(system_time(*not_after))),
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {} (is this machine's clock right?)", told(system_time(*not_before)))
        }
        CertificateError::NotValidForName => "is made for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = Names(presented);
            format!("is made for {names}, not for {}", expected.to_str())
        }
        CertificateError::Revoked => "has been revoked".to_owned(),
        other => format!("cannot be used: {other}"),
    }
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no name at all");
        }
        let shown: Vec<&str> = self.0.iter().take(MAX_NAMES).map(|name| plain(name)).collect();
        f.write_str(&shown.join(", "))?;
        if self.0.len() > MAX_NAMES { f.write_str(", …") } else { Ok(()) }
    }
}

/// webpki tells names in the form `DnsName("broker")` or `IpAddress(127.0.0.1)`.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())).unwrap_or(SystemTime::UNIX_EPOCH)
}
