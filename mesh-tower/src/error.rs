//! The one error of the stack: a typed reason, where it happened, and what caused it.

use crate::body::BoxError;
use mesh_core::local_reply::{Reason, ResponseFlag};
use mesh_core::model::Address;
use mesh_core::outcome::Failure;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Why a call has no response from an endpoint, or why its response broke off.
///
/// One pointer wide. It says *why* ([`reason`](Self::reason)), *where* ([`station`](Self::station)),
/// how Envoy would flag it ([`response_flag`](Self::response_flag)) and which HTTP and gRPC status
/// stand for it; the text ends with the stable code that `mesh explain CODE` takes.
pub struct Error(Box<Inner>);

struct Inner {
    reason: Reason,
    /// Flags beside the reason's own, for example `URX`: retries were used up.
    extra_flag: Option<ResponseFlag>,
    station: Station,
    report: Option<Box<crate::observe::CallReport>>,
    /// What the source of configuration says to it.
    why: Option<Arc<str>>,
    source: Option<BoxError>,
}

/// How far a call had come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Station {
    /// The virtual host, when one was found.
    pub virtual_host: Option<Arc<str>>,
    /// The route, when one matched.
    pub route: Option<Arc<str>>,
    /// The cluster, when one was chosen.
    pub cluster: Option<Arc<str>>,
    /// The endpoint of the last attempt, when one was picked.
    pub endpoint: Option<Address>,
    /// How many attempts were made.
    pub attempts: u32,
    /// The configuration's source and version.
    pub origin: Option<(Arc<str>, Arc<str>)>,
}

impl Error {
    pub(crate) fn new(reason: Reason, station: Station) -> Self {
        let (extra_flag, report, why, source) = (None, None, None, None);
        Self(Box::new(Inner { reason, extra_flag, station, report, why, source }))
    }

    pub(crate) fn with_why(mut self, why: Option<Arc<str>>) -> Self {
        self.0.why = why;
        self
    }

    pub(crate) fn with_source(mut self, source: Option<BoxError>) -> Self {
        self.0.source = source;
        self
    }

    pub(crate) fn with_extra_flag(mut self, flag: Option<ResponseFlag>) -> Self {
        self.0.extra_flag = flag;
        self
    }

    pub(crate) fn with_report(mut self, report: Option<crate::observe::CallReport>) -> Self {
        self.0.report = report.map(Box::new);
        self
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// A stable name for the reason: what `mesh explain CODE` takes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.reason.code()
    }

    /// Envoy's flag for the reason.
    #[must_use]
    pub fn response_flag(&self) -> ResponseFlag {
        self.0.reason.flag()
    }

    /// What the source of configuration says to it, for a call that has no route or cluster because of the
    /// source: its control plane can't be reached, a resource is refused or does not exist. Part of the text.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.0.why.as_deref()
    }

    /// A flag beside the reason's own: `URX` when retries were used up.
    #[must_use]
    pub fn extra_flag(&self) -> Option<ResponseFlag> {
        self.0.extra_flag
    }

    /// How far the call had come.
    #[must_use]
    pub fn station(&self) -> &Station {
        &self.0.station
    }

    /// Every attempt with its endpoint, outcome and phases.
    #[must_use]
    pub fn report(&self) -> Option<&crate::observe::CallReport> {
        self.0.report.as_deref()
    }

    /// The HTTP status that stands for it.
    #[must_use]
    pub fn http_status(&self) -> http::StatusCode {
        self.0.reason.http_status()
    }

    /// The gRPC status that stands for it.
    #[must_use]
    pub fn grpc_status(&self) -> u32 {
        self.0.reason.grpc_status()
    }

    /// Whether some time limit passed: the call's, the caller's, or the attempt's.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(
            self.0.reason,
            Reason::Timeout
                | Reason::DeadlineExceeded
                | Reason::MaxStreamDuration
                | Reason::IdleTimeout
                | Reason::Attempt(Failure::PerTryTimeout)
        )
    }

    /// Whether a circuit breaker was full.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        matches!(self.0.reason, Reason::Attempt(Failure::Overflow(_)))
    }

    /// Whether the cluster is overloaded, and the call was of the share that is dropped.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        matches!(self.0.reason, Reason::Attempt(Failure::Dropped { .. }))
    }

    /// Whether no connection could be made.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self.0.reason, Reason::Attempt(Failure::Connect(_)))
    }

    /// Whether nobody could be picked.
    #[must_use]
    pub fn is_no_endpoint(&self) -> bool {
        matches!(self.0.reason, Reason::Attempt(Failure::NoEndpoint(_)))
    }

    /// Whether no virtual host, route or cluster was found for the request.
    #[must_use]
    pub fn is_no_route(&self) -> bool {
        matches!(
            self.0.reason,
            Reason::NoVirtualHost
                | Reason::NoRoute
                | Reason::ClusterHeaderMissing
                | Reason::UnknownCluster
                | Reason::EgressRefused(_)
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { reason, station, why, .. } = &*self.0;
        write!(f, "{reason}")?;
        if let Some(why) = why {
            write!(f, ": {why}")?;
        }
        let mut separator = " (";
        let mut part = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            let result = write!(f, "{separator}{name} {value}");
            separator = ", ";
            result
        };
        if let Some(virtual_host) = &station.virtual_host {
            part(f, "virtual host", virtual_host)?;
        }
        if let Some(route) = &station.route {
            part(f, "route", route)?;
        }
        if let Some(cluster) = &station.cluster {
            part(f, "cluster", cluster)?;
        }
        if let Some(endpoint) = &station.endpoint {
            part(f, "endpoint", endpoint)?;
        }
        if station.attempts > 1 {
            part(f, "attempts", &station.attempts)?;
        }
        if let Some((source, version)) = &station.origin {
            part(f, "configuration", &format_args!("{source}@{version}"))?;
        }
        if separator == ", " {
            f.write_str(")")?;
        }
        write!(f, " [{}]", reason.code())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("reason", &self.0.reason)
            .field("station", &self.0.station)
            .field("why", &self.0.why)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// An error and its sources, each once.
pub(crate) fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string();
        if !text.contains(&said) {
            let colon = if text.is_empty() { "" } else { ": " };
            text.push_str(colon);
            text.push_str(&said);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::outcome::NoEndpoint;

    #[test]
    fn the_text_says_why_where_and_ends_with_the_code() {
        let mut counts = NoEndpoint::default();
        (counts.total, counts.ejected, counts.unhealthy) = (3, 1, 2);
        let station = Station {
            route: Some("v2".into()),
            cluster: Some("reviews".into()),
            ..Station::default()
        };
        let error = Error::new(Reason::Attempt(Failure::NoEndpoint(counts)), station);
        assert_eq!(
            error.to_string(),
            "no endpoint can be picked: 3 in total, 0 healthy, 0 degraded, 2 unhealthy, 0 draining, \
             1 ejected (route v2, cluster reviews) [no_healthy_endpoint]"
        );
        assert!(error.is_no_endpoint());
        assert_eq!(error.response_flag().as_str(), "UH");
        assert_eq!(
            Error::new(Reason::NoVirtualHost, Station::default()).to_string(),
            "no virtual host serves this authority [no_virtual_host]"
        );
        let why = Some("control plane a:1 unreachable for 3 s".into());
        assert_eq!(
            Error::new(Reason::NotConfigured, Station::default()).with_why(why).to_string(),
            "no configuration has arrived yet: control plane a:1 unreachable for 3 s [not_configured]"
        );
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
