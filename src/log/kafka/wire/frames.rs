//! Memory for answers: large buffers are used again, so that reading at full speed does not ask the system for pages.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Answers below this are not worth keeping memory for.
const SMALL_BYTES: usize = 64 * 1024;
/// Most memory that idle buffers of one connection hold.
const MAX_IDLE_BYTES: usize = 4 * 1024 * 1024;
/// Most idle buffers of one connection.
const MAX_IDLE: usize = 4;
/// First piece of memory for an answer whose length is only announced yet; it grows with what really arrives. As much as a
/// usual answer has, so that nothing is moved.
const FIRST_READ_BYTES: usize = 4 * 1024 * 1024;

/// Buffers of one connection that nobody uses now.
#[derive(Default)]
pub(super) struct Frames {
    idle: Mutex<Vec<Vec<u8>>>,
}

/// A buffer in use: given back when the last slice of it is dropped.
struct Lent {
    buffer: Vec<u8>,
    home: Arc<Frames>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

impl Frames {
    /// Reads exactly `length` bytes.
    pub(super) async fn read(
        self: &Arc<Self>,
        from: &mut (impl AsyncRead + Unpin),
        length: usize,
    ) -> io::Result<Bytes> {
        let mut buffer = if length < SMALL_BYTES { Vec::with_capacity(length) } else { self.take() };
        while buffer.len() < length {
            let missing = length - buffer.len();
            if buffer.len() == buffer.capacity() {
                buffer.reserve_exact(missing.min(buffer.len().max(FIRST_READ_BYTES)));
            }
            let room = missing.min(buffer.capacity() - buffer.len());
            if from.read_buf(&mut (&mut buffer).limit(room)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if length < SMALL_BYTES {
            return Ok(Bytes::from(buffer));
        }
        Ok(Bytes::from_owner(Lent { buffer, home: Arc::clone(self) }))
    }

    fn take(&self) -> Vec<u8> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let held: usize = idle.iter().map(Vec::capacity).sum();
        if idle.len() < MAX_IDLE && held + buffer.capacity() <= MAX_IDLE_BYTES {
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]

    use super::*;

    #[tokio::test]
    async fn large_answers_share_memory_and_a_short_stream_is_an_error() {
        let frames = Arc::new(Frames::default());
        let bytes: Vec<u8> = (0..3 * SMALL_BYTES).map(|i| i as u8).collect();
        let first = frames.read(&mut bytes.as_slice(), bytes.len()).await.unwrap();
        assert_eq!(first, bytes);
        let place = first.as_ptr();
        let slice = first.slice(10..20);
        drop(first);
        assert!(frames.idle.lock().unwrap().is_empty(), "a slice still holds it");
        drop(slice);
        let second = frames.read(&mut bytes.as_slice(), SMALL_BYTES).await.unwrap();
        assert_eq!((second.as_ptr(), second.len()), (place, SMALL_BYTES));
        assert!(frames.read(&mut &bytes[..10], 11).await.is_err());
    }
}
