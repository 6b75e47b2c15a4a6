//! Reads the schema that an event type names: a file beside the catalogue, or one that is built in.

use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::{
    compiled::{FaultAt, MAX_SCHEMA_BYTES, Schema},
    place,
};
use crate::catalog::{
    finding::{Finding, Lines, Place},
    reader::{At, Reader},
};

/// The schemas that lie beside the built-in catalogues.
const BUILTIN: &[(&str, &str)] = &[
    ("live.user.schema.json", include_str!("../builtin/live.user.schema.json")),
    ("live.stream.schema.json", include_str!("../builtin/live.stream.schema.json")),
    ("live.chat.schema.json", include_str!("../builtin/live.chat.schema.json")),
];

/// Reads and compiles the schema that a catalogue names; what is wrong goes into the reader's findings, with its place in the
/// schema where it lies there.
pub(in crate::catalog) fn read(reader: &mut Reader<'_>, name: At<&str>) -> Option<Arc<Schema>> {
    let catalogue = reader.place(name.at).file;
    let (file, text) = match text(&catalogue, name.value) {
        Ok(found) => found,
        Err((message, help)) => {
            reader.report(name.at, message, help);
            return None;
        }
    };
    let compiled = compile(&file, &text);
    compiled.map_err(|finding| reader.findings.push(finding)).ok()
}

/// Reads and compiles a schema by itself.
///
/// # Errors
/// The file cannot be read, or what is wrong in it.
pub fn read_file(path: &Path) -> Result<Arc<Schema>, String> {
    let failed = |error: std::io::Error| format!("the schema {} cannot be read: {error}", path.display());
    if fs::metadata(path).map_err(failed)?.len() > MAX_SCHEMA_BYTES as u64 {
        return Err(format!("the schema {} is larger than {MAX_SCHEMA_BYTES} bytes", path.display()));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    read_text(&path.display().to_string(), &text)
}

/// Compiles a text that lies in no file; `name` is what it is called.
///
/// # Errors
/// What is wrong in it.
pub fn read_text(name: &str, text: &str) -> Result<Arc<Schema>, String> {
    compile(name, text).map_err(|finding| finding.to_string())
}

fn compile(file: &str, text: &str) -> Result<Arc<Schema>, Finding> {
    Schema::compile(text).map(Arc::new).map_err(|fault| {
        let place = match fault.at {
            FaultAt::Pointer(pointer) => Lines::new(file, text).place(place::offset(text, &pointer)),
            FaultAt::Line { line, column } => Place { file: file.into(), line, column },
        };
        Finding::at(&place, fault.message, fault.help)
    })
}

/// The name and text of a schema; or what is wrong, and what would be right.
fn text(catalogue: &str, name: &str) -> Result<(String, String), (String, &'static str)> {
    const BESIDE: &str = "name a file beside the catalogue, as schema = \"video.view.schema.json\"";
    let catalogue = Path::new(catalogue);
    if !catalogue.is_file()
        && let Some((known, text)) = BUILTIN.iter().find(|(known, _)| *known == name)
    {
        return Ok((format!("builtin/{known}"), (*text).to_owned()));
    }
    if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err((format!("`{name}` is not beside the catalogue"), BESIDE));
    }
    let path: PathBuf = catalogue.with_file_name(name);
    let failed = |error: std::io::Error| (format!("the schema {} cannot be read: {error}", path.display()), BESIDE);
    if fs::metadata(&path).map_err(failed)?.len() > MAX_SCHEMA_BYTES as u64 {
        let message = format!("the schema {} is larger than {MAX_SCHEMA_BYTES} bytes", path.display());
        return Err((message, "leave out what does not decide whether an event fits, such as examples"));
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    Ok((path.display().to_string(), text))
}
