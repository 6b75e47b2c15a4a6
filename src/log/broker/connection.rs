//! One client connection: requests in, answers out, in order.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use super::calls::{self, RequestError, Serving};

/// Most connections at once; one more is closed at once.
pub const MAX_CONNECTIONS: usize = 512;
/// Largest request taken.
pub const MAX_REQUEST_BYTES: usize = 100 * 1024 * 1024;
/// Most bytes of requests held at once, all connections together; who would exceed it waits.
pub const MAX_BUFFERED_BYTES: usize = 2 * MAX_REQUEST_BYTES;
/// How long a connection may be silent, as Kafka's `connections.max.idle.ms`.
const MAX_IDLE: Duration = Duration::from_secs(600);
/// How long a request that has begun may take to arrive, and an answer to be taken.
const MAX_TRANSFER: Duration = Duration::from_secs(30);
/// First piece of memory for a request; it grows with what really arrives.
const FIRST_READ_BYTES: usize = 64 * 1024;

/// Why a connection ended that the client did not close.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The network.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// What was sent is not a request that is offered.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The length in front of a request is out of bounds.
    #[error(
        "a request of {0} bytes was announced; 8 to {MAX_REQUEST_BYTES} are taken (is this a Kafka client without TLS?)"
    )]
    Length(i32),
    /// The client stopped in the middle.
    #[error("the client stopped in the middle of {0}")]
    Stalled(&'static str),
}

/// The memory for requests, shared by all connections.
pub fn request_memory() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_BUFFERED_BYTES))
}

/// Serves a connection until the client closes it.
///
/// One request at a time is taken off the socket and answered before the next, as in Kafka itself: answers come in order, and
/// what a client pipelines waits in the socket's buffers, which are bounded.
pub async fn serve(
    mut stream: TcpStream,
    serving: Arc<Serving>,
    memory: Arc<Semaphore>,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let local: SocketAddr = stream.local_addr()?;
    loop {
        let mut prefix = [0; 4];
        match timeout(MAX_IDLE, stream.read_exact(&mut prefix)).await {
            Err(_) => return Ok(()),
            Ok(Err(error)) if is_close(&error) => return Ok(()),
            Ok(read) => read?,
        };
        let announced = i32::from_be_bytes(prefix);
        let length = usize::try_from(announced).unwrap_or(0);
        if !(8..=MAX_REQUEST_BYTES).contains(&length) {
            return Err(ConnectionError::Length(announced));
        }
        // Never closed, and below the semaphore's size: it always comes.
        let held = memory.acquire_many(length as u32).await;
        let request = timeout(MAX_TRANSFER, read(&mut stream, length));
        let request = request.await.map_err(|_| ConnectionError::Stalled("a request"))??;
        let answer = calls::answer(&serving, local, request).await?;
        drop(held);
        if let Some(answer) = answer {
            let written = timeout(MAX_TRANSFER, stream.write_all(&answer)).await;
            written.map_err(|_| ConnectionError::Stalled("an answer"))??;
        }
    }
}

async fn read(stream: &mut TcpStream, length: usize) -> io::Result<Bytes> {
    let mut request = BytesMut::with_capacity(length.min(FIRST_READ_BYTES));
    let mut body = stream.take(length as u64);
    while request.len() < length {
        if request.len() == request.capacity() {
            let more_bytes = request.len().min(length - request.len());
            request.reserve(more_bytes);
        }
        if body.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(request.freeze())
}

fn is_close(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}
