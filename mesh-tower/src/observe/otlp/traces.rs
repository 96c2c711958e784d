//! Spans as requests of OTLP (`opentelemetry/proto/trace/v1/trace.proto`), and who sends them.

use super::super::exported::{Lost, Signal};
use super::super::registry::Registry;
use super::super::spans::{Ended, Span};
use super::export::{GRACE, LAST, Warnings};
use super::link::{self, Link};
use super::metrics::{Request, attribute, own_scope};
use super::wire::Message;
use mesh_core::otlp::OtlpTarget;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// Sends spans, as many at once as make a batch, and what there is after each delay.
pub(super) struct TracesExport {
    registry: Arc<Registry>,
    link: Link,
    ended: Ended,
    batch: usize,
    delay: Duration,
    /// Encoded.
    resource: Vec<u8>,
    warnings: Warnings,
}

impl TracesExport {
    pub(super) fn new(
        registry: Arc<Registry>,
        target: OtlpTarget,
        ended: Ended,
        (batch, delay): (usize, Duration),
        resource: Vec<u8>,
    ) -> Self {
        let (link, warnings) = (Link::new(target, link::TRACES), Warnings::of("spans"));
        Self { registry, link, ended, batch: batch.max(1), delay, resource, warnings }
    }

    /// Exports until it is stopped, or whoever could stop it is gone, and then what is left.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let timeout = self.link.target().timeout;
        let full = Arc::clone(&self.ended.full);
        loop {
            tokio::select! {
                biased;
                _stopped_or_gone = stopped.wait_for(|stopped| *stopped) => break,
                () = full.notified() => {}
                () = sleep(self.delay) => {}
            }
            let cut_off = async {
                let _stopped_or_gone = stopped.wait_for(|stopped| *stopped).await;
                sleep(GRACE).await;
            };
            tokio::select! {
                () = self.export(|| Instant::now() + timeout) => {}
                () = cut_off => break,
            }
        }
        let until = Instant::now() + timeout.min(LAST);
        self.export(|| until).await;
        // What was cut off, or found nobody.
        let [.., left] = self.registry.exported().counts(Signal::Spans);
        self.lost(Lost::Timeout, left);
    }

    /// Sends what waits, a batch after the other; each has a deadline.
    async fn export(&mut self, deadline: impl Fn() -> Instant) {
        while let Some(Request { message, items }) = self.next() {
            let sent = self.link.send(&message, deadline()).await;
            match &sent {
                Ok(partial) => {
                    let rejected = partial.rejected.min(items);
                    self.registry.exported().exported(Signal::Spans, items - rejected);
                    self.registry.exported().left(Signal::Spans, items - rejected);
                    self.lost(Lost::Rejected, rejected);
                    self.warnings.refused(self.link.target(), partial);
                }
                Err((why, _)) => self.lost(*why, items),
            }
            let failed = sent.as_ref().err().map(|(_, said)| &**said);
            self.warnings.batch(self.link.target(), failed);
        }
    }

    fn lost(&self, why: Lost, items: u64) {
        self.registry.exported().left(Signal::Spans, items);
        self.registry.exported().lost(Signal::Spans, why, items);
    }

    /// The next batch; `None`: nothing waits.
    fn next(&mut self) -> Option<Request> {
        let mut spans = Vec::new();
        let mut items = 0;
        while items < self.batch as u64
            && let Ok(span) = self.ended.spans.try_recv()
        {
            // `ScopeSpans.spans`.
            Message(&mut spans).message(2, |message| write(message, &span));
            items += 1;
        }
        let mut message = Vec::with_capacity(spans.len() + self.resource.len() + 128);
        // `resource_spans`, `scope_spans`.
        Message(&mut message).message(1, |resource| {
            resource.bytes(1, &self.resource);
            resource.message(2, |scope| {
                own_scope(scope);
                scope.0.append(&mut spans);
            });
        });
        (items > 0).then(|| Request { message: message.into(), items })
    }
}

/// `Span`.
fn write(message: &mut Message<'_>, span: &Span) {
    message.bytes(1, &span.context.trace_id());
    message.bytes(2, &span.context.span_id());
    if let Some(state) = &span.state {
        message.bytes(3, state.header_value().as_bytes());
    }
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.text(5, &span.name);
    message.number(6, span.kind as u64);
    let duration = u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX);
    message.fixed64(7, span.start);
    message.fixed64(8, span.start.saturating_add(duration));
    for (key, value) in &span.attributes {
        message.message(9, |pair| attribute(pair, key, value));
    }
    let code = span.code;
    let numbers = [
        ("http.response.status_code", code.status.map(|status| u32::from(status.as_u16()))),
        ("rpc.grpc.status_code", code.grpc_status),
        ("http.request.resend_count", Some(span.resent).filter(|resent| *resent > 0)),
    ];
    for (key, number) in numbers {
        let Some(number) = number else { continue };
        message.message(9, |pair| {
            pair.text(1, key);
            pair.message(2, |any| any.number(3, u64::from(number)));
        });
    }
    let flag = code.flag.map(|flag| flag.as_str());
    if let Some(flag) = flag {
        message.message(9, |pair| attribute(pair, "mesh.response_flag", flag));
    }
    if span.is_error {
        message.message(15, |status| {
            status.text(2, flag.unwrap_or_default());
            status.number(3, ERROR);
        });
    }
    message.fixed32(16, u32::from(span.context.flags()));
}
