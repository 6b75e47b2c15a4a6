//! The connection to the database: one, made when it is needed, its schema brought up to date, dropped at the first doubt.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio_postgres::{Client, Config, NoTls, Socket, config::SslMode, error::SqlState, tls::MakeTlsConnect};
use tokio_util::task::AbortOnDropHandle;

use super::{statements as sql, tls::Tls};
use crate::{
    model::SecretSource,
    store::StoreError,
    tls::{ClientTls, TlsOptions},
};

/// Longest wait for a connection, sign-in and schema included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// Longest wait for one statement, told to the server: a batch, or reading a page.
const STATEMENT_TIMEOUT: &str = "SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '300s'";
/// Between two signs of life on an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How the database is reached.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `DATABASE_URL`. Its file is read again for each connection.
    pub url: SecretSource,
}

struct Connection {
    client: Client,
    /// Drives it; ends with it.
    _task: AbortOnDropHandle<()>,
}

/// The connection, made anew after each failure.
pub(super) struct Connections {
    options: PostgresOptions,
    tls: Option<Tls>,
    connection: Mutex<Option<Connection>>,
}

impl Connections {
    /// # Errors
    /// The URL is none, or its certificates cannot be used.
    pub(super) fn new(options: PostgresOptions) -> Result<Self, StoreError> {
        let url = parse(options.url.value.reveal())?;
        let tls = match url.tls {
            Some(ca) => {
                let tls = ClientTls::load(TlsOptions { ca, identity: None });
                Some(Tls(Arc::new(tls.map_err(|error| refused("preparing TLS to PostgreSQL", error.to_string()))?)))
            }
            None => None,
        };
        Ok(Self { options, tls, connection: Mutex::new(None) })
    }

    /// The connection, for one caller at a time.
    pub(super) async fn client(&self, doing: &str) -> Result<MappedMutexGuard<'_, Client>, StoreError> {
        let mut held = self.connection.lock().await;
        if held.as_ref().is_none_or(|connection| connection.client.is_closed()) {
            *held = None;
            let connected = tokio::time::timeout(CONNECT_DEADLINE, self.connect(doing)).await;
            let late = || StoreError::Unavailable {
                doing: doing.to_owned(),
                reason: format!("PostgreSQL has not answered within {} s", CONNECT_DEADLINE.as_secs()),
            };
            *held = Some(connected.map_err(|_| late())??);
        }
        MutexGuard::try_map(held, |held| held.as_mut().map(|connection| &mut connection.client))
            .map_err(|_| refused(doing, "there is no connection".to_owned()))
    }

    async fn connect(&self, doing: &str) -> Result<Connection, StoreError> {
        let text = match &self.options.url.file {
            Some(path) => read_again(path)?,
            None => self.options.url.value.reveal().to_owned(),
        };
        let config = parse(&text)?.config;
        let mut connection = match &self.tls {
            Some(tls) => open(doing, &config, tls.clone()).await?,
            None => open(doing, &config, NoTls).await?,
        };
        connection.client.batch_execute(STATEMENT_TIMEOUT).await.map_err(|error| store_error(doing, &error))?;
        migrate(&mut connection.client).await?;
        Ok(connection)
    }
}

fn read_again(path: &PathBuf) -> Result<String, StoreError> {
    let doing = format!("reading DATABASE_URL_FILE {}", path.display());
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|error| refused(&doing, error.to_string()))
}

async fn open<T>(doing: &str, config: &Config, tls: T) -> Result<Connection, StoreError>
where
    T: MakeTlsConnect<Socket>,
    T::TlsConnect: Send,
    T::Stream: Send + 'static,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await.map_err(|error| store_error(doing, &error))?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to PostgreSQL has ended");
        }
    });
    Ok(Connection { client, _task: AbortOnDropHandle::new(task) })
}

/// Brings the schema up to date, one member at a time.
async fn migrate(client: &mut Client) -> Result<(), StoreError> {
    let doing = "making the tables in PostgreSQL";
    let failed = |error| store_error(doing, &error);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.query(sql::MIGRATION_LOCK, &[]).await.map_err(failed)?;
    transaction.batch_execute(sql::MIGRATIONS_TABLE).await.map_err(failed)?;
    let last: i32 = transaction.query_one(sql::LAST_MIGRATION, &[]).await.map_err(failed)?.get(0);
    let last = usize::try_from(last).unwrap_or(0);
    if last > sql::MIGRATIONS.len() {
        let reason = format!(
            "its tables are of version {last}, and this streamgauge knows {}: a newer one has made them; use that",
            sql::MIGRATIONS.len()
        );
        return Err(refused(doing, reason));
    }
    for (number, migration) in (1..).zip(sql::MIGRATIONS).skip(last) {
        transaction.batch_execute(migration).await.map_err(failed)?;
        transaction.execute(sql::NOTE_MIGRATION, &[&number]).await.map_err(failed)?;
        tracing::info!("made version {number} of the tables in PostgreSQL");
    }
    transaction.commit().await.map_err(failed)
}

/// What a URL says.
struct Url {
    config: Config,
    /// TLS, and the authorities that are trusted; `None` in it is the system's.
    tls: Option<Option<PathBuf>>,
}

/// Reads `postgres://[user[:password]@]host[:port][/name][?sslmode=…&sslrootcert=…]`, as libpq has it. Nothing of it is
/// repeated in an error.
fn parse(url: &str) -> Result<Url, StoreError> {
    let doing = "reading DATABASE_URL";
    let wrong = |reason: &str| refused(doing, reason.to_owned());
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(wrong("it is no PostgreSQL URL; postgres://user:password@host:5432/name would be right"));
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut tls, mut ca, mut others) = (false, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "disable")) => tls = false,
            Some(("sslmode", "require" | "verify-ca" | "verify-full")) => tls = true,
            Some(("sslmode", _)) => {
                return Err(wrong(
                    "its sslmode must be disable, or require or verify-full, which both verify the server",
                ));
            }
            Some(("sslrootcert", path)) => ca = Some(PathBuf::from(path)),
            _ => others.push(pair),
        }
    }
    let rest = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    let mut config = Config::from_str(&rest)
        .map_err(|_| wrong("it cannot be read; special characters in a password must be percent-encoded"))?;
    if config.get_hosts().is_empty() {
        return Err(wrong("it names no host"));
    }
    config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
    config.connect_timeout(CONNECT_DEADLINE).keepalives_idle(KEEPALIVE);
    if config.get_application_name().is_none() {
        config.application_name("streamgauge");
    }
    Ok(Url { config, tls: tls.then_some(ca) })
}

fn refused(doing: &str, reason: String) -> StoreError {
    StoreError::Refused { doing: doing.to_owned(), reason }
}

/// What a failed call means. What a person must mend is refused, everything else may pass.
pub(super) fn store_error(doing: &str, error: &tokio_postgres::Error) -> StoreError {
    let doing = format!("{doing} (DATABASE_URL)");
    let Some(told) = error.as_db_error() else {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            reason = format!("{reason}: {inner}");
            cause = inner.source();
        }
        return StoreError::Unavailable { doing, reason };
    };
    let reason = format!("PostgreSQL says: {} ({})", told.message(), told.code().code());
    let is_lasting = ["28", "3D", "3F", "42"].iter().any(|class| told.code().code().starts_with(class));
    if is_lasting && *told.code() != SqlState::LOCK_NOT_AVAILABLE {
        return StoreError::Refused { doing, reason };
    }
    StoreError::Unavailable { doing, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how_and_is_never_repeated() {
        let right = |url: &str| parse(url).map(|url| url.tls).ok();
        assert_eq!(right("postgres://user:pass@host/name"), Some(None));
        assert_eq!(right("postgresql://host:5433/name?sslmode=disable&connect_timeout=3"), Some(None));
        assert_eq!(right("postgres://host/name?sslmode=require"), Some(Some(None)));
        let ca = PathBuf::from("/etc/ca.pem");
        assert_eq!(right("postgres://host/name?sslrootcert=/etc/ca.pem&sslmode=verify-full"), Some(Some(Some(ca))));
        for wrong in [
            "hunter2",
            "mysql://user:hunter2@host/name",
            "postgres://user:hunter2@host/name?sslmode=prefer",
            "postgres://user:hunter2@host/name?nonsense=1",
            "postgres://user:hunter2@host:none/name",
        ] {
            let error = parse(wrong).err().map(|error| error.to_string());
            let error = error.unwrap_or_else(|| panic!("{wrong} is taken"));
            assert!(error.contains("DATABASE_URL") && !error.contains("hunter2"), "{error}");
        }
    }
}
