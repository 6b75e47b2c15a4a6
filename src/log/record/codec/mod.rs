//! The five codecs of Kafka, into and out of buffers that are used again.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::{fmt, str::FromStr};

/// Most bytes that one batch may have after decompression. A compressed batch of 1 MiB (a broker's default limit) can claim
/// more than a gigabyte; no producer builds a batch of this size.
pub const MAX_DECOMPRESSED_BYTES: usize = 128 * 1024 * 1024;
/// Bytes that a [`Scratch`] or a builder keeps for the next batch; what a larger batch took is given back after it.
pub const MAX_RETAINED_BYTES: usize = 8 * 1024 * 1024;
/// The first size of a decompression buffer, so that it does not grow in small steps.
const MIN_BUFFER_BYTES: usize = 64 * 1024;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, in blocks as snappy-java frames them, or raw.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// As a batch's attributes name it.
    pub fn from_bits(bits: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(bits).ok()?).copied()
    }

    /// As a batch's attributes name it.
    pub fn bits(self) -> i16 {
        self as i16
    }

    /// As Kafka's `compression.type` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|compression| compression.name() == name).ok_or(())
    }
}

/// Why bytes cannot be decompressed or compressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A decompression bomb, or a batch that no producer would build.
    #[error("it would take more than {MAX_DECOMPRESSED_BYTES} bytes")]
    TooLarge,
    /// The bytes are not what the codec writes.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Buffers for reading batches one after the other. Not bound to a partition; one per thread that decodes is enough.
#[derive(Default)]
pub struct Scratch {
    /// Initialised up to its length, which is what has been needed so far: a `Vec` that grew with each batch would be
    /// zeroed or copied again and again, which costs ten times the decompression.
    buffer: Vec<u8>,
    zstd: Option<zstd::Decoder>,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("buffer_bytes", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl Scratch {
    /// Decompresses `input`. Checksums within it are not compared, where the codec lets them be: the batch's covers them.
    ///
    /// # Errors
    /// The bytes are invalid, or would take more than [`MAX_DECOMPRESSED_BYTES`].
    pub fn decompress<'a>(&'a mut self, compression: Compression, input: &'a [u8]) -> Result<&'a [u8], CodecError> {
        let size_bytes = match compression {
            Compression::None => return Ok(input),
            Compression::Gzip => gzip::decompress(input, &mut self.buffer)?,
            Compression::Snappy => snappy::decompress(input, &mut self.buffer)?,
            Compression::Lz4 => lz4::decompress(input, &mut self.buffer)?,
            Compression::Zstd => zstd::decompress(input, &mut self.buffer, &mut self.zstd)?,
        };
        Ok(&self.buffer[..size_bytes])
    }

    /// Gives back what a large batch took.
    pub(super) fn trim(&mut self) {
        trim(&mut self.buffer);
    }
}

/// Compressors and their tables, kept from batch to batch.
#[derive(Default)]
pub(super) struct Compressor {
    gzip: Option<gzip::Encoder>,
    snappy: Option<snappy::Encoder>,
    lz4: lz4::Encoder,
    zstd: Option<zstd::Encoder>,
}

impl Compressor {
    /// Appends `input`, compressed.
    pub(super) fn compress(
        &mut self,
        compression: Compression,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        match compression {
            Compression::None => {
                out.extend_from_slice(input);
                Ok(())
            }
            Compression::Gzip => gzip::compress(input, out, &mut self.gzip),
            Compression::Snappy => snappy::compress(input, out, &mut self.snappy),
            Compression::Lz4 => lz4::compress(input, out, &mut self.lz4),
            Compression::Zstd => zstd::compress(input, out, &mut self.zstd),
        }
    }
}

/// Gives back what is beyond [`MAX_RETAINED_BYTES`].
pub(super) fn trim(buffer: &mut Vec<u8>) {
    if buffer.capacity() > MAX_RETAINED_BYTES {
        buffer.truncate(MAX_RETAINED_BYTES);
        buffer.shrink_to(MAX_RETAINED_BYTES);
    }
}

/// Makes the buffer at least `size_bytes` long, with room for more where that is allowed.
fn grow(buffer: &mut Vec<u8>, size_bytes: usize) -> Result<(), CodecError> {
    if size_bytes > MAX_DECOMPRESSED_BYTES {
        return Err(CodecError::TooLarge);
    }
    if buffer.len() < size_bytes {
        let doubled = (buffer.len() * 2).clamp(MIN_BUFFER_BYTES, MAX_DECOMPRESSED_BYTES);
        buffer.resize(size_bytes.max(doubled), 0);
    }
    Ok(())
}

/// Makes the buffer longer, for a codec that cannot say how much it needs.
fn grow_on(buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    if buffer.len() >= MAX_DECOMPRESSED_BYTES {
        return Err(CodecError::TooLarge);
    }
    grow(buffer, buffer.len() + 1)
}
