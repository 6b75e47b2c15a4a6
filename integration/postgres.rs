//! A PostgreSQL of the test's own.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::store_faults::free_port;

/// Of its user: no log may have it.
pub const PASSWORD: &str = "swordfish-7";
const DEADLINE: Duration = Duration::from_secs(60);

/// A server that ends with the test. It refuses to run as root, so it runs as nobody then.
pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Self { port: free_port(), child: None, folder };
        let password = server.folder.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        if is_root() {
            let done = Command::new("chown").args(["-R", "nobody"]).arg(server.folder.path()).status().unwrap();
            assert!(done.success());
        }
        let mut initdb = as_nobody(&program("initdb"));
        initdb.args(["--auth=scram-sha-256", "--username=gauge", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        initdb.arg(format!("--pwfile={}", password.display())).arg("-D").arg(server.data());
        let output = initdb.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut server = server;
        server.restart().await;
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn url(&self) -> String {
        format!("postgres://gauge:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it and waits until it answers.
    pub async fn restart(&mut self) {
        let mut command = as_nobody(&program("postgres"));
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]);
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + DEADLINE;
        while !self.psql("SELECT 1").status().unwrap().success() {
            assert!(Instant::now() < deadline, "PostgreSQL does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends it at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its own children see that it is gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The rows of a query, their columns separated by `|`.
    pub fn query(&self, sql: &str) -> Vec<String> {
        let output = self.psql(sql).stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{sql}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn psql(&self, sql: &str) -> Command {
        let mut command = Command::new(program("psql"));
        command.args(["-X", "-A", "-t", "-c", sql, &self.url()]).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.starts_with(b"0\n")
}

fn as_nobody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program).current_dir("/");
    command
}

/// A program of PostgreSQL: Debian keeps those of the server off the PATH.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}
