//! Values that are no JSON yet: the byte 0, the id of a schema, and what that schema says how to read.
//!
//! That is how Confluent's serializers write. JSON never begins with the byte 0, so such a value is nothing else.

use super::reason::Reason;

/// What a value that names a schema begins with.
const MAGIC: u8 = 0;
/// Most schemas that one pass over a block asks for.
const MAX_UNKNOWN: usize = 1_000;

/// Makes JSON of values whose schema it knows.
pub trait Translate: Send + Sync {
    /// Writes `payload`, which the schema with this id describes, as JSON behind what `json` holds.
    fn translate(&self, id: u32, payload: &[u8], json: &mut Vec<u8>) -> Translation;
}

/// What became of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Translation {
    /// It is JSON now.
    Done,
    /// Its schema is not known here yet: it must be asked for first.
    Unknown,
    /// There is no such schema, as far as whoever keeps them knows.
    NoSchema,
    /// Its schema does not describe it, or cannot be used; why.
    Unreadable(String),
}

/// Who translates the values of a block, and whether this is the last try.
#[derive(Clone, Copy)]
pub struct Translating<'a> {
    /// Who.
    pub by: &'a dyn Translate,
    /// Schemas have been asked for already: a value whose schema is still not known is a dead letter.
    pub is_last: bool,
}

impl Translating<'_> {
    /// Makes JSON of a value, in `json`; `false` where the value names no schema. An id that is not known goes into `unknown`,
    /// and what is counted of the block is void.
    pub(super) fn json(&self, value: &[u8], json: &mut Vec<u8>, unknown: &mut Vec<u32>) -> Result<bool, Reason> {
        let [MAGIC, rest @ ..] = value else { return Ok(false) };
        let Some((id, payload)) = rest.split_first_chunk() else { return Ok(false) };
        let id = u32::from_be_bytes(*id);
        json.clear();
        match self.by.translate(id, payload, json) {
            Translation::Done => Ok(true),
            Translation::Unknown if !self.is_last => {
                if unknown.len() < MAX_UNKNOWN && !unknown.contains(&id) {
                    unknown.push(id);
                }
                Ok(true)
            }
            Translation::Unknown | Translation::NoSchema => Err(Reason::UnknownSchema { id }),
            Translation::Unreadable(why) => Err(Reason::Unreadable { id, why }),
        }
    }
}
