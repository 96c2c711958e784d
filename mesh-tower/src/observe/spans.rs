//! [`Spans`]: spans of sampled requests, on their way to a collector.
//!
//! They are beside those of [`tracing`], which a program's subscriber may want, and made otherwise: whether a trace is
//! sampled is known once its `traceparent` was read, and of what is not sampled nothing is made, looked up or
//! allocated. What a span says is known where requests and attempts are counted anyway, at their end.
//!
//! - One span of a server for each request that a listener takes, one of a client for each attempt at an endpoint,
//!   and for each call that passes by every policy. `traceparent` of an attempt names its span, so what comes after it
//!   is its child.
//! - A span that has ended goes into a queue, bounded in number; what finds no room is dropped, and counted. Nobody
//!   waits, and the exporter is woken by every full batch, not by every span.
//! - Memory: of the queue and of one batch, less than 2 KiB for each span.

use super::code::Code;
use super::exported::{ExportCells, Lost, Signal};
use super::{TraceContext, TraceState};
use crate::clock;
use crate::net::Draw;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use mesh_core::head::without_userinfo;
use mesh_core::model::Address;
use mesh_core::otlp::Sampler;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// The most bytes of a text that a span takes from a request.
const MAX_TEXT: usize = 256;

/// Of which requests spans are made, and where they go.
pub(crate) struct Spans {
    sampler: Sampler,
    sender: mpsc::Sender<Span>,
    /// As many wake the exporter.
    batch: u64,
    full: Arc<Notify>,
    cells: Arc<ExportCells>,
}

/// The exporter's end.
pub(crate) struct Ended {
    pub(crate) spans: mpsc::Receiver<Span>,
    /// There is a batch.
    pub(crate) full: Arc<Notify>,
}

/// Who made a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanKind {
    /// `SPAN_KIND_SERVER`.
    Server = 2,
    /// `SPAN_KIND_CLIENT`.
    Client = 3,
}

/// A span that has ended.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) context: TraceContext,
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) state: Option<TraceState>,
    pub(crate) kind: SpanKind,
    pub(crate) name: Box<str>,
    /// In nanoseconds since the Unix epoch.
    pub(crate) start: u64,
    pub(crate) duration: Duration,
    /// Texts; empty ones do not apply.
    pub(crate) attributes: Vec<(&'static str, Box<str>)>,
    /// How many attempts of the call were before it.
    pub(crate) resent: u32,
    pub(crate) code: Code,
    pub(crate) is_error: bool,
}

/// A span that has begun: of a request, or of an attempt.
pub(crate) struct BegunSpan {
    spans: Arc<Spans>,
    span: Span,
}

impl Spans {
    /// A queue of `max` spans, and the exporter's end.
    pub(crate) fn new(
        sampler: Sampler,
        (max, batch): (usize, usize),
        cells: &Arc<ExportCells>,
    ) -> (Arc<Self>, Ended) {
        let (sender, spans) = mpsc::channel(max.max(1));
        let full = Arc::new(Notify::new());
        let cells = Arc::clone(cells);
        let batch = batch as u64;
        let own = Self { sampler, sender, batch, full: Arc::clone(&full), cells };
        (Arc::new(own), Ended { spans, full })
    }

    /// The span of a request whose caller has this trace, as what it does goes on in; `None`: it is not sampled.
    pub(crate) fn sample(&self, caller: Option<TraceContext>) -> Option<TraceContext> {
        match caller {
            Some(caller) => {
                let sampled = self.sampler.samples(caller.trace_id(), Some(caller.is_sampled()));
                sampled.then(|| caller.child(&mut Draw))
            }
            None if self.sampler.begins_none() => None,
            None => {
                let root = TraceContext::root(&mut Draw, true);
                self.sampler.samples(root.trace_id(), None).then_some(root)
            }
        }
    }

    /// Begins the span of a request of a server, whose caller has this trace; `None`: it is not sampled. What the head
    /// says goes on in it.
    pub(crate) fn serve(
        self: &Arc<Self>,
        caller: Option<TraceContext>,
        parts: &mut Parts,
        grpc: bool,
    ) -> Option<Box<BegunSpan>> {
        let own = self.sample(caller)?;
        if caller.is_none() {
            // W3C Trace Context, "Processing Model": without a `traceparent` that can be read, `tracestate` is of no
            // trace, and not of the one that begins here.
            parts.headers.remove(TraceState::TRACESTATE);
        }
        let head = (&parts.method, &parts.uri, &parts.headers);
        let span = self.begin(SpanKind::Server, (own, caller), head, grpc);
        parts.headers.insert(TraceContext::TRACEPARENT, own.header_value());
        Some(span)
    }

    /// Begins a span. Its name is the method; of gRPC the path, which is one of a service's.
    pub(crate) fn begin(
        self: &Arc<Self>,
        kind: SpanKind,
        (context, parent): (TraceContext, Option<TraceContext>),
        (method, uri, headers): (&Method, &http::Uri, &HeaderMap),
        grpc: bool,
    ) -> Box<BegunSpan> {
        let name = if grpc { uri.path().trim_start_matches('/') } else { method.as_str() };
        let authority = uri.authority().map(|authority| without_userinfo(authority.as_str()));
        let host = || headers.get(http::header::HOST)?.to_str().ok();
        let attributes = vec![
            ("http.request.method", cut(method.as_str())),
            ("server.address", cut(authority.or_else(host).unwrap_or_default())),
            ("url.path", cut(uri.path())),
        ];
        let span = Span {
            context,
            parent: parent.map(|parent| parent.span_id()),
            state: TraceState::extract(headers),
            kind,
            name: cut(name),
            start: unix_nanos(),
            duration: Duration::ZERO,
            attributes,
            resent: 0,
            code: Code::default(),
            is_error: false,
        };
        Box::new(BegunSpan { spans: Arc::clone(self), span })
    }

    fn push(&self, span: Span) {
        // Before it is there, or the exporter could take it out of a count that has it not.
        let queued = self.cells.entered(Signal::Spans);
        if self.sender.try_send(span).is_err() {
            self.cells.left(Signal::Spans, 1);
            return self.cells.lost(Signal::Spans, Lost::QueueFull, 1);
        }
        if queued.is_multiple_of(self.batch.max(1)) {
            self.full.notify_one();
        }
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

impl BegunSpan {
    /// What the attempt, or what the request leads to, names as its parent.
    pub(crate) const fn context(&self) -> TraceContext {
        self.span.context
    }

    /// Whose child it is.
    pub(crate) const fn parent(&self) -> Option<[u8; 8]> {
        self.span.parent
    }

    /// What is known of it.
    pub(crate) fn tell(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.span.attributes.push((key, cut(value)));
        }
    }

    /// The attempt `number` of its call is sent there.
    #[cold]
    pub(crate) fn attempt(&mut self, cluster: &str, endpoint: &Address, number: u32) {
        self.tell("mesh.cluster", cluster);
        self.tell("network.peer.address", &endpoint.to_string());
        self.span.resent = number.saturating_sub(1);
    }

    /// It has ended so.
    pub(crate) fn end(self, code: Code, duration: Duration) {
        let Self { spans, mut span } = self;
        (span.code, span.duration) = (code, duration);
        span.is_error = is_error(span.kind, code);
        spans.push(span);
    }
}

impl fmt::Debug for BegunSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BegunSpan").field("context", &self.span.context).finish_non_exhaustive()
    }
}

/// Semantic conventions, "HTTP spans: Status", "RPC spans": what a client did wrong is no error of its server.
fn is_error(kind: SpanKind, code: Code) -> bool {
    /// UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
    const OF_SERVERS: [u32; 6] = [2, 4, 12, 13, 14, 15];
    let is_server = kind == SpanKind::Server;
    let http =
        |status: StatusCode| status.is_server_error() || (!is_server && status.is_client_error());
    let grpc = |status: u32| if is_server { OF_SERVERS.contains(&status) } else { status != 0 };
    code.flag.is_some() || code.grpc_status.map_or_else(|| code.status.is_some_and(http), grpc)
}

/// At most [`MAX_TEXT`] bytes.
fn cut(text: &str) -> Box<str> {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].into()
}

/// Today, in nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos() -> u64 {
    let (wall, nanos) = clock::wall_exactly();
    wall.as_unix_seconds().saturating_mul(1_000_000_000).saturating_add(u64::from(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::ResponseFlag;

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";

    fn caller(sampled: bool) -> TraceContext {
        TraceContext::parse(format!("{CALLER}{}", u8::from(sampled)).as_bytes()).unwrap()
    }

    fn begun(spans: &Arc<Spans>, path: &str) -> Box<BegunSpan> {
        let own = (spans.sample(Some(caller(true))).unwrap(), Some(caller(true)));
        let uri = format!("http://u:p@shop{path}").parse().unwrap();
        spans.begin(SpanKind::Server, own, (&Method::GET, &uri, &HeaderMap::new()), false)
    }

    #[test]
    fn who_calls_decides_what_is_sampled() {
        let cells = Arc::default();
        let (spans, _ended) = Spans::new(Sampler::default(), (1, 1), &cells);
        assert_eq!((spans.sample(None), spans.sample(Some(caller(false)))), (None, None));
        let own = spans.sample(Some(caller(true))).unwrap();
        assert_eq!(own.trace_id(), caller(true).trace_id());
        assert!(own.is_sampled() && own.span_id() != caller(true).span_id());
        let (spans, _ended) = Spans::new(Sampler::share(1.0), (1, 1), &cells);
        assert!(spans.sample(None).unwrap().is_sampled());
        assert_eq!(spans.sample(Some(caller(false))), None);
    }

    #[test]
    fn what_vendors_say_of_another_trace_is_not_said_of_a_new_one() {
        let (spans, mut ended) = Spans::new(Sampler::share(1.0), (1, 1), &Arc::default());
        for (traceparent, goes_on) in
            [(Some(format!("{CALLER}1")), true), (Some("00-zz".to_owned()), false), (None, false)]
        {
            let request = http::Request::get("http://shop/").header("tracestate", "a=1");
            let request = traceparent.iter().fold(request, |r, it| r.header("traceparent", it));
            let mut parts = request.body(()).unwrap().into_parts().0;
            let caller = TraceContext::extract(&parts.headers).map(|(caller, _)| caller);
            let span = spans.serve(caller, &mut parts, false).unwrap();
            let own = span.context().header_value();
            assert_eq!(parts.headers[TraceContext::TRACEPARENT], own);
            let state = parts.headers.get(TraceState::TRACESTATE).is_some();
            span.end(Code::default(), Duration::ZERO);
            let told = ended.spans.try_recv().unwrap().state.is_some();
            assert_eq!((state, told), (goes_on, goes_on), "{traceparent:?}");
        }
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let cells: Arc<ExportCells> = Arc::default();
        let (spans, mut ended) = Spans::new(Sampler::default(), (3, 2), &cells);
        for _ in 0..5 {
            begun(&spans, "/").end(Code::default(), Duration::from_millis(1));
        }
        assert_eq!(cells.counts(Signal::Spans), [0, 2, 3]);
        let span = ended.spans.try_recv().unwrap();
        assert_eq!(span.parent, Some(caller(true).span_id()));
        drop(ended);
        begun(&spans, "/").end(Code::default(), Duration::ZERO);
        assert_eq!(cells.counts(Signal::Spans), [0, 3, 3]);
    }

    #[test]
    fn a_span_has_no_secret_and_a_bound() {
        let (spans, mut ended) = Spans::new(Sampler::default(), (1, 1), &Arc::default());
        let path = format!("/{}?token=s3cret", "%C3%BC".repeat(1_000));
        begun(&spans, &path).end(Code::default(), Duration::ZERO);
        let span = ended.spans.try_recv().unwrap();
        let text = format!("{span:?}");
        assert!(!text.contains("s3cret") && !text.contains("u:p"), "{text}");
        assert!(span.attributes.iter().all(|(_, value)| value.len() <= MAX_TEXT), "{text}");
        assert_eq!(&*cut(&"ü".repeat(200)), "ü".repeat(128));
    }

    #[test]
    fn an_error_is_whose_it_is() {
        let code = |status, grpc_status| Code {
            status: StatusCode::from_u16(status).ok(),
            grpc_status,
            flag: None,
        };
        let both = |code| [SpanKind::Server, SpanKind::Client].map(|kind| is_error(kind, code));
        assert_eq!(both(code(200, None)), [false, false]);
        assert_eq!(both(code(404, None)), [false, true]);
        assert_eq!(both(code(503, None)), [true, true]);
        assert_eq!(both(code(200, Some(0))), [false, false]);
        assert_eq!(both(code(200, Some(5))), [false, true]);
        assert_eq!(both(code(200, Some(14))), [true, true]);
        assert_eq!(both(Code::default()), [false, false], "of nothing nothing is known");
        let flag = Some(ResponseFlag::LocalReset);
        assert_eq!(both(Code { flag, ..code(200, None) }), [true, true]);
    }
}
