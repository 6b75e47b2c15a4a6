//! LZ4 frames, walked here so that blocks go straight into the reused buffer.
//!
//! Frame: magic 4, flags 1, block size 1, content size 8 and dictionary 4 if flagged, header checksum 1; then blocks (length
//! 4, little-endian, its highest bit for "not compressed"; data; checksum 4 if flagged) to a length of 0; content checksum 4
//! if flagged. See <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>. None of the checksums is compared: the
//! batch's crc32c covers the same bytes, and xxh32 of the content would cost a third of the decompression.

use lz4_flex::block::{CompressTable, DecompressError};

use super::{CodecError, MAX_DECOMPRESSED_BYTES, grow};

const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
/// Frames with these, whatever the last digit, are to be skipped.
const SKIPPABLE: u32 = 0x184D_2A50;
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const DICTIONARY: u8 = 0b0000_0001;
const UNCOMPRESSED: u32 = 1 << 31;
/// How far back a linked block may reach.
const WINDOW_BYTES: usize = 64 * 1024;

/// What we write: independent blocks of 64 KiB, as Java does, no sizes or checksums; the last byte is the header's checksum.
const HEADER: [u8; 7] = [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION | INDEPENDENT, 0x40, 0x82];
const BLOCK_BYTES: usize = 64 * 1024;

const CUT_OFF: CodecError = CodecError::Invalid("the lz4 frame is cut off");

/// A compressor's table.
pub(super) type Encoder = CompressTable;

/// Decompresses one frame or several in a row, and returns the size.
pub(super) fn decompress(mut input: &[u8], buffer: &mut Vec<u8>) -> Result<usize, CodecError> {
    let mut size_bytes = 0;
    let mut frames = 0;
    while let Some((magic, rest)) = input.split_first_chunk::<4>() {
        if *magic == MAGIC {
            (input, size_bytes) = frame(rest, buffer, size_bytes)?;
            frames += 1;
        } else if u32::from_le_bytes(*magic) & !0xf == SKIPPABLE {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or(CUT_OFF)?;
            input = rest.get(u32::from_le_bytes(*length) as usize..).ok_or(CUT_OFF)?;
        } else {
            break;
        }
    }
    // What follows a frame and is none is let be, as Java does.
    if frames == 0 { Err(CodecError::Invalid("not an lz4 frame")) } else { Ok(size_bytes) }
}

/// Decompresses the frame whose magic has been taken, behind what is in the buffer. Returns what follows it, and its end.
fn frame<'a>(input: &'a [u8], buffer: &mut Vec<u8>, start: usize) -> Result<(&'a [u8], usize), CodecError> {
    let (&[flags, block_size], rest) = input.split_first_chunk::<2>().ok_or(CUT_OFF)?;
    if flags & VERSION_MASK != VERSION {
        return Err(CodecError::Invalid("the lz4 frame has an unknown version"));
    }
    if flags & DICTIONARY != 0 {
        return Err(CodecError::Invalid("the lz4 frame needs a dictionary"));
    }
    let most_bytes = match block_size >> 4 & 7 {
        size @ 4..=7 => 1_usize << (8 + 2 * size),
        _ => return Err(CodecError::Invalid("the lz4 frame has an unknown block size")),
    };
    let is_linked = flags & INDEPENDENT == 0;
    let checksum_bytes = if flags & BLOCK_CHECKSUM != 0 { 4 } else { 0 };
    let mut rest = rest.get(1 + if flags & CONTENT_SIZE != 0 { 8 } else { 0 }..).ok_or(CUT_OFF)?;
    let mut end = start;
    loop {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or(CUT_OFF)?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            let behind = behind.get(if flags & CONTENT_CHECKSUM != 0 { 4 } else { 0 }..).ok_or(CUT_OFF)?;
            return Ok((behind, end));
        }
        let (block, behind) = behind.split_at_checked((length & !UNCOMPRESSED) as usize).ok_or(CUT_OFF)?;
        rest = behind.get(checksum_bytes..).ok_or(CUT_OFF)?;
        if length & UNCOMPRESSED != 0 {
            if block.len() > most_bytes {
                return Err(CodecError::Invalid("an lz4 block is longer than its frame allows"));
            }
            grow(buffer, end + block.len())?;
            buffer[end..end + block.len()].copy_from_slice(block);
            end += block.len();
        } else {
            // The block does not say its size, so there is room for the largest, unless that is beyond the cap.
            grow(buffer, (end + most_bytes).min(MAX_DECOMPRESSED_BYTES))?;
            let (done, room) = buffer.split_at_mut(end);
            let room_bytes = most_bytes.min(room.len());
            let room = &mut room[..room_bytes];
            let result = if is_linked && end > start {
                let window = &done[start.max(end.saturating_sub(WINDOW_BYTES))..];
                lz4_flex::block::decompress_into_with_dict(block, room, window)
            } else {
                lz4_flex::block::decompress_into(block, room)
            };
            end += result.map_err(|error| match error {
                DecompressError::OutputTooSmall { .. } if room_bytes < most_bytes => CodecError::TooLarge,
                _ => CodecError::Invalid("not an lz4 block"),
            })?;
        }
    }
}

/// Appends `input` as one frame.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>, table: &mut Encoder) -> Result<(), CodecError> {
    out.extend_from_slice(&HEADER);
    for block in input.chunks(BLOCK_BYTES) {
        let at = out.len();
        out.resize(at + 4 + lz4_flex::block::get_maximum_output_size(block.len()), 0);
        let length = lz4_flex::block::compress_into_with_table(block, &mut out[at + 4..], table)
            .map_err(|_| CodecError::Invalid("the lz4 compressor failed"))?;
        let (length, mark) = if length < block.len() {
            (length, length as u32)
        } else {
            out[at + 4..at + 4 + block.len()].copy_from_slice(block);
            (block.len(), block.len() as u32 | UNCOMPRESSED)
        };
        out[at..at + 4].copy_from_slice(&mark.to_le_bytes());
        out.truncate(at + 4 + length);
    }
    out.extend_from_slice(&[0; 4]);
    Ok(())
}
