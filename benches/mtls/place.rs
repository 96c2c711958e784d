//! [`Place`]: a thread with a runtime of its own, so that its CPU time can be told apart.

use crate::BoxError;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread that runs what is given to it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    handle: Handle,
    /// Its directory of procfs.
    process: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Place {
    /// Starts a thread called `name`.
    pub(crate) async fn start(name: &str) -> Result<Self, BoxError> {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Whoever waits for it is told by the other end.
            let _gone = ready.send(fs::read_link("/proc/thread-self"));
            let _dropped = runtime.block_on(stopped);
        })?;
        let process = Path::new("/proc").join(started.await??);
        Ok(Self { handle, process, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs `work` there.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BoxError> {
        Ok(self.handle.spawn(work).await?)
    }

    /// The CPU time of the thread so far, exact once it has slept.
    pub(crate) fn cpu(&self) -> Result<Duration, BoxError> {
        of_task(&self.process)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The CPU time of all threads of another process so far.
pub(crate) fn of_process(id: u32) -> Result<Duration, BoxError> {
    let tasks = fs::read_dir(format!("/proc/{id}/task"))?;
    tasks.map(|task| of_task(&task?.path())).sum()
}

/// The first number of `schedstat`: nanoseconds on a CPU (Linux: Documentation/scheduler/sched-stats).
fn of_task(directory: &Path) -> Result<Duration, BoxError> {
    let text = fs::read_to_string(directory.join("schedstat"))?;
    let nanos = text.split_ascii_whitespace().next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
}
