//! [`Admin`]: the pages, as a tower service.

use super::answer::Answer;
use super::asked::Asked;
use super::options::{Logging, Options};
use super::origin::{self, Origin};
use super::page::cpu_profile;
use super::pages;
use crate::body::MeshBody;
use crate::mesh::Mesh;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

/// The admin pages of a mesh. Clones are the same.
///
/// It is a tower service, for any server; [`bind`](Self::bind) and [`serve`](Self::serve) run one on
/// a thread of its own. Who may change something is told from the request's extensions: served by
/// [`Mesh::server`](crate::Mesh::server), from who has proven what; under a server of another kind nobody may.
///
/// It keeps the mesh alive, as everything that is made from it does.
///
/// # Examples
/// ```
/// # async fn example(mesh: &mesh_tower::Mesh) -> Result<(), Box<dyn std::error::Error>> {
/// use mesh_tower::admin::Admin;
///
/// let (drain, drained) = tokio::sync::watch::channel(false);
/// let admin = Admin::new(mesh).on_drain(move || drop(drain.send(true)));
/// let server = admin.bind("127.0.0.1:9901")?;
/// println!("http://{}/", server.local_addr());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) mesh: Mesh,
    pub(super) options: Options,
    pub(super) state: Arc<State>,
}

/// An answer that may take its time.
pub type Responding = Pin<Box<dyn Future<Output = Response<MeshBody>> + Send>>;

/// What the pages keep.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The program was asked to end.
    drains: AtomicBool,
    /// How busy threads were.
    #[cfg(target_os = "linux")]
    pub(super) threads: super::process::Threads,
}

impl Admin {
    /// The pages of `mesh`.
    #[must_use]
    pub fn new(mesh: &Mesh) -> Self {
        Self { mesh: mesh.clone(), options: Options::default(), state: Arc::default() }
    }

    /// What `POST /drain` does. From then on `/ready` answers 503, so that nobody sends more.
    ///
    /// It is called on the admin's thread, perhaps more than once, and must not wait: it tells those who end the
    /// program, for example by [`Mesh::shutdown`]. Default: there is no such page.
    #[must_use]
    pub fn on_drain(mut self, drain: impl Fn() + Send + Sync + 'static) -> Self {
        self.options.drain = Some(Arc::new(drain));
        self
    }

    /// What `/logging` shows and changes: `get` tells the filter in force, `set` puts another into force or says why
    /// not. Default: there is no such page.
    ///
    /// # Examples
    /// ```
    /// # fn example(admin: mesh_tower::admin::Admin) {
    /// use tracing_subscriber::{EnvFilter, fmt, prelude::*, reload};
    ///
    /// let (filter, handle) = reload::Layer::new(EnvFilter::new("info"));
    /// tracing_subscriber::registry().with(filter).with(fmt::layer()).init();
    /// let shown = handle.clone();
    /// let admin = admin.logging(
    ///     move || shown.with_current(ToString::to_string).unwrap_or_default(),
    ///     move |filter| {
    ///         let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    ///         handle.reload(filter).map_err(|error| error.to_string())
    ///     },
    /// );
    /// # }
    /// ```
    #[must_use]
    pub fn logging(
        mut self,
        get: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.options.logging = Some(Logging { get: Arc::new(get), set: Arc::new(set) });
        self
    }

    /// Something else that has to be so before `/ready` answers 200, or else the reason why it is not. All that are
    /// given have to agree. They are asked at each request, and must not wait.
    #[must_use]
    pub fn ready_when(
        mut self,
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.options.ready.push(Arc::new(ready));
        self
    }

    /// Whether pages show the values that the configuration gives to headers, or compares credentials with. They may
    /// be tokens. Default: no, a word stands in their place.
    #[must_use]
    pub const fn show_header_values(mut self, shown: bool) -> Self {
        self.options.header_values = shown;
        self
    }

    /// How long a connection of [`AdminServer`](super::AdminServer) may take, with its request and its answer. Default:
    /// 10 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.options.patience = timeout;
        self
    }

    /// Answers a request at once, whose body is not looked at. `/cpu_profile` takes its time: [`respond`](Self::respond)
    /// has it.
    #[must_use]
    pub fn answer<B>(&self, request: Request<B>) -> Response<MeshBody> {
        let (head, _unread) = request.into_parts();
        let answer = match origin::may_read(&head) {
            Ok(()) => pages::answer(self, &Asked::new(&head), Origin::of(&head)),
            Err(why) => Answer::refused(StatusCode::FORBIDDEN, why),
        };
        answer.into_response(&head.method)
    }

    /// Answers a request, whose body is not looked at.
    ///
    /// # Cancel safety
    /// Cancel safe: a profile that is being taken ends.
    pub fn respond<B>(&self, request: Request<B>) -> Responding {
        let (head, _unread) = request.into_parts();
        let is_allowed = || origin::may_read(&head).and_then(|()| Origin::of(&head).may_change());
        if cpu_profile::is_asked(&head) && is_allowed().is_ok() {
            let asked = Asked::new(&head);
            let answer =
                async move { cpu_profile::take(&asked).await.into_response(&asked.method) };
            return Box::pin(answer);
        }
        Box::pin(ready(self.answer(Request::from_parts(head, ()))))
    }

    /// The program was asked to end.
    pub(super) fn drains(&self) -> bool {
        self.state.drains.load(Ordering::Relaxed)
    }

    pub(super) fn begin_drain(&self) {
        self.state.drains.store(true, Ordering::Relaxed);
    }
}

impl<B> Service<Request<B>> for Admin {
    type Response = Response<MeshBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let response = self.respond(request);
        Box::pin(async { Ok(response.await) })
    }
}
