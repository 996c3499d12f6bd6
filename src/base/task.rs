//! Starting things that run beside us: tasks of the async runtime and OS threads.
//!
//! Invariants: everything has a name that the log shows. A panic in an ordinary task ends that task
//! and is logged and counted, never swallowed. A panic in a critical task or in a thread, and a
//! critical task that merely returns, end the process: the standby beats a wrong primary.
//!
//! Deliberately absent: detached work (the handle is the caller's to join or abort at shutdown) and
//! restarting (a loop that must go on says so itself).

use crate::base::metric;
use log::error;
use std::future::Future;
use tokio::task::JoinHandle;

/// Starts a supervised task: a panic is logged and ends that task only.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let watch = Watch { name, critical: false };
    start(async move {
        let _watch = watch;
        future.await;
    })
}

/// Starts a task that the appliance cannot do without: a panic or a return aborts the process.
/// Aborting the handle (shutdown) does not.
pub fn spawn_critical<F>(name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let watch = Watch { name, critical: true };
    start(async move {
        let _watch = watch;
        future.await;
        die(name, "it returned");
    })
}

/// Starts a named OS thread; a panic in it aborts the process, so does failing to start it.
/// The kernel shows the first 15 bytes of the name.
pub fn thread<F>(name: &'static str, run: F) -> std::thread::JoinHandle<()>
where
    F: FnOnce() + Send + 'static,
{
    let watch = Watch { name, critical: true };
    let body = move || {
        let _watch = watch;
        run();
    };
    match std::thread::Builder::new().name(name.to_owned()).spawn(body) {
        Ok(handle) => handle,
        Err(_) => die(name, "the system starts no more threads"),
    }
}

/// Dropped while its task unwinds, it knows that the task panicked: no boxing, no second task.
struct Watch {
    name: &'static str,
    critical: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if self.critical {
            die(self.name, "it panicked");
        }
        metric::TASK_PANICS.inc();
        error!(task = self.name, runbook = "task-panic"; "a task panicked and was ended");
    }
}

fn die(name: &str, why: &str) -> ! {
    error!(task = name, reason = why, runbook = "process-abort"; "a critical task ended, aborting");
    log::logger().flush();
    std::process::abort()
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
fn start<F>(future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_task_only_and_is_counted() {
        let before = metric::TASK_PANICS.get();
        assert!(spawn("tests::panics", async { panic!("as meant") }).await.is_err());
        assert!(metric::TASK_PANICS.get() > before);
        assert!(spawn("tests::works", async {}).await.is_ok());
    }

    #[tokio::test]
    async fn a_critical_task_may_be_aborted_at_shutdown() {
        let task = spawn_critical("tests::waits", std::future::pending());
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    #[test]
    fn a_thread_carries_its_name() {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
        let slot = seen.clone();
        thread("tests-thread", move || {
            *slot.lock().unwrap() = std::thread::current().name().map(str::to_owned);
        })
        .join()
        .unwrap();
        assert_eq!(seen.lock().unwrap().as_deref(), Some("tests-thread"));
    }
}
