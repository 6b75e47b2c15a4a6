//! Blocks that come while another one is decoded.

use std::{
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    catalog::{Source, compile},
    core::dedupe::{IdentitySecret, SECRET_BYTES},
    log::{At, Block, FetchLimits, FetchPosition, Log, OutRecord, RecordRef, Records, TopicInfo, TopicSpec},
    model::{LogIdentity, TopicPartition},
    runtime::{fetcher::Fetcher, health::Health},
};

const TOPIC: &str = "name = \"a\"\n[[topic]]\nname = \"t\"\nshape = [\"flat\"]\n[[topic.event]]\ntype = \"x\"\nrules = [{ count = \"n\" }]\n";
/// Long enough for any machine; only a failure waits for it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Says that it is being decoded, and is not done before it may.
struct Gated {
    begun: UnboundedSender<i64>,
    offset: i64,
    may_end: Mutex<mpsc::Receiver<()>>,
}

impl Records for Gated {
    fn visit(&self, _: &mut dyn FnMut(RecordRef<'_>)) -> Result<(), LogError> {
        let _ = self.begun.send(self.offset);
        let _ = self.may_end.lock().unwrap().recv_timeout(GIVE_UP_AFTER);
        Ok(())
    }
}

/// Hands out the blocks that it is given.
struct Given(tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<Block>>);

#[async_trait]
impl Log for Given {
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        unreachable!()
    }

    async fn create_topic(&self, _: &TopicSpec) -> Result<bool, LogError> {
        unreachable!()
    }

    async fn offset_at(&self, _: &TopicPartition, _: At) -> Result<i64, LogError> {
        unreachable!()
    }

    async fn identity(&self, _: &TopicPartition) -> Result<LogIdentity, LogError> {
        unreachable!()
    }

    async fn fetch(
        &self,
        positions: &[FetchPosition],
        _: FetchLimits,
    ) -> Vec<(TopicPartition, Result<Block, LogError>)> {
        match self.0.lock().await.recv().await {
            Some(block) => vec![(positions[0].partition.clone(), Ok(block))],
            None => std::future::pending().await,
        }
    }

    async fn produce(&self, _: &TopicPartition, _: Vec<OutRecord>) -> Vec<Result<i64, LogError>> {
        unreachable!()
    }
}

#[tokio::test]
async fn a_block_that_comes_while_another_is_decoded_is_begun_before_its_turn() {
    let (give, given) = unbounded_channel();
    let log = Arc::new(Given(tokio::sync::Mutex::new(given)));
    let limits = FetchLimits {
        max_wait: Duration::from_millis(10),
        min_bytes: 1,
        max_partition_bytes: 1 << 20,
        max_bytes: 1 << 20,
    };
    let fetcher = Fetcher::new(log, limits, 1 << 30, Arc::new(Health::new(Instant::now())));
    let (stop, partition) = (CancellationToken::new(), TopicPartition::new("t", 0));
    let fetching = tokio::spawn(Arc::clone(&fetcher).run(stop.clone()));
    let catalog = compile(&[Source { file: "a.toml".into(), text: TOPIC.to_owned() }]).unwrap();
    let topic = catalog.topic("t").unwrap().clone();
    let secret = Arc::new(IdentitySecret([7; SECRET_BYTES]));
    let worker = Worker::new(topic, partition.clone(), "g".into(), secret, 0, 10);
    let (decoding, mut blocks, mut ahead) =
        (Arc::new(Decoding::default()), fetcher.subscribe(partition, 0), VecDeque::new());

    let (begun, mut is_begun) = unbounded_channel();
    let send = |offset: i64| {
        let (end, may_end) = mpsc::channel();
        let records = Box::new(Gated { begun: begun.clone(), offset, may_end: Mutex::new(may_end) });
        let (next_offset, size_bytes) = (offset + 1, SMALL_BYTES);
        give.send(Block { next_offset, high_watermark: 9, log_start: None, leader_epoch: None, size_bytes, records })
            .unwrap();
        end
    };
    let first = send(0);
    let in_between = async {
        assert_eq!(is_begun.recv().await, Some(0));
        let second = send(1);
        // Else nothing but the end of the first would begin it.
        assert_eq!(is_begun.recv().await, Some(1));
        first.send(()).unwrap();
        second
    };
    let both = async { tokio::join!(next_block(&decoding, &worker, &mut blocks, &mut ahead), in_between) };
    let (block, second) = tokio::time::timeout(GIVE_UP_AFTER, both).await.expect("the second block was begun");
    assert_eq!(block.unwrap().unwrap().next_offset, 1);
    second.send(()).unwrap();
    assert_eq!(next_block(&decoding, &worker, &mut blocks, &mut ahead).await.unwrap().unwrap().next_offset, 2);
    stop.cancel();
    fetching.await.unwrap();
}
