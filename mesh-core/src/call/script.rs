//! The language of the tests: what happens to a call, line by line, and what the machine makes of it.
//!
//! A line reads `TIME EVENT -> ACTION | TIMER (STOP)`: times in milliseconds, the timer as
//! [`Call::poll_timeout`] gives it, and why a wanted retry was not made. Pauses are half of their
//! interval, whatever the interval.

use super::*;
use crate::model::BackOff;
use crate::model::retry_policy::{RateLimitedBackOff, ResetHeader, ResetHeaderFormat};
use crate::model::route::MaxStreamDuration;
use crate::outcome::{
    Class, ConnectFailure, Failure, NoEndpoint, Overflow, Processed, ProtocolFailure, ResetReason,
    ResponseOutcome,
};
use crate::time::WallTime;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Runs `script` for a call as `given` and compares what comes out line by line.
///
/// `given`: `on=5xx,reset retries=2 base=10 timeout=1000 per_try=100 idle=30 incoming=500 stream=50
/// call_timeout=70 codes=418 slots=1 ask:HEADER=VALUE` and the flags below.
#[track_caller]
pub(super) fn check(given: &str, script: &str) {
    let mut sim = Sim::given(given);
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let (mut expected, mut actual) = (Vec::new(), Vec::new());
    for line in lines {
        let (input, output) = line.split_once(" -> ").unwrap();
        let (at, event) = input.trim().split_once(' ').unwrap();
        expected.push(format!("{at} {event} -> {}", output.trim()));
        actual.push(format!("{at} {event} -> {}", sim.event(at.parse().unwrap(), event)));
    }
    assert_eq!(actual, expected, "given {given}");
    if sim.call.phase == Phase::Done {
        assert_eq!(sim.gate.held, 0, "slots that were not given back");
    }
}

/// Draws the middle of every interval.
struct Half;

impl Random for Half {
    fn next_u64(&mut self) -> u64 {
        1 << 63
    }
}

/// A gate with so many slots.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) free: u32,
    pub(super) held: u32,
    pub(super) body: bool,
    pub(super) refusal: RetryRefused,
}

impl RetryGate for Slots {
    fn can_resend(&self) -> bool {
        self.body
    }

    fn matches_retriable_headers(&self, headers: &HeaderMap) -> bool {
        headers.contains_key("x-again")
    }

    fn wall_time(&self) -> WallTime {
        WallTime::from_unix_seconds(784_111_777) // Sun, 06 Nov 1994 08:49:37 GMT
    }

    fn admit_retry(&mut self, _now: Timestamp) -> Result<(), RetryRefused> {
        self.free = self.free.checked_sub(1).ok_or(self.refusal)?;
        self.held += 1;
        Ok(())
    }

    fn release_retry(&mut self) {
        self.held = self.held.checked_sub(1).expect("a slot is given back once");
        self.free += 1;
    }
}

pub(super) struct Sim {
    pub(super) call: Call,
    gate: Slots,
    grpc: bool,
}

impl Sim {
    pub(super) fn given(given: &str) -> Self {
        let mut retry = None::<RetryPolicy>;
        let mut policy = CallPolicy::new(Duration::from_millis(1000));
        let mut request = RequestFacts::default();
        let mut asked = HeaderMap::new();
        let mut gate =
            Slots { free: u32::MAX / 2, held: 0, body: true, refusal: RetryRefused::Budget };
        for word in given.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let number = || value.parse::<u64>().unwrap();
            let millis = || Duration::from_millis(number());
            let ten = BackOff::new(Duration::from_millis(10), Duration::from_millis(1000));
            match key {
                "on" => {
                    let conditions = value.split(',').map(|name| RetryOn::from_name(name).unwrap());
                    let mut armed = RetryPolicy::new(conditions.fold(RetryOn::NONE, |a, b| a | b));
                    armed.back_off = ten;
                    retry = Some(armed);
                }
                "timeout" => policy.timeout = millis(),
                "stream" => {
                    let stream = MaxStreamDuration {
                        max_stream_duration: Some(millis()),
                        ..MaxStreamDuration::default()
                    };
                    policy.max_stream_duration = Some(stream);
                }
                "call_idle" => policy.idle_timeout = Some(millis()),
                "hedge" => policy.hedge.hedge_on_per_try_timeout = true,
                "no_transparent" => policy.transparent_retry = false,
                "grpc" => request.grpc = true,
                "not_retriable" => request.retriable = false,
                "no_retry" => request.options.no_retry = true,
                "wait_for_ready" => request.options.wait_for_ready = true,
                "call_timeout" => request.options.timeout = Some(millis()),
                "incoming" => request.incoming_deadline = Some(Timestamp::from_millis(number())),
                "slots" => gate.free = number() as u32,
                "breaker" => gate.refusal = RetryRefused::MaxRetries,
                "body_gone" => gate.body = false,
                _ if key.starts_with("ask:") => {
                    let name: HeaderName = key["ask:".len()..].parse().unwrap();
                    asked.insert(name, HeaderValue::from_str(value).unwrap());
                }
                _ => {
                    let retry = retry.as_mut().expect("`on` comes first");
                    match key {
                        "retries" => retry.num_retries = number() as u32,
                        "base" => retry.back_off.base_interval = millis(),
                        "per_try" => retry.per_try_timeout = Some(millis()),
                        "idle" => retry.per_try_idle_timeout = Some(millis()),
                        "codes" => retry.retriable_status_codes.push(number() as u16),
                        "listens" => {
                            let header = ResetHeader {
                                name: HeaderName::from_static("retry-after"),
                                format: ResetHeaderFormat::RetryAfter,
                            };
                            retry.rate_limited_back_off =
                                Some(RateLimitedBackOff::new(vec![header]));
                        }
                        _ => panic!("{word}"),
                    }
                }
            }
        }
        request.overrides = headers::parse_overrides(&asked, true).0;
        let retry = retry.map(Arc::new);
        policy.retry = retry.as_ref();
        let grpc = request.grpc;
        Self { call: Call::new(&policy, request, Timestamp::ZERO), gate, grpc }
    }

    /// What the machine makes of `event`, with its timer and why it stopped retrying.
    pub(super) fn event(&mut self, at: u64, event: &str) -> String {
        let now = Timestamp::from_millis(at);
        let call = &mut self.call;
        let action = match event.trim() {
            "start" => Some(call.start(now)),
            "timer" => Some(call.handle_timeout(&mut self.gate, now)),
            of_attempt => {
                let (id, what) = of_attempt.split_once(' ').unwrap();
                let id = AttemptId(id.trim_start_matches('#').parse().unwrap());
                match what.trim() {
                    "waiting" => {
                        call.handle_waiting(id);
                        None
                    }
                    "connected" => {
                        call.handle_connected(id, now);
                        None
                    }
                    "active" => {
                        call.handle_activity(id, now);
                        None
                    }
                    outcome => {
                        let outcome = Event::parse(outcome);
                        let outcome = outcome.outcome(self.grpc);
                        Some(call.handle_outcome(id, &outcome, &mut self.gate, now, &mut Half))
                    }
                }
            }
        };
        let action = match action {
            None => String::new(),
            Some(Action::Start(id)) => format!("start {}", id.number()),
            Some(Action::Cancel(id)) => format!("cancel {}", id.number()),
            Some(Action::Commit(id)) => format!("commit {}", id.number()),
            Some(Action::Wait) => "wait".to_owned(),
            Some(Action::Finish(reason)) => format!("finish {}", reason.code()),
        };
        let timer = self
            .call
            .poll_timeout()
            .map_or(String::new(), |(at, why)| format!("| {} {why}", at.as_nanos() as f64 / 1e6));
        let stop =
            self.call.retry_stop().map_or(String::new(), |stop| format!("({})", stop.code()));
        let parts = [action, timer, stop];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// What an attempt ended in, owned.
#[derive(Debug)]
pub(super) struct Event {
    status: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    class: Option<Class>,
    failure: Option<Failure>,
}

impl Event {
    /// `STATUS [name=value]… [| trailer=value…] [success|failure|retryable]`, or a failure's name.
    pub(super) fn parse(text: &str) -> Self {
        let mut event = Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            trailers: None,
            class: None,
            failure: failure(text),
        };
        if event.failure.is_some() {
            return event;
        }
        let mut words = text.split_whitespace();
        event.status = words.next().unwrap().parse().unwrap_or_else(|_| panic!("{text}"));
        for word in words {
            match (word, word.split_once('=')) {
                ("|", _) => event.trailers = Some(HeaderMap::new()),
                ("success", _) => event.class = Some(Class::Success),
                ("failure", _) => event.class = Some(Class::Failure),
                ("retryable", _) => event.class = Some(Class::Retryable),
                (_, Some((name, value))) => {
                    let name: HeaderName = name.parse().unwrap();
                    let value = HeaderValue::from_str(value).unwrap();
                    event.trailers.as_mut().unwrap_or(&mut event.headers).insert(name, value);
                }
                _ => panic!("{word}"),
            }
        }
        event
    }

    pub(super) fn outcome(&self, grpc: bool) -> Outcome<'_> {
        match &self.failure {
            Some(failure) => Outcome::Failed(failure.clone()),
            None => {
                let (headers, trailers) = (&self.headers, self.trailers.as_ref());
                let response = ResponseOutcome::new(self.status, headers, trailers, grpc);
                Outcome::Response(response.with_class(self.class))
            }
        }
    }
}

fn failure(name: &str) -> Option<Failure> {
    let reset = |reason, processed| Failure::Reset { reason, processed };
    Some(match name {
        "connect" => Failure::Connect(ConnectFailure::Refused),
        "tls-unavailable" => Failure::Connect(ConnectFailure::TlsUnavailable),
        "refused" => reset(ResetReason::RefusedStream, Processed::No),
        "goaway" => reset(ResetReason::GoAway, Processed::No),
        "closed" => reset(ResetReason::ConnectionTermination, Processed::No),
        "lost" => reset(ResetReason::ConnectionTermination, Processed::Maybe),
        "reset" => reset(ResetReason::Remote(2), Processed::Maybe),
        "body" => reset(ResetReason::RequestBody, Processed::Maybe),
        "per-try" => Failure::PerTryTimeout,
        "overflow" => Failure::Overflow(Overflow::Requests),
        "no-endpoint" => Failure::NoEndpoint(NoEndpoint::default()),
        "invalid" => Failure::Protocol(ProtocolFailure::InvalidRequest),
        _ => return None,
    })
}
