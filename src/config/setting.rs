//! What a setting is: name, kind, default, meaning, and whether this version does it.

/// The part of the program that a setting is for; the order is that of `.env.example`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The connection to the log.
    Kafka,
    /// The log and store that need nothing installed.
    Embedded,
    /// The store of results.
    Store,
    /// What is counted, and how often it is written.
    Counting,
    /// The API.
    Http,
    /// Logs and shutdown.
    Running,
}

impl Area {
    /// All areas in order.
    pub const ALL: [Area; 6] = [Area::Kafka, Area::Embedded, Area::Store, Area::Counting, Area::Http, Area::Running];

    /// The area's heading.
    pub fn title(self) -> &'static str {
        match self {
            Area::Kafka => "Kafka",
            Area::Embedded => "Embedded",
            Area::Store => "Store",
            Area::Counting => "Counting",
            Area::Http => "HTTP",
            Area::Running => "Running",
        }
    }
}

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number with its unit, both ends included.
    Number {
        /// Smallest value taken.
        min: u64,
        /// Largest value taken.
        max: u64,
        /// `ms`, `bytes`, …; empty for a plain count.
        unit: &'static str,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Words separated by commas.
    List,
    /// A file or folder.
    Path,
    /// `host:port`, several separated by commas.
    Brokers,
    /// An IP address.
    Address,
    /// An IP address and a port.
    Endpoint,
    /// `redis://[user[:password]@]host[:port][/db]`, or several hosts with `redis-sentinel://` and `redis-cluster://`.
    RedisUrl,
    /// `topic:0-3,5;other:0`.
    Partitions,
    /// `*` or origins (`https://host[:port]`) separated by commas.
    Origins,
    /// A level, or directives as `info,streamgauge::log=debug`.
    LogFilter,
    /// Tables of the configuration file; never one value.
    Tables,
}

impl Kind {
    /// What a right value looks like, for errors and `.env.example`.
    pub fn expects(self) -> String {
        match self {
            Kind::Text => "text".into(),
            Kind::Flag => "true or false".into(),
            Kind::Number { min, max, unit: "" } => format!("a whole number from {min} to {max}"),
            Kind::Number { min, max, unit } => format!("a whole number from {min} to {max} ({unit})"),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::List => "names separated by commas".into(),
            Kind::Path => "a path".into(),
            Kind::Brokers => "host:port, several separated by commas, such as localhost:9092".into(),
            Kind::Address => "an IP address, such as 127.0.0.1".into(),
            Kind::Endpoint => "an IP address and a port, such as 127.0.0.1:9308".into(),
            Kind::RedisUrl => "redis://[user[:password]@]host[:port][/db], \
                               redis-sentinel://[user[:password]@]sentinel[:port][,...]/service[/db] or \
                               redis-cluster://[user[:password]@]host[:port][,...]"
                .into(),
            Kind::Partitions => "topics with their partitions, such as video.views:0-3,5;video.likes:0".into(),
            Kind::Origins => "* or origins separated by commas, such as https://example.com".into(),
            Kind::LogFilter => "a level (error, warn, info, debug, trace) or directives such as \
                                info,streamgauge::log=debug"
                .into(),
            Kind::Tables => "tables".into(),
        }
    }
}

/// Whether this version does what the setting asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Works,
    /// Known, not done yet: refused by name. The one value that changes nothing is taken, where there is one.
    Later(Option<&'static str>),
    /// Known, not done yet, but set by many platforms for everyone: a warning.
    Ignored,
}

/// A setting.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Name in the environment; in the file it is the same in lower case.
    pub name: &'static str,
    /// Where it belongs.
    pub area: Area,
    /// What a value must look like.
    pub kind: Kind,
    /// The value where none is given.
    pub default: Option<&'static str>,
    /// What it does, in a sentence.
    pub meaning: &'static str,
    /// Whether it is never shown, and may come from a file named by `NAME_FILE`.
    pub secret: bool,
    /// Whether this version does it.
    pub state: State,
}

impl Setting {
    /// A setting that works and has no default.
    pub const fn new(name: &'static str, area: Area, kind: Kind, meaning: &'static str) -> Self {
        Self { name, area, kind, default: None, meaning, secret: false, state: State::Works }
    }

    /// With this default.
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Never shown.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Known, but not done by this version.
    pub const fn later(mut self) -> Self {
        self.state = State::Later(None);
        self
    }

    /// Known, but this version does this one value only.
    pub const fn only(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self.state = State::Later(Some(value));
        self
    }

    /// Known, not done by this version, and no reason to refuse to start.
    pub const fn ignored(mut self) -> Self {
        self.state = State::Ignored;
        self
    }

    /// The name in the configuration file.
    pub fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    /// The setting that names a file with this secret.
    pub fn file_name(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.name))
    }
}
