//! What a program exports over OTLP: where to, how often, as whom, and what is done when it fails.
//!
//! The words are OpenTelemetry's, and so is their meaning: who runs programs has set its variables already
//! (specification: "OpenTelemetry Environment Variable Specification", "OpenTelemetry Protocol Exporter").
//!
//! Rules:
//! - an empty variable is as good as none; what is said of one signal comes before what is said of all;
//! - a value that can't be used is an error with the variable's name. OpenTelemetry warns and goes on, and then
//!   nobody sees why figures are missing; a process that is about to start can say so;
//! - nothing is exported unless something asks for it: an endpoint, or `OTEL_METRICS_EXPORTER=otlp`;
//! - spans are made of requests that their callers sampled, and of others only if a share is asked for: what a proxy
//!   begins, others pay for;
//! - values of headers are credentials: no error and no `Debug` has them.
//!
//! | file | holds |
//! |---|---|
//! | `endpoint.rs` | where a collector is |
//! | `variables.rs` | what the environment says |
//! | `retry.rs` | which failures are tried again, and when |
//! | `sampler.rs` | of which requests spans are made |
//!
//! What it does not do: OTLP over HTTP, compression, logs.

mod endpoint;
mod retry;
mod sampler;
mod variables;

pub use endpoint::OtlpEndpoint;
pub use retry::{is_retryable, pause};
pub use sampler::Sampler;

use http::HeaderMap;
use std::time::Duration;

/// What is exported, and how.
///
/// # Examples
/// ```
/// use mesh_core::otlp::{OtlpEndpoint, OtlpSettings};
///
/// let settings = OtlpSettings::to(OtlpEndpoint::parse("http://127.0.0.1:4317").unwrap());
/// assert_eq!(settings.interval.as_secs(), 60);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OtlpSettings {
    /// Who takes metrics; `None`: they are not exported.
    pub metrics: Option<OtlpTarget>,
    /// Who takes spans; `None`: none are made.
    pub traces: Option<OtlpTarget>,
    /// Of which requests spans are made.
    pub sampler: Sampler,
    /// How many spans may wait; further ones are dropped. Default: 2,048.
    pub max_spans: usize,
    /// How many spans are sent at once. Default: 512.
    pub span_batch: usize,
    /// How long a span waits for others at most. Default: 5 s.
    pub span_delay: Duration,
    /// From one export of metrics to the next. Default: 60 s.
    pub interval: Duration,
    /// Attributes of the resource, each key once. `service.name` and `service.instance.id` are added where they
    /// are missing.
    pub resource: Vec<(String, String)>,
}

/// A collector, and how it is asked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OtlpTarget {
    /// Where it is.
    pub endpoint: OtlpEndpoint,
    /// Sent with each request.
    pub headers: HeaderMap,
    /// How long one batch may take, all tries and the waits between them. Default: 10 s.
    pub timeout: Duration,
}

/// A variable or an argument that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` {found}: {rule}")]
pub struct InvalidOtlp {
    name: &'static str,
    /// `is …`, without what is secret.
    found: String,
    rule: &'static str,
}

/// Default of [`OtlpSettings::interval`].
const INTERVAL: Duration = Duration::from_secs(60);
/// Default of [`OtlpTarget::timeout`].
const TIMEOUT: Duration = Duration::from_secs(10);

impl OtlpSettings {
    /// Exports all that there is to `endpoint`, without headers.
    #[must_use]
    pub fn to(endpoint: OtlpEndpoint) -> Self {
        let target = Some(OtlpTarget::new(endpoint));
        Self { metrics: target.clone(), traces: target, ..Self::default() }
    }

    /// Whether there is nothing to export.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.metrics.is_none() && self.traces.is_none()
    }

    /// An attribute of the resource, in place of one with this key.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let key = key.into();
        self.resource.retain(|(held, _)| *held != key);
        self.resource.push((key, value.into()));
        self
    }

    /// The value of an attribute of the resource.
    #[must_use]
    pub fn resource(&self, key: &str) -> Option<&str> {
        self.resource.iter().find(|(held, _)| held == key).map(|(_, value)| &**value)
    }
}

impl Default for OtlpSettings {
    /// Nothing is exported.
    fn default() -> Self {
        Self {
            metrics: None,
            traces: None,
            sampler: Sampler::default(),
            max_spans: 2_048,
            span_batch: 512,
            span_delay: Duration::from_secs(5),
            interval: INTERVAL,
            resource: Vec::new(),
        }
    }
}

impl OtlpTarget {
    /// Without headers, and with the default timeout.
    #[must_use]
    pub fn new(endpoint: OtlpEndpoint) -> Self {
        Self { endpoint, headers: HeaderMap::new(), timeout: TIMEOUT }
    }
}

impl InvalidOtlp {
    fn new(name: &'static str, value: &str, rule: &'static str) -> Self {
        Self { name, found: format!("is `{value}`"), rule }
    }

    /// Of what nobody is to see.
    fn secret(name: &'static str, rule: &'static str) -> Self {
        Self { name, found: "can't be used".to_owned(), rule }
    }
}
