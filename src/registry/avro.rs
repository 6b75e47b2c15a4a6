//! Avro's binary encoding to JSON.
//!
//! The schema is read by `apache-avro`; the walk over the bytes is ours, since a value goes as deep as it likes where its schema
//! leads to itself, and arrays of nothing have no end: here both have a limit, and no value is built on the way.

use std::{collections::HashMap, fmt::Write};

use apache_avro::{
    Schema,
    schema::{InnerDecimalSchema, Name, UuidSchema},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{MAX_JSON_BYTES, client::Registered};

/// How deep arrays, maps and records nest in a value, at most.
const MAX_DEPTH: usize = 100;
/// Longest decimal, bytes: amounts of an event are no larger.
const MAX_DECIMAL_BYTES: usize = 16;
/// Most digits behind the point of a decimal.
const MAX_SCALE: usize = 100;

/// An Avro schema that is ready to read values.
pub(super) struct Avro {
    schema: Schema,
    /// Types that are named elsewhere in it.
    names: HashMap<Name, Schema>,
}

type Read<T> = Result<T, String>;

impl Avro {
    pub(super) fn compile(registered: &Registered) -> Result<Self, String> {
        let others: Vec<&String> = registered.references.values().collect();
        let (schema, others) = Schema::parse_str_with_list(&registered.text, &others)
            .map_err(|error| format!("the schema cannot be used: {error}"))?;
        let mut names = HashMap::new();
        for schema in others.iter().chain([&schema]) {
            collect(schema, &mut names);
        }
        Ok(Self { schema, names })
    }

    /// Writes a value as JSON.
    pub(super) fn json(&self, payload: &[u8], json: &mut Vec<u8>) -> Result<(), String> {
        let mut walk = Walk { names: &self.names, rest: payload, out: String::new(), depth: 0 };
        walk.value(&self.schema)?;
        if !walk.rest.is_empty() {
            return Err(format!("{} bytes are left behind it", walk.rest.len()));
        }
        json.extend_from_slice(walk.out.as_bytes());
        Ok(())
    }
}

/// The named types in a schema, by name.
fn collect(schema: &Schema, names: &mut HashMap<Name, Schema>) {
    if let Some(name) = schema.name()
        && !matches!(schema, Schema::Ref { .. })
    {
        names.insert(name.clone(), schema.clone());
    }
    match schema {
        Schema::Record(record) => record.fields.iter().for_each(|field| collect(&field.schema, names)),
        Schema::Array(array) => collect(&array.items, names),
        Schema::Map(map) => collect(&map.types, names),
        Schema::Union(union) => union.variants().iter().for_each(|schema| collect(schema, names)),
        _ => {}
    }
}

struct Walk<'a> {
    names: &'a HashMap<Name, Schema>,
    rest: &'a [u8],
    out: String,
    depth: usize,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &Schema) -> Read<()> {
        if self.out.len() > MAX_JSON_BYTES {
            return Err(format!("it has more than {MAX_JSON_BYTES} bytes as JSON"));
        }
        match schema {
            Schema::Null => self.out.push_str("null"),
            Schema::Boolean => {
                let text = if self.bytes(1)? == [0] { "false" } else { "true" };
                self.out.push_str(text);
            }
            Schema::Int
            | Schema::Long
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::LocalTimestampMillis => {
                let number = self.long()?;
                let _ = write!(self.out, "{number}");
            }
            Schema::Date => {
                let day = self.long()?;
                self.time(day.checked_mul(86_400_000_000_000), "%Y-%m-%d")?;
            }
            Schema::TimestampMicros | Schema::LocalTimestampMicros => {
                let micros = self.long()?;
                self.time(micros.checked_mul(1_000), "%Y-%m-%dT%H:%M:%S%.6fZ")?;
            }
            Schema::TimestampNanos | Schema::LocalTimestampNanos => {
                let nanos = self.long()?;
                self.time(Some(nanos), "%Y-%m-%dT%H:%M:%S%.9fZ")?;
            }
            Schema::Float => {
                let number = f32::from_le_bytes(self.array()?);
                self.float(number.is_finite(), number);
            }
            Schema::Double => {
                let number = f64::from_le_bytes(self.array()?);
                self.float(number.is_finite(), number);
            }
            Schema::String | Schema::Uuid(UuidSchema::String) => {
                let bytes = self.counted()?;
                self.text(bytes)?;
            }
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => {
                let bytes = self.counted()?;
                self.base64(bytes);
            }
            Schema::Fixed(fixed) | Schema::Duration(fixed) => {
                let bytes = self.bytes(fixed.size)?;
                self.base64(bytes);
            }
            Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                let bytes = self.bytes(fixed.size)?;
                let id = uuid::Uuid::from_slice(bytes).map_err(|error| error.to_string())?;
                let _ = write!(self.out, "\"{id}\"");
            }
            Schema::Decimal(decimal) => {
                let bytes = match &decimal.inner {
                    InnerDecimalSchema::Bytes => self.counted()?,
                    InnerDecimalSchema::Fixed(fixed) => self.bytes(fixed.size)?,
                };
                self.decimal(bytes, decimal.scale)?;
            }
            Schema::Enum(names) => {
                let index = self.long()?;
                let symbol = usize::try_from(index).ok().and_then(|index| names.symbols.get(index));
                let symbol = symbol.ok_or_else(|| format!("{index} is none of the symbols of {}", names.name))?;
                self.text(symbol.as_bytes())?;
            }
            Schema::Union(union) => {
                let index = self.long()?;
                let variant = usize::try_from(index).ok().and_then(|index| union.variants().get(index));
                let variant = variant.ok_or_else(|| format!("{index} is no branch of its union"))?;
                return self.value(variant);
            }
            Schema::Ref { name } => {
                let names = self.names;
                let schema = names.get(name).ok_or_else(|| format!("the schema does not say what {name} is"))?;
                return self.value(schema);
            }
            Schema::Record(_) | Schema::Array(_) | Schema::Map(_) => return self.inner(schema),
        }
        Ok(())
    }

    fn inner(&mut self, schema: &Schema) -> Read<()> {
        if self.depth == MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH}"));
        }
        self.depth += 1;
        match schema {
            Schema::Record(record) => {
                self.out.push('{');
                for (index, field) in record.fields.iter().enumerate() {
                    self.out.push_str(if index > 0 { "," } else { "" });
                    self.text(field.name.as_bytes())?;
                    self.out.push(':');
                    self.value(&field.schema)?;
                }
                self.out.push('}');
            }
            Schema::Array(array) => {
                self.out.push('[');
                self.blocks(|walk| walk.value(&array.items))?;
                self.out.push(']');
            }
            Schema::Map(map) => {
                self.out.push('{');
                self.blocks(|walk| {
                    let name = walk.counted()?;
                    walk.text(name)?;
                    walk.out.push(':');
                    walk.value(&map.types)
                })?;
                self.out.push('}');
            }
            _ => {}
        }
        self.depth -= 1;
        Ok(())
    }

    /// Items in blocks, each with their number before it, until one of none; a negative number has the block's bytes behind it.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        let mut is_first = true;
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.long()?;
                count = count.checked_neg().ok_or("a block has no such number of items")?;
            }
            for _ in 0..count {
                self.out.push_str(if is_first { "" } else { "," });
                is_first = false;
                item(self)?;
            }
        }
    }

    fn bytes(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it ends amid a value")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| "it ends amid a value".to_owned())
    }

    /// Bytes with their number before them.
    fn counted(&mut self) -> Read<&'a [u8]> {
        let count = usize::try_from(self.long()?).map_err(|_| "a length is negative")?;
        self.bytes(count)
    }

    /// A zigzag varint.
    fn long(&mut self) -> Read<i64> {
        let mut raw = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            raw |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err("an integer is longer than 64 bits".to_owned())
    }

    fn text(&mut self, bytes: &[u8]) -> Read<()> {
        let text = std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
        self.out.push_str(&serde_json::Value::from(text).to_string());
        Ok(())
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.out.push('"');
        STANDARD.encode_string(bytes, &mut self.out);
        self.out.push('"');
    }

    /// JSON has no number that is none: null stands for it.
    fn float(&mut self, is_finite: bool, number: impl Into<f64> + std::fmt::Display) {
        if is_finite {
            let _ = write!(self.out, "{number}");
        } else {
            self.out.push_str("null");
        }
    }

    /// A number with all its digits, as no float has them.
    fn decimal(&mut self, bytes: &[u8], scale: usize) -> Read<()> {
        if bytes.len() > MAX_DECIMAL_BYTES || scale > MAX_SCALE {
            return Err(format!("a decimal has more than {MAX_DECIMAL_BYTES} bytes, or a scale above {MAX_SCALE}"));
        }
        let is_negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
        let mut whole = [if is_negative { 0xff } else { 0 }; MAX_DECIMAL_BYTES];
        whole[MAX_DECIMAL_BYTES - bytes.len()..].copy_from_slice(bytes);
        let number = i128::from_be_bytes(whole);
        let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
        let (before, after) = digits.split_at(digits.len() - scale);
        let _ = write!(self.out, "{}{before}", if is_negative { "-" } else { "" });
        if scale > 0 {
            let _ = write!(self.out, ".{after}");
        }
        Ok(())
    }

    fn time(&mut self, nanos: Option<i64>, format: &str) -> Read<()> {
        let time = nanos.map(chrono::DateTime::from_timestamp_nanos).ok_or("a time is beyond any calendar")?;
        let _ = write!(self.out, "\"{}\"", time.format(format));
        Ok(())
    }
}
