//! The headers by which calls speak of their attempts.
//!
//! In: what a *trusted* caller may ask for in `x-envoy-*` request headers (Envoy: "HTTP headers
//! consumed" of the router filter). Once obeyed they are taken off before the request is sent on.
//! Unreadable values count as not there, as in Envoy; [`Overrides::invalid`] counts them.
//!
//! From anyone else they are headers like any other: not read, and sent on as they are, because no
//! header of the user's is dropped. A next hop that trusts this one will obey them; a service that
//! passes on what strangers send should take them off (`headers` of a route can).
//!
//! Out: how many attempts there were, for the server. `grpc-previous-rpc-attempts` (gRFC A6) only
//! where there were some here, on top of what came; the `x-envoy-*` ones only where asked for, because each
//! header costs.

use crate::model::RetryOn;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// What a trusted caller asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overrides {
    /// Conditions in addition to the policy's (`x-envoy-retry-on`, `x-envoy-retry-grpc-on`).
    pub retry_on: RetryOn,
    /// In place of the policy's `num_retries` (`x-envoy-max-retries`).
    pub num_retries: Option<u32>,
    /// Codes in addition to the policy's (`x-envoy-retriable-status-codes`).
    pub retriable_status_codes: Vec<u16>,
    /// Response headers in addition to the policy's matchers
    /// (`x-envoy-retriable-header-names`).
    pub retriable_header_names: Vec<HeaderName>,
    /// In place of the route's timeout; zero: none (`x-envoy-upstream-rq-timeout-ms`).
    pub timeout: Option<Duration>,
    /// In place of the policy's `per_try_timeout`; zero: none
    /// (`x-envoy-upstream-rq-per-try-timeout-ms`).
    pub per_try_timeout: Option<Duration>,
    /// In place of the hedge policy's (`x-envoy-hedge-on-per-try-timeout`).
    pub hedge_on_per_try_timeout: Option<bool>,
    /// How many words and values could not be read.
    pub invalid: u32,
}

/// The headers that are read as overrides and taken off the request.
pub static OVERRIDE_HEADERS: [HeaderName; 8] = [
    HeaderName::from_static("x-envoy-retry-on"),
    HeaderName::from_static("x-envoy-retry-grpc-on"),
    HeaderName::from_static("x-envoy-max-retries"),
    HeaderName::from_static("x-envoy-retriable-status-codes"),
    HeaderName::from_static("x-envoy-retriable-header-names"),
    HeaderName::from_static("x-envoy-upstream-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms"),
    HeaderName::from_static("x-envoy-hedge-on-per-try-timeout"),
];

/// Some of the [`OVERRIDE_HEADERS`]: those that a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strip(u8);

impl Strip {
    /// Whether there is nothing to take off.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The headers to take off.
    pub fn iter(self) -> impl Iterator<Item = &'static HeaderName> {
        OVERRIDE_HEADERS
            .iter()
            .enumerate()
            .filter(move |(index, _)| self.0 & (1 << index) != 0)
            .map(|(_, name)| name)
    }

    /// Takes them off.
    pub fn apply(self, headers: &mut HeaderMap) {
        for name in self.iter() {
            headers.remove(name);
        }
    }
}

/// Reads the overrides of a request, and says what to take off it: both nothing unless the caller is
/// `trusted`.
///
/// One pass over the header names and no hashing while there is none of these headers.
#[must_use]
pub fn parse_overrides(headers: &HeaderMap, trusted: bool) -> (Option<Box<Overrides>>, Strip) {
    let mut strip = Strip::default();
    if !trusted {
        return (None, strip);
    }
    for name in headers.keys().filter(|name| name.as_str().starts_with("x-envoy-")) {
        if let Some(index) = OVERRIDE_HEADERS.iter().position(|known| known == name) {
            strip.0 |= 1 << index;
        }
    }
    if strip.is_empty() {
        return (None, strip);
    }
    let mut overrides = Box::<Overrides>::default();
    for name in strip.iter() {
        for value in headers.get_all(name) {
            overrides.read(name, value);
        }
    }
    (Some(overrides), strip)
}

impl Overrides {
    fn read(&mut self, name: &HeaderName, value: &HeaderValue) {
        let Ok(text) = value.to_str() else {
            self.invalid += 1;
            return;
        };
        let text = text.trim();
        match name.as_str() {
            "x-envoy-retry-on" => {
                let condition = |word: &str| condition_of(word, false);
                self.each(text, condition, |this, on| this.retry_on |= on);
            }
            "x-envoy-retry-grpc-on" => {
                let condition = |word: &str| condition_of(word, true);
                self.each(text, condition, |this, on| this.retry_on |= on);
            }
            "x-envoy-retriable-status-codes" => {
                let code = |word: &str| word.parse().ok();
                self.each(text, code, |this, code| this.retriable_status_codes.push(code));
            }
            "x-envoy-retriable-header-names" => {
                let name = |word: &str| word.parse().ok();
                self.each(text, name, |this, name| this.retriable_header_names.push(name));
            }
            "x-envoy-max-retries" => {
                self.one(text.parse().ok(), |this, n| this.num_retries = Some(n));
            }
            "x-envoy-upstream-rq-timeout-ms" => {
                self.one(millis(text), |this, timeout| this.timeout = Some(timeout));
            }
            "x-envoy-upstream-rq-per-try-timeout-ms" => {
                self.one(millis(text), |this, timeout| this.per_try_timeout = Some(timeout));
            }
            _ => {
                let hedge = text.parse().ok();
                self.one(hedge, |this, hedge| this.hedge_on_per_try_timeout = Some(hedge));
            }
        }
    }

    /// Reads the words of a comma-separated list.
    fn each<T>(&mut self, list: &str, read: fn(&str) -> Option<T>, keep: fn(&mut Self, T)) {
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            self.one(read(word), keep);
        }
    }

    fn one<T>(&mut self, value: Option<T>, keep: fn(&mut Self, T)) {
        match value {
            Some(value) => keep(self, value),
            None => self.invalid += 1,
        }
    }
}

/// The condition called `word`, if it is one of gRPC's or if it is none of them.
fn condition_of(word: &str, grpc: bool) -> Option<RetryOn> {
    RetryOn::from_name(word).filter(|condition| RetryOn::ANY_GRPC.contains(*condition) == grpc)
}

fn millis(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

/// The request header that says how many times gRPC tried before (gRFC A6).
pub const GRPC_PREVIOUS_RPC_ATTEMPTS: HeaderName =
    HeaderName::from_static("grpc-previous-rpc-attempts");
const X_ENVOY_ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const X_ENVOY_IS_TIMEOUT_RETRY: HeaderName = HeaderName::from_static("x-envoy-is-timeout-retry");

/// Which attempt of its call this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the counts that headers tell, nothing else")]
pub struct AttemptCounts {
    /// Which attempt this is, from 1, transparent retries included (Envoy).
    pub attempt: u32,
    /// Retries and hedges before and including this attempt, transparent ones not included
    /// (gRFC A6).
    pub retries: u32,
    /// Whether it was started because another one passed its per-try timeout.
    pub after_timeout: bool,
}

/// Which of Envoy's attempt headers to send. Default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptHeaders {
    /// `x-envoy-attempt-count`, from 1.
    pub attempt_count: bool,
    /// `x-envoy-is-timeout-retry: true`, on retries after a per-try timeout.
    pub is_timeout_retry: bool,
}

/// How many attempts were made before the call, as the request says that it is made from: by the application, or by
/// the hops that it came through. 0: it says nothing that can be read.
#[must_use]
pub fn previous_rpc_attempts(headers: &HeaderMap) -> u32 {
    let number = |value: &HeaderValue| value.to_str().ok()?.parse().ok();
    headers.get_all(GRPC_PREVIOUS_RPC_ATTEMPTS).iter().find_map(number).unwrap_or_default()
}

impl AttemptCounts {
    /// Writes the headers that carry something, in place of those of an earlier attempt. `before`: what
    /// [`previous_rpc_attempts`] said before the first of them.
    pub fn write(self, grpc: bool, which: AttemptHeaders, before: u32, headers: &mut HeaderMap) {
        if grpc && self.retries > 0 {
            // gRFC A6: the number of preceding attempts of the RPC. To the server it is one RPC, whoever retries it, so
            // what the callers above have tried counts, and what is tried here comes on top: each attempt says more
            // than the one before, and none less than what came. Some of theirs may have ended here with several of
            // ours, which nobody knows any more: it is the least that is certain.
            headers.insert(GRPC_PREVIOUS_RPC_ATTEMPTS, before.saturating_add(self.retries).into());
        }
        if which.attempt_count {
            headers.insert(X_ENVOY_ATTEMPT_COUNT, self.attempt.into());
        }
        if which.is_timeout_retry {
            if self.after_timeout {
                headers.insert(X_ENVOY_IS_TIMEOUT_RETRY, HeaderValue::from_static("true"));
            } else {
                headers.remove(X_ENVOY_IS_TIMEOUT_RETRY);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &str) -> HeaderMap {
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn everything_a_trusted_caller_may_ask_for_is_read_and_taken_off() {
        let mut headers = map("
            x-envoy-retry-on: 5xx, retriable-headers,reset
            x-envoy-retry-grpc-on: unavailable
            x-envoy-max-retries: 7
            x-envoy-retriable-status-codes: 418,425
            x-envoy-retriable-header-names: X-Again, x-more
            x-envoy-upstream-rq-timeout-ms: 1500
            x-envoy-upstream-rq-per-try-timeout-ms: 200
            x-envoy-hedge-on-per-try-timeout: true
            x-envoy-attempt-count: 1
            accept: */*
        ");
        let (overrides, strip) = parse_overrides(&headers, true);
        let on = RetryOn::SERVER_ERROR | RetryOn::RETRIABLE_HEADERS | RetryOn::RESET;
        let expected = Overrides {
            retry_on: on | RetryOn::UNAVAILABLE,
            num_retries: Some(7),
            retriable_status_codes: vec![418, 425],
            retriable_header_names: vec![
                HeaderName::from_static("x-again"),
                HeaderName::from_static("x-more"),
            ],
            timeout: Some(Duration::from_millis(1500)),
            per_try_timeout: Some(Duration::from_millis(200)),
            hedge_on_per_try_timeout: Some(true),
            invalid: 0,
        };
        assert_eq!(overrides, Some(Box::new(expected)));
        strip.apply(&mut headers);
        assert_eq!(headers, map("accept: */*\nx-envoy-attempt-count: 1"));
    }

    #[test]
    fn an_untrusted_caller_is_not_believed_and_its_headers_go_on() {
        let mut headers = map("x-envoy-max-retries: 7");
        let (overrides, strip) = parse_overrides(&headers, false);
        assert_eq!(overrides, None);
        strip.apply(&mut headers);
        assert_eq!(headers, map("x-envoy-max-retries: 7"));
    }

    #[test]
    fn without_such_headers_there_is_nothing() {
        let headers = map("accept: */*\nx-envoy-attempt-count: 1\nx-envoy-retry-onn: 5xx");
        let (overrides, strip) = parse_overrides(&headers, true);
        assert_eq!((overrides, strip.is_empty()), (None, true));
    }

    #[test]
    fn what_cant_be_read_counts_as_not_there() {
        let headers = map("
            x-envoy-retry-on: 5xx,unavailable,nonsense,
            x-envoy-retry-grpc-on: 5xx
            x-envoy-max-retries: -1
            x-envoy-retriable-status-codes: 418,99999
            x-envoy-retriable-header-names: a b
            x-envoy-upstream-rq-timeout-ms: 1s
            x-envoy-hedge-on-per-try-timeout: yes
        ");
        let overrides = parse_overrides(&headers, true).0.unwrap();
        let expected = Overrides {
            retry_on: RetryOn::SERVER_ERROR,
            retriable_status_codes: vec![418],
            invalid: 8,
            ..Overrides::default()
        };
        assert_eq!(*overrides, expected);
    }

    #[track_caller]
    fn check_written(counts: (u32, u32, bool), grpc: bool, opt_in: bool, expected: &str) {
        let (attempt, retries, after_timeout) = counts;
        let which = AttemptHeaders { attempt_count: opt_in, is_timeout_retry: opt_in };
        let mut headers = HeaderMap::new();
        AttemptCounts { attempt, retries, after_timeout }.write(grpc, which, 0, &mut headers);
        assert_eq!(headers, map(expected));
    }

    #[test]
    fn a6_attempts_of_those_above_count() {
        let counts =
            |attempt| AttemptCounts { attempt, retries: attempt - 1, after_timeout: false };
        for (came, expected) in [
            ("", ["", "1", "2"]),
            ("grpc-previous-rpc-attempts: 5", ["5", "6", "7"]),
            ("grpc-previous-rpc-attempts: x\ngrpc-previous-rpc-attempts: 5", ["x", "6", "7"]),
            ("grpc-previous-rpc-attempts: 4294967295", ["4294967295"; 3]),
        ] {
            let mut headers = map(came);
            let before = previous_rpc_attempts(&headers);
            for (attempt, expected) in (1..).zip(expected) {
                counts(attempt).write(true, AttemptHeaders::default(), before, &mut headers);
                let told = headers.get(GRPC_PREVIOUS_RPC_ATTEMPTS);
                let told = told.map(|told| told.to_str().unwrap()).unwrap_or_default();
                assert_eq!(told, expected, "{came}, attempt {attempt}");
            }
        }
    }

    #[test]
    fn only_counts_that_say_something_are_written() {
        check_written((1, 0, false), true, false, "");
        check_written((2, 0, false), true, false, "");
        check_written((3, 2, true), true, false, "grpc-previous-rpc-attempts: 2");
        check_written((3, 2, true), false, false, "");
        check_written((1, 0, false), false, true, "x-envoy-attempt-count: 1");
        let both = "x-envoy-attempt-count: 2\nx-envoy-is-timeout-retry: true";
        check_written((2, 1, true), false, true, both);
    }
}
