//! Where `bench --deliver` delivers to: another process of this program, which reads each event and answers at once. It counts
//! them, so that what has arrived is its word and not the sender's.

use std::{
    io::Write,
    net::Ipv4Addr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    routing::get,
    serve::ListenerExt,
};
use serde::de::IgnoredAny;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// Answers until its standard input ends; says first on which port. How many events it got says a GET.
pub(super) async fn answer(out: &mut dyn Write) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    let got = Arc::new(AtomicU64::new(0));
    let router = Router::new().route("/", get(count).post(take)).with_state(Arc::clone(&got));
    let listener = listener.tap_io(|stream| {
        // Without it an answer may wait for more to send; where it cannot be set the measurement is slower, not wrong.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(async {
            let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
        })
        .await?;
    Ok(())
}

async fn count(State(got): State<Arc<AtomicU64>>) -> String {
    got.load(Ordering::Relaxed).to_string()
}

async fn take(State(got): State<Arc<AtomicU64>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let is_batch =
        headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/cloudevents-batch"));
    let events = match is_batch {
        true => match serde_json::from_slice::<Vec<IgnoredAny>>(&body) {
            Ok(events) => events.len() as u64,
            Err(_) => return StatusCode::BAD_REQUEST,
        },
        false => 1,
    };
    got.fetch_add(events, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

/// The other process.
pub(super) struct Target {
    child: Child,
    /// Closing it ends the process.
    input: ChildStdin,
    /// Read no more, and open: a process that writes to a closed pipe may fail.
    _output: Lines<BufReader<ChildStdout>>,
    http: reqwest::Client,
    /// Where it answers.
    pub url: String,
}

impl Target {
    /// Starts it.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let mut child = Command::new(program)
            .args(["bench", "--answer"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("the target has no standard input")?;
        let mut output = BufReader::new(child.stdout.take().context("the target has no standard output")?).lines();
        let port: u16 = output.next_line().await?.context("the target did not say its port")?.parse()?;
        let url = format!("http://127.0.0.1:{port}/");
        Ok(Self { child, input, _output: output, http: reqwest::Client::new(), url })
    }

    /// How many events have arrived.
    pub(super) async fn got(&self) -> anyhow::Result<u64> {
        Ok(self.http.get(&self.url).send().await?.text().await?.parse()?)
    }

    /// Ends it and waits for that.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self { mut child, input, .. } = self;
        drop(input);
        child.wait().await?;
        Ok(())
    }
}
