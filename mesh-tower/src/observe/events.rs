//! What can happen to a cluster, and the label values it is counted under.

use super::names::label_values;
use mesh_core::outcome::{ConnectFailure, Failure, Overflow};
use std::sync::Arc;

label_values! {
    /// What became of a retry (label `outcome` of `mesh_retries_total`; Envoy:
    /// `upstream_rq_retry*`).
    pub(crate) enum RetryOutcome {
        /// It was sent.
        Started = "started",
        /// A call that was retried ended well.
        Success = "success",
        /// The policy's number of retries was used up.
        LimitExceeded = "limit_exceeded",
        /// The retry budget had none left.
        BudgetExhausted = "budget_exhausted",
        /// The circuit breaker's `max_retries` was reached.
        Overflow = "overflow",
    }
}

label_values! {
    /// Which rule found an outlier (label `kind` of `mesh_ejections_total`; Envoy:
    /// `data.cluster.v3.OutlierEjectionType`).
    pub(crate) enum EjectionKind {
        /// Server errors in a row.
        Consecutive5xx = "consecutive_5xx",
        /// 502, 503 or 504 in a row.
        ConsecutiveGatewayFailure = "consecutive_gateway_failure",
        /// Local failures in a row.
        ConsecutiveLocalOriginFailure = "consecutive_local_origin_failure",
        /// The success rate, compared with the others'.
        SuccessRate = "success_rate",
        /// The same over local failures.
        LocalOriginSuccessRate = "local_origin_success_rate",
        /// The share of failures.
        FailurePercentage = "failure_percentage",
        /// The same over local failures.
        LocalOriginFailurePercentage = "local_origin_failure_percentage",
    }
}

label_values! {
    /// What became of an outlier (label `outcome` of `mesh_ejections_total`).
    pub(crate) enum EjectionOutcome {
        /// It was ejected.
        Enforced = "enforced",
        /// It was left in, because `enforcing_*` said so.
        Detected = "detected",
        /// It was left in, because `max_ejection_percent` was reached.
        Refused = "refused",
    }
}

label_values! {
    /// Why a usable connection ended (label `reason` of `mesh_connections_closed_total`).
    pub(crate) enum CloseReason {
        /// It was unused for too long.
        Idle = "idle",
        /// It was old enough.
        MaxAge = "max_age",
        /// It served as many calls as it was to serve.
        MaxRequests = "max_requests",
        /// The endpoint sent GOAWAY, or `connection: close`.
        GoAway = "goaway",
        /// The endpoint closed it without saying so.
        Remote = "remote",
        /// It broke, or the protocol on it did.
        Error = "error",
        /// Its keep-alive was not answered.
        KeepAlive = "keep_alive",
        /// Its call was given up, and it speaks HTTP/1.1, which has no other way to say so.
        CallDropped = "call_dropped",
        /// It was a byte stream, and whoever had it closed it.
        Local = "local",
        /// Its endpoint left the configuration, or its cluster is secured in another way.
        Drained = "drained",
        /// The certificate that it was made with is over: ours, or the endpoint's.
        CertificateEnded = "certificate_ended",
        /// The endpoint's certificate does not verify any more by what is in force: its root was
        /// withdrawn, or other names are asked for.
        Untrusted = "untrusted",
        /// The mesh was shut down.
        ShutDown = "shut_down",
    }
}

/// How a connection is secured, and who the other end proved to be (labels `security` and `peer` of
/// `mesh_connections_secured_total`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Security {
    /// Not at all.
    #[default]
    Plaintext,
    /// TLS; we showed nothing.
    Tls(Arc<str>),
    /// TLS; we showed who we are.
    MutualTls(Arc<str>),
}

impl Security {
    /// Label `security`; Istio: `connection_security_policy`.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls(_) => "tls",
            Self::MutualTls(_) => "mutual_tls",
        }
    }

    /// Label `peer`: its SPIFFE id, or its first other name; empty: it proved none.
    pub(crate) fn peer(&self) -> &str {
        match self {
            Self::Plaintext => "",
            Self::Tls(peer) | Self::MutualTls(peer) => peer,
        }
    }

    /// The same, when the peer is one too many to be told apart.
    pub(crate) fn of_other(&self) -> Self {
        match self {
            Self::Plaintext => Self::Plaintext,
            Self::Tls(_) => Self::Tls(OTHER.into()),
            Self::MutualTls(_) => Self::MutualTls(OTHER.into()),
        }
    }
}

/// The label of peers beyond the bound.
const OTHER: &str = "other";

label_values! {
    /// What an endpoint is good for (label `state` of `mesh_endpoints`). Each endpoint is in one
    /// state; ejected comes before what the configuration says.
    pub(crate) enum EndpointState {
        /// Takes calls.
        Healthy = "healthy",
        /// Takes calls when the healthy ones do not suffice.
        Degraded = "degraded",
        /// Takes none.
        Unhealthy = "unhealthy",
        /// Takes no new ones.
        Draining = "draining",
        /// Outlier detection took it out.
        Ejected = "ejected",
    }
}

/// Number of [`overflow_label`]s.
pub(super) const OVERFLOWS: usize = 5;
/// Number of [`connect_failure_label`]s.
pub(super) const CONNECT_FAILURES: usize = 19;

// In the order of labels. A variant that mesh-core gains and this crate does not know counts as the
// last one.
const LIMITS: [Overflow; OVERFLOWS - 1] =
    [Overflow::Requests, Overflow::Pending, Overflow::Connections, Overflow::Retries];
const FAILURES: [ConnectFailure; CONNECT_FAILURES] = [
    ConnectFailure::Refused,
    ConnectFailure::Unreachable,
    ConnectFailure::Timeout,
    ConnectFailure::Tls,
    ConnectFailure::TlsUntrusted,
    ConnectFailure::TlsName,
    ConnectFailure::TlsExpired,
    ConnectFailure::TlsNotYetValid,
    ConnectFailure::TlsRevoked,
    ConnectFailure::TlsRevocationUnknown,
    ConnectFailure::TlsRefused,
    ConnectFailure::TlsProtocol,
    ConnectFailure::IdentityUnavailable,
    ConnectFailure::TlsUnavailable,
    ConnectFailure::SecretUnavailable,
    ConnectFailure::Handshake,
    ConnectFailure::OwnPort,
    ConnectFailure::RuntimeGone,
    ConnectFailure::Other,
];

pub(super) fn overflow_index(limit: Overflow) -> usize {
    LIMITS.iter().position(|known| *known == limit).unwrap_or(OVERFLOWS - 1)
}

/// Label `limit` of `mesh_overflow_total`: the field that sets it.
pub(super) fn overflow_label(index: usize) -> &'static str {
    LIMITS.get(index).map_or("other", |limit| limit.limit())
}

pub(super) fn connect_failure_index(failure: ConnectFailure) -> usize {
    FAILURES.iter().position(|known| *known == failure).unwrap_or(CONNECT_FAILURES - 1)
}

/// Label `reason` of `mesh_connections_failed_total`: the code of the failure without `connect_`.
pub(super) fn connect_failure_label(index: usize) -> &'static str {
    let failure = FAILURES.get(index).copied().unwrap_or(ConnectFailure::Other);
    let code = Failure::Connect(failure).code();
    code.strip_prefix("connect_").unwrap_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn labels_are_distinct_and_indexes_lead_back_to_them() {
        for limit in LIMITS {
            assert_eq!(overflow_label(overflow_index(limit)), limit.limit());
        }
        for failure in FAILURES {
            let label = connect_failure_label(connect_failure_index(failure));
            assert_eq!(format!("connect_{label}"), Failure::Connect(failure).code());
        }
        let limits: BTreeSet<_> = (0..OVERFLOWS).map(overflow_label).collect();
        assert_eq!(limits.len(), OVERFLOWS);
        let failures: BTreeSet<_> = (0..CONNECT_FAILURES).map(connect_failure_label).collect();
        assert_eq!(failures.len(), CONNECT_FAILURES);
    }
}
