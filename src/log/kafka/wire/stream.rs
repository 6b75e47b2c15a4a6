//! The byte stream to a broker: TCP, or TLS on it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, lookup_host},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::log::kafka::{access::AccessError, security::Security};

/// A connected stream.
pub(super) enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS; boxed, since it is many times larger.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to `host:port`. No deadline of its own: the caller has one.
///
/// # Errors
/// The broker cannot be reached, or TLS fails. With TLS 1.3 a broker may refuse our certificate only later, in place of its
/// first answer: [`AccessError::of_io`] tells that too.
pub(super) async fn open(address: &str, security: &Security) -> Result<Stream, AccessError> {
    let credentials = security.credentials()?;
    let unreachable =
        |error: io::Error| AccessError::Unreachable { address: address.to_owned(), reason: error.to_string() };
    let tcp = connect(address).await.map_err(unreachable)?;
    let Some(credentials) = credentials else { return Ok(Stream::Plain(tcp)) };
    let name = server_name(address).map_err(|error| unreachable(io::Error::other(error)))?;
    let connector = TlsConnector::from(credentials.config);
    match connector.connect(name, tcp).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(error) => Err(AccessError::of_io(&error, address, security)),
    }
}

/// Tries each address of the name.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(address).await? {
        match connect_to(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Nagle's algorithm together with the broker's delayed acknowledgements costs 40 ms a request.
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.connect(address).await
}

/// The host of `host:port`, IPv6 without its brackets.
fn server_name(address: &str) -> Result<ServerName<'static>, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name that a certificate can have"))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_the_certificate_must_name() {
        for (address, host) in [
            ("broker-1.example.com:9093", "broker-1.example.com"),
            ("127.0.0.1:9093", "127.0.0.1"),
            ("[::1]:9093", "::1"),
        ] {
            assert_eq!(server_name(address).expect("a name").to_str(), host);
        }
        assert!(server_name("not a host:1").is_err());
    }
}
