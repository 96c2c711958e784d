//! Steady calls, of which none may fail, and the endpoints that they reach.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_tower::{Mesh, MeshBody};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// How long anything may take that must happen. After some seconds without a control plane the pause
/// before the next attempt is some seconds, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Calls at a time, and the pause of each caller after one.
const CALLERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(20);

/// An endpoint that says its name; it ends with the runtime of the test. The port.
pub(crate) async fn endpoint(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = service_fn(move |_| async move {
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(name)))
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

impl Seen {
    fn count(&mut self, answer: Result<Bytes, String>) {
        match answer {
            Ok(name) => *self.answers.entry(name).or_default() += 1,
            Err(error) => {
                self.failed += 1;
                if self.first_failure.is_empty() {
                    self.first_failure = error;
                }
            }
        }
    }
}

/// Calls to `http://shop/` that go on until it is stopped.
pub(crate) struct Load {
    mesh: Mesh,
    seen: Arc<Mutex<Seen>>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    answers: BTreeMap<Bytes, u64>,
    failed: u64,
    first_failure: String,
}

impl Load {
    /// Begins once a first call is answered, which must be by `name`, and the mesh says that it has its whole
    /// configuration: it may say so a moment after calls go by it.
    pub(crate) async fn start(mesh: &Mesh, name: &str) -> Self {
        assert_eq!(call(mesh).await.unwrap(), name.as_bytes());
        tokio::time::timeout(PATIENCE, mesh.ready()).await.expect("it is ready").unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (mesh, seen) = (mesh.clone(), Arc::clone(&seen));
            callers.spawn(async move {
                loop {
                    let answer = call(&mesh).await;
                    seen.lock().count(answer);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { mesh: mesh.clone(), seen, callers }
    }

    /// How many calls `name` has answered.
    fn answered_by(&self, name: &str) -> u64 {
        self.seen.lock().answers.get(name.as_bytes()).copied().unwrap_or_default()
    }

    /// Waits until calls are answered by `name`, and says how long that took.
    pub(crate) async fn reaches(&self, name: &str, why: &str) -> Duration {
        let begun = Instant::now();
        let before = self.answered_by(name);
        while self.answered_by(name) < before + CALLERS as u64 {
            let now = self.mesh.configuration();
            assert!(begun.elapsed() < PATIENCE, "{why}: {name} was not reached: {now:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    /// For so long calls are made and `name` answers all of them.
    pub(crate) async fn stays_at(&self, name: &str, time: Duration, why: &str) {
        let count = |load: &Self| load.seen.lock().answers.values().sum::<u64>();
        let (all, by_name) = (count(self), self.answered_by(name));
        tokio::time::sleep(time).await;
        let (all, by_name) = (count(self) - all, self.answered_by(name) - by_name);
        assert!(all > 0, "{why}: no call ended in {time:?}");
        // A count is read after the other one, so calls in between are no matter.
        assert!(all.abs_diff(by_name) <= CALLERS as u64, "{why}: {by_name} of {all} by {name}");
    }

    /// Ends: not one call has failed.
    pub(crate) fn end(mut self, why: &str) -> u64 {
        self.callers.abort_all();
        let seen = self.seen.lock();
        let calls = seen.answers.values().sum::<u64>() + seen.failed;
        let Seen { failed, first_failure, .. } = &*seen;
        assert!(*failed == 0, "{why}: {failed} of {calls} calls failed: {first_failure}");
        calls
    }
}

async fn call(mesh: &Mesh) -> Result<Bytes, String> {
    let request = Request::get("http://shop/").body(MeshBody::empty()).unwrap();
    let response = mesh.client().oneshot(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("{status}"));
    }
    Ok(body.to_bytes())
}
