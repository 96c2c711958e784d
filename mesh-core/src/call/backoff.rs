//! How long to wait before trying again.
//!
//! A pause spreads the retries of many callers over time; without it they arrive together and bring
//! down again what is just getting up. Three voices speak, the later ones louder:
//!
//! 1. The policy: uniform over `[0, min(base · 2^(n-1), max))` (Envoy: class
//!    `JitteredExponentialBackOffStrategy`; its documentation describes an older formula).
//! 2. The server's headers, where the policy listens to them: uniform over `[v, 1.5 v)`, so that
//!    nobody returns early (Envoy: `RateLimitedRetryBackOff`, `JitteredLowerBoundBackOffStrategy`).
//! 3. gRPC's `grpc-retry-pushback-ms`: taken as it is, and the exponential part starts over; a
//!    negative or unreadable value means "do not retry" (gRFC A6 "Pushback").
//!
//! A pause delays a retry and never causes one.

use super::http_date;
use crate::model::BackOff;
use crate::model::retry_policy::{RateLimitedBackOff, ResetHeader, ResetHeaderFormat};
use crate::outcome::ResponseOutcome;
use crate::random::Random;
use crate::time::{WallTime, saturating_nanos};
use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// The trailer or header in which a gRPC server says when to come back (gRFC A6).
pub const GRPC_RETRY_PUSHBACK_MS: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// The longest pushback that is waited for; a longer one means "do not retry".
pub const MAX_PUSHBACK: Duration = Duration::from_secs(300);

/// The pause before retry `n`, counted from 1: uniform over `[0, min(base · 2^(n-1), max))`.
#[must_use]
pub fn jittered(back_off: &BackOff, n: u32, random: &mut impl Random) -> Duration {
    let base = u128::from(saturating_nanos(back_off.base_interval));
    let doubled = base << n.saturating_sub(1).min(63);
    let ceiling = doubled.min(u128::from(saturating_nanos(back_off.max_interval)));
    Duration::from_nanos(random.below(ceiling as u64))
}

/// What a gRPC server's pushback says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: a pause or none (gRFC A6)")]
pub enum Pushback {
    /// Try again after this pause, whatever the policy's own back-off.
    After(Duration),
    /// Do not try again.
    Never,
}

/// The pushback in a gRPC answer's trailers or headers, when there is one.
#[must_use]
pub fn pushback(response: &ResponseOutcome<'_>) -> Option<Pushback> {
    if !response.grpc {
        return None;
    }
    let of = |headers: &HeaderMap| headers.get(GRPC_RETRY_PUSHBACK_MS).cloned();
    let value = response.trailers.and_then(of).or_else(|| of(response.headers))?;
    let millis = value.to_str().ok().and_then(parse_digits);
    let pause = millis.map(Duration::from_millis).filter(|pause| *pause <= MAX_PUSHBACK);
    Some(pause.map_or(Pushback::Never, Pushback::After))
}

/// The pause that `headers` ask for: the first of the policy's headers that says one, not above the
/// policy's limit, spread over `[v, 1.5 v)`.
///
/// `wall` is called only for a header that names a date.
pub fn asked_for(
    policy: &RateLimitedBackOff,
    headers: &HeaderMap,
    wall: impl Fn() -> WallTime,
    random: &mut impl Random,
) -> Option<Duration> {
    let pause = policy
        .reset_headers
        .iter()
        .filter_map(|header| interval(header, headers, &wall))
        .find(|interval| *interval <= policy.max_interval)?;
    let spread = random.below(saturating_nanos(pause) / 2);
    Some(pause + Duration::from_nanos(spread))
}

/// What one header says; a date in the past says nothing.
fn interval(
    header: &ResetHeader,
    headers: &HeaderMap,
    wall: impl Fn() -> WallTime,
) -> Option<Duration> {
    let text = headers.get(&header.name)?.to_str().ok()?.trim();
    let until = |date: WallTime| {
        let today = wall();
        (date >= today).then(|| date.saturating_duration_since(today))
    };
    match (header.format, parse_digits(text)) {
        (ResetHeaderFormat::Seconds | ResetHeaderFormat::RetryAfter, Some(seconds)) => {
            Some(Duration::from_secs(seconds))
        }
        (ResetHeaderFormat::UnixTimestamp, Some(seconds)) => {
            until(WallTime::from_unix_seconds(seconds))
        }
        // RFC 9110 §10.2.3: `Retry-After` is a delay in seconds or an HTTP date.
        (ResetHeaderFormat::RetryAfter, None) => until(http_date::parse(text, wall())?),
        (ResetHeaderFormat::Seconds | ResetHeaderFormat::UnixTimestamp, None) => None,
    }
}

/// A number written in digits only: no sign, no space.
fn parse_digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;
    use http::{HeaderValue, StatusCode};
    use proptest::prelude::*;

    /// Draws the middle of every interval.
    struct Half;
    impl Random for Half {
        fn next_u64(&mut self) -> u64 {
            1 << 63
        }
    }

    #[test]
    fn the_interval_starts_at_base_doubles_and_stops_at_max() {
        // Envoy's code, not its documentation: [0, 25), [0, 50), … and not [0, 25), [0, 75), ….
        let back_off = BackOff::default();
        let middle = |n| jittered(&back_off, n, &mut Half).as_micros();
        assert_eq!(
            [1, 2, 3, 4, 5, 6].map(middle),
            [12_500, 25_000, 50_000, 100_000, 125_000, 125_000]
        );
        assert_eq!(middle(u32::MAX), 125_000);
    }

    proptest! {
        #[test]
        fn a_pause_is_below_its_ceiling(seed: u64, base in 1u64..1 << 40, max in 1u64..1 << 50, n in 1u32..100) {
            let back_off = BackOff::new(Duration::from_nanos(base), Duration::from_nanos(max));
            let ceiling = (u128::from(base) << (n - 1).min(60)).min(u128::from(max));
            let pause = jittered(&back_off, n, &mut SplitMix64::new(seed));
            prop_assert!(pause.as_nanos() < ceiling);
        }
    }

    /// `headers` are `name: value` lines; the policy reads retry-after, then x-reset, then x-at.
    #[track_caller]
    fn check_asked(headers: &str, expected_millis: Option<u128>) {
        let mut map = HeaderMap::new();
        for line in headers.lines().filter(|line| !line.trim().is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.trim().parse().unwrap();
            map.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let header = |name, format| ResetHeader { name: HeaderName::from_static(name), format };
        let policy = RateLimitedBackOff::new(vec![
            header("retry-after", ResetHeaderFormat::RetryAfter),
            header("x-reset", ResetHeaderFormat::Seconds),
            header("x-at", ResetHeaderFormat::UnixTimestamp),
        ]);
        let wall = || WallTime::from_unix_seconds(784_111_777);
        let pause = asked_for(&policy, &map, wall, &mut Half);
        assert_eq!(pause.map(|pause| pause.as_millis()), expected_millis, "{headers}");
    }

    #[test]
    fn the_server_is_obeyed_in_the_order_of_the_policy() {
        check_asked("", None);
        check_asked("retry-after: 8", Some(10_000));
        check_asked("retry-after: 0", Some(0));
        check_asked("retry-after: Sun, 06 Nov 1994 08:49:41 GMT", Some(5_000));
        // A date in the past, an unreadable value and one above max_interval pass on to the next.
        check_asked("retry-after: Sun, 06 Nov 1994 08:49:36 GMT\nx-reset: 4", Some(5_000));
        check_asked("retry-after: soon\nx-reset: 4", Some(5_000));
        check_asked("retry-after: 301\nx-reset: 4", Some(5_000));
        check_asked("retry-after: -1\nx-reset: 4s\nx-at: 784111785", Some(10_000));
        check_asked("x-at: 784111776", None);
        check_asked("x-at: 99999999999999999999", None);
    }

    #[track_caller]
    fn check_pushback(grpc: bool, header: Option<&str>, trailer: Option<&str>) -> Option<Pushback> {
        let map = |value: Option<&str>| {
            let mut map = HeaderMap::new();
            if let Some(value) = value {
                map.insert(GRPC_RETRY_PUSHBACK_MS, HeaderValue::from_str(value).unwrap());
            }
            map
        };
        let (headers, trailers) = (map(header), map(trailer));
        pushback(&ResponseOutcome::new(StatusCode::OK, &headers, Some(&trailers), grpc))
    }

    #[test]
    fn pushback_overrides_or_forbids() {
        let after = |millis| Some(Pushback::After(Duration::from_millis(millis)));
        assert_eq!(check_pushback(true, None, None), None);
        assert_eq!(check_pushback(true, Some("0"), None), after(0));
        assert_eq!(check_pushback(true, None, Some("1500")), after(1500));
        assert_eq!(check_pushback(true, Some("1"), Some("2")), after(2));
        assert_eq!(check_pushback(true, Some("300000"), None), after(300_000));
        for never in ["-1", "", "soon", "1.5", "300001", "99999999999999999999"] {
            assert_eq!(check_pushback(true, Some(never), None), Some(Pushback::Never), "{never:?}");
        }
        assert_eq!(check_pushback(false, Some("-1"), None), None);
    }
}
