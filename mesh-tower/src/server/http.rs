//! [`PerConnection`]: the user's service, as one connection's requests come to it.

use super::connection::Connection;
use super::guarded::Found;
use super::incoming::Incoming;
use super::tunnels::Tunnels;
use crate::net::Draw;
use h2::ext::Protocol;
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::service::Service as HyperService;
use mesh_core::proxy::hop_by_hop::strip_named;
use mesh_core::proxy::upgrade::Extended;
use mesh_core::proxy::{cookies, identify};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// For how many headers of the next request an answer has room at most.
const MOST_ROOM: usize = 64;

/// What a connection's requests and whoever drains it tell each other.
#[derive(Debug)]
pub(super) struct Seen {
    /// Of the last request: 0: there was none; 2: HTTP/2; 10 and 11: HTTP/1.0 and HTTP/1.1.
    version: AtomicU8,
    is_draining: AtomicBool,
    requests: AtomicU64,
    /// Its bytes, and what they are once they are no more HTTP.
    found: Found,
    tunnels: Tunnels,
}

impl Seen {
    pub(super) fn new(found: Found, tunnels: Tunnels) -> Self {
        let (version, is_draining, requests) = Default::default();
        Self { version, is_draining, requests, found, tunnels }
    }

    /// Whether a request came over HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.version.load(Ordering::Relaxed) == 2
    }

    /// Whether the last request came over HTTP/1.0, in which a body without a length ends with its connection.
    pub(super) fn is_http10(&self) -> bool {
        self.version.load(Ordering::Relaxed) == 10
    }

    /// How many requests have come.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// From now on answers over HTTP/1.1 say that they are the last.
    pub(super) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }
}

/// What each request is handed to: it puts the [`Connection`] into its extensions, and asks a clone of the service.
#[derive(Clone, Debug)]
pub(super) struct PerConnection<S> {
    service: S,
    pub(super) connection: Arc<Connection>,
    /// With the connection in it: cloning the map costs less than putting something into a new one.
    extensions: Extensions,
    seen: Arc<Seen>,
    /// Whether requests are made ready to be passed on, and given an id: before anybody looks at them, so that all know it.
    pub(super) identifies: bool,
}

// The service is called, and nowhere pinned.
impl<S> Unpin for PerConnection<S> {}

impl<S> PerConnection<S> {
    pub(super) fn new(service: S, connection: Arc<Connection>, seen: Arc<Seen>) -> Self {
        let mut extensions = Extensions::new();
        extensions.insert(Arc::clone(&connection));
        Self { service, connection, extensions, seen, identifies: false }
    }
}

impl<S, R> HyperService<Request<hyper::body::Incoming>> for PerConnection<S>
where
    S: Service<Request<Incoming>, Response = Response<R>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answer<S, Request<Incoming>>;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Self::Future {
        let mut request = request.map(Incoming::http1);
        self.take_in(&mut request);
        let connects = *request.method() == Method::CONNECT;
        // The certificate that is passed on is one header more than came.
        let is_proven = self.connection.peer.certificate().is_some();
        let room = if is_proven { (request.headers().len() + 1).min(MOST_ROOM) } else { 0 };
        let state = State::Asked(self.service.clone(), Some(request));
        Answer { state, closing: Arc::clone(&self.seen), connects, room }
    }
}

impl<S> PerConnection<S> {
    /// One more of the service.
    pub(super) fn service(&self) -> S
    where
        S: Clone,
    {
        self.service.clone()
    }

    /// Makes a request ready for the service.
    pub(super) fn take_in(&self, request: &mut Request<Incoming>) {
        let version = match request.version() {
            Version::HTTP_2 => 2,
            Version::HTTP_10 => 10,
            _ => 11,
        };
        self.seen.version.store(version, Ordering::Relaxed);
        // The connection's task alone counts.
        self.seen.requests.store(self.seen.requests() + 1, Ordering::Relaxed);
        let extensions = request.extensions_mut();
        if extensions.is_empty() {
            *extensions = self.extensions.clone();
        } else {
            extensions.insert(Arc::clone(&self.connection));
        }
        if self.identifies {
            if version == 2 && *request.method() == Method::CONNECT {
                extended(request);
            }
            strip_named(request.headers_mut());
            identify(request.headers_mut(), &mut Draw);
        }
    }
}

/// An extended CONNECT is the upgrade that it stands for, for all who look at it. One that is none stays CONNECT.
#[cold]
fn extended<B>(request: &mut Request<B>) {
    let Some(protocol) = request.extensions_mut().remove::<Protocol>() else { return };
    let mut method = Method::CONNECT;
    let read = Extended::read(&mut method, request.headers_mut(), protocol.as_str(), &mut Draw);
    if let Ok(extended) = read {
        cookies::join(request.headers_mut());
        (*request.method_mut(), *request.version_mut()) = (method, Version::HTTP_11);
        request.extensions_mut().insert(extended);
    }
}

/// An answer over HTTP/1.1, which says whether it is the last.
#[pin_project]
pub(super) struct Answer<S: Service<Q>, Q> {
    #[pin]
    state: State<S, Q>,
    closing: Arc<Seen>,
    connects: bool,
    /// How many headers its map is to hold: hyper reads the next head into it, and gives it room for what came only.
    room: usize,
}

#[pin_project(project = StateProj)]
enum State<S: Service<Q>, Q> {
    /// As soon as the service is ready, it is called.
    Asked(S, Option<Q>),
    Called(#[pin] S::Future),
}

impl<S, Q, R> Future for Answer<S, Q>
where
    S: Service<Q, Response = Response<R>>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StateProj::Asked(service, request) = this.state.as_mut().project() {
            ready!(service.poll_ready(cx))?;
            // After an error nobody asks again.
            let Some(request) = request.take() else { return Poll::Pending };
            let future = service.call(request);
            this.state.set(State::Called(future));
        }
        let StateProj::Called(future) = this.state.project() else { return Poll::Pending };
        let mut answer = ready!(future.poll(cx));
        let seen = &**this.closing;
        if let Ok(response) = &answer
            && (response.status() == StatusCode::SWITCHING_PROTOCOLS
                || (*this.connects && response.status().is_success()))
        {
            seen.found.hand_over(&seen.tunnels);
        }
        if seen.is_draining.load(Ordering::Relaxed)
            && let Ok(response) = &mut answer
            // What was agreed on is no HTTP any more.
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Ok(response) = &mut answer {
            let headers = response.headers_mut();
            if *this.room > headers.len() {
                headers.reserve(*this.room - headers.len());
            }
        }
        Poll::Ready(answer)
    }
}
