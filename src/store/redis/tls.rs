//! TLS to Redis: what a connection is opened with, and why it was not.
//!
//! The client keeps a failed handshake as text only. So where no connection comes about, one more handshake of our own tells what
//! a person must mend.

use std::{io, time::Duration};

use fred::{
    error::{Error, ErrorKind},
    types::config::{Server, TlsConfig, TlsConnector},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::tls::{ClientTls, Failure};

/// How long that handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(2);

/// What the next connection is opened with: the certificates as they are now.
///
/// # Errors
/// Every authority in the CA file has expired.
pub(super) fn config(tls: &ClientTls) -> Result<TlsConfig, Error> {
    let credentials = tls.current().map_err(|error| Error::new(ErrorKind::Tls, error.to_string()))?;
    let connector = tokio_rustls::TlsConnector::from(credentials.config);
    Ok(TlsConfig::from(TlsConnector::from(connector)))
}

/// Why a server lets nobody in by TLS; `None` where TLS is not the reason.
pub(super) async fn why(tls: &ClientTls, server: &Server) -> Option<Error> {
    let (host, port) = (&*server.host, server.port);
    let error = match timeout(HANDSHAKE_DEADLINE, handshake(tls, host, port)).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error,
        Err(_) => {
            let text = format!(
                "{host}:{port} does not answer TLS: take the port on which it speaks TLS (tls-port), or a redis:// URL without it"
            );
            return Some(Error::new(ErrorKind::Tls, text));
        }
    };
    let failure = Failure::of(&error)?;
    let passes = matches!(failure, Failure::Closed);
    let kind = if passes { ErrorKind::IO } else { ErrorKind::Tls };
    Some(Error::new(kind, format!("{host}:{port} {}", told(tls, failure))))
}

async fn handshake(tls: &ClientTls, host: &str, port: u16) -> io::Result<()> {
    let credentials = tls.current().map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, port)).await?;
    let mut stream = tokio_rustls::TlsConnector::from(credentials.config).connect(name, stream).await?;
    // With TLS 1.3 a server refuses our certificate only when the handshake has ended for us.
    stream.write_all(b"PING\r\n").await?;
    stream.read_u8().await.map(drop)
}

fn told(tls: &ClientTls, failure: Failure) -> String {
    let options = tls.options();
    match failure {
        Failure::Untrusted => {
            let trusted = options
                .ca
                .as_ref()
                .map_or_else(|| "a CA that this system trusts".to_owned(), |ca| format!("the CA in {}", ca.display()));
            format!("has a certificate that is not signed by {trusted}: name the CA that signed it in REDIS_TLS_CA")
        }
        Failure::ServerCertificate(why) => {
            format!(
                "has a certificate that {why}: give it another one, or name it in REDIS_URL as the certificate does"
            )
        }
        Failure::ClientCertificate(alert) => match &options.identity {
            None => format!("wants a client certificate ({alert}): set REDIS_TLS_CERT and REDIS_TLS_KEY"),
            Some(files) => {
                let wrong = tls.current().ok().and_then(|now| now.identity?.wrong_now());
                let why = wrong.map_or_else(
                    || "it must trust the CA that signed it (its tls-ca-cert-file)".to_owned(),
                    |wrong| format!("it {wrong}; renew it"),
                );
                format!("refused the client certificate in {} ({alert}): {why}", files.cert.display())
            }
        },
        Failure::NothingInCommon(alert) => {
            format!("has no version or cipher of TLS in common with us ({alert}); TLS 1.2 and 1.3 are spoken")
        }
        Failure::NotTls => {
            "speaks no TLS: take the port on which it does (tls-port), or a redis:// URL without it".to_owned()
        }
        Failure::Closed => "ended the TLS handshake: it restarts, or speaks no TLS on this port".to_owned(),
        Failure::Other(why) => format!("did not come to terms in TLS: {why}"),
    }
}
