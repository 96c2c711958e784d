//! Faults on purpose (Envoy: `fault`; gRFC A33).
//!
//! First the delay, then the abort, each drawn by itself. Whatever a caller writes into a header can
//! only make a fault rarer than configured, and is read only where the configuration says so; of
//! several values the first counts. Responses are not slowed (Envoy: `response_rate_limit`).

use super::chain::FilterErrorKind;
use super::gauge::Gauge;
use super::held::Held;
use super::pass::{Call, FilterContext, FilterObserver, Injected, Step, Told, head_of};
use super::reply::FilterReply;
use crate::model::http_filter::{Fault, FaultDuration, FaultPercentage, FaultStatus};
use crate::outcome::grpc_to_http;
use crate::random::Random;
use crate::router::CompiledHeaderMatcher;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The faults, and how many are active.
#[derive(Debug)]
pub(super) struct CompiledFault {
    model: Arc<Fault>,
    headers: Box<[CompiledHeaderMatcher]>,
    active: Arc<Gauge>,
}

static DELAY: HeaderName = HeaderName::from_static("x-envoy-fault-delay-request");
static DELAY_PERCENTAGE: HeaderName =
    HeaderName::from_static("x-envoy-fault-delay-request-percentage");
static ABORT: HeaderName = HeaderName::from_static("x-envoy-fault-abort-request");
static ABORT_GRPC: HeaderName = HeaderName::from_static("x-envoy-fault-abort-grpc-request");
static ABORT_PERCENTAGE: HeaderName =
    HeaderName::from_static("x-envoy-fault-abort-request-percentage");
static NODE: HeaderName = HeaderName::from_static("x-envoy-downstream-service-node");

/// The longest delay that a header may ask for.
const LONGEST: Duration = Duration::from_secs(3600);

impl CompiledFault {
    pub(super) fn new(model: &Arc<Fault>, before: Option<&Self>) -> Result<Self, FilterErrorKind> {
        let headers = model.headers.iter().map(CompiledHeaderMatcher::new);
        Ok(Self {
            model: Arc::clone(model),
            headers: headers.collect::<Result<_, _>>()?,
            active: before.map(|before| Arc::clone(&before.active)).unwrap_or_default(),
        })
    }

    /// The same, with the count of `own`: Envoy counts active faults by the filter, whatever routes
    /// say.
    pub(super) fn below(self, own: &Self) -> Self {
        Self { active: Arc::clone(&own.active), ..self }
    }

    pub(super) fn ask(
        &self,
        call: &mut Call<'_>,
        cx: &FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        if self.model.delay.is_none() && self.model.abort.is_none() {
            return None;
        }
        if !self.is_for(cx) {
            return None;
        }
        let headers = &cx.request.headers;
        let Some(delay) = self.delay(call, headers) else {
            return self.abort(call, headers, observer);
        };
        if !self.inject(call, Injected::Delay(delay), observer) {
            return None;
        }
        Some(Step::Delay(cx.now + delay))
    }

    /// The delay is over.
    pub(super) fn ask_after_delay(
        &self,
        call: &mut Call<'_>,
        cx: &FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        self.abort(call, &cx.request.headers, observer)
    }

    fn is_for(&self, cx: &FilterContext<'_>) -> bool {
        let headers = &cx.request.headers;
        let nodes = &self.model.downstream_nodes;
        let is_node = || {
            let node = headers.get(&NODE).map(|node| node.as_bytes());
            node.is_some_and(|node| nodes.iter().any(|known| known.as_bytes() == node))
        };
        if !nodes.is_empty() && !is_node() {
            return false;
        }
        if self.headers.is_empty() {
            return true;
        }
        let head = head_of(cx.request, cx.connection);
        self.headers.iter().all(|matcher| matcher.matches_head(&head))
    }

    fn delay(&self, call: &mut Call<'_>, headers: &HeaderMap) -> Option<Duration> {
        let delay = self.model.delay.as_ref()?;
        let (duration, percentage) = match delay.duration {
            FaultDuration::Fixed(duration) => (duration, None),
            FaultDuration::Header => {
                let millis = Duration::from_millis(number(headers, &DELAY)?);
                (millis.min(LONGEST), number(headers, &DELAY_PERCENTAGE))
            }
        };
        let takes = takes(delay.percentage, percentage, call);
        (takes && !duration.is_zero()).then_some(duration)
    }

    fn abort(
        &self,
        call: &mut Call<'_>,
        headers: &HeaderMap,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let abort = self.model.abort.as_ref()?;
        let (status, percentage) = match abort.status {
            FaultStatus::Http(_) | FaultStatus::Grpc(_) => (abort.status, None),
            FaultStatus::Header => (said(headers)?, number(headers, &ABORT_PERCENTAGE)),
        };
        if !takes(abort.percentage, percentage, call) {
            return None;
        }
        let (status, grpc_status) = match status {
            FaultStatus::Grpc(status) => {
                let http = StatusCode::from_u16(grpc_to_http(status)).ok()?;
                (http, Some(status))
            }
            FaultStatus::Http(status) => (status, None),
            FaultStatus::Header => return None,
        };
        if !self.inject(call, Injected::Abort(status, grpc_status), observer) {
            return None;
        }
        let mut reply = FilterReply::new(call.name, status, "fault_filter_abort");
        reply.grpc_status = grpc_status;
        reply.body = match abort.response_body.is_empty() {
            true => Bytes::from_static(b"fault filter abort"),
            false => Bytes::copy_from_slice(abort.response_body.as_bytes()),
        };
        Some(Step::Reply(Box::new(reply)))
    }

    /// Counts a fault, unless there are too many; a request counts once, until it ends.
    fn inject(
        &self,
        call: &mut Call<'_>,
        fault: Injected,
        observer: &mut impl FilterObserver,
    ) -> bool {
        let fits = call.holds.has(call.at)
            || self.active.enter(self.model.max_active_faults.unwrap_or(u32::MAX));
        if !fits {
            observer.told(call.name, Told::Fault(Injected::Overflow));
            return false;
        }
        if !call.holds.has(call.at) {
            call.holds.take(call.at, Held::Place(Arc::clone(&self.active)));
        }
        observer.told(call.name, Told::Fault(fault));
        true
    }

    #[cfg(test)]
    pub(super) fn inside(&self) -> u32 {
        self.active.inside()
    }
}

fn takes(share: FaultPercentage, said: Option<u32>, call: &mut Call<'_>) -> bool {
    share.lowered(said).takes(call.random.next_u64())
}

/// The status that headers ask for: that of gRPC first (Envoy: `FaultFilter::abortGrpcStatus`).
fn said(headers: &HeaderMap) -> Option<FaultStatus> {
    if let Some(status) = number(headers, &ABORT_GRPC) {
        return Some(FaultStatus::Grpc(status));
    }
    let status: u16 = number(headers, &ABORT)?;
    let status = (200..600).contains(&status).then_some(status)?;
    StatusCode::from_u16(status).ok().map(FaultStatus::Http)
}

fn number<N: FromStr>(headers: &HeaderMap, name: &HeaderName) -> Option<N> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
