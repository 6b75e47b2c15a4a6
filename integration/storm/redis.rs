//! A Redis of the test's own, and all that can happen to one.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{store_faults::free_port, support::process::signal};

/// How long a server that was started may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long it is deaf.
const DEAF_FOR: Duration = Duration::from_secs(3);

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// All connections are cut.
    Cut,
    /// It holds back every command for 3 s.
    Paused,
    /// Its process is stopped for 3 s.
    Stopped,
    /// It does nothing for 3 s.
    Asleep,
    /// It is killed with -9 and comes back with an older copy of all that it held.
    FellBack,
    /// All that it holds is deleted.
    Emptied,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Cut, Self::Paused, Self::Stopped, Self::Asleep, Self::FellBack, Self::Emptied];
}

/// A redis-server that ends with the test and keeps nothing but the copies that it is told to make.
pub struct Redis {
    port: u16,
    folder: tempfile::TempDir,
    server: Child,
    copied_at: Option<Instant>,
}

impl Redis {
    pub async fn start() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let redis = Self { port, server: serve(port, folder.path()), folder, copied_at: None };
        redis.answers().await;
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What redis-cli prints.
    async fn says(&self, words: &[&str]) -> String {
        let mut command = tokio::process::Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(words);
        String::from_utf8(command.output().await.unwrap().stdout).unwrap()
    }

    async fn does(&self, words: &[&str]) {
        let said = self.says(words).await;
        assert!(!said.contains("ERR"), "{words:?}: {said}");
    }

    async fn answers(&self) {
        let began = Instant::now();
        while self.says(&["PING"]).await.trim() != "PONG" {
            assert!(began.elapsed() < ANSWERS_WITHIN, "Redis does not answer");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Keeps a copy of what it holds now.
    pub async fn copy(&mut self) {
        self.does(&["SAVE"]).await;
        std::fs::copy(self.file("dump.rdb"), self.file("older.rdb")).unwrap();
        self.copied_at = Some(Instant::now());
    }

    pub fn has_copy(&self) -> bool {
        self.copied_at.is_some()
    }

    /// Lets this happen to it, and comes back when it is over. Says what happened.
    pub async fn suffer(&mut self, fault: Fault) -> String {
        match fault {
            Fault::Cut => self.does(&["CLIENT", "KILL", "TYPE", "normal"]).await,
            Fault::Paused => {
                self.does(&["CLIENT", "PAUSE", &DEAF_FOR.as_millis().to_string(), "ALL"]).await;
                tokio::time::sleep(DEAF_FOR).await;
            }
            Fault::Stopped => {
                signal(&self.server, "STOP");
                tokio::time::sleep(DEAF_FOR).await;
                signal(&self.server, "CONT");
            }
            Fault::Asleep => self.does(&["DEBUG", "SLEEP", &DEAF_FOR.as_secs().to_string()]).await,
            Fault::FellBack => {
                let age = self.copied_at.expect("a copy was made").elapsed();
                self.server.kill().unwrap();
                self.server.wait().unwrap();
                std::fs::copy(self.file("older.rdb"), self.file("dump.rdb")).unwrap();
                self.server = serve(self.port, self.folder.path());
                self.answers().await;
                return format!("it fell back to a copy of {age:.1?} before");
            }
            Fault::Emptied => self.does(&["FLUSHALL"]).await,
        }
        format!("{fault:?}")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn serve(port: u16, folder: &std::path::Path) -> Child {
    let port = port.to_string();
    let settings = ["--port", &port, "--bind", "127.0.0.1", "--appendonly", "no", "--save", ""];
    let mut command = Command::new("redis-server");
    command.args(settings).args(["--enable-debug-command", "yes", "--dir"]).arg(folder).stdout(Stdio::null());
    command.spawn().expect("redis-server is installed")
}
