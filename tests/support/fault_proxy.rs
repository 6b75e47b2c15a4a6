//! A proxy before a broker that does to connections what networks do, under a seed: it cuts, delays, swallows and half-closes
//! them, at the request or at the answer. It knows Kafka's frames, so that a fault hits where it hurts: an answer that is lost
//! after the request was carried out. The broker's own address in answers is replaced by the proxy's.

mod frames;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use kafka_protocol::messages::ApiKey;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

use self::frames::{length_of, read_frame, with_address, write_frame};
use super::events::Random;

/// Longest delay of an answer.
const MAX_DELAY_MS: usize = 300;

/// What happens to a request or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the broker has the request.
    CutBefore,
    /// The broker carries it out, and the connection breaks before the answer.
    CutAfter,
    /// The connection breaks amid the answer.
    CutAmid,
    /// The answer comes late, and all behind it.
    Delay,
    /// The broker carries it out; from then on nothing is answered and the connection stays open.
    Blackhole,
    /// The broker carries it out; our side of the connection is closed, the client's is still read.
    HalfClose,
}

const FAULTS: [Fault; 6] =
    [Fault::CutBefore, Fault::CutAfter, Fault::CutAmid, Fault::Delay, Fault::Blackhole, Fault::HalfClose];

/// Two kinds of requests have faults of their own, so that many of the one do not use up those of the other.
const LANES: [&str; 2] = ["produce", "others"];

/// A proxy that ends with the value.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

struct Shared {
    broker: String,
    address: SocketAddr,
    random: Mutex<Random>,
    /// Whether faults happen.
    wild: AtomicBool,
    /// Whether nobody gets through at all.
    away: watch::Sender<bool>,
    /// A fault happens once in about this many requests.
    every: usize,
    lanes: [Mutex<Lane>; LANES.len()],
    counts: [[AtomicUsize; FAULTS.len()]; LANES.len()],
}

#[derive(Default)]
struct Lane {
    /// Requests until the next fault.
    until_next: usize,
    /// The kinds of fault that come next; shuffled anew when empty, so that each kind comes.
    coming: Vec<Fault>,
}

impl FaultProxy {
    /// A calm proxy before a broker. While it is wild, one of about `every` requests meets a fault.
    pub async fn start(broker: &str, seed: u64, every: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            broker: broker.to_owned(),
            address,
            random: Mutex::new(Random::new(seed)),
            wild: AtomicBool::new(false),
            away: watch::Sender::new(false),
            every,
            lanes: Default::default(),
            counts: Default::default(),
        });
        let mut accepting = JoinSet::new();
        let serving = Arc::clone(&shared);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((near, _)) = listener.accept() => {
                        connections.spawn(connection(near, Arc::clone(&serving)));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { address, shared, _accepting: accepting }
    }

    /// Where clients connect to.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Begins or ends the faults. What is swallowed already stays so until the client gives up.
    pub fn set_wild(&self, wild: bool) {
        self.shared.wild.store(wild, Ordering::SeqCst);
    }

    /// Cuts all connections and lets nobody through, or ends that.
    pub fn set_away(&self, away: bool) {
        self.shared.away.send_replace(away);
    }

    /// How often each fault happened.
    pub fn counts(&self) -> Vec<(&'static str, Fault, usize)> {
        let one = |(lane, name): (usize, &&'static str)| {
            let counts = FAULTS.iter().zip(&self.shared.counts[lane]);
            let name = *name;
            counts.map(move |(fault, count)| (name, *fault, count.load(Ordering::SeqCst))).collect::<Vec<_>>()
        };
        LANES.iter().enumerate().flat_map(one).collect()
    }

    /// Prints what happened, and fails where a kind of fault did not.
    pub fn assert_each_fault_happened(&self) {
        let counts = self.counts();
        eprintln!("faults: {counts:?}");
        assert!(counts.iter().all(|(_, _, count)| *count > 0), "not each fault happened: {counts:?}");
    }
}

impl Shared {
    /// The fault that this request meets, if any. It is counted by the one who carries it out.
    fn fault(&self, lane: usize) -> Option<Fault> {
        if !self.wild.load(Ordering::SeqCst) {
            return None;
        }
        let (mut random, mut lane) = (self.random.lock().unwrap(), self.lanes[lane].lock().unwrap());
        if lane.until_next > 0 {
            lane.until_next -= 1;
            return None;
        }
        lane.until_next = self.every / 2 + random.below(self.every);
        if lane.coming.is_empty() {
            let mut left = FAULTS.to_vec();
            while !left.is_empty() {
                lane.coming.push(left.swap_remove(random.below(left.len())));
            }
        }
        lane.coming.pop()
    }

    fn count(&self, lane: usize, fault: Fault) {
        let kind = FAULTS.iter().position(|known| *known == fault).unwrap();
        self.counts[lane][kind].fetch_add(1, Ordering::SeqCst);
    }
}

/// A request whose answer is to come: its key and version, its lane, and what its answer meets.
struct Asked {
    key: i16,
    version: i16,
    lane: usize,
    fault: Option<Fault>,
}

/// How a connection goes on after one side is done.
enum After {
    /// Both sides are closed.
    Closed,
    /// What the client says is read and forgotten until it closes.
    Swallow,
}

async fn connection(near: TcpStream, shared: Arc<Shared>) {
    let mut away = shared.away.subscribe();
    tokio::select! {
        _ = away.wait_for(|away| *away) => {}
        () = serve(near, &shared) => {}
    }
}

async fn serve(near: TcpStream, shared: &Shared) {
    let Ok(far) = TcpStream::connect(&shared.broker).await else { return };
    if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
        return;
    }
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let asked = Mutex::new(VecDeque::new());
    let after = tokio::select! {
        after = up(&mut near_in, &mut far_out, &asked, shared) => after,
        after = down(&mut far_in, &mut near_out, &asked, shared) => after,
    };
    if let Some(After::Swallow) = after {
        let _ = tokio::io::copy(&mut near_in, &mut tokio::io::sink()).await;
    }
    // Held until here: a swallowed connection stays open.
    drop((near_out, far_in, far_out));
}

/// Requests; `None` where a side has closed.
async fn up(
    near: &mut OwnedReadHalf,
    far: &mut OwnedWriteHalf,
    asked: &Mutex<VecDeque<Asked>>,
    shared: &Shared,
) -> Option<After> {
    loop {
        let frame = read_frame(near).await?;
        let number = |at: usize| Some(i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
        let (key, version) = (number(0)?, number(2)?);
        let lane = usize::from(key != ApiKey::Produce as i16);
        let fault = shared.fault(lane);
        if fault == Some(Fault::CutBefore) {
            shared.count(lane, Fault::CutBefore);
            return Some(After::Closed);
        }
        asked.lock().unwrap().push_back(Asked { key, version, lane, fault });
        write_frame(far, &frame).await?;
    }
}

/// Answers; they come in the order of the requests.
async fn down(
    far: &mut OwnedReadHalf,
    near: &mut OwnedWriteHalf,
    asked: &Mutex<VecDeque<Asked>>,
    shared: &Shared,
) -> Option<After> {
    loop {
        let frame = read_frame(far).await?;
        let asked = asked.lock().unwrap().pop_front()?;
        let frame = with_address(frame, asked.key, asked.version, shared.address);
        if let Some(fault) = asked.fault {
            shared.count(asked.lane, fault);
        }
        match asked.fault {
            None | Some(Fault::CutBefore) => {}
            Some(Fault::Delay) => {
                let delay_ms = 1 + shared.random.lock().unwrap().below(MAX_DELAY_MS) as u64;
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            }
            Some(Fault::CutAfter) => return Some(After::Closed),
            Some(Fault::CutAmid) => {
                near.write_all(&length_of(&frame)).await.ok()?;
                near.write_all(&frame[..frame.len() / 2]).await.ok()?;
                return Some(After::Closed);
            }
            Some(Fault::Blackhole) => return Some(After::Swallow),
            Some(Fault::HalfClose) => {
                near.shutdown().await.ok()?;
                return Some(After::Swallow);
            }
        }
        write_frame(near, &frame).await?;
    }
}
