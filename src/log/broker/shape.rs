//! The outer shape of requests, walked before they are decoded.
//!
//! The decoder reserves memory for as many elements as an array's count says, before it has seen one. So the counts are
//! compared with what is really there first: then no bytes from outside can ask for more than a request may hold.

/// Most array elements of one request, all arrays together.
pub const MAX_REQUEST_ELEMENTS: usize = 100_000;

/// A field, and the version of the request from which it is there.
#[derive(Debug)]
pub struct Field(i16, Shape);

#[derive(Debug)]
enum Shape {
    /// So many bytes.
    Fixed(usize),
    /// A string with a 2-byte length; -1 is null.
    Text,
    /// Bytes with a 4-byte length; -1 is null.
    Blob,
    /// A 4-byte count, -1 is null, and so often these fields.
    Array(&'static [Field]),
}

use Shape::{Array, Blob, Fixed, Text};

// Only versions without compact ("flexible") encoding are offered, so these shapes are all there is.

/// Produce, versions 3 to 8.
pub const PRODUCE: &[Field] = &[
    Field(0, Text),
    Field(0, Fixed(6)),
    Field(0, Array(&[Field(0, Text), Field(0, Array(&[Field(0, Fixed(4)), Field(0, Blob)]))])),
];
/// Fetch, versions 4 to 11.
pub const FETCH: &[Field] = &[
    Field(0, Fixed(17)),
    Field(7, Fixed(8)),
    Field(
        0,
        Array(&[
            Field(0, Text),
            Field(
                0,
                Array(&[
                    Field(0, Fixed(4)),
                    Field(9, Fixed(4)),
                    Field(0, Fixed(8)),
                    Field(5, Fixed(8)),
                    Field(0, Fixed(4)),
                ]),
            ),
        ]),
    ),
    Field(7, Array(&[Field(0, Text), Field(0, Array(&[Field(0, Fixed(4))]))])),
    Field(11, Text),
];
/// ListOffsets, versions 1 to 5.
pub const LIST_OFFSETS: &[Field] = &[
    Field(0, Fixed(4)),
    Field(2, Fixed(1)),
    Field(0, Array(&[Field(0, Text), Field(0, Array(&[Field(0, Fixed(4)), Field(4, Fixed(4)), Field(0, Fixed(8))]))])),
];
/// Metadata, versions 0 to 8.
pub const METADATA: &[Field] = &[Field(0, Array(&[Field(0, Text)])), Field(4, Fixed(1)), Field(8, Fixed(2))];
/// CreateTopics, versions 2 to 4.
pub const CREATE_TOPICS: &[Field] = &[
    Field(
        0,
        Array(&[
            Field(0, Text),
            Field(0, Fixed(6)),
            Field(0, Array(&[Field(0, Fixed(4)), Field(0, Array(&[Field(0, Fixed(4))]))])),
            Field(0, Array(&[Field(0, Text), Field(0, Text)])),
        ]),
    ),
    Field(0, Fixed(5)),
];

/// Whether `bytes` are a request of this shape, no more and no less.
pub fn fits(fields: &[Field], version: i16, bytes: &[u8]) -> bool {
    let mut walk = Walk { bytes, version, left_elements: MAX_REQUEST_ELEMENTS };
    walk.fields(fields).is_some() && walk.bytes.is_empty()
}

struct Walk<'a> {
    bytes: &'a [u8],
    version: i16,
    left_elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Option<()> {
        let version = self.version;
        fields.iter().filter(|Field(since, _)| *since <= version).try_for_each(|Field(_, shape)| self.field(shape))
    }

    fn field(&mut self, shape: &Shape) -> Option<()> {
        match shape {
            Fixed(bytes) => self.skip(*bytes),
            Text => {
                let length = i16::from_be_bytes(self.take()?);
                self.skip(length_or_null(length.into())?)
            }
            Blob => {
                let length = i32::from_be_bytes(self.take()?);
                self.skip(length_or_null(length)?)
            }
            Array(fields) => {
                let count = length_or_null(i32::from_be_bytes(self.take()?))?;
                self.left_elements = self.left_elements.checked_sub(count)?;
                (0..count).try_for_each(|_| self.fields(fields))
            }
        }
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.bytes = self.bytes.get(bytes..)?;
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }
}

fn length_or_null(length: i32) -> Option<usize> {
    if length == -1 { Some(0) } else { usize::try_from(length).ok() }
}
