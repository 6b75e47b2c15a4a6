//! The thread that writes: redb blocks, and a runtime's thread must not.

use std::{
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use redb::{Database, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::failure::store_error;
use crate::store::StoreError;

/// Writes that wait for the thread; further callers wait for room.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&Database) + Send>;

/// Owns the database and its one writing thread.
pub(super) struct Writer {
    database: Arc<Database>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(database: Database) -> Result<Self, String> {
        let database = Arc::new(database);
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let shared = database.clone();
        let work = move || {
            while let Some(job) = queue.blocking_recv() {
                job(&shared);
            }
        };
        let thread = Builder::new().name("store".to_owned()).spawn(work).map_err(|error| error.to_string())?;
        Ok(Self { database, jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Runs a change in a transaction of its own and answers when it is on the disk. Nothing of it is kept after an error.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        doing: String,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let stopped = StoreError::Unavailable { doing: doing.clone(), reason: "the store has stopped".to_owned() };
        let job: Job = Box::new(move |database| {
            let result = commit(database, change).map_err(|error| store_error(&doing, &error));
            // A caller that has gone away needs no answer.
            let _ = reply.send(result);
        });
        let Some(jobs) = &self.jobs else { return Err(stopped) };
        if jobs.send(job).await.is_err() {
            return Err(stopped);
        }
        answer.await.unwrap_or(Err(stopped))
    }
}

fn commit<T>(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(redb::Durability::Immediate)?;
    // Dropped without a commit, a transaction leaves nothing.
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The queue's end ends the thread; the writes before it are done.
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread had panicked");
        }
    }
}
