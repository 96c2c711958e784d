//! What an attempt tells the next hop: the headers of the table in [`call`](super).

use crate::inbound_context::Inbound;
use crate::net::{Draw, Settings};
use crate::observe::spans::{BegunSpan, SpanKind, Spans};
use crate::observe::{TraceContext, TraceState};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use mesh_core::Timestamp;
use mesh_core::call::AttemptCounts;
use mesh_core::call::deadline::{expected_rq_timeout_ms, grpc_timeout, parse_grpc_timeout};
use mesh_core::call::headers::AttemptHeaders;
use mesh_core::head::decimal;
use std::sync::Arc;
use std::time::Duration;

// A static: a constant would be made and dropped for each look-up.
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// What one attempt tells the next hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Propagation<'a> {
    pub(super) grpc: bool,
    pub(super) counts: AttemptCounts,
    /// How many attempts were made before the call.
    pub(super) before: u32,
    pub(super) which: AttemptHeaders,
    pub(super) now: Timestamp,
    /// When an answer to the attempt is worth nothing any more.
    pub(super) deadline: Option<Timestamp>,
    /// What the route allows a call and an attempt: many say the same then, which HPACK may keep.
    pub(super) usual: [Option<Duration>; 2],
    pub(super) expected_timeout: ExpectedTimeout,
    /// The trace that the call belongs to, when the caller has not written it himself.
    pub(super) trace: Option<&'a Trace>,
}

/// What becomes of `x-envoy-expected-rq-timeout-ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpectedTimeout {
    /// It is nobody's business, and goes on if it is there.
    Untouched,
    /// It came with the request that the call is made for, or may have: it says no more than is left, as it would where
    /// it is written (Envoy writes it anew at every hop). What the application has made shorter stays.
    Corrected,
    /// The mesh was built to write it.
    Written,
}

impl ExpectedTimeout {
    /// That of a call with these headers. They are looked at only where they can be somebody else's, which is while a
    /// request is answered.
    pub(super) fn of(settings: &Settings, inbound: Option<Inbound>, headers: &HeaderMap) -> Self {
        if settings.expected_timeout_header {
            Self::Written
        } else if inbound.is_some() && headers.contains_key(EXPECTED_TIMEOUT) {
            Self::Corrected
        } else {
            Self::Untouched
        }
    }

    /// Tells what is left. Few do: whoever does not reckons nothing.
    #[inline]
    fn write(self, headers: &mut HeaderMap, left: Duration) {
        if self != Self::Untouched {
            self.tell(headers, left);
        }
    }

    #[cold]
    fn tell(self, headers: &mut HeaderMap, left: Duration) {
        let millis = expected_rq_timeout_ms(left);
        let is_shorter = |told: &HeaderValue| {
            let told = told.to_str().ok().and_then(|told| told.parse::<u64>().ok());
            // Zero is no limit to Envoy, and what can't be read is none to anybody.
            told.is_some_and(|told| (1..=millis).contains(&told))
        };
        let stays =
            self == Self::Corrected && headers.get(EXPECTED_TIMEOUT).is_some_and(is_shorter);
        if !stays {
            headers.insert(EXPECTED_TIMEOUT, decimal(millis));
        }
    }
}

/// What is left of a call's time, told by an attempt that waited for an endpoint or for a connection. Its limits of
/// its own run from the connection, and stay what they are.
#[derive(Clone, Copy, Debug)]
#[expect(unnameable_types, reason = "what one layer tells another")]
pub struct Left {
    /// When the call must have ended.
    deadline: Timestamp,
    /// Whether `grpc-timeout` tells it.
    grpc: bool,
    /// Whether `x-envoy-expected-rq-timeout-ms` does.
    expected: bool,
}

impl Left {
    /// `None`: nothing is told.
    pub(super) fn of(
        deadline: Option<Timestamp>,
        grpc: bool,
        expected: ExpectedTimeout,
    ) -> Option<Self> {
        let expected = expected != ExpectedTimeout::Untouched;
        let deadline = deadline.filter(|_| grpc || expected)?;
        Some(Self { deadline, grpc, expected })
    }

    /// Corrects what was written before the attempt waited: the server is told no more than is left at `now`, when
    /// the request is sent (gRFC A31).
    pub(crate) fn correct(self, headers: &mut HeaderMap, now: Timestamp) {
        let left = self.deadline.saturating_duration_since(now);
        if let Some(told) = headers.get_mut(&GRPC_TIMEOUT).filter(|_| self.grpc)
            && parse_grpc_timeout(told).is_ok_and(|told| told > left)
        {
            *told = grpc_timeout(left);
        }
        if self.expected {
            ExpectedTimeout::Corrected.write(headers, left);
        }
    }
}

/// A call that passes by every policy: what its one attempt tells whoever it goes to.
///
/// It is what a routed call tells. The host may be a stranger's, but what is left of the time and which trace this is
/// are what everybody reads, and they name nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) grpc: bool,
    pub(crate) inbound: Option<Inbound>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) now: Timestamp,
}

impl Passed {
    /// Writes the headers of the table, and begins the attempt's span, if it is sampled. What of it changes while the
    /// attempt waits is given back.
    #[cold]
    pub(crate) fn write<B>(
        self,
        request: &mut Request<B>,
        settings: &Settings,
        spans: Option<&Arc<Spans>>,
    ) -> (Option<Left>, Option<Box<BegunSpan>>) {
        let Self { grpc, inbound, deadline, now } = self;
        let trace = Trace::of(request, inbound, spans);
        let expected_timeout = ExpectedTimeout::of(settings, inbound, request.headers());
        Propagation {
            grpc,
            counts: AttemptCounts { attempt: 1, ..AttemptCounts::default() },
            before: 0,
            which: AttemptHeaders::default(),
            now,
            deadline,
            usual: [None; 2],
            expected_timeout,
            trace: trace.as_deref(),
        }
        .write(request);
        let traced = trace.and_then(|trace| trace.begin(request, grpc));
        (Left::of(deadline, grpc, expected_timeout), traced)
    }
}

/// The trace that the caller put into the request's extensions, or that the call is made in.
#[derive(Debug)]
pub(super) struct Trace {
    context: TraceContext,
    state: Option<TraceState>,
    /// Where spans of its attempts go.
    spans: Option<Arc<Spans>>,
}

impl Trace {
    /// `None`: there is none, or the request says it already and nobody wants spans of it.
    #[inline]
    pub(super) fn of<B>(
        request: &Request<B>,
        inbound: Option<Inbound>,
        spans: Option<&Arc<Spans>>,
    ) -> Option<Box<Self>> {
        let own = request.extensions().get::<TraceContext>().copied();
        let own = own.or_else(|| inbound?.trace_context());
        // Most calls have no trace: their headers are not looked at.
        if own.is_none() && spans.is_none() {
            return None;
        }
        Self::made(request, own, spans)
    }

    /// Out of line, so that a call without a trace has only the question in its path.
    #[inline(never)]
    fn made<B>(
        request: &Request<B>,
        own: Option<TraceContext>,
        spans: Option<&Arc<Spans>>,
    ) -> Option<Box<Self>> {
        if request.headers().contains_key(TraceContext::TRACEPARENT) {
            let (context, state) = spans.and_then(|_| TraceContext::extract(request.headers()))?;
            let spans = spans.filter(|_| context.is_sampled()).map(Arc::clone);
            return spans.is_some().then(|| Box::new(Self { context, state, spans }));
        }
        let context = own?;
        let state = request.extensions().get::<TraceState>().cloned();
        let spans = spans.filter(|_| context.is_sampled()).map(Arc::clone);
        Some(Box::new(Self { context, state, spans }))
    }

    /// Begins the span of an attempt, which `request` names from now on; `None`: nobody wants it.
    pub(super) fn begin<B>(&self, request: &mut Request<B>, grpc: bool) -> Option<Box<BegunSpan>> {
        let spans = self.spans.as_ref()?;
        let own = (self.context.child(&mut Draw), Some(self.context));
        let head = (request.method(), request.uri(), request.headers());
        let span = spans.begin(SpanKind::Client, own, head, grpc);
        request.headers_mut().insert(TraceContext::TRACEPARENT, span.context().header_value());
        Some(span)
    }
}

impl Propagation<'_> {
    /// Writes the headers of the table. Into its caller, although there are two: most of it is not done for most attempts.
    #[inline(always)]
    pub(super) fn write<B>(self, request: &mut Request<B>) {
        if let Some(deadline) = self.deadline {
            let remaining = deadline.saturating_duration_since(self.now);
            if self.grpc {
                let mut timeout = grpc_timeout(remaining);
                timeout.set_sensitive(!self.usual.contains(&Some(remaining)));
                request.headers_mut().insert(&GRPC_TIMEOUT, timeout);
            }
            self.expected_timeout.write(request.headers_mut(), remaining);
        }
        self.counts.write(self.grpc, self.which, self.before, request.headers_mut());
        if let Some(trace) = self.trace {
            let headers = request.headers_mut();
            headers.insert(TraceContext::TRACEPARENT, trace.context.header_value());
            if let Some(state) = &trace.state {
                headers.insert(TraceState::TRACESTATE, state.header_value());
            }
        }
    }
}

/// The deadline that the caller wrote into the request, a gRPC call's `grpc-timeout`, counted from `now`; or
/// that of the request that the call is made for, if that is earlier. What can't be read is left to the
/// server to refuse.
pub(crate) fn caller_deadline(
    headers: &HeaderMap,
    grpc: bool,
    inbound: Option<Inbound>,
    now: Timestamp,
) -> Option<Timestamp> {
    let inbound = inbound.and_then(|inbound| inbound.deadline_at());
    if !grpc {
        return inbound;
    }
    let timeout = headers.get(&GRPC_TIMEOUT).and_then(|timeout| parse_grpc_timeout(timeout).ok());
    let own = timeout.map(|timeout| now + timeout);
    own.into_iter().chain(inbound).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn added(propagation: Propagation<'_>, attempt: u32, retries: u32) -> Vec<String> {
        let mut request = Request::new(());
        request.headers_mut().insert("x-mine", HeaderValue::from_static("kept"));
        let counts = AttemptCounts { attempt, retries, after_timeout: false };
        Propagation { counts, ..propagation }.write(&mut request);
        let headers = request.headers().iter();
        let mut lines: Vec<_> =
            headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        assert!(lines.contains(&"x-mine: kept".to_owned()));
        lines.retain(|line| line != "x-mine: kept");
        lines
    }

    #[test]
    fn a_timeout_that_calls_share_is_one_that_hpack_may_keep() {
        let now = Timestamp::from_millis(1000);
        let written = |remaining: u64, usual: [Option<u64>; 2]| {
            let mut request = Request::new(());
            let propagation = Propagation {
                grpc: true,
                counts: AttemptCounts::default(),
                before: 0,
                which: AttemptHeaders::default(),
                now,
                deadline: Some(now + Duration::from_millis(remaining)),
                usual: usual.map(|millis| millis.map(Duration::from_millis)),
                expected_timeout: ExpectedTimeout::Untouched,
                trace: None,
            };
            propagation.write(&mut request);
            let value = request.headers()["grpc-timeout"].clone();
            assert_eq!(value, format!("{remaining}000u"));
            !value.is_sensitive()
        };
        assert!(written(250, [Some(250), None]));
        assert!(written(250, [Some(900), Some(250)]));
        assert!(!written(249, [Some(900), Some(250)]), "time went by");
        assert!(!written(250, [None; 2]), "the caller's own");
    }

    #[test]
    fn what_came_says_no_more_than_is_left() {
        use ExpectedTimeout::{Corrected, Untouched, Written};
        for (came, what, expected) in [
            ("9000", Corrected, "250"),
            ("40", Corrected, "40"),
            ("0", Corrected, "250"),
            ("soon", Corrected, "250"),
            ("9000", Untouched, "9000"),
            ("40", Written, "250"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(EXPECTED_TIMEOUT, HeaderValue::from_static(came));
            what.write(&mut headers, Duration::from_millis(250));
            assert_eq!(headers[EXPECTED_TIMEOUT], expected, "{came} {what:?}");
        }
    }

    #[test]
    fn only_what_the_table_says_is_added() {
        let now = Timestamp::from_millis(1000);
        let plain = Propagation {
            grpc: false,
            counts: AttemptCounts::default(),
            before: 0,
            which: AttemptHeaders::default(),
            now,
            deadline: Some(now + Duration::from_millis(250)),
            usual: [None; 2],
            expected_timeout: ExpectedTimeout::Untouched,
            trace: None,
        };
        assert_eq!(added(plain, 1, 0), Vec::<String>::new());
        let grpc = Propagation { grpc: true, ..plain };
        assert_eq!(added(grpc, 1, 0), ["grpc-timeout: 250000u"]);
        assert_eq!(added(grpc, 2, 1), ["grpc-previous-rpc-attempts: 1", "grpc-timeout: 250000u"]);
        assert_eq!(added(Propagation { deadline: None, ..grpc }, 1, 0), Vec::<String>::new());
        let expected = Propagation { expected_timeout: ExpectedTimeout::Written, ..plain };
        assert_eq!(added(expected, 1, 0), ["x-envoy-expected-rq-timeout-ms: 250"]);
        let context = TraceContext::parse(PARENT.as_bytes()).unwrap();
        let trace = Trace { context, state: None, spans: None };
        let parent = || format!("traceparent: {PARENT}");
        assert_eq!(added(Propagation { trace: Some(&trace), ..plain }, 1, 0), [parent()]);
        let mut headers = HeaderMap::new();
        headers.insert("tracestate", HeaderValue::from_static("a=b"));
        let trace = Trace { context, state: TraceState::extract(&headers), spans: None };
        let added_both = added(Propagation { trace: Some(&trace), ..plain }, 1, 0);
        assert_eq!(added_both, [parent(), "tracestate: a=b".to_owned()]);
        let mut which = AttemptHeaders::default();
        which.attempt_count = true;
        assert_eq!(added(Propagation { which, ..plain }, 3, 2), ["x-envoy-attempt-count: 3"]);
    }
}
