//! The byte stream to a broker.

use std::io;

use tokio::net::TcpStream;

/// A connected stream.
pub(super) type Stream = TcpStream;

/// Connects to `host:port`. The caller has the deadline.
pub(super) async fn open(address: &str) -> io::Result<Stream> {
    let stream = TcpStream::connect(address).await?;
    // Nagle's algorithm together with the broker's delayed acknowledgements costs 40 ms a request.
    stream.set_nodelay(true)?;
    Ok(stream)
}
