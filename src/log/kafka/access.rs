//! Why a broker does not let us in, and what to do.

use std::{io, path::PathBuf};

use crate::{
    log::LogError,
    tls::{Failure, TlsError},
};

use super::security::Security;

/// Why there is no connection that we may use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Nobody answers there.
    #[error("broker {address} cannot be reached: {reason}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// The system's reason.
        reason: String,
    },
    /// It ended the connection without saying why.
    #[error("broker {address} closed the connection: {hint}")]
    Closed {
        /// `host:port`.
        address: String,
        /// What that often means.
        hint: &'static str,
    },
    /// Our certificates cannot be used.
    #[error(transparent)]
    Files(#[from] TlsError),
    /// No authority that we trust signed its certificate.
    #[error(
        "the certificate of broker {address} is not signed by {trusted}; set KAFKA_TLS_CA to the certificate of the CA that signs the brokers'"
    )]
    Untrusted {
        /// `host:port`.
        address: String,
        /// Whom we trust.
        trusted: String,
    },
    /// Something else is wrong with its certificate.
    #[error("the certificate of broker {address} {reason}; renew it, or connect by a name that stands in it")]
    BrokerCertificate {
        /// `host:port`.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It wants a certificate of ours, or does not take the one that it got.
    #[error("broker {address} {reason}")]
    ClientCertificate {
        /// `host:port`.
        address: String,
        /// What it wants, and what to do.
        reason: String,
    },
    /// TLS failed for another reason.
    #[error("TLS with broker {address} failed: {reason}")]
    Tls {
        /// `host:port`.
        address: String,
        /// Why.
        reason: String,
    },
    /// It answered TLS with something else.
    #[error(
        "broker {address} speaks no TLS: take the port of a listener that does (SSL, SASL_SSL), or set KAFKA_TLS_ENABLED=false"
    )]
    NotTls {
        /// `host:port`.
        address: String,
    },
    /// It answered the Kafka protocol with TLS.
    #[error("broker {address} wants TLS: set KAFKA_TLS_ENABLED=true, or take the port of a plain listener")]
    WantsTls {
        /// `host:port`.
        address: String,
    },
    /// What answers there is no Kafka broker.
    #[error("what answers at {address} is no Kafka broker: {reason}")]
    NotKafka {
        /// `host:port`.
        address: String,
        /// What it answered.
        reason: String,
    },
    /// It does not offer the mechanism.
    #[error(
        "broker {address} does not take {mechanism}: it offers {offered}; set KAFKA_SASL_MECHANISM to one that it offers, or take another listener"
    )]
    Mechanism {
        /// `host:port`.
        address: String,
        /// What we asked for.
        mechanism: &'static str,
        /// What it takes.
        offered: String,
    },
    /// Wrong user or password.
    #[error(
        "broker {address} refused user {username:?} with {mechanism}: {reason}; check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, and that the user has credentials for {mechanism}"
    )]
    Login {
        /// `host:port`.
        address: String,
        /// How we authenticated.
        mechanism: &'static str,
        /// As whom.
        username: String,
        /// What it said.
        reason: String,
    },
    /// It did not take the token.
    #[error(
        "broker {address} refused the OAUTHBEARER token: {reason}; check its issuer, audience, scope and lifetime, and KAFKA_SASL_OAUTH_EXTENSIONS"
    )]
    Token {
        /// `host:port`.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The token endpoint gave no token.
    #[error("no token from {url}: {reason}")]
    TokenEndpoint {
        /// Where we asked, without what was asked.
        url: String,
        /// Why, and what to do.
        reason: String,
        /// Whether asking again may help.
        passes: bool,
    },
    /// SASL took a turn that it should not.
    #[error("authenticating to broker {address} failed: {reason}")]
    Sasl {
        /// `host:port`.
        address: String,
        /// What happened.
        reason: String,
    },
    /// This process is stopping.
    #[error("interrupted: {reason}")]
    Interrupted {
        /// Why.
        reason: String,
    },
}

impl AccessError {
    /// What an error of a stream to a broker means. With TLS 1.3 a broker refuses our certificate only when the handshake
    /// has ended for us, so that its alert comes with the first answer.
    pub(super) fn of_io(error: &io::Error, address: &str, security: &Security) -> Self {
        let address = address.to_owned();
        let Some(tls) = &security.tls else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    Self::Closed { address, hint: "it restarts, or the listener wants TLS (KAFKA_TLS_ENABLED=true)" }
                }
                _ => Self::Unreachable { address, reason: error.to_string() },
            };
        };
        let options = tls.options();
        match Failure::of(error) {
            None => Self::Unreachable { address, reason: error.to_string() },
            Some(Failure::Closed) => {
                Self::Closed { address, hint: "it restarts, or the listener speaks no TLS (KAFKA_TLS_ENABLED=false)" }
            }
            Some(Failure::NotTls) => Self::NotTls { address },
            Some(Failure::Untrusted) => Self::Untrusted { address, trusted: trusted(options.ca.as_ref()) },
            Some(Failure::ServerCertificate(reason)) => Self::BrokerCertificate { address, reason },
            Some(Failure::ClientCertificate(alert)) => {
                let reason = match &options.identity {
                    None => format!("wants a client certificate ({alert}): set KAFKA_TLS_CERT and KAFKA_TLS_KEY"),
                    Some(files) => {
                        let now = tls.current().ok().and_then(|now| now.identity?.wrong_now());
                        let why = match now {
                            Some(wrong) => format!("it {wrong}; renew it"),
                            None => "the broker must trust the CA that signed it (its ssl.truststore)".to_owned(),
                        };
                        format!("refused the client certificate in {} ({alert}): {why}", files.cert.display())
                    }
                };
                Self::ClientCertificate { address, reason }
            }
            Some(Failure::NothingInCommon(alert)) => Self::Tls {
                address,
                reason: format!("no version or cipher in common ({alert}); TLS 1.2 and 1.3 are spoken"),
            },
            Some(Failure::Other(reason)) => Self::Tls { address, reason },
        }
    }

    /// Whether the same attempt can succeed later without anyone changing anything.
    pub(super) fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Closed { .. } | Self::Interrupted { .. } | Self::Sasl { .. } => true,
            Self::TokenEndpoint { passes, .. } => *passes,
            _ => false,
        }
    }

    /// As the `Log` seam tells it. `what` names the call and what it was about.
    pub(super) fn into_log_error(self, what: impl Into<String>) -> LogError {
        let (what, reason) = (what.into(), self.to_string());
        if self.is_retriable() { LogError::Unavailable { what, reason } } else { LogError::Refused { what, reason } }
    }
}

fn trusted(ca: Option<&PathBuf>) -> String {
    ca.map_or_else(|| "a CA that this system trusts".to_owned(), |path| format!("the CA in {}", path.display()))
}
