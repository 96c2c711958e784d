//! Deadlines: when a call must be over, and how the next hop learns it.
//!
//! A timeout is what configuration says; a deadline is the instant that follows from it. Several
//! limits may apply to one call and the earliest one decides, so that no hop works on an answer that
//! nobody waits for any more.
//!
//! - The route's `timeout` covers the whole call, retries included (Envoy: `RouteAction.timeout`;
//!   zero: none). A timeout that the caller gives for this one call takes its place.
//! - `max_stream_duration` limits in addition. For a gRPC call it takes the timeout's place:
//!   `grpc_timeout_header_max` when set (zero: the caller's deadline alone), else
//!   `max_stream_duration` (zero: none) (gRFC A31).
//! - The deadline that came in with the caller's own request is never extended (gRFC A31).
//! - `grpc-timeout` is at most 8 digits and a unit (grpc/grpc `doc/PROTOCOL-HTTP2.md`). What is sent
//!   on is rounded up and never zero.
//!
//! Not here: the limits of one attempt ([`super::Call`]) and of a silent body (the adapter's).

use super::policy::CallPolicy;
use crate::local_reply::Reason;
use crate::outcome::{Failure, Outcome, grpc};
use crate::time::Timestamp;
use http::HeaderValue;
use std::time::Duration;

/// The instant at which a call must be over, and whose word that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an instant and what it comes from, nothing else")]
pub struct Deadline {
    /// When.
    pub at: Timestamp,
    /// Which limit it comes from.
    pub limit: Limit,
}

impl Deadline {
    /// That of a call that begins `now` and has no route to limit it: the earlier of `timeout`, which is given for
    /// this one call (zero: none), and of `incoming`, the deadline of the request that it is made for.
    #[must_use]
    pub fn without_route(
        timeout: Option<Duration>,
        incoming: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Self> {
        let incoming = incoming.map(|at| Self { at, limit: Limit::Caller });
        sooner(starting(now, Limit::Timeout, timeout), incoming)
    }

    /// The limit that ended an attempt, when that came back as a failure.
    ///
    /// An endpoint that was told the deadline ends the stream at it, and that may be seen before the
    /// timer is; a hop between makes a status of it. What failed the call is the deadline (grpc-go:
    /// `handleRSTStream`).
    #[must_use]
    pub fn ended(self, outcome: &Outcome<'_>, now: Timestamp) -> Option<Limit> {
        let ended = match outcome {
            Outcome::Failed(Failure::Reset { .. }) => true,
            Outcome::Failed(_) => false,
            Outcome::Response(response) => matches!(
                response.grpc_status,
                Some(grpc::CANCELLED | grpc::INTERNAL | grpc::UNAVAILABLE)
            ),
        };
        (ended && self.at <= now).then_some(self.limit)
    }
}

/// What a deadline comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: what bounds a call")]
pub enum Limit {
    /// The route's timeout, or the one given for this call.
    Timeout,
    /// The deadline that the caller's own request came with.
    Caller,
    /// The route's `max_stream_duration`.
    MaxStreamDuration,
}

impl Limit {
    /// Why a call ends that runs into this limit.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Timeout => Reason::Timeout,
            Self::Caller => Reason::DeadlineExceeded,
            Self::MaxStreamDuration => Reason::MaxStreamDuration,
        }
    }

    /// The name that [`poll_timeout`](super::Call::poll_timeout) gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Caller => "caller_deadline",
            Self::MaxStreamDuration => "max_stream_duration",
        }
    }
}

/// The limits of one call that do not come from the route.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GivenLimits {
    /// Takes the place of the route's timeout; zero: none.
    pub(super) timeout: Option<Duration>,
    /// The deadline of the request that this call is made for.
    pub(super) incoming: Option<Timestamp>,
}

/// The earliest limit of a call that begins `now`.
pub(super) fn earliest(
    policy: &CallPolicy<'_>,
    grpc: bool,
    given: GivenLimits,
    now: Timestamp,
) -> Option<Deadline> {
    let stream = policy.max_stream_duration.unwrap_or_default();
    let (timeout, stream) = if grpc && policy.max_stream_duration.is_some() {
        // gRFC A31: grpc_timeout_header_max, else max_stream_duration, instead of the timeout.
        (given.timeout, stream.grpc_timeout_header_max.or(stream.max_stream_duration))
    } else {
        (given.timeout.or(Some(policy.timeout)), stream.max_stream_duration)
    };
    let own = sooner(
        starting(now, Limit::Timeout, timeout),
        starting(now, Limit::MaxStreamDuration, stream),
    );
    sooner(own, given.incoming.map(|at| Deadline { at, limit: Limit::Caller }))
}

/// A limit of so much time from `now` on; zero: none.
#[inline]
fn starting(now: Timestamp, limit: Limit, duration: Option<Duration>) -> Option<Deadline> {
    let duration = duration.filter(|duration| !duration.is_zero())?;
    Some(Deadline { at: now + duration, limit })
}

/// The earlier of two; `one`, if they are at the same time.
#[inline]
fn sooner(one: Option<Deadline>, other: Option<Deadline>) -> Option<Deadline> {
    match (one, other) {
        (Some(one), Some(other)) if other.at < one.at => Some(other),
        (one, other) => one.or(other),
    }
}

/// Why a `grpc-timeout` can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidGrpcTimeout {
    /// There is no digit before the unit.
    #[error("a grpc-timeout starts with a digit")]
    NoDigits,
    /// There are more than eight digits.
    #[error("a grpc-timeout has at most 8 digits")]
    TooManyDigits,
    /// The unit is missing, unknown, or followed by something.
    #[error("a grpc-timeout ends in one unit of H, M, S, m, u or n")]
    Unit,
}

/// Reads a `grpc-timeout`. Zero means that the deadline is now.
///
/// # Errors
/// [`InvalidGrpcTimeout`] says which rule the value breaks.
pub fn parse_grpc_timeout(value: &HeaderValue) -> Result<Duration, InvalidGrpcTimeout> {
    let text = value.as_bytes();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match digits {
        0 => return Err(InvalidGrpcTimeout::NoDigits),
        1..=8 => {}
        _ => return Err(InvalidGrpcTimeout::TooManyDigits),
    }
    let (number, unit) = text.split_at(digits);
    let number = number.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b"H" => Ok(Duration::from_secs(number * 3600)),
        b"M" => Ok(Duration::from_secs(number * 60)),
        b"S" => Ok(Duration::from_secs(number)),
        b"m" => Ok(Duration::from_millis(number)),
        b"u" => Ok(Duration::from_micros(number)),
        b"n" => Ok(Duration::from_nanos(number)),
        _ => Err(InvalidGrpcTimeout::Unit),
    }
}

/// Writes `remaining` as a `grpc-timeout`: at least 1, rounded up, at most 99999999 hours.
///
/// Microseconds below one second, then the finest unit from milliseconds on that fits 8 digits: short
/// on the wire, and at most 0.1 % too generous. The value is marked sensitive so that HPACK does not
/// fill its table with numbers that never return.
#[must_use]
pub fn grpc_timeout(remaining: Duration) -> HeaderValue {
    let (seconds, nanos) = (remaining.as_secs(), remaining.subsec_nanos());
    let (number, unit) = match u32::try_from(seconds) {
        Ok(0) => (nanos.div_ceil(1000).max(1), b'u'),
        // At most 99,999,000 ms.
        Ok(seconds @ ..99_999) => (seconds * 1000 + nanos.div_ceil(1_000_000), b'm'),
        Ok(_) | Err(_) => in_long_unit(remaining),
    };
    let mut text = [0u8; 9];
    let (mut at, mut rest) = (text.len() - 1, number);
    text[at] = unit;
    while rest > 0 {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let value = HeaderValue::from_bytes(&text[at..]);
    let mut value = value.unwrap_or_else(|_| HeaderValue::from_static("99999999H"));
    value.set_sensitive(true);
    value
}

/// More than a day: the finest unit that fits. Apart, because its divisions are 128 bits wide.
#[cold]
fn in_long_unit(remaining: Duration) -> (u32, u8) {
    const MOST: u32 = 99_999_999;
    const UNITS: [(u128, u8); 4] = [
        (1_000_000, b'm'),
        (1_000_000_000, b'S'),
        (60_000_000_000, b'M'),
        (3_600_000_000_000, b'H'),
    ];
    let nanos = remaining.as_nanos();
    let mut in_unit = UNITS.into_iter().filter_map(|(size, unit)| {
        let number = u32::try_from(nanos.div_ceil(size)).ok()?;
        (number <= MOST).then_some((number, unit))
    });
    in_unit.next().unwrap_or((MOST, b'H'))
}

/// The value of `x-envoy-expected-rq-timeout-ms`: whole milliseconds, rounded up, at least 1.
#[must_use]
pub fn expected_rq_timeout_ms(remaining: Duration) -> u64 {
    u64::try_from(remaining.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::route::MaxStreamDuration;
    use proptest::prelude::*;

    #[test]
    fn grpc_timeout_reads_every_unit_and_says_what_is_wrong() {
        let parse = |text| parse_grpc_timeout(&HeaderValue::from_static(text));
        for (text, nanos) in [
            ("2H", 7_200_000_000_000),
            ("3M", 180_000_000_000),
            ("4S", 4_000_000_000),
            ("5m", 5_000_000),
            ("6u", 6_000),
            ("7n", 7),
            ("0S", 0),
            ("00000001S", 1_000_000_000),
            ("99999999H", 359_999_996_400_000_000_000_u128),
        ] {
            assert_eq!(parse(text).unwrap().as_nanos(), nanos, "{text}");
        }
        for (text, error) in [
            ("", InvalidGrpcTimeout::NoDigits),
            ("S", InvalidGrpcTimeout::NoDigits),
            ("-1S", InvalidGrpcTimeout::NoDigits),
            ("+1S", InvalidGrpcTimeout::NoDigits),
            (" 1S", InvalidGrpcTimeout::NoDigits),
            ("123456789n", InvalidGrpcTimeout::TooManyDigits),
            ("1", InvalidGrpcTimeout::Unit),
            ("1s", InvalidGrpcTimeout::Unit),
            ("1 S", InvalidGrpcTimeout::Unit),
            ("1SS", InvalidGrpcTimeout::Unit),
            ("1.5S", InvalidGrpcTimeout::Unit),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn grpc_timeout_is_written_short_and_rounded_up() {
        for (nanos, text) in [
            (0, "1u"),
            (1, "1u"),
            (1_001, "2u"),
            (999_999_999, "1000000u"),
            (1_000_000_000, "1000m"),
            (15_000_000_001, "15001m"),
            (99_999_999_000_000, "99999999m"),
            (99_999_999_000_001, "100000S"),
        ] {
            assert_eq!(grpc_timeout(Duration::from_nanos(nanos)), text, "{nanos}");
        }
        assert_eq!(grpc_timeout(Duration::MAX), "99999999H");
        assert!(grpc_timeout(Duration::ZERO).is_sensitive());
    }

    #[test]
    fn the_expected_timeout_is_never_zero() {
        assert_eq!(expected_rq_timeout_ms(Duration::ZERO), 1);
        assert_eq!(expected_rq_timeout_ms(Duration::from_micros(1001)), 2);
        assert_eq!(expected_rq_timeout_ms(Duration::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_no_less_and_little_more(nanos in 1u64..=u64::MAX / 2) {
            let sent = Duration::from_nanos(nanos);
            let read = parse_grpc_timeout(&grpc_timeout(sent)).unwrap();
            prop_assert!(read >= sent);
            prop_assert!(read - sent <= Duration::from_micros(1).max(sent / 1000));
        }

        #[test]
        fn any_bytes_read_or_are_refused(bytes in prop::collection::vec(0x20u8..0x7f, 0..12)) {
            let value = HeaderValue::from_bytes(&bytes).unwrap();
            if let Ok(read) = parse_grpc_timeout(&value) {
                prop_assert!(read <= Duration::from_secs(99_999_999 * 3600));
            }
        }
    }

    /// In milliseconds: timeout, max_stream_duration, grpc_timeout_header_max, given, incoming.
    #[track_caller]
    fn check(
        grpc: bool,
        route: (u64, Option<u64>, Option<u64>),
        given: (Option<u64>, Option<u64>),
        expected: Option<(u64, Limit)>,
    ) {
        let (timeout, duration, header_max) = route;
        let mut policy = CallPolicy::new(Duration::from_millis(timeout));
        if duration.is_some() || header_max.is_some() {
            let stream = MaxStreamDuration {
                max_stream_duration: duration.map(Duration::from_millis),
                grpc_timeout_header_max: header_max.map(Duration::from_millis),
            };
            policy.max_stream_duration = Some(stream);
        }
        let given = GivenLimits {
            timeout: given.0.map(Duration::from_millis),
            incoming: given.1.map(Timestamp::from_millis),
        };
        let now = Timestamp::from_millis(1000);
        let expected =
            expected.map(|(at, limit)| Deadline { at: Timestamp::from_millis(at), limit });
        assert_eq!(earliest(&policy, grpc, given, now), expected);
    }

    #[test]
    fn the_earliest_limit_decides() {
        use Limit::{Caller, MaxStreamDuration as Stream, Timeout};
        let none = (None, None);
        check(false, (50, None, None), none, Some((1050, Timeout)));
        check(false, (0, None, None), none, None);
        check(false, (50, None, None), (None, Some(1020)), Some((1020, Caller)));
        check(false, (50, None, None), (None, Some(1080)), Some((1050, Timeout)));
        check(false, (0, None, None), (None, Some(1080)), Some((1080, Caller)));
        check(false, (50, None, None), (Some(70), None), Some((1070, Timeout)));
        check(false, (50, None, None), (Some(0), None), None);
        check(false, (50, Some(30), None), none, Some((1030, Stream)));
        // HTTP: grpc_timeout_header_max says nothing.
        check(false, (50, None, Some(10)), none, Some((1050, Timeout)));
    }

    #[test]
    fn without_a_route_the_caller_alone_decides() {
        use Limit::{Caller, Timeout};
        let millis = Duration::from_millis;
        for (timeout, incoming, expected) in [
            (None, None, None),
            (Some(0), None, None),
            (Some(70), None, Some((1070, Timeout))),
            (Some(70), Some(1020), Some((1020, Caller))),
            (Some(10), Some(1020), Some((1010, Timeout))),
            (Some(0), Some(1020), Some((1020, Caller))),
            (None, Some(900), Some((900, Caller))),
        ] {
            let now = Timestamp::from_millis(1000);
            let incoming = incoming.map(Timestamp::from_millis);
            let deadline = Deadline::without_route(timeout.map(millis), incoming, now);
            let expected =
                expected.map(|(at, limit)| Deadline { at: Timestamp::from_millis(at), limit });
            assert_eq!(deadline, expected);
        }
    }

    #[test]
    fn grpc_calls_follow_a31() {
        use Limit::{Caller, MaxStreamDuration as Stream, Timeout};
        let none = (None, None);
        check(true, (50, None, None), none, Some((1050, Timeout)));
        check(true, (50, Some(90), None), none, Some((1090, Stream)));
        check(true, (50, Some(90), Some(70)), none, Some((1070, Stream)));
        check(true, (50, Some(0), None), none, None);
        // Zero grpc_timeout_header_max: the application's deadline alone, even beside the other.
        check(true, (50, Some(90), Some(0)), none, None);
        check(true, (50, Some(90), Some(0)), (None, Some(5000)), Some((5000, Caller)));
        check(true, (50, Some(90), None), (None, Some(1020)), Some((1020, Caller)));
        check(true, (50, Some(90), None), (Some(40), None), Some((1040, Timeout)));
    }
}
