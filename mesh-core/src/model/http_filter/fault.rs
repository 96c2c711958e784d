//! Faults on purpose (Envoy: `extensions.filters.http.fault.v3.HTTPFault`; gRFC A33).

use crate::model::{Fraction, HeaderMatcher};
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// Delays requests, and answers them in the service's place: first the one, then the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// How requests are delayed.
    pub delay: Option<FaultDelay>,
    /// How they are answered.
    pub abort: Option<FaultAbort>,
    /// Only requests for which all of these hold; empty: all.
    pub headers: Vec<HeaderMatcher>,
    /// Only requests whose `x-envoy-downstream-service-node` is one of these; empty: all.
    pub downstream_nodes: Vec<Arc<str>>,
    /// How many requests may have a fault at the same time, those that wait included, counted for a
    /// chain's filter and what routes say of it together; `None`: no bound.
    pub max_active_faults: Option<u32>,
}

/// How requests are delayed (Envoy: `FaultDelay`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `FaultDelay`")]
pub struct FaultDelay {
    /// For how long.
    pub duration: FaultDuration,
    /// How many of them.
    pub percentage: FaultPercentage,
}

/// For how long a request is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `FaultDelay`")]
pub enum FaultDuration {
    /// For this long.
    Fixed(Duration),
    /// For as many milliseconds as `x-envoy-fault-delay-request` says, at most an hour; not at all
    /// without it. `x-envoy-fault-delay-request-percentage` may lower the share.
    Header,
}

/// How requests are answered (Envoy: `FaultAbort`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `FaultAbort`")]
pub struct FaultAbort {
    /// By which status.
    pub status: FaultStatus,
    /// How many of them.
    pub percentage: FaultPercentage,
    /// The body of the answer; empty: `fault filter abort`.
    pub response_body: Arc<str>,
}

/// By which status a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `FaultAbort`")]
pub enum FaultStatus {
    /// This one; gRPC: what it stands for, of which 200 is UNKNOWN (gRFC A33).
    Http(StatusCode),
    /// This one of gRPC; other requests: what it stands for.
    Grpc(u32),
    /// That of `x-envoy-fault-abort-grpc-request`, or of `x-envoy-fault-abort-request`, from 200 to
    /// 599; none without them. `x-envoy-fault-abort-request-percentage` may lower the share.
    Header,
}

/// A share of requests that a header may lower (Envoy: `FractionalPercent`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `FractionalPercent`")]
pub struct FaultPercentage {
    /// So many.
    pub numerator: u32,
    /// Of so many.
    pub denominator: FaultDenominator,
}

/// Of how many (Envoy: `FractionalPercent.DenominatorType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `DenominatorType`")]
pub enum FaultDenominator {
    /// A hundred.
    #[default]
    Hundred,
    /// Ten thousand.
    TenThousand,
    /// A million.
    Million,
}

impl FaultPercentage {
    /// All requests.
    pub const ALL: Self = Self::percent(100);

    /// So many of a hundred.
    #[must_use]
    pub const fn percent(numerator: u32) -> Self {
        Self { numerator, denominator: FaultDenominator::Hundred }
    }

    /// The share, when a header says `numerator`: the smaller one counts.
    #[must_use]
    pub fn lowered(self, numerator: Option<u32>) -> Fraction {
        let numerator = numerator.map_or(self.numerator, |said| said.min(self.numerator));
        Fraction::per_million(numerator.saturating_mul(match self.denominator {
            FaultDenominator::Hundred => 10_000,
            FaultDenominator::TenThousand => 100,
            FaultDenominator::Million => 1,
        }))
    }
}
