//! Gathers settings from the environment, the file and the defaults, and remembers where each came from.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use figment::{
    Error, Figment, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

use super::{
    environment::{Environment, is_service_link},
    error::Problem,
    setting::{Kind, Setting},
    table,
};

/// Largest file that is read for a secret, bytes.
const MAX_SECRET_BYTES: u64 = 65_536;
/// The environment variable that names the configuration file where `--config` does not.
pub const CONFIG_FILE: &str = "CONFIG_FILE";
const ENVIRONMENT: &str = "environment";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An environment variable.
    Environment,
    /// The configuration file.
    File,
    /// A file that holds a secret.
    SecretFile(PathBuf),
}

/// A setting as given.
#[derive(Clone, Debug)]
pub struct Given {
    /// The text; lists of the file are joined by commas.
    pub text: String,
    /// Where it came from.
    pub source: Source,
}

/// All settings that were given, before they are judged.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    given: BTreeMap<&'static str, Given>,
    /// What stands in the file as tables.
    tables: BTreeMap<&'static str, serde_json::Value>,
    /// The configuration file, where there is one.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// Reads the environment and the file. The environment wins; an empty variable counts as unset.
    ///
    /// What is wrong with the sources themselves (no such file, an unknown key, a secret given twice) comes back as problems.
    pub fn read(environment: &Environment, file: Option<&Path>) -> (Self, Vec<Problem>) {
        let named = environment.get(CONFIG_FILE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let file = file.map(Path::to_path_buf).or(named);
        let mut problems = Vec::new();
        let mut figment = Figment::new();
        if let Some(path) = &file {
            match read_toml(path) {
                Ok(text) => figment = figment.merge(Toml::string(&text)),
                Err(wrong) => problems.push(Problem::new(path.display().to_string(), wrong)),
            }
        }
        let figment = figment.merge(EnvironmentProvider(environment));
        let mut sources = Self { given: BTreeMap::new(), tables: BTreeMap::new(), file };
        match figment.data() {
            Ok(profiles) => sources.take(&figment, profiles.into_values().flatten(), &mut problems),
            Err(errors) => {
                problems.extend(errors.into_iter().map(|error| Problem::new("configuration", error.to_string())));
            }
        }
        (sources, problems)
    }

    /// The value given for a setting.
    pub fn given(&self, setting: &Setting) -> Option<&Given> {
        self.given.get(setting.name)
    }

    /// What the file has as tables of this name.
    pub fn tables(&self, setting: &Setting) -> Option<&serde_json::Value> {
        self.tables.get(setting.name)
    }

    /// The value given for a setting, else its default.
    pub fn text(&self, setting: &Setting) -> Option<&str> {
        self.given(setting).map(|given| given.text.as_str()).or(setting.default)
    }

    fn take(&mut self, figment: &Figment, values: impl Iterator<Item = (String, Value)>, problems: &mut Vec<Problem>) {
        let mut secret_files = Vec::new();
        for (key, value) in values {
            let name = key.to_ascii_uppercase();
            let from_environment =
                figment.get_metadata(value.tag()).is_some_and(|metadata| metadata.name == ENVIRONMENT);
            let source = if from_environment { Source::Environment } else { Source::File };
            if let Some(setting) = table::find(&name).filter(|setting| from_environment || setting.key() == key) {
                if setting.kind == Kind::Tables {
                    // Read by whoever knows the tables' fields.
                    let read = value.deserialize().unwrap_or(serde_json::Value::Null);
                    self.tables.insert(setting.name, read);
                }
                match text_of(setting, &value) {
                    Some(text) => drop(self.given.insert(setting.name, Given { text, source })),
                    None => problems.push(Problem::new(key, format!("must be {}", setting.kind.expects()))),
                }
            } else if let Some(setting) = secret_named_by(&name) {
                secret_files.push((setting, name, value.as_str().map(PathBuf::from)));
            } else {
                problems.push(unknown_key(&key, &name));
            }
        }
        for (setting, name, path) in secret_files {
            if self.given.contains_key(setting.name) {
                problems.push(Problem::new(name, format!("is given together with {}; give one of them", setting.name)));
                continue;
            }
            match path.as_deref().map(read_secret) {
                Some(Ok(text)) => {
                    let source = Source::SecretFile(path.unwrap_or_default());
                    self.given.insert(setting.name, Given { text, source });
                }
                Some(Err(error)) => {
                    problems.push(Problem::new(name, format!("cannot read the file it names: {error}")))
                }
                None => problems.push(Problem::new(name, "must be the path of a file")),
            }
        }
    }
}

fn secret_named_by(name: &str) -> Option<&'static Setting> {
    name.strip_suffix("_FILE").and_then(table::find).filter(|setting| setting.secret)
}

fn unknown_key(key: &str, name: &str) -> Problem {
    match table::nearest(name) {
        Some(near) if near == name => {
            Problem::new(key, format!("keys are in lower case: {}", near.to_ascii_lowercase()))
        }
        Some(near) => Problem::new(key, format!("is not a setting; the nearest is {}", near.to_ascii_lowercase())),
        None => Problem::new(key, "is not a setting; `streamgauge config show` lists them all"),
    }
}

/// The file's value as the environment would give it.
fn text_of(setting: &Setting, value: &Value) -> Option<String> {
    if setting.kind == Kind::Tables {
        return Some("given".into());
    }
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, letter) => Some(letter.to_string()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(_, number) => {
            number.to_i128().map(|whole| whole.to_string()).or_else(|| number.to_f64().map(|part| part.to_string()))
        }
        Value::Array(_, items) if matches!(setting.kind, Kind::List | Kind::Brokers | Kind::Origins) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        Value::Array(..) | Value::Dict(..) | Value::Empty(..) => None,
    }
}

/// The text of the configuration file, once it is known to be TOML.
///
/// figment's own error would quote the line, and with it a password that lacks its closing quote.
fn read_toml(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read the file: {error}"))?;
    match text.parse::<toml::Table>() {
        Ok(_) => Ok(text),
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
            Err(format!("is not TOML: line {line}: {}", error.message()))
        }
    }
}

/// A secret from its file, without the line end that editors put there.
pub(super) fn read_secret(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_SECRET_BYTES).read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The environment as figment reads it: our names only, as text.
struct EnvironmentProvider<'a>(&'a Environment);

impl Provider for EnvironmentProvider<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(ENVIRONMENT)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let ours = |name: &str| {
            table::find(name).is_some_and(|setting| setting.kind != Kind::Tables) || secret_named_by(name).is_some()
        };
        let dict: Dict = self
            .0
            .iter()
            .filter(|(name, value)| ours(name) && !value.is_empty() && !is_service_link(name, value))
            .map(|(name, value)| (name.to_ascii_lowercase(), Value::from(value.clone())))
            .collect();
        Ok(Profile::Default.collect(dict))
    }
}
