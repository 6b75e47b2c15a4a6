//! The binary as users run it: started with nothing but the settings that a test gives, watched by what it says, asked
//! over HTTP, stopped and killed.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long an ordered end may take.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Lines that are kept to find things in, and for the message of a failure.
const KEPT_LINES: usize = 400;
/// Rest between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(3);

type Lines = Arc<Mutex<VecDeque<String>>>;

/// A streamgauge that ends with the test.
pub struct Process {
    child: Child,
    lines: Lines,
    readers: Vec<JoinHandle<()>>,
    http: reqwest::Client,
}

impl Process {
    /// Starts it with these settings and no other environment, on free ports unless the settings say otherwise.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(&["run"], settings)
    }

    /// Starts it with arguments.
    pub fn start_with(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::start_program(Command::new(binary()).args(arguments), settings)
    }

    /// Starts another program that has a service in it.
    pub fn start_program(command: &mut Command, settings: &[(&str, &str)]) -> Self {
        command.env_clear().env("PORT", "0").env("KAFKA_LISTEN", "127.0.0.1:0");
        command.envs(settings.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let lines = Lines::default();
        let out = listen(child.stdout.take().unwrap(), &lines);
        let err = listen(child.stderr.take().unwrap(), &lines);
        // The library of HTTP asks for a provider of TLS, also where none is spoken.
        streamgauge::tls::install_provider();
        let http = reqwest::Client::builder().tls_certs_only([]).build().expect("a client");
        Self { child, lines, readers: vec![out, err], http }
    }

    /// The last lines that it said.
    pub fn said(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines.iter().rev().take(40).rev().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Whether a line contains this.
    pub fn has_said(&self, text: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// Looks until the check gives something. Fails when that takes too long, or the process has ended.
    pub async fn until<T>(&mut self, what: &str, check: impl AsyncFn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = check(self).await {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("waiting for {what}: the process has ended with {status}\n{}", self.said());
            }
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}\n{}", self.said());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until it says this.
    pub async fn says(&mut self, text: &str) {
        self.until(text, async |process| process.has_said(text).then_some(())).await;
    }

    /// The address after these words, once they are said.
    async fn address(&mut self, words: &str) -> String {
        let find = |line: &String| line.split_once(words).map(|(_, rest)| rest.split('"').next().unwrap().to_owned());
        self.until(words, async |process| process.lines.lock().unwrap().iter().find_map(find)).await
    }

    /// Where its API is, `http://…`, once it listens.
    pub async fn url(&mut self) -> String {
        self.address("HTTP on ").await
    }

    /// Where its embedded log listens, once it does.
    pub async fn broker(&mut self) -> String {
        self.address("the embedded log speaks the Kafka protocol on ").await
    }

    /// Gets a path; status 0 where nobody answers.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get_text(path).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Gets a path as text; status 0 where nobody answers.
    pub async fn get_text(&self, path: &str) -> (u16, String) {
        let Some(url) = self.known_url() else { return (0, String::new()) };
        match self.http.get(format!("{url}{path}")).timeout(PATIENCE).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    /// Posts JSON; status 0 where nobody answers.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let Some(url) = self.known_url() else { return (0, Value::Null) };
        match self.http.post(format!("{url}{path}")).timeout(PATIENCE).json(body).send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                // An answer that breaks off was no answer.
                answer.json().await.map_or((0, Value::Null), |body| (status, body))
            }
            Err(_) => (0, Value::Null),
        }
    }

    fn known_url(&self) -> Option<String> {
        let lines = self.lines.lock().unwrap();
        let line = lines.iter().find_map(|line| line.split_once("HTTP on ").map(|(_, rest)| rest.to_owned()))?;
        line.split('"').next().map(str::to_owned)
    }

    /// Sum of a metric over its labels, where the line holds `label`; 0 where it is not there.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let (_, text) = self.get_text("/metrics").await;
        let mine = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        mine.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Most memory that it ever had resident, MiB, as Linux tells it.
    pub fn peak_memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Asks it to stop and returns how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Everything kept of what an ended process said, on both streams.
    pub fn last_words(&mut self) -> String {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.said()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + STOP_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it has not ended within {STOP_WITHIN:?}\n{}", self.said());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary that is tried: the one that was built with the tests, unless STREAMGAUGE_TEST_BINARY names another.
pub fn binary() -> PathBuf {
    std::env::var_os("STREAMGAUGE_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_streamgauge").into(), PathBuf::from)
}

/// Sends a child a signal.
pub fn signal(child: &Child, name: &str) {
    // The shell's own kill: a small system has no program of that name.
    assert!(Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap().success());
}

fn listen(stream: impl Read + Send + 'static, lines: &Lines) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut lines = lines.lock().unwrap();
            // The addresses are among the first lines, so those stay.
            if lines.len() == KEPT_LINES {
                lines.remove(KEPT_LINES / 2);
            }
            lines.push_back(line);
        }
    })
}
