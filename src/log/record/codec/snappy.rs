//! Snappy: raw, as librdkafka and Go write it, and in the blocks of snappy-java ("xerial"), as Java and others write it.

use snap::raw;

use super::{CodecError, grow};

/// Begins a stream of snappy-java; then its version and the oldest that can read it, 4 bytes each.
const JAVA_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const JAVA_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// snappy-java's default; no reader needs more memory for it than for Java's.
const BLOCK_BYTES: usize = 32 * 1024;
/// No snappy element yields more than 64 bytes for 3; a length beyond that is a lie.
const MOST_RATIO: usize = 32;

/// A compressor with its table.
pub(super) type Encoder = raw::Encoder;

/// Decompresses either form and returns the size.
pub(super) fn decompress(input: &[u8], buffer: &mut Vec<u8>) -> Result<usize, CodecError> {
    let Some(framed) = input.strip_prefix(&JAVA_MAGIC) else { return block(input, buffer, 0) };
    let mut rest = framed.get(JAVA_VERSIONS.len()..).ok_or(CodecError::Invalid("the snappy header is cut off"))?;
    let mut size_bytes = 0;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (compressed, behind) =
            behind.split_at_checked(length).ok_or(CodecError::Invalid("a snappy block is cut off"))?;
        size_bytes = block(compressed, buffer, size_bytes)?;
        rest = behind;
    }
    if rest.is_empty() { Ok(size_bytes) } else { Err(CodecError::Invalid("a snappy block's length is cut off")) }
}

/// Decompresses one block behind what is in the buffer, and returns where it ends.
fn block(input: &[u8], buffer: &mut Vec<u8>, at: usize) -> Result<usize, CodecError> {
    let wrong = |_| CodecError::Invalid("not a snappy block");
    let length = raw::decompress_len(input).map_err(wrong)?;
    if length > input.len().saturating_mul(MOST_RATIO) {
        return Err(CodecError::Invalid("a snappy block claims a length that it cannot have"));
    }
    grow(buffer, at.saturating_add(length))?;
    raw::Decoder::new().decompress(input, &mut buffer[at..at + length]).map_err(wrong)?;
    Ok(at + length)
}

/// Appends `input` in the form of snappy-java, the one that every reader of Kafka knows.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>, encoder: &mut Option<Encoder>) -> Result<(), CodecError> {
    let encoder = encoder.get_or_insert_with(Encoder::new);
    out.extend_from_slice(&JAVA_MAGIC);
    out.extend_from_slice(&JAVA_VERSIONS);
    for block in input.chunks(BLOCK_BYTES) {
        let at = out.len();
        out.resize(at + 4 + raw::max_compress_len(block.len()), 0);
        let length = encoder
            .compress(block, &mut out[at + 4..])
            .map_err(|_| CodecError::Invalid("the snappy compressor failed"))?;
        out[at..at + 4].copy_from_slice(&(length as u32).to_be_bytes());
        out.truncate(at + 4 + length);
    }
    Ok(())
}
