//! Finds the chosen catalogues: built in, a file, or a folder. The only IO of this room, but for schemas (`schema`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    compile::{self, Source},
    finding::{Finding, nearest},
    plan::Catalog,
};

/// The built-in catalogues.
const BUILTIN: &[(&str, &str)] = &[
    ("video", include_str!("builtin/video.toml")),
    ("commerce", include_str!("builtin/commerce.toml")),
    ("social", include_str!("builtin/social.toml")),
    ("creator", include_str!("builtin/creator.toml")),
    ("live", include_str!("builtin/live.toml")),
];
/// The catalogue where nothing is chosen.
const DEFAULT: &str = "video";
/// Largest catalogue file, bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Most files of a folder.
const MAX_FILES: usize = 1_000;

/// Which catalogues are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogChoice {
    /// Built-in ones by name (`CATALOG`).
    pub names: Vec<String>,
    /// A file, or a folder whose `*.toml` are all taken (`CATALOG_PATH`).
    pub path: Option<PathBuf>,
}

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No built-in catalogue has this name.
    #[error("no built-in catalogue is called `{name}`{}; there are: {}. Your own are chosen with CATALOG_PATH", did_you_mean(.nearest), builtin_names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The known name that is most like it.
        nearest: Option<&'static str>,
    },
    /// A file or folder cannot be read.
    #[error("reading the catalogue {path}: {source}; CATALOG_PATH names a TOML file or a folder of such")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is too large.
    #[error("the catalogue {path} is larger than {MAX_FILE_BYTES} bytes: split it over several files of a folder")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A folder has no catalogue, or too many.
    #[error("the folder {path} has {count} files that end in .toml; 1 to {MAX_FILES} are taken")]
    FileCount {
        /// The folder.
        path: PathBuf,
        /// How many it has.
        count: usize,
    },
    /// Catalogues that were read have findings.
    #[error("{}", all_of(.0))]
    Findings(Vec<Finding>),
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

fn all_of(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    format!("the catalogue has {} findings:\n{}", findings.len(), lines.join("\n"))
}

impl Catalog {
    /// Loads, checks and compiles the chosen catalogues. Where nothing is chosen: `video`. Where a path is chosen, built-in
    /// ones only by name.
    ///
    /// # Errors
    /// A name that is not known, a path that cannot be read, or everything that lint finds.
    pub fn load(choice: &CatalogChoice) -> Result<Self, CatalogError> {
        compile::compile(&sources(choice)?).map_err(CatalogError::Findings)
    }
}

/// The texts of the chosen catalogues.
///
/// # Errors
/// A name that is not known, or a path that cannot be read.
pub fn sources(choice: &CatalogChoice) -> Result<Vec<Source>, CatalogError> {
    let default = [DEFAULT.to_owned()];
    let names = if choice.names.is_empty() && choice.path.is_none() { &default } else { &choice.names[..] };
    let mut sources: Vec<Source> = Vec::new();
    for name in names {
        let source = builtin(name)?;
        if sources.iter().all(|known| known.file != source.file) {
            sources.push(source);
        }
    }
    if let Some(path) = &choice.path {
        sources.extend(read_path(path)?);
    }
    Ok(sources)
}

/// The text of a built-in catalogue.
fn builtin(name: &str) -> Result<Source, CatalogError> {
    if let Some((name, text)) = BUILTIN.iter().find(|(known, _)| *known == name) {
        return Ok(Source { file: format!("builtin/{name}.toml"), text: (*text).to_owned() });
    }
    let nearest = nearest(name, builtin_names());
    Err(CatalogError::Unknown { name: name.to_owned(), nearest })
}

/// The names of the built-in catalogues.
fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// Reads a file, or all `*.toml` of a folder in the order of their names.
///
/// # Errors
/// Something cannot be read, or is beyond a limit.
pub fn read_path(path: &Path) -> Result<Vec<Source>, CatalogError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CatalogError::Io { path, source }
    };
    if !fs::metadata(path).map_err(failed(path))?.is_dir() {
        return Ok(vec![read_file(path)?]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed(path))? {
        let file = entry.map_err(failed(path))?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    if !(1..=MAX_FILES).contains(&files.len()) {
        return Err(CatalogError::FileCount { path: path.to_owned(), count: files.len() });
    }
    files.sort();
    files.iter().map(|file| read_file(file)).collect()
}

fn read_file(path: &Path) -> Result<Source, CatalogError> {
    let failed = |source| CatalogError::Io { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(CatalogError::TooLarge { path: path.to_owned() });
    }
    Ok(Source { file: path.display().to_string(), text: fs::read_to_string(path).map_err(failed)? })
}
