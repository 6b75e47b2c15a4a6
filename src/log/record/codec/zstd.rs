//! Zstandard (RFC 8878) by the reference library.

use zstd::zstd_safe::{self, CCtx, DCtx, zstd_sys::ZSTD_ErrorCode};

use super::{CodecError, grow, grow_on};

/// The library's and Kafka's default.
const LEVEL: i32 = 3;
/// What the text of events takes more after decompression. Only a first guess.
const USUAL_RATIO: usize = 8;
/// How far a frame's own word for its size is believed before it is seen.
const BELIEVED_RATIO: usize = 256;

/// A decompressor with its tables.
pub(super) type Decoder = DCtx<'static>;
/// A compressor with its tables.
pub(super) type Encoder = CCtx<'static>;

/// Decompresses one frame or several in a row, and returns the size.
pub(super) fn decompress(
    input: &[u8],
    buffer: &mut Vec<u8>,
    decoder: &mut Option<Decoder>,
) -> Result<usize, CodecError> {
    let too_small = (ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg();
    let out_of_memory = CodecError::Invalid("no memory for zstd");
    let decoder = match decoder {
        Some(decoder) => decoder,
        None => decoder.insert(DCtx::try_create().ok_or(out_of_memory)?),
    };
    // Java's producer streams and so does not say the size; librdkafka does.
    let claimed = zstd_safe::get_frame_content_size(input).ok().flatten();
    let believed = match claimed.map(usize::try_from) {
        Some(Ok(size_bytes)) => size_bytes.min(input.len().saturating_mul(BELIEVED_RATIO)),
        _ => input.len().saturating_mul(USUAL_RATIO),
    };
    grow(buffer, believed.min(super::MAX_DECOMPRESSED_BYTES))?;
    loop {
        // From the start again with twice the room, where it was too little: streaming would copy every byte once more, and
        // the buffer is kept for the batches to come.
        match decoder.decompress(&mut buffer[..], input) {
            Ok(size_bytes) => return Ok(size_bytes),
            Err(code) if code == too_small => grow_on(buffer)?,
            Err(code) => return Err(CodecError::Invalid(zstd_safe::get_error_name(code))),
        }
    }
}

/// Appends `input` as one frame that says its size.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>, encoder: &mut Option<Encoder>) -> Result<(), CodecError> {
    let out_of_memory = CodecError::Invalid("no memory for zstd");
    let encoder = match encoder {
        Some(encoder) => encoder,
        None => encoder.insert(CCtx::try_create().ok_or(out_of_memory)?),
    };
    let at = out.len();
    out.resize(at + zstd_safe::compress_bound(input.len()), 0);
    let length = encoder
        .compress(&mut out[at..], input, LEVEL)
        .map_err(|code| CodecError::Invalid(zstd_safe::get_error_name(code)))?;
    out.truncate(at + length);
    Ok(())
}
