//! The pages of `--admin`: what the control plane does, over HTTP/1.1.
//!
//! Bounds: [`MAX_CONNECTIONS`] at a time, and what hyper bounds of a request's head; the next connection
//! waits. A connection is for one request, and ends after [`PATIENCE`]: one that asks and does not read, or
//! does not ask, keeps its place no longer. Nothing is changed from here.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_xds::server::AdsServer;
use std::convert::Infallible;
use std::io::ErrorKind::{ConnectionAborted, ConnectionReset};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection may take, with its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the pages tell.
#[derive(Debug)]
pub(super) struct Status {
    server: AdsServer,
    published: AtomicU64,
    rejected: AtomicU64,
    /// Whether what is in the files can't be served.
    stale: AtomicBool,
}

impl Status {
    pub(super) const fn new(server: AdsServer) -> Self {
        let (published, rejected) = (AtomicU64::new(1), AtomicU64::new(0));
        Self { server, published, rejected, stale: AtomicBool::new(false) }
    }

    pub(super) fn accepted(&self, published: bool) {
        self.stale.store(false, Relaxed);
        self.published.fetch_add(u64::from(published), Relaxed);
    }

    pub(super) fn rejected(&self) {
        self.stale.store(true, Relaxed);
        self.rejected.fetch_add(1, Relaxed);
    }

    fn metrics(&self) -> String {
        let (published, rejected) = (self.published.load(Relaxed), self.rejected.load(Relaxed));
        let stale = u8::from(self.stale.load(Relaxed));
        format!(
            "{}# HELP mesh_ads_snapshots_total Configurations that were served.\n\
             # TYPE mesh_ads_snapshots_total counter\nmesh_ads_snapshots_total {published}\n\
             # HELP mesh_ads_rejected_edits_total Edits that were not served.\n\
             # TYPE mesh_ads_rejected_edits_total counter\nmesh_ads_rejected_edits_total {rejected}\n\
             # HELP mesh_ads_stale Whether the files hold something that can't be served.\n\
             # TYPE mesh_ads_stale gauge\nmesh_ads_stale {stale}\n",
            self.server.clients().to_prometheus()
        )
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        const TEXT: &str = "text/plain; charset=utf-8";
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        let (status, kind, text) = match request.uri().path() {
            _ if !is_read => {
                (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned())
            }
            "/ready" => (StatusCode::OK, TEXT, "ready\n".to_owned()),
            "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4", self.metrics()),
            "/clients" => {
                let clients = self.server.clients().to_json();
                (StatusCode::OK, "application/json", format!("{clients:#}\n"))
            }
            _ => (StatusCode::NOT_FOUND, TEXT, "there are /ready, /metrics, /clients\n".to_owned()),
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        let kind = http::HeaderValue::from_static(kind);
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        response
    }
}

/// Serves the pages; it ends with the process.
pub(super) async fn serve(listener: TcpListener, status: Arc<Status>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // It left before it was accepted, which says nothing of the next one.
            Err(gone) if matches!(gone.kind(), ConnectionAborted | ConnectionReset) => continue,
            Err(error) => {
                // Out of descriptors, mostly: others give some back.
                tracing::warn!("the admin's listener: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let status = Arc::clone(&status);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let response = status.answer(&request);
                async { Ok::<_, Infallible>(response) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            let answered = timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), answer));
            match answered.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a connection of the admin: {error}"),
                Err(_elapsed) => tracing::debug!("a connection of the admin: it takes too long"),
            }
            drop(place);
        });
    }
}
