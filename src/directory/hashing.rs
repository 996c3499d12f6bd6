//! The one thread that hashes passwords, shared out fairly among those who ask.
//!
//! A hash takes a core for tens of milliseconds and 19 MiB, so they are computed one after the other,
//! in memory that is kept. Sources take turns: a flood from one costs the others one hash each turn.
//! Invariants: at most [`WAITING_MAX`] wait, at most [`SOURCE_WAITING_MAX`] of them for one source,
//! and so the table has no more sources than that. When all places are taken, whoever waits for less
//! than another takes the last place of the one who waits for most. Absent: a memory of what a source
//! did before.

use super::DirectoryError;
use super::password::Bench;
use crate::base::source::Source;
use crate::base::task;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::oneshot;

/// Sign-ins that may wait for a hash; more are told to come again.
const WAITING_MAX: usize = 200;
/// As many of them may come from one source: an office behind one address comes back at once.
const SOURCE_WAITING_MAX: usize = 64;

static POOL: OnceLock<Pool> = OnceLock::new();

type Job = Box<dyn FnOnce(&mut Bench) + Send>;

/// Who asks; `None` for an operator.
type Asker = Option<Source>;

#[derive(Clone, Default)]
struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

/// What waits. A source is in `turns` once while it has jobs.
#[derive(Default)]
struct Queue {
    jobs: HashMap<Asker, VecDeque<Job>>,
    turns: VecDeque<Asker>,
    waiting: usize,
}

impl Queue {
    fn push(&mut self, asker: Asker, job: Job) -> Result<(), DirectoryError> {
        let ours = self.jobs.get(&asker).map_or(0, VecDeque::len);
        if ours >= SOURCE_WAITING_MAX {
            return Err(DirectoryError::SourceBusy);
        }
        if self.waiting >= WAITING_MAX && !self.displace(ours) {
            return Err(DirectoryError::Busy);
        }
        let jobs = self.jobs.entry(asker).or_default();
        if jobs.is_empty() {
            self.turns.push_back(asker);
        }
        jobs.push_back(job);
        self.waiting += 1;
        Ok(())
    }

    /// Drops the last job of the source that has most, if that is more than `ours` will be. Whoever
    /// waits for it learns so.
    fn displace(&mut self, ours: usize) -> bool {
        let longest = self.jobs.values_mut().max_by_key(|jobs| jobs.len());
        let Some(longest) = longest.filter(|jobs| jobs.len() > ours + 1) else { return false };
        longest.pop_back();
        self.waiting -= 1;
        true
    }

    fn pop(&mut self) -> Option<Job> {
        let asker = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&asker)?;
        let job = jobs.pop_front()?;
        if jobs.is_empty() {
            self.jobs.remove(&asker);
        } else {
            self.turns.push_back(asker);
        }
        self.waiting -= 1;
        Some(job)
    }
}

impl Pool {
    fn start() -> Self {
        let pool = Self::default();
        let worker = pool.clone();
        drop(task::thread("password-hash", move || {
            let mut bench = Bench::default();
            loop {
                let job = worker.next();
                job(&mut bench);
            }
        }));
        pool
    }

    fn next(&self) -> Job {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.pop() {
                return job;
            }
            queue = self.0.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        asker: Asker,
        work: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, DirectoryError> {
        let (done, outcome) = oneshot::channel();
        let job = Box::new(move |bench: &mut Bench| {
            // Whoever hung up meanwhile needs no answer.
            if !done.is_closed() {
                drop(done.send(work(bench)));
            }
        });
        self.lock().push(asker, job)?;
        self.0.filled.notify_one();
        outcome.await.map_err(|_displaced| DirectoryError::Busy)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `work` on the thread for hashes, when it is `asker`'s turn.
pub(super) async fn run<T: Send + 'static>(
    asker: Asker,
    work: impl FnOnce(&mut Bench) -> T + Send + 'static,
) -> Result<T, DirectoryError> {
    POOL.get_or_init(Pool::start).run(asker, work).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn from(n: u8) -> Asker {
        Some(Source::of(IpAddr::from([192, 0, 2, n])))
    }

    fn job() -> Job {
        Box::new(|_| ())
    }

    #[test]
    fn a_source_has_its_share_and_no_more() {
        let mut queue = Queue::default();
        for _ in 0..SOURCE_WAITING_MAX {
            queue.push(from(1), job()).unwrap();
        }
        assert!(matches!(queue.push(from(1), job()), Err(DirectoryError::SourceBusy)));
        queue.push(from(2), job()).unwrap();
        assert_eq!(queue.turns, [from(1), from(2)]);
        // The first leaves a place for its own.
        assert!(queue.pop().is_some());
        queue.push(from(1), job()).unwrap();
        assert_eq!(queue.turns, [from(2), from(1)]);
    }

    #[test]
    fn a_full_queue_has_room_for_whoever_has_least() {
        let mut queue = Queue::default();
        let mut n = 0;
        while queue.waiting < WAITING_MAX {
            queue.push(from(1 + n % 4), job()).unwrap();
            n += 1;
        }
        for newcomer in 10..=250 {
            // Until each has one, and nobody more.
            let took = queue.push(from(newcomer), job()).is_ok();
            assert_eq!(took, newcomer - 10 < 196, "{newcomer}");
            assert_eq!(queue.waiting, WAITING_MAX);
        }
        assert_eq!(queue.jobs.len(), WAITING_MAX);
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), WAITING_MAX);
        assert!(queue.jobs.is_empty() && queue.turns.is_empty() && queue.waiting == 0);
    }

    #[tokio::test]
    async fn others_are_served_during_a_flood() {
        let pool = Pool::start();
        let (open, gate) = std::sync::mpsc::sync_channel::<()>(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = pool.run(from(9), move |_| gate.recv().is_err());
        let ask = |n: u8| {
            let order = Arc::clone(&order);
            pool.run(from(n), move |_| order.lock().unwrap().push(n))
        };
        let flood = async {
            let all: Vec<_> = (0..SOURCE_WAITING_MAX).map(|_| ask(1)).collect();
            let mut running: Vec<_> = all.into_iter().map(Box::pin).collect();
            // Each asks when it is first polled.
            for ask in &mut running {
                assert!(futures_poll(ask.as_mut()).is_pending());
            }
            assert!(matches!(ask(1).await, Err(DirectoryError::SourceBusy)));
            let mut person = Box::pin(ask(2));
            assert!(futures_poll(person.as_mut()).is_pending());
            // Somebody of the flood hangs up.
            drop(running.pop());
            drop(open);
            person.await.unwrap();
            for ask in running {
                ask.await.unwrap();
            }
        };
        let (opened, ()) = tokio::join!(first, flood);
        assert!(opened.unwrap());
        let order = order.lock().unwrap();
        assert_eq!(order.len(), SOURCE_WAITING_MAX);
        assert!(order.iter().position(|n| *n == 2).unwrap() <= 1, "{order:?}");
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }
}
