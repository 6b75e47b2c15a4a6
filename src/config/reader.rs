//! Reads single settings as what they are, and collects what is wrong instead of stopping at it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    error::Problem,
    setting::{Kind, Setting},
    sources::{Source, Sources},
};
use crate::model::{Secret, SecretSource};

/// Reads settings out of [`Sources`]. Where a value is wrong a problem is noted and some valid value comes back, so that
/// reading goes on; the caller looks at `problems` at the end.
pub struct Reader<'a> {
    sources: &'a Sources,
    /// Everything wrong so far.
    pub problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader that goes on from what was wrong with the sources.
    pub fn new(sources: &'a Sources, problems: Vec<Problem>) -> Self {
        Self { sources, problems }
    }

    /// Whether the setting was given.
    pub fn is_given(&self, setting: &Setting) -> bool {
        self.sources.given(setting).is_some()
    }

    /// The text given or the default.
    pub fn text(&self, setting: &Setting) -> Option<&'a str> {
        self.sources.text(setting)
    }

    /// What the file has as tables of this name.
    pub fn tables(&self, setting: &Setting) -> Option<&'a serde_json::Value> {
        self.sources.tables(setting)
    }

    /// A secret that was given, and the file that it came from.
    pub fn secret(&self, setting: &Setting) -> Option<SecretSource> {
        let given = self.sources.given(setting)?;
        let file = if let Source::SecretFile(path) = &given.source { Some(path.clone()) } else { None };
        Some(SecretSource { value: Secret::new(given.text.as_str()), file })
    }

    /// Notes that a value is wrong; the value is named unless it is a secret.
    pub fn refuse(&mut self, setting: &Setting, message: impl AsRef<str>) {
        let value = match self.text(setting) {
            Some(text) if !setting.secret => format!("{text:?}: "),
            _ => String::new(),
        };
        self.problems.push(Problem::new(setting.name, format!("{value}{}", message.as_ref())));
    }

    fn refuse_kind(&mut self, setting: &Setting) {
        self.refuse(setting, format!("must be {}", setting.kind.expects()));
    }

    /// A number within the setting's range.
    pub fn number<T: TryFrom<u64> + Default>(&mut self, setting: &Setting) -> T {
        let Kind::Number { min, max, .. } = setting.kind else { return T::default() };
        let number = self.text(setting).and_then(|text| text.trim().replace('_', "").parse::<u64>().ok());
        match number.filter(|number| (min..=max).contains(number)).and_then(|number| T::try_from(number).ok()) {
            Some(number) => number,
            None => {
                self.refuse_kind(setting);
                T::default()
            }
        }
    }

    /// `true` or `false`; `None` where nothing is given and there is no default.
    pub fn flag(&mut self, setting: &Setting) -> Option<bool> {
        match self.text(setting)?.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => {
                self.refuse_kind(setting);
                None
            }
        }
    }

    /// The meaning of one of the setting's words; that of the first where it is none of them.
    pub fn choice<T: Copy>(&mut self, setting: &Setting, first: (&str, T), others: &[(&str, T)]) -> T {
        let given = self.text(setting).unwrap_or(first.0).trim().to_ascii_lowercase();
        match std::iter::once(&first).chain(others).find(|(word, _)| *word == given) {
            Some((_, value)) => *value,
            None => {
                self.refuse_kind(setting);
                first.1
            }
        }
    }

    /// Words separated by commas, without empty ones; `None` where nothing is given.
    pub fn list(&self, setting: &Setting) -> Option<Vec<String>> {
        let words = self.text(setting)?.split(',').map(str::trim).filter(|word| !word.is_empty());
        Some(words.map(str::to_owned).collect())
    }

    /// `host:port` each.
    pub fn brokers(&mut self, setting: &Setting) -> Vec<String> {
        let brokers = self.list(setting).unwrap_or_default();
        let wrong = brokers.iter().find(|broker| {
            let parts = broker.rsplit_once(':');
            !parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
        });
        if let Some(broker) = wrong {
            let host = broker.split(':').next().filter(|host| !host.is_empty()).unwrap_or("localhost");
            self.refuse(setting, format!("{broker:?} is not host:port; {host}:9092 would be right"));
        }
        brokers
    }

    /// An IP address; `localhost` is 127.0.0.1.
    pub fn address(&mut self, setting: &Setting) -> IpAddr {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        match self.text(setting).map(str::trim) {
            Some("localhost") | None => loopback,
            Some(text) => text.parse().unwrap_or_else(|_| {
                self.refuse_kind(setting);
                loopback
            }),
        }
    }

    /// An IP address and a port; `None` where nothing is given.
    pub fn endpoint(&mut self, setting: &Setting) -> Option<SocketAddr> {
        let text = self.text(setting)?.trim().replacen("localhost:", "127.0.0.1:", 1);
        match text.parse() {
            Ok(endpoint) => Some(endpoint),
            Err(_) => {
                self.refuse_kind(setting);
                None
            }
        }
    }

    /// `*`, or web origins (RFC 6454): scheme, host and port, and nothing behind.
    pub fn origins(&mut self, setting: &Setting) -> Vec<String> {
        let origins = self.list(setting).unwrap_or_default();
        let is_origin = |origin: &String| {
            origin.split_once("://").is_some_and(|(scheme, host)| {
                ["http", "https"].contains(&scheme) && !host.is_empty() && !host.contains(['/', '?', '#', '*', ' '])
            })
        };
        let any = origins.len() == 1 && origins[0] == "*";
        if !any && !origins.iter().all(is_origin) {
            self.refuse_kind(setting);
        }
        origins
    }
}
