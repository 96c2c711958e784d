//! [`CallReport`]: what one call went through, attempt by attempt.
//!
//! "Service unavailable" leaves open whether the application, the network or the mesh was slow, and
//! which of three attempts failed how. The report says it: a call that asks for it finds it in the
//! response's extensions, and an error always carries it. A report that nobody asked for costs
//! nothing; one without attempts allocates nothing.

use super::connection::ConnectionReport;
use super::phases::{Phase, Phases};
use super::server_time::ServerTime;
use http::{HeaderName, HeaderValue, StatusCode};
use mesh_core::ResponseFlag;
use mesh_core::call::RetryStop;
use mesh_core::model::{Address, Locality};
use mesh_core::outcome::{Failure, Outcome};
use mesh_core::time::saturating_nanos;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What one call went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallReport {
    /// The attempts in the order of their start. As many as the retry and hedging policies allow.
    pub attempts: Vec<AttemptReport>,
    /// The phases of the call itself; those of attempts are with them.
    pub phases: Phases,
    /// Time from the start of the call to the response's head, or to its failure.
    pub duration: Duration,
    /// Why a retry that the last outcome asked for was not made; `None`: none was asked for.
    pub retry_stop: Option<RetryStop>,
    /// How long the response's body took, told once it has ended.
    pub(crate) body: BodyTime,
}

/// A time that is told later: how long a response's body took.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyTime(Option<Arc<AtomicU64>>);

impl BodyTime {
    /// One that will be told.
    pub(crate) fn expected() -> Self {
        Self(Some(Arc::new(AtomicU64::new(UNTOLD))))
    }

    /// Tells it.
    pub(crate) fn tell(&self, duration: Duration) {
        if let Some(nanos) = &self.0 {
            nanos.store(saturating_nanos(duration).min(UNTOLD - 1), Ordering::Relaxed);
        }
    }

    fn get(&self) -> Option<Duration> {
        let nanos = self.0.as_ref()?.load(Ordering::Relaxed);
        (nanos != UNTOLD).then(|| Duration::from_nanos(nanos))
    }
}

impl PartialEq for BodyTime {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for BodyTime {}

const UNTOLD: u64 = u64::MAX;

/// What one attempt went through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptReport {
    /// The cluster that it belonged to: of an aggregate, a child; `None`: it ended before one was chosen.
    pub cluster: Option<Arc<str>>,
    /// The endpoint that was picked; `None`: it ended before one was.
    pub endpoint: Option<Address>,
    /// Where that endpoint is; empty when nothing is known.
    pub locality: Locality,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// When it started, counted from the start of the call.
    pub started: Duration,
    /// Time from its start to its outcome.
    pub duration: Duration,
    /// Its phases.
    pub phases: Phases,
    /// What it was sent on; `None`: it was not, or over a transport of the program's.
    pub connection: Option<ConnectionReport>,
    /// Where the time of its server went, as that says; `None`: it does not say. The wire's is what is left
    /// of `duration`.
    pub server: Option<ServerTime>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// With a response head.
    Response {
        /// The HTTP status.
        status: StatusCode,
        /// The gRPC status, when it was known with the head.
        grpc_status: Option<u32>,
    },
    /// Without.
    Failed(Failure),
}

impl AttemptReport {
    /// An attempt without endpoint, started with its call, that took no time.
    #[must_use]
    pub fn new(outcome: AttemptOutcome) -> Self {
        Self {
            cluster: None,
            endpoint: None,
            locality: Locality::default(),
            outcome,
            started: Duration::ZERO,
            duration: Duration::ZERO,
            phases: Phases::new(),
            connection: None,
            server: None,
        }
    }
}

impl AttemptOutcome {
    /// The report's form of what the deciders saw.
    #[must_use]
    pub fn of(outcome: &Outcome<'_>) -> Self {
        match outcome {
            Outcome::Response(response) => {
                Self::Response { status: response.status, grpc_status: response.grpc_status }
            }
            Outcome::Failed(failure) => Self::Failed(failure.clone()),
        }
    }

    /// Envoy's flag of a failure.
    #[must_use]
    pub const fn flag(&self) -> Option<ResponseFlag> {
        match self {
            Self::Response { .. } => None,
            Self::Failed(failure) => Some(failure.flag()),
        }
    }

    /// The stable name of a failure, for `mesh explain CODE`.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Response { .. } => None,
            Self::Failed(failure) => Some(failure.code()),
        }
    }
}

impl fmt::Display for AttemptOutcome {
    /// `503`, `200 grpc-status 14`, `UF connect_refused`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response { status, grpc_status: None } => write!(f, "{}", status.as_u16()),
            Self::Response { status, grpc_status: Some(grpc_status) } => {
                write!(f, "{} grpc-status {grpc_status}", status.as_u16())
            }
            Self::Failed(failure) => write!(f, "{} {}", failure.flag(), failure.code()),
        }
    }
}

impl CallReport {
    /// The header that [`server_timing`](Self::server_timing) is the value of.
    pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

    /// An empty report.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Time from the response's head to the end of its body, read or given up; `None` until then.
    ///
    /// A report comes with the head, before there is a body: ask again when the body has ended, a clone
    /// of the report will do.
    #[must_use]
    pub fn body_duration(&self) -> Option<Duration> {
        self.body.get()
    }

    /// The report as a `Server-Timing` value (W3C Server Timing, "The Server-Timing header field"),
    /// which browsers and many HTTP tools display.
    ///
    /// `mesh` is the whole call; each phase follows under its name, each attempt under `attempt1`,
    /// `attempt2`, …, with endpoint and outcome as description and its phases behind a dot. Durations
    /// are in milliseconds. Attempts after the sixteenth are left out.
    #[must_use]
    pub fn server_timing(&self) -> HeaderValue {
        let mut out = String::new();
        // Writing to a string can't fail.
        self.write_server_timing(&mut out).unwrap_or_default();
        // What is written is visible ASCII and spaces, so that this does not happen.
        HeaderValue::try_from(out).unwrap_or_else(|_| HeaderValue::from_static("mesh"))
    }

    fn write_server_timing(&self, out: &mut String) -> fmt::Result {
        write!(out, "mesh;dur={}", Millis(self.duration))?;
        for (phase, duration) in self.phases.iter() {
            write!(out, ", {};dur={}", phase.as_str(), Millis(duration))?;
        }
        if let Some(duration) = self.body_duration() {
            write!(out, ", {};dur={}", Phase::Body.as_str(), Millis(duration))?;
        }
        for (attempt, number) in self.attempts.iter().zip(1..=TIMED_ATTEMPTS) {
            write!(out, ", attempt{number};desc=\"")?;
            match &attempt.endpoint {
                Some(endpoint) => write!(Quoted(out), "{endpoint} {}", attempt.outcome)?,
                None => write!(Quoted(out), "{}", attempt.outcome)?,
            }
            write!(out, "\";dur={}", Millis(attempt.duration))?;
            for (phase, duration) in attempt.phases.iter() {
                write_phase(out, number, phase, duration)?;
            }
        }
        Ok(())
    }
}

/// The most attempts in a `Server-Timing` value.
const TIMED_ATTEMPTS: u32 = 16;

fn write_phase(out: &mut String, attempt: u32, phase: Phase, duration: Duration) -> fmt::Result {
    write!(out, ", attempt{attempt}.{};dur={}", phase.as_str(), Millis(duration))
}

/// Writes the inside of a quoted string (RFC 9110 section 5.6.4); what is not visible ASCII or a
/// space becomes `?`.
struct Quoted<'a>(&'a mut String);

impl fmt::Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '"' | '\\' => self.0.extend(['\\', letter]),
                ' '..='~' => self.0.push(letter),
                _ => self.0.push('?'),
            }
        }
        Ok(())
    }
}

/// A duration in milliseconds, to the microsecond.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros / 1_000, micros % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::outcome::{ConnectFailure, Overflow};
    use std::path::Path;

    fn failed(failure: Failure) -> AttemptReport {
        AttemptReport::new(AttemptOutcome::Failed(failure))
    }

    #[track_caller]
    fn check(report: &CallReport, expected: &str) {
        assert_eq!(report.server_timing().to_str().unwrap(), expected);
    }

    #[test]
    fn an_empty_report_is_the_whole_call() {
        let report = CallReport { duration: Duration::from_micros(12_345), ..CallReport::new() };
        check(&report, "mesh;dur=12.345");
    }

    #[test]
    fn attempts_are_described_and_timed() {
        let mut report = CallReport::new();
        report.duration = Duration::from_millis(7);
        report.phases.add(Phase::Routing, Duration::from_nanos(1_999));
        report.phases.add(Phase::Backoff, Duration::from_millis(2));
        report.body = BodyTime::expected();
        let mut first = failed(Failure::Connect(ConnectFailure::Refused));
        first.endpoint = Some(Address::Socket("127.0.0.1:81".parse().unwrap()));
        first.duration = Duration::from_micros(70);
        first.phases.add(Phase::Connect, Duration::from_micros(70));
        let mut second = AttemptReport::new(AttemptOutcome::Response {
            status: StatusCode::OK,
            grpc_status: Some(0),
        });
        second.endpoint = Some(Address::Socket("[::1]:82".parse().unwrap()));
        second.duration = Duration::from_millis(4);
        report.attempts = vec![first, second, failed(Failure::Overflow(Overflow::Requests))];
        assert_eq!(report.body_duration(), None);
        report.clone().body.tell(Duration::from_millis(5));
        check(
            &report,
            "mesh;dur=7.000, routing;dur=0.001, backoff;dur=2.000, body;dur=5.000, \
             attempt1;desc=\"127.0.0.1:81 UF connect_refused\";dur=0.070, \
             attempt1.connect;dur=0.070, \
             attempt2;desc=\"[::1]:82 200 grpc-status 0\";dur=4.000, \
             attempt3;desc=\"UO overflow_requests\";dur=0.000",
        );
    }

    #[test]
    fn a_description_can_not_leave_its_quotes() {
        let mut attempt = failed(Failure::PerTryTimeout);
        attempt.endpoint = Some(Address::Unix(Arc::from(Path::new("/a\"\\\r\nü"))));
        let report = CallReport { attempts: vec![attempt], ..CallReport::new() };
        let description = r#"unix:/a\"\\??? UT per_try_timeout"#;
        check(&report, &format!("mesh;dur=0.000, attempt1;desc=\"{description}\";dur=0.000"));
    }

    #[test]
    fn the_header_is_bounded() {
        let attempts = vec![failed(Failure::PerTryTimeout); 100];
        let report = CallReport { attempts, ..CallReport::new() };
        let value = report.server_timing();
        assert_eq!(value.to_str().unwrap().matches("attempt").count(), 16);
    }

    #[test]
    fn an_outcome_tells_flag_and_code() {
        let outcome = AttemptOutcome::of(&Outcome::Failed(Failure::PerTryTimeout));
        assert_eq!(outcome.flag(), Some(ResponseFlag::UpstreamRequestTimeout));
        assert_eq!(outcome.code(), Some("per_try_timeout"));
        let headers = http::HeaderMap::new();
        let status = StatusCode::NOT_FOUND;
        let response = mesh_core::outcome::ResponseOutcome::new(status, &headers, None, false);
        let outcome = AttemptOutcome::of(&Outcome::Response(response));
        assert_eq!((outcome.flag(), outcome.code()), (None, None));
        assert_eq!(outcome.to_string(), "404");
    }
}
