//! Many requests, one call: while a call is under way, what arrives gathers into the next one.
//!
//! Invariants: items go out in the order they came; the queue is bounded, and a full one refuses at once; every item
//! gets exactly one answer, also when the worker ends.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// Why an item got no answer of its own.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BatchError {
    /// Too many are waiting already.
    #[error("too many requests are waiting for the line")]
    Full,
    /// The call failed; whether it happened is unknown.
    #[error("the line did not answer: {0}")]
    Failed(String),
    /// No answer within the bound.
    #[error("the line did not answer in time")]
    TooLate,
}

type Item<T, R> = (T, oneshot::Sender<Result<R, BatchError>>);

/// The sending side; cheap to clone.
#[derive(Debug)]
pub struct Batch<T, R> {
    queue: mpsc::Sender<Item<T, R>>,
    patience: Duration,
}

impl<T, R> Clone for Batch<T, R> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), patience: self.patience }
    }
}

impl<T: Send + 'static, R: Send + 'static> Batch<T, R> {
    /// A batch of at most `size` items a call and `waiting` in the queue, and the worker that serves it: spawn it.
    /// `call` answers the items in order, or fails for all of them.
    pub fn new<F, Fut>(size: usize, waiting: usize, patience: Duration, call: F) -> (Self, impl Future<Output = ()>)
    where
        F: Fn(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<R>, String>> + Send,
    {
        let (queue, mut items) = mpsc::channel::<Item<T, R>>(waiting);
        let worker = async move {
            let mut gathered: Vec<Item<T, R>> = Vec::with_capacity(size);
            while items.recv_many(&mut gathered, size).await > 0 {
                // Whoever has gone away wants nothing any more, and must not be given a spot that nobody will know of.
                gathered.retain(|(_, answer)| !answer.is_closed());
                if gathered.is_empty() {
                    continue;
                }
                let (batch, answers): (Vec<T>, Vec<_>) = gathered.drain(..).unzip();
                match call(batch).await {
                    Ok(replies) => {
                        for (answer, reply) in answers.into_iter().zip(replies) {
                            // Whoever asked may have gone away; that is theirs to do.
                            let _ = answer.send(Ok(reply));
                        }
                    }
                    Err(why) => {
                        for answer in answers {
                            let _ = answer.send(Err(BatchError::Failed(why.clone())));
                        }
                    }
                }
            }
        };
        (Self { queue, patience }, worker)
    }

    /// Sends one item and waits for its answer.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn ask(&self, item: T) -> Result<R, BatchError> {
        let (answer, reply) = oneshot::channel();
        self.queue.try_send((item, answer)).map_err(|_| BatchError::Full)?;
        match tokio::time::timeout(self.patience, reply).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(BatchError::Failed("the answer was incomplete".to_owned())),
            Err(_) => Err(BatchError::TooLate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::Mutex;

    #[tokio::test]
    async fn what_arrives_during_a_call_gathers_into_the_next() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (started, mut starts) = mpsc::unbounded_channel();
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let (batch, worker) = Batch::new(256, 1024, Duration::from_secs(5), {
            let (calls, gate) = (calls.clone(), gate.clone());
            move |items: Vec<u32>| {
                let (calls, gate, started) = (calls.clone(), gate.clone(), started.clone());
                async move {
                    started.send(()).map_err(|e| e.to_string())?;
                    gate.acquire().await.map_err(|e| e.to_string())?.forget();
                    calls.lock().unwrap().push(items.len());
                    Ok(items.into_iter().map(|i| i * 10).collect())
                }
            }
        });
        tokio::spawn(worker);
        let ask = |i: u32| {
            let batch = batch.clone();
            tokio::spawn(async move { batch.ask(i).await })
        };
        let first = ask(1);
        starts.recv().await.unwrap();
        let rest: Vec<_> = (2..=100).map(ask).collect();
        while batch.queue.max_capacity() - batch.queue.capacity() < 99 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap(), 10);
        for (i, task) in (2u32..).zip(rest) {
            assert_eq!(task.await.unwrap().unwrap(), i * 10);
        }
        assert_eq!(*calls.lock().unwrap(), [1, 99]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_failed_call_tells_everybody() {
        let (batch, worker) =
            Batch::new(4, 1, Duration::from_secs(5), |_: Vec<u32>| async { Err::<Vec<u32>, _>("down".to_owned()) });
        let held = tokio::spawn({
            let batch = batch.clone();
            async move { batch.ask(1).await }
        });
        while batch.queue.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(batch.ask(2).await, Err(BatchError::Full)));
        tokio::spawn(worker);
        assert!(matches!(held.await.unwrap(), Err(BatchError::Failed(why)) if why == "down"));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let (batch, worker) = Batch::new(4, 8, Duration::from_secs(2), |_: Vec<u32>| async {
            std::future::pending::<()>().await;
            Ok(vec![0u32])
        });
        tokio::spawn(worker);
        assert!(matches!(batch.ask(1).await, Err(BatchError::TooLate)));
    }
}
