//! Protobuf to JSON: the mapping of proto3, with 64-bit integers as numbers.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions, prost::Message,
    prost_types::FileDescriptorProto,
};
use protox::{
    Compiler, Error,
    file::{File, FileResolver, GoogleFileResolver},
};
use serde_json::Value;

use super::{MAX_JSON_BYTES, client::Registered};

/// What the schema itself is called among the files that it imports.
const MAIN: &str = "the schema.proto";
/// How deep a message's type lies in others, at most.
const MAX_DEPTH: usize = 32;

/// A Protobuf schema that is ready to read values.
pub(super) struct Protobuf {
    pool: DescriptorPool,
}

/// The schema and what it imports, by name.
struct Files(BTreeMap<String, String>);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        match self.0.get(name) {
            Some(text) => file(name, text),
            None => GoogleFileResolver::new().open_file(name),
        }
    }
}

/// Some clients register the text of a file, others its descriptor in base64.
fn file(name: &str, text: &str) -> Result<File, Error> {
    let descriptor = STANDARD.decode(text.trim()).ok().and_then(|bytes| FileDescriptorProto::decode(&*bytes).ok());
    match descriptor {
        Some(descriptor) => {
            Ok(File::from_file_descriptor_proto(FileDescriptorProto { name: Some(name.to_owned()), ..descriptor }))
        }
        None => File::from_source(name, text),
    }
}

impl Protobuf {
    pub(super) fn compile(registered: &Registered) -> Result<Self, String> {
        let mut files = registered.references.clone();
        files.insert(MAIN.to_owned(), registered.text.clone());
        let mut compiler = Compiler::with_file_resolver(Files(files));
        compiler.open_file(MAIN).map_err(|error| format!("the schema cannot be used: {error}"))?;
        Ok(Self { pool: compiler.descriptor_pool() })
    }

    /// Writes a value as JSON: first the place of its message in the schema, then the message.
    pub(super) fn json(&self, payload: &[u8], json: &mut Vec<u8>) -> Result<(), String> {
        let mut rest = payload;
        let message = self.message(&mut rest)?;
        let message = DynamicMessage::decode(message, rest).map_err(|error| error.to_string())?;
        let options = SerializeOptions::new().stringify_64_bit_integers(false).skip_default_fields(false);
        let value = message.serialize_with_options(serde_json::value::Serializer, &options);
        let mut value = value.map_err(|error| error.to_string())?;
        without_empty(&mut value);
        serde_json::to_writer(&mut *json, &value).map_err(|error| error.to_string())?;
        if json.len() > MAX_JSON_BYTES {
            return Err(format!("it has more than {MAX_JSON_BYTES} bytes as JSON"));
        }
        Ok(())
    }

    /// The message whose place stands before it: the index of each type within the one around it. No index at all is the first.
    fn message(&self, rest: &mut &[u8]) -> Result<MessageDescriptor, String> {
        let no_such = || "it names a message that the schema does not have".to_owned();
        let count = index(rest)?;
        if count > MAX_DEPTH {
            return Err(no_such());
        }
        let mut path = Vec::with_capacity(count.max(1));
        for _ in 0..count {
            path.push(index(rest)?);
        }
        if path.is_empty() {
            path.push(0);
        }
        let file = self.pool.get_file_by_name(MAIN).ok_or_else(no_such)?;
        let mut message = file.messages().nth(path[0]).ok_or_else(no_such)?;
        for place in &path[1..] {
            let inner = message.child_messages().nth(*place);
            message = inner.ok_or_else(no_such)?;
        }
        Ok(message)
    }
}

/// A count or index: a zigzag varint.
fn index(rest: &mut &[u8]) -> Result<usize, String> {
    let wrong = || "the place of its message cannot be read".to_owned();
    let raw = prost_reflect::prost::encoding::decode_varint(rest).map_err(|_| wrong())?;
    if raw & 1 == 1 { Err(wrong()) } else { usize::try_from(raw >> 1).map_err(|_| wrong()) }
}

/// Takes out strings that are empty: proto3 cannot tell them from none, and as an id an empty one is no good.
fn without_empty(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| value.as_str() != Some(""));
            members.values_mut().for_each(without_empty);
        }
        Value::Array(items) => items.iter_mut().for_each(without_empty),
        _ => {}
    }
}
