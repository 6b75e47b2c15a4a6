//! Three brokers of a test's own, each a JVM that can be killed and started again.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use crate::{java::jars, store_faults::free_port};

/// How many there are. Each is a controller too, so that one may be away.
pub const BROKERS: usize = 3;
/// Any 16 bytes in base64.
const CLUSTER_ID: &str = "c3RyZWFtZ2F1Z2UtdGVzdA";

/// The brokers. They end with the value.
pub struct Brokers {
    /// Where each listens, for clients.
    pub addresses: Vec<String>,
    running: Vec<Option<Child>>,
    folder: tempfile::TempDir,
}

impl Brokers {
    /// Starts them; they answer a few seconds later.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = (0..2 * BROKERS).map(|_| free_port()).collect();
        let (ports, controllers) = ports.split_at(BROKERS);
        let voters: Vec<_> = (0..BROKERS).map(|at| format!("{}@127.0.0.1:{}", at + 1, controllers[at])).collect();
        std::fs::write(folder.path().join("log4j2.properties"), LOGGING).unwrap();
        for at in 0..BROKERS {
            let settings = settings(folder.path(), at, ports[at], controllers[at], &voters.join(","));
            std::fs::write(properties(folder.path(), at), settings).unwrap();
        }
        let path = folder.path();
        thread::scope(|scope| (0..BROKERS).for_each(|at| drop(scope.spawn(move || format(path, at)))));
        let addresses = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut brokers = Self { addresses, running: (0..BROKERS).map(|_| None).collect(), folder };
        (0..BROKERS).for_each(|at| brokers.restart(at));
        brokers
    }

    /// All addresses, as a setting.
    pub fn bootstrap(&self) -> String {
        self.addresses.join(",")
    }

    /// kill -9 of the broker at a place, counted from 0; its node id is one more.
    pub fn kill(&mut self, at: usize) {
        let mut child = self.running[at].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again with what it had written.
    pub fn restart(&mut self, at: usize) {
        let folder = self.folder.path();
        let log = File::options().create(true).append(true).open(folder.join(format!("broker{at}.log"))).unwrap();
        let mut java = kafka_java(folder);
        java.arg("kafka.Kafka").arg(properties(folder, at)).stdin(Stdio::null());
        java.stdout(log.try_clone().unwrap()).stderr(log);
        self.running[at] = Some(java.spawn().unwrap());
    }

    /// What a broker said, for the message of a failure.
    pub fn said(&self, at: usize) -> String {
        let said = std::fs::read_to_string(self.folder.path().join(format!("broker{at}.log"))).unwrap_or_default();
        let lines: Vec<_> = said.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const LOGGING: &str = "\
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
";

fn properties(folder: &Path, at: usize) -> PathBuf {
    folder.join(format!("broker{at}.properties"))
}

/// Short sessions, so that a broker that was killed is missed soon; else as Kafka has them.
fn settings(folder: &Path, at: usize, port: u16, controller: u16, voters: &str) -> String {
    let data = folder.join(format!("data{at}"));
    format!(
        "node.id={}
process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
log.dirs={}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
",
        at + 1,
        data.display()
    )
}

fn kafka_java(folder: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.arg(format!("-Dlog4j2.configurationFile={}", folder.join("log4j2.properties").display()));
    java.args(["-cp", &jars()]);
    java
}

fn format(folder: &Path, at: usize) {
    let mut java = kafka_java(folder);
    java.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]);
    let output = java.arg(properties(folder, at)).output().unwrap();
    assert!(output.status.success(), "broker {at} was not formatted: {}", String::from_utf8_lossy(&output.stderr));
}
