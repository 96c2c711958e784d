//! [`Line`]: what is kept of a call, or of a served request, for its line.

use super::AccessLog;
use crate::clock;
#[cfg(feature = "tls")]
use crate::identity::Credentials;

use crate::observe::TraceContext;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use mesh_core::access_log::{Record, Side};
use mesh_core::head::{RequestHead, without_userinfo};
use mesh_core::{Timestamp, WallTime};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The log of a mesh, for one side, and what its lines say of the mesh itself.
pub(crate) struct Logging {
    pub(crate) log: AccessLog,
    #[cfg(feature = "tls")]
    pub(crate) credentials: Credentials,
}

impl Logging {
    /// The URI names of the mesh's own certificate.
    #[cfg(feature = "tls")]
    pub(crate) fn own_uris(&self) -> Vec<Arc<str>> {
        let identity = self.credentials.own().and_then(|own| own.current().ok());
        identity.map(|identity| identity.certificate().names.uris.clone()).unwrap_or_default()
    }

    /// Without TLS it has none.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with TLS it has one")]
    pub(crate) const fn own_uris(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
}

/// Bytes of a request's body, as far as they were read.
#[derive(Clone, Debug)]
pub(crate) enum Received {
    /// They were here from the beginning.
    Known(u64),
    /// They are counted as they come.
    Counted(Arc<AtomicU64>),
}

impl Received {
    fn bytes(&self) -> u64 {
        match self {
            Self::Known(bytes) => *bytes,
            Self::Counted(bytes) => bytes.load(Ordering::Relaxed),
        }
    }
}

/// What is kept of a call, or of a served request, from its beginning to the end of its response's body.
pub(crate) struct Line {
    pub(super) logging: Arc<Logging>,
    started: Timestamp,
    wall: (WallTime, u32),
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    version: Version,
    /// Those that the format names.
    pub(crate) headers: HeaderMap,
    pub(crate) trace_id: Option<[u8; 16]>,
    pub(crate) received: Received,
    /// Bytes of the response's body that went out.
    pub(crate) sent: u64,
    response: Option<(StatusCode, HeaderMap, Timestamp)>,
    trailers: Option<HeaderMap>,
}

/// Envoy's word for an answer of an endpoint, or of a service.
pub(crate) const VIA_UPSTREAM: &str = "via_upstream";

/// Envoy's word for an answer of a route.
pub(crate) const DIRECT_RESPONSE: &str = "direct_response";

/// The head of a request, as it came.
#[derive(Clone, Copy)]
pub(crate) struct Came<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
}

impl Line {
    /// Keeps of a request that began at `started` what its line will say.
    pub(crate) fn new(logging: &Arc<Logging>, came: Came<'_>, started: Timestamp) -> Box<Self> {
        let Came { method, uri, version, headers } = came;
        let trace = TraceContext::extract(headers).map(|(trace, _)| trace.trace_id());
        Box::new(Self {
            logging: Arc::clone(logging),
            started,
            wall: clock::wall_exactly(),
            method: method.clone(),
            uri: uri.clone(),
            host: headers.get(header::HOST).cloned(),
            version,
            headers: named(headers, logging.log.format().request_headers()),
            trace_id: trace,
            received: Received::Known(0),
            sent: 0,
            response: None,
            trailers: None,
        })
    }

    /// Whether the format names this header of requests.
    pub(crate) fn names(&self, name: &HeaderName) -> bool {
        self.logging.log.format().request_headers().contains(name)
    }

    /// The head of the response goes out.
    pub(crate) fn response(&mut self, status: StatusCode, headers: &HeaderMap, now: Timestamp) {
        let headers = named(headers, self.logging.log.format().response_headers());
        self.response = Some((status, headers, now));
    }

    /// The trailers of the response go out.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.trailers = Some(named(trailers, self.logging.log.format().trailers()));
    }

    /// When the response's head went out.
    pub(crate) fn response_at(&self) -> Option<Timestamp> {
        self.response.as_ref().map(|(.., at)| *at)
    }

    /// What is known of it at its end.
    pub(crate) fn record(&self, side: Side, now: Timestamp) -> Record<'_> {
        let path = self.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let mut head = RequestHead::new(&self.method, self.authority(), path, &self.headers);
        head.scheme = self.uri.scheme_str();
        let mut record = Record::new(side, head);
        (record.start, record.start_nanos) = self.wall;
        record.duration = now.saturating_duration_since(self.started);
        record.protocol = self.version;
        if let Some((status, headers, at)) = &self.response {
            (record.status, record.response_headers) = (Some(*status), Some(headers));
            record.response_after = Some(at.saturating_duration_since(self.started));
        }
        record.trailers = self.trailers.as_ref();
        (record.bytes_received, record.bytes_sent) = (self.received.bytes(), self.sent);
        record.trace_id = self.trace_id;
        record
    }

    fn authority(&self) -> &str {
        match self.uri.authority() {
            Some(authority) => without_userinfo(authority.as_str()),
            None => self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default(),
        }
    }
}

/// Those of the headers that are named.
pub(crate) fn named(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in names {
        if let Some(value) = headers.get(name) {
            kept.insert(name, value.clone());
        }
    }
    kept
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("method", &self.method).finish_non_exhaustive()
    }
}
