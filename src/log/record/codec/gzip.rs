//! gzip (RFC 1952) by zlib-rs.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::{CodecError, grow, grow_on};

/// The largest window, which is what every producer uses.
const WINDOW_BITS: u8 = 15;
const MEMBER_START: [u8; 2] = [0x1f, 0x8b];
/// zlib's default, which Java's producer uses too: who chooses gzip wants size, and the steps below 6 are for speed.
const LEVEL: u32 = 6;
/// What the text of events takes more, at most, after decompression. Only a first guess.
const USUAL_RATIO: usize = 8;

/// A compressor with its tables.
pub(super) type Encoder = Compress;

/// Decompresses one member or several in a row, as Java's `GZIPInputStream` does, and returns the size.
pub(super) fn decompress(mut input: &[u8], buffer: &mut Vec<u8>) -> Result<usize, CodecError> {
    let mut size_bytes = 0;
    grow(buffer, input.len().saturating_mul(USUAL_RATIO).min(super::MAX_RETAINED_BYTES))?;
    loop {
        let mut decoder = Decompress::new_gzip(WINDOW_BITS);
        loop {
            if size_bytes == buffer.len() {
                grow_on(buffer)?;
            }
            let (read_before, written_before) = (decoder.total_in(), decoder.total_out());
            let status = decoder
                .decompress(input, &mut buffer[size_bytes..], FlushDecompress::Finish)
                .map_err(|_| CodecError::Invalid("not a gzip stream"))?;
            input = &input[(decoder.total_in() - read_before) as usize..];
            size_bytes += (decoder.total_out() - written_before) as usize;
            match status {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError if size_bytes == buffer.len() => {}
                Status::Ok | Status::BufError => return Err(CodecError::Invalid("the gzip stream is cut off")),
            }
        }
        if !input.starts_with(&MEMBER_START) {
            return Ok(size_bytes);
        }
    }
}

/// Appends `input` as one member.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>, encoder: &mut Option<Encoder>) -> Result<(), CodecError> {
    let encoder = encoder.get_or_insert_with(|| Compress::new_gzip(flate2::Compression::new(LEVEL), WINDOW_BITS));
    encoder.reset();
    out.reserve(input.len() / 2 + 64);
    loop {
        let read = encoder.total_in() as usize;
        let status = encoder
            .compress_vec(&input[read..], out, FlushCompress::Finish)
            .map_err(|_| CodecError::Invalid("the gzip compressor failed"))?;
        match status {
            Status::StreamEnd => return Ok(()),
            Status::Ok | Status::BufError => out.reserve((input.len() - read) / 2 + 64),
        }
    }
}
