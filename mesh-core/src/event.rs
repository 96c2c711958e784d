//! What the mesh reports about itself: ejections and why, panic, full circuit breakers.
//!
//! A decision that nobody can see is a bug report without a cause ("why does this endpoint get no
//! traffic?"), so every decision about an endpoint leaves an [`Event`]: what was counted, the
//! threshold it met, and whether anything was done. Events are plain values; who emits one knows
//! the cluster and the time, and says them with it.
//!
//! Rules: [`Event::code`] is stable, for alarms and for looking it up; `Display` is one line in
//! plain words, lower case, and names the fields that decided. What Envoy's event log says
//! (`data.cluster.v3.OutlierDetectionEvent`) can be made from it.
//!
//! Nothing is written or sent from here.

use crate::model::outlier_detection::CapRule;
use crate::model::{Address, RoutingPriority};
use crate::outcome::Overflow;
use std::fmt;
use std::time::Duration;

/// Something that happened to a cluster or to one of its endpoints.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An endpoint was found to be an outlier; the verdict says what followed.
    Outlier {
        /// The endpoint.
        address: Address,
        /// By which rule.
        kind: OutlierKind,
        /// What was counted, and the threshold.
        evidence: Evidence,
        /// Ejected or not, and why not.
        verdict: Verdict,
    },
    /// An ejected endpoint is back.
    Unejected {
        /// The endpoint.
        address: Address,
        /// Why.
        cause: Unejection,
        /// How long it was out.
        out: Duration,
    },
    /// Too few endpoints of a priority are healthy: calls go to all of them, ejected ones too, or fail.
    PanicEntered(Panic),
    /// Enough endpoints are healthy again.
    PanicLeft(Panic),
    /// A circuit breaker refused an attempt.
    Overflow {
        /// Which limit.
        limit: Overflow,
        /// Of which routing priority.
        priority: RoutingPriority,
        /// What was in use.
        value: u32,
        /// The limit.
        threshold: u32,
    },
}

/// The rule by which an endpoint is an outlier (Envoy: `OutlierEjectionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: Envoy's ejection types")]
pub enum OutlierKind {
    /// Server errors in a row.
    Consecutive5xx,
    /// 502, 503 and 504 in a row.
    ConsecutiveGatewayFailure,
    /// Local failures in a row; only when split.
    ConsecutiveLocalOriginFailure,
    /// Success rate far below the cluster's.
    SuccessRate,
    /// The same over local failures; only when split.
    LocalOriginSuccessRate,
    /// Share of failures above a fixed bound.
    FailurePercentage,
    /// The same over local failures; only when split.
    LocalOriginFailurePercentage,
}

impl OutlierKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::Consecutive5xx,
        Self::ConsecutiveGatewayFailure,
        Self::ConsecutiveLocalOriginFailure,
        Self::SuccessRate,
        Self::LocalOriginSuccessRate,
        Self::FailurePercentage,
        Self::LocalOriginFailurePercentage,
    ];

    /// The name in metrics (Envoy: `outlier_detection.ejections_detected_*`).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Self::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
            Self::SuccessRate => "success_rate",
            Self::LocalOriginSuccessRate => "local_origin_success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::LocalOriginFailurePercentage => "local_origin_failure_percentage",
        }
    }

    /// What is counted, in plain words.
    const fn counted(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "server errors (5xx)",
            Self::ConsecutiveGatewayFailure => "gateway failures (502, 503, 504)",
            Self::ConsecutiveLocalOriginFailure => "local failures (connect, reset, timeout)",
            Self::SuccessRate | Self::FailurePercentage => "calls",
            Self::LocalOriginSuccessRate | Self::LocalOriginFailurePercentage => {
                "calls (local failures only)"
            }
        }
    }
}

/// What was counted, beside the threshold it met.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Evidence {
    /// Failures in a row.
    Consecutive {
        /// How many.
        failures: u32,
        /// How many make an outlier.
        threshold: u32,
    },
    /// Success rates over the last interval, in percent.
    SuccessRate {
        /// The endpoint's.
        rate: f64,
        /// The average of the endpoints that had enough calls.
        average: f64,
        /// Average − factor · standard deviation: below it is an outlier.
        threshold: f64,
        /// The endpoint's calls in the interval.
        volume: u32,
    },
    /// Share of failures over the last interval, in percent.
    FailurePercentage {
        /// The endpoint's.
        percentage: f64,
        /// How many percent make an outlier.
        threshold: u32,
        /// The endpoint's calls in the interval.
        volume: u32,
    },
}

/// What became of an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Taken out.
    Ejected {
        /// For at least so long; the sweep after that brings it back.
        duration: Duration,
        /// Endpoints that still take calls. 0: the cluster is empty, and panic decides about it.
        left: u32,
    },
    /// Detected only: the enforcing percentage said no. At 0 percent this is a dry run.
    NotEnforced {
        /// The percentage.
        enforcing: u32,
    },
    /// `max_ejection_percent` is used up (Envoy: `ejections_overflow`).
    RefusedByCap {
        /// Endpoints that are out.
        ejected: u32,
        /// Endpoints of the cluster.
        total: u32,
        /// The limit.
        max_percent: u32,
        /// How the limit is read.
        rule: CapRule,
    },
    /// It is the last endpoint that takes calls, and `max_ejection_percent` is below 100.
    RefusedAsLast {
        /// Endpoints of the cluster.
        total: u32,
    },
}

/// Why an endpoint is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unejection {
    /// Its time is over.
    Served,
    /// The configuration has no outlier detection any more (gRFC A50).
    Disabled,
    /// The others are gone or unhealthy, and nobody else would take calls.
    LastEndpoint,
}

/// The numbers behind panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "the numbers that panic is decided by")]
pub struct Panic {
    /// Priority of the endpoints.
    pub priority: u32,
    /// How many are healthy, degraded ones included.
    pub healthy: u32,
    /// How many there are.
    pub total: u32,
    /// Below so many percent is panic (Envoy: `healthy_panic_threshold`).
    pub threshold: u32,
    /// Calls fail meanwhile, instead of going to all (Envoy: `fail_traffic_on_panic`).
    pub fails: bool,
}

impl Event {
    /// A stable name for logs, metrics and alarms.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Outlier { verdict, .. } => match verdict {
                Verdict::Ejected { left: 0, .. } => "outlier_ejected_none_left",
                Verdict::Ejected { .. } => "outlier_ejected",
                Verdict::NotEnforced { .. } => "outlier_not_enforced",
                Verdict::RefusedByCap { .. } => "outlier_refused_by_cap",
                Verdict::RefusedAsLast { .. } => "outlier_refused_as_last",
            },
            Self::Unejected { .. } => "outlier_unejected",
            Self::PanicEntered(_) => "panic_entered",
            Self::PanicLeft(_) => "panic_left",
            Self::Overflow { .. } => "breaker_overflow",
        }
    }

    /// Whether something was done, as opposed to detected only or refused.
    #[must_use]
    pub const fn is_enforced(&self) -> bool {
        !matches!(
            self,
            Self::Outlier {
                verdict: Verdict::NotEnforced { .. }
                    | Verdict::RefusedByCap { .. }
                    | Verdict::RefusedAsLast { .. },
                ..
            }
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outlier { address, kind, evidence, verdict } => {
                write!(f, "{address} ")?;
                verdict.begin(f)?;
                evidence.explain(*kind, f)?;
                verdict.end(f)
            }
            Self::Unejected { address, cause: Unejection::Served, out } => {
                write!(f, "{address} takes calls again after {}", Seconds(*out))
            }
            Self::Unejected { address, cause: Unejection::Disabled, out } => write!(
                f,
                "{address} takes calls again after {}: outlier detection was switched off",
                Seconds(*out)
            ),
            Self::Unejected { address, cause: Unejection::LastEndpoint, out } => write!(
                f,
                "{address} takes calls again after {}: no other endpoint does any more",
                Seconds(*out)
            ),
            Self::PanicEntered(panic) => {
                write!(f, "panic: {panic}, so calls ")?;
                f.write_str(if panic.fails {
                    "fail (fail_traffic_on_panic)"
                } else {
                    "go to all endpoints, whatever their health"
                })
            }
            Self::PanicLeft(panic) => write!(f, "panic is over: {panic}"),
            Self::Overflow { limit, priority, value, threshold } => {
                let of = match priority {
                    RoutingPriority::Default => "",
                    RoutingPriority::High => " of high priority",
                };
                write!(f, "circuit breaker is full: {}{of} is {threshold}, ", limit.limit())?;
                write!(f, "in use {value}")
            }
        }
    }
}

impl Verdict {
    fn begin(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ejected { duration, .. } => write!(f, "ejected for {}: ", Seconds(*duration)),
            Self::NotEnforced { enforcing } => {
                write!(f, "is an outlier, not ejected (enforcing {enforcing}%): ")
            }
            Self::RefusedByCap { .. } | Self::RefusedAsLast { .. } => {
                f.write_str("is an outlier, ejection refused: ")
            }
        }
    }

    fn end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ejected { left: 0, .. } => {
                f.write_str("; NO ENDPOINT IS LEFT, panic decides what calls do now")
            }
            Self::Ejected { left: 1, .. } => f.write_str("; 1 endpoint left"),
            Self::Ejected { left, .. } => write!(f, "; {left} endpoints left"),
            Self::NotEnforced { .. } => Ok(()),
            Self::RefusedByCap { ejected, total, max_percent, rule } => {
                let read = match rule {
                    CapRule::Envoy => "after the ejection",
                    CapRule::Grpc => "before the ejection",
                };
                write!(f, "; {ejected} of {total} are out and max_ejection_percent is ")?;
                write!(f, "{max_percent} ({read})")
            }
            Self::RefusedAsLast { total } => write!(
                f,
                "; no other of {total} takes calls, and max_ejection_percent is below 100"
            ),
        }
    }
}

impl Evidence {
    fn explain(&self, kind: OutlierKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = kind.counted();
        match *self {
            Self::Consecutive { failures, threshold } => {
                write!(f, "{failures} {counted} in a row, threshold {threshold}")
            }
            Self::SuccessRate { rate, average, threshold, volume } => {
                write!(f, "success rate {rate:.1}% of {volume} {counted}, ")?;
                write!(f, "threshold {threshold:.1}%, average {average:.1}%")
            }
            Self::FailurePercentage { percentage, threshold, volume } => {
                write!(f, "{percentage:.1}% of {volume} {counted} failed, threshold {threshold}%")
            }
        }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { priority, healthy, total, threshold, .. } = self;
        write!(f, "{healthy} of {total} endpoints of priority {priority} are healthy, ")?;
        write!(f, "threshold {threshold}%")
    }
}

/// A duration in seconds, to the millisecond.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            millis => write!(f, "{}.{millis:03}s", self.0.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests;
