//! Log lines on stdout: a JSON object each, or text for people.
//!
//! Keys of a JSON line: `timestamp` (RFC 3339, UTC), `level`, `service`, `message`, then the event's own fields at the top
//! level (`topic`, `partition`, `offset`, `correlationId`, …), then `target`, the place in the code. Fields of spans are
//! left out: a line says itself what it is about.

use std::{
    fmt::{self, Write},
    io::IsTerminal,
};

use serde::Serialize;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer, time::FormatTime, time::SystemTime},
    registry::LookupSpan,
};

/// The name that every line carries.
pub const SERVICE: &str = "streamgauge";

/// Libraries that talk a lot; they are asked for warnings only, until `LOG_LEVEL` names them. rskafka warns of every try, and
/// our own line follows when the tries are over.
const QUIET: &str = "rskafka=error,fred=warn,hyper=warn,hyper_util=warn,h2=warn,reqwest=warn,tower_http=warn,redb=warn";

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// Text for people.
    Text,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is none and the directives cannot be read.
    #[error("LOG_LEVEL {level:?} is neither a level nor directives: {reason}")]
    Filter {
        /// What was given.
        level: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// Something else in this process logs already.
    #[error("logging was begun twice in this process: {0}")]
    Twice(String),
}

/// Begins logging to stdout, for the whole process. `level` is a level or `tracing` directives.
///
/// # Errors
/// [`LoggingError`] where the level cannot be read, or logging was begun before.
pub fn install(level: &str, format: Format) -> Result<(), LoggingError> {
    let begun = match format {
        Format::Json => json(level, std::io::stdout)?.try_init_in_process(),
        Format::Text => text(level, std::io::stdout, wants_colour())?.try_init_in_process(),
    };
    begun.map_err(LoggingError::Twice)
}

/// What `try_init` does, with an error that can be shown.
trait Begin {
    fn try_init_in_process(self) -> Result<(), String>;
}

impl<S: Subscriber + Send + Sync + 'static> Begin for S {
    fn try_init_in_process(self) -> Result<(), String> {
        tracing_subscriber::util::SubscriberInitExt::try_init(self).map_err(|error| error.to_string())
    }
}

fn json<W>(level: &str, writer: W) -> Result<impl Subscriber + Send + Sync + 'static, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter(level)?;
    // A reader of stdout that has gone is no reason to fill stderr.
    let lines = tracing_subscriber::fmt().log_internal_errors(false).event_format(JsonLine);
    Ok(lines.with_writer(writer).with_env_filter(filter).finish())
}

fn text<W>(level: &str, writer: W, colour: bool) -> Result<impl Subscriber + Send + Sync + 'static, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter(level)?;
    let lines = tracing_subscriber::fmt().with_writer(writer).with_env_filter(filter).with_target(false);
    Ok(lines.with_ansi(colour).log_internal_errors(false).finish())
}

/// Colours on a terminal only, and not where `NO_COLOR` is set (no-color.org).
fn wants_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn filter(level: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(format!("{QUIET},{level}"))
        .map_err(|error| LoggingError::Filter { level: level.to_owned(), reason: error.to_string() })
}

/// Formats an event as one JSON object.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        write!(writer, r#"{{"timestamp":"{timestamp}","level":"{level}","service":"{SERVICE}","message":"#)?;
        write!(writer, "{}", quoted(&fields.message))?;
        let target = fields.target.as_deref().unwrap_or_else(|| event.metadata().target());
        writeln!(writer, r#"{},"target":{}}}"#, fields.rest, quoted(target))
    }
}

/// An event's fields on their way into a line.
#[derive(Default)]
struct Fields {
    message: String,
    /// Where a record of the `log` crate came from.
    target: Option<String>,
    /// `,"key":value` for each other field.
    rest: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Serialize) {
        let name = match field.name() {
            // The `log` crate's records carry where they came from as fields.
            name if name.starts_with("log.") => return,
            "correlation_id" => "correlationId",
            name => name.strip_prefix("r#").unwrap_or(name),
        };
        // What cannot be JSON (NaN is null) is null: a log line never fails.
        let value = serde_json::to_string(&value).unwrap_or_else(|_| "null".into());
        let _ = write!(self.rest, ",{}:{value}", quoted(name));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            "log.target" => self.target = Some(value.to_owned()),
            _ => self.add(field, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.add(field, format!("{value:?}")),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A writer that keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("kept").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(level: &str, log: impl FnOnce()) -> Vec<serde_json::Value> {
        let kept = Kept::default();
        let writer = kept.clone();
        tracing::subscriber::with_default(json(level, move || writer.clone()).expect("a filter"), log);
        let bytes = kept.0.lock().expect("kept").clone();
        String::from_utf8(bytes).expect("UTF-8").lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[test]
    fn a_line_is_json_with_its_fields_at_the_top() {
        let lines = lines("info", || {
            tracing::info!(
                topic = "video.views",
                partition = 3,
                offset = 42_i64,
                correlation_id = "c\"1",
                "counted {}",
                7
            );
            tracing::debug!("not asked for");
        });
        assert_eq!(lines.len(), 1);
        for (key, value) in [
            ("level", serde_json::json!("info")),
            ("service", "streamgauge".into()),
            ("message", "counted 7".into()),
            ("topic", "video.views".into()),
            ("partition", 3.into()),
            ("offset", 42.into()),
            ("correlationId", "c\"1".into()),
        ] {
            assert_eq!(lines[0][key], value, "{key}");
        }
        let timestamp = lines[0]["timestamp"].as_str().expect("a timestamp");
        assert!(chrono::DateTime::parse_from_rfc3339(timestamp).is_ok(), "{timestamp}");
    }

    #[test]
    fn libraries_are_quiet_until_they_are_named() {
        let log = || tracing::info!(target: "rskafka::client", "chatter");
        assert!(lines("debug", log).is_empty());
        assert_eq!(lines("debug,rskafka=info", log).len(), 1);
    }

    #[test]
    fn what_is_no_level_is_refused() {
        assert!(filter("info,streamgauge::log=debug").is_ok());
        assert!(matches!(filter("info,=,["), Err(LoggingError::Filter { .. })));
    }
}
