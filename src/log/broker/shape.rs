//! The outer shape of requests, walked before they are decoded.
//!
//! The decoder reserves memory for as many elements as an array's count says, before it has seen one. So the counts are
//! compared with what is really there first: then no bytes from outside can ask for more than a request may hold.

mod requests;

pub use requests::*;

/// Most array elements and tagged fields of one request, all together.
pub const MAX_REQUEST_ELEMENTS: usize = 100_000;

/// The fields of a request, and the version from which it has the compact ("flexible", KIP-482) encoding.
#[derive(Debug)]
pub struct Layout {
    flexible_since: i16,
    fields: &'static [Field],
}

/// A field, and the versions of the request in which it is there.
#[derive(Debug)]
enum Field {
    /// From this version on.
    Since(i16, Shape),
    /// Up to this version.
    Until(i16, Shape),
    /// From the first to the second version.
    Between(i16, i16, Shape),
}

#[derive(Debug)]
enum Shape {
    /// So many bytes.
    Fixed(usize),
    /// A string with its length; it may be null.
    Text,
    /// Bytes with their length; they may be null.
    Blob,
    /// A count and so often these fields; it may be null.
    Array(&'static [Field]),
    /// The same of plain values, which carry no tagged fields.
    List(&'static Shape),
}

use Shape::{Array, Blob, Fixed, List, Text};

impl Field {
    fn shape_in(&self, version: i16) -> Option<&Shape> {
        let (since, until, shape) = match self {
            Self::Since(since, shape) => (*since, i16::MAX, shape),
            Self::Until(until, shape) => (0, *until, shape),
            Self::Between(since, until, shape) => (*since, *until, shape),
        };
        (since..=until).contains(&version).then_some(shape)
    }
}

impl Layout {
    /// Whether the version has the compact encoding, and with it the newer headers.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_since
    }

    /// Whether `bytes` are a request of this shape, no more and no less.
    pub fn fits(&self, version: i16, bytes: &[u8]) -> bool {
        let mut walk =
            Walk { bytes, version, is_flexible: self.is_flexible(version), left_elements: MAX_REQUEST_ELEMENTS };
        walk.fields(self.fields).is_some() && walk.bytes.is_empty()
    }
}

/// Bytes of the tagged fields at the start of `bytes`; `None` if they are not whole.
pub fn tagged_fields_bytes(bytes: &[u8]) -> Option<usize> {
    let mut walk = Walk { bytes, version: 0, is_flexible: true, left_elements: MAX_REQUEST_ELEMENTS };
    walk.tags()?;
    Some(bytes.len() - walk.bytes.len())
}

struct Walk<'a> {
    bytes: &'a [u8],
    version: i16,
    is_flexible: bool,
    left_elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Option<()> {
        let version = self.version;
        fields.iter().filter_map(|field| field.shape_in(version)).try_for_each(|shape| self.value(shape))?;
        if self.is_flexible { self.tags() } else { Some(()) }
    }

    fn value(&mut self, shape: &Shape) -> Option<()> {
        match shape {
            Fixed(bytes) => self.skip(*bytes),
            Text => {
                let length = if self.is_flexible {
                    self.compact_length()?
                } else {
                    length_or_null(i16::from_be_bytes(self.take()?).into())?
                };
                self.skip(length)
            }
            Blob => {
                let length = self.length()?;
                self.skip(length)
            }
            Array(fields) => (0..self.count()?).try_for_each(|_| self.fields(fields)),
            List(shape) => (0..self.count()?).try_for_each(|_| self.value(shape)),
        }
    }

    /// The fields that a newer client may add to any struct: a count, and each with its tag and length.
    fn tags(&mut self) -> Option<()> {
        let count = self.varint()?;
        self.left_elements = self.left_elements.checked_sub(count)?;
        (0..count).try_for_each(|_| {
            self.varint()?;
            let length = self.varint()?;
            self.skip(length)
        })
    }

    fn count(&mut self) -> Option<usize> {
        let count = self.length()?;
        self.left_elements = self.left_elements.checked_sub(count)?;
        Some(count)
    }

    fn length(&mut self) -> Option<usize> {
        if self.is_flexible { self.compact_length() } else { length_or_null(i32::from_be_bytes(self.take()?)) }
    }

    /// One more than the length, so that 0 is null.
    fn compact_length(&mut self) -> Option<usize> {
        Some(self.varint()?.saturating_sub(1))
    }

    fn varint(&mut self) -> Option<usize> {
        const MOST_BYTES: u32 = 5;
        let mut value = 0;
        for at in 0..MOST_BYTES {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return usize::try_from(value).ok();
            }
        }
        None
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
