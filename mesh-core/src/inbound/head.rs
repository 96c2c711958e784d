//! [`HeadSurvey`]: what a server has to know of a head before anything else, by one look at each header.
//!
//! Most requests have none of the headers that are looked for here, and a look-up by name costs a hash each.
//!
//! # Which headers a caller may not make up
//! - `x-forwarded-client-cert`: [`xfcc`](crate::identity::xfcc).
//! - `x-mesh-*`: only answers have them. Taken off every request, but for
//!   [`x-mesh-via`](crate::proxy::hops::X_MESH_VIA), by which proxies find out that a request goes round.
//! - Envoy's internal headers ([`INTERNAL`]), which ask for retries, timeouts and the like: taken off unless
//!   the peer proved who it is (Envoy: "internal requests"). A header of this kind from a stranger would
//!   steer the calls of whoever passes it on.

use super::refusal::{HostRefused, Refusal};
use crate::call::deadline::{InvalidGrpcTimeout, parse_grpc_timeout};
use crate::head::{MOST_HEADERS, is_one_host, whole_number, without_userinfo};
use crate::model::filter_chain::RequestLimits;
use crate::proxy::hops::X_MESH_VIA;
use crate::time::Timestamp;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use std::time::Duration;

/// Envoy's internal headers (Envoy: "HTTP header sanitizing"), and those by which Istio's sidecars say who
/// they are.
pub const INTERNAL: [&str; 18] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
];

/// How long the shortest of the headers with `x-` is that are looked for: any that begins with `x-mesh-`.
const EXTENSION: usize = "x-mesh-".len();

/// What a server has to know of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadSurvey {
    /// How many bytes it has: names, values, and path. What separates them is not counted.
    pub bytes: u64,
    /// How many headers.
    pub headers: usize,
    /// How many of them are `host`.
    pub hosts: u32,
    /// Whether there is an `x-forwarded-client-cert`.
    pub xfcc: bool,
    /// Whether there is a header that nobody but the mesh itself writes (`x-mesh-*`, `x-envoy-internal`).
    pub own: bool,
    /// Whether there is a header that only who is known may send.
    pub internal: bool,
    /// Whether there is one of these, or an `x-forwarded-client-cert`, with `_` for a `-`.
    pub disguised: bool,
    /// Whether there is a `traceparent`.
    pub trace: bool,
    /// The first `grpc-timeout`, if there is one; an error: it can't be read.
    pub grpc_timeout: Option<Result<Duration, InvalidGrpcTimeout>>,
    /// The first `x-envoy-expected-rq-timeout-ms`, if there is one, in milliseconds; 0: it can't be read.
    pub expected_timeout: Option<u64>,
    /// How many attempts there were before, as the first `grpc-previous-rpc-attempts` says that can be read.
    pub previous_attempts: Option<u64>,
    /// Which attempt it is, as the first `x-envoy-attempt-count` says that can be read.
    pub attempt_count: Option<u64>,
    /// Whether there is a `content-type` of gRPC's.
    pub grpc: bool,
    /// How many `content-type` there are.
    pub content_types: usize,
    /// How many `cookie` there are: over HTTP/2 they are crumbs of one.
    pub cookies: usize,
}

impl HeadSurvey {
    /// Looks at each header of a head once.
    #[must_use]
    pub fn new(uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
        let mut survey = Self { bytes: path as u64, ..Self::default() };
        for (name, value) in headers {
            let name = name.as_str();
            survey.bytes += (name.len() + value.len()) as u64;
            survey.headers += 1;
            // By length first: most headers are none of these, and every request has several.
            match name.len() {
                4 if name == "host" => survey.hosts += 1,
                11 if name == "traceparent" => survey.trace = true,
                12 if name == "grpc-timeout" => {
                    survey.grpc_timeout.get_or_insert_with(|| parse_grpc_timeout(value));
                }
                12 if name == "content-type" => {
                    survey.grpc = crate::head::is_grpc_value(value);
                    survey.content_types += 1;
                }
                6 if name == "cookie" => survey.cookies += 1,
                26 if name == "grpc-previous-rpc-attempts" => {
                    survey.previous_attempts = survey.previous_attempts.or_else(|| number(value));
                }
                EXTENSION.. if name.starts_with('x') => survey.extension(name, value),
                _ => {}
            }
        }
        survey
    }

    fn extension(&mut self, name: &str, value: &HeaderValue) {
        match name {
            "x-forwarded-client-cert" => self.xfcc = true,
            "x-envoy-attempt-count" => {
                self.attempt_count = self.attempt_count.or_else(|| number(value));
            }
            // One of those of Envoy's internal headers.
            "x-envoy-expected-rq-timeout-ms" => {
                self.internal = true;
                self.expected_timeout.get_or_insert_with(|| number(value).unwrap_or(0));
            }
            _ if is_own(name) => self.own = true,
            _ if is_internal(name) => self.internal = true,
            _ => self.disguised |= is_disguised(name),
        }
    }

    /// Whether it is within what a request may be like.
    ///
    /// # Errors
    /// [`Refusal::TooManyHeaders`], [`Refusal::HeadTooLarge`], [`Refusal::ContentType`].
    pub fn check(&self, limits: &RequestLimits) -> Result<(), Refusal> {
        if self.content_types > 1 {
            return Err(Refusal::ContentType);
        }
        let limit = limits.max_headers.min(MOST_HEADERS);
        if self.headers as u64 > u64::from(limit) {
            return Err(Refusal::TooManyHeaders { found: self.headers, limit });
        }
        if self.bytes > u64::from(limits.max_header_bytes) {
            return Err(Refusal::HeadTooLarge {
                found: self.bytes,
                limit: limits.max_header_bytes,
            });
        }
        Ok(())
    }

    /// When the caller gives up, of a request that came at `now`: `grpc-timeout` of a gRPC call, else
    /// `x-envoy-expected-rq-timeout-ms` of a caller that is believed.
    ///
    /// # Errors
    /// [`Refusal::Timeout`]: the `grpc-timeout` can't be read.
    pub fn deadline(&self, trusted: bool, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
        if let Some(timeout) = self.grpc_timeout.filter(|_| self.grpc) {
            return match timeout {
                Ok(timeout) => Ok(Some(now + timeout)),
                Err(_unreadable) => Err(Refusal::Timeout),
            };
        }
        // Envoy: what can't be read counts as not there.
        let millis = self.expected_timeout.filter(|millis| trusted && *millis > 0);
        Ok(millis.map(|millis| now + Duration::from_millis(millis)))
    }

    /// Which attempt of its caller's it is, from 1, as the caller says.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        let previous = self.previous_attempts.map(|previous| previous.saturating_add(1));
        let attempt = previous.or(self.attempt_count);
        attempt.map_or(1, |attempt| u32::try_from(attempt).unwrap_or(u32::MAX).max(1))
    }

    /// Takes off what the caller may not say. Nothing is looked up while there is none of it.
    pub fn strip(&self, headers: &mut HeaderMap, trusted: bool) {
        if !self.own && !self.disguised && (trusted || !self.internal) {
            return;
        }
        let forbidden = |name: &HeaderName| {
            let name = name.as_str();
            is_own(name) || (!trusted && is_internal(name)) || is_disguised(name)
        };
        let names: Vec<HeaderName> =
            headers.keys().filter(|name| forbidden(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    whole_number(value.as_bytes())
}

/// What nobody but who runs here says. Envoy takes `x-envoy-internal` off whoever sends it, and says itself who is
/// inside.
fn is_own(name: &str) -> bool {
    (name.starts_with("x-mesh-") && name != X_MESH_VIA) || name == "x-envoy-internal"
}

fn is_internal(name: &str) -> bool {
    // `x-envoy-upstream-rq-*` are four that ask for timeouts.
    name.starts_with("x-envoy-")
        && (INTERNAL.contains(&name) || name.starts_with("x-envoy-upstream-rq-"))
}

/// What applications that know headers as variables (RFC 3875 section 4.1.18) take for one of ours: nobody sends it but to
/// say what he may not.
fn is_disguised(name: &str) -> bool {
    name.starts_with('x') && name.contains('_') && {
        let name = name.replace('_', "-");
        name == "x-forwarded-client-cert" || is_own(&name) || is_internal(&name)
    }
}

/// What becomes of the host of a request, so that there is one, in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by gRFC A41 and RFC 9112 section 3.2.2")]
pub enum HostAction {
    /// It is as it has to be.
    Keep,
    /// `host` is dropped: `:authority` says it.
    DropHeader,
    /// `host` becomes the authority of the URI, as `:authority` is.
    Rename(Authority),
    /// `host` becomes what the URI says: a request in absolute form.
    FollowUri,
}

impl HostAction {
    /// Decides about the host of a request: gRFC A41 for HTTP/2 ("renamed if `:authority` is missing, dropped
    /// if present"), RFC 9112 section 3.2 for HTTP/1.1, where `host` is how the authority is written and so
    /// stays where applications look for it.
    ///
    /// # Errors
    /// [`HostRefused`]: there is none, there are several, or it is none.
    pub fn of(
        survey: &HeadSurvey,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Self, HostRefused> {
        if survey.hosts > 1 {
            return Err(HostRefused::Several);
        }
        let is_http1 = version < Version::HTTP_2;
        if let Some(authority) = uri.authority() {
            let authority = authority.as_str();
            if survey.hosts == 0 && is_plain_host(authority.as_bytes()) {
                return Ok(Self::Keep);
            }
            // RFC 9113 section 8.3.1: `:authority` has no userinfo.
            let invalid =
                (!is_http1 && authority.contains('@')) || !is_one_host(without_userinfo(authority));
            return match (survey.hosts, is_http1) {
                _ if invalid => Err(HostRefused::Invalid),
                (0, _) => Ok(Self::Keep),
                (_, true) => Ok(Self::FollowUri),
                (_, false) => Ok(Self::DropHeader),
            };
        }
        // RFC 9112 section 3.2: only HTTP/1.0 may go without.
        let Some(host) = headers.get(http::header::HOST).filter(|host| !host.is_empty()) else {
            let may = version < Version::HTTP_11;
            return if may { Ok(Self::Keep) } else { Err(HostRefused::Missing) };
        };
        if is_http1 && is_plain_host(host.as_bytes()) {
            return Ok(Self::Keep);
        }
        if host.as_bytes().contains(&b'@') {
            return Err(HostRefused::Invalid);
        }
        let authority = Authority::try_from(host.as_bytes());
        match authority {
            Err(_) => Err(HostRefused::Invalid),
            Ok(authority) if !is_one_host(authority.as_str()) => Err(HostRefused::Invalid),
            Ok(_) if is_http1 => Ok(Self::Keep),
            Ok(authority) => Ok(Self::Rename(authority)),
        }
    }
}

/// Whether it is a name of letters, digits, `-` and `.`, with a port or without: an authority, as most are, which then
/// needs not be made of it.
fn is_plain_host(host: &[u8]) -> bool {
    match host.iter().position(|byte| !OF_NAMES[usize::from(*byte)]) {
        None => !host.is_empty(),
        Some(at @ 1..) if host[at] == b':' => {
            let port = &host[at + 1..];
            !port.is_empty() && port.iter().all(u8::is_ascii_digit)
        }
        Some(_) => false,
    }
}

/// The bytes of plain names.
static OF_NAMES: [bool; 256] = {
    let mut of_names = [false; 256];
    let mut byte = 0u8;
    while byte < 0x80 {
        of_names[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        byte += 1;
    }
    of_names
};

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_plain_host_is_an_authority() {
        for (host, expected) in [
            ("shop", true),
            ("a-1.example.com.", true),
            ("127.0.0.1:80", true),
            ("shop:65536", true),
            ("", false),
            (":80", false),
            ("shop:", false),
            ("shop:8o", false),
            ("shop:80:1", false),
            ("[::1]:80", false),
            ("a@b", false),
            ("a/b", false),
            ("a b", false),
            ("a_b", false),
        ] {
            assert_eq!(is_plain_host(host.as_bytes()), expected, "{host}");
            assert!(!expected || Authority::try_from(host).is_ok(), "{host}");
        }
    }

    fn map(lines: &str) -> HeaderMap {
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        let pairs = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| (line.trim_end_matches(':'), "")));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check_host(version: Version, uri: &str, lines: &str, expected: &str) {
        let (uri, headers) = (uri.parse::<Uri>().unwrap(), map(lines));
        let survey = HeadSurvey::new(&uri, &headers);
        let found = match HostAction::of(&survey, version, &uri, &headers) {
            Ok(action) => format!("{action:?}"),
            Err(refused) => format!("{refused:?}"),
        };
        assert_eq!(found, expected, "{version:?} {uri} {lines}");
    }

    #[test]
    fn there_is_one_host_in_one_place() {
        const H1: Version = Version::HTTP_11;
        const H2: Version = Version::HTTP_2;
        check_host(H1, "/a", "host: shop:80", "Keep");
        check_host(H1, "http://shop/a", "host: other", "FollowUri");
        check_host(H1, "http://shop/a", "", "Keep");
        check_host(H1, "/a", "", "Missing");
        check_host(H1, "/a", "host:", "Missing");
        check_host(Version::HTTP_10, "/a", "", "Keep");
        check_host(H1, "/a", "host: a\nhost: b", "Several");
        check_host(H1, "/a", "host: a\nhost: a", "Several");
        check_host(H1, "/a", "host: a b", "Invalid");
        check_host(H1, "/a", "host: u@shop", "Invalid");
        check_host(H1, "/a", "host: shop/admin", "Invalid");
        check_host(H2, "http://shop/a", "", "Keep");
        check_host(H2, "http://shop/a", "host: other", "DropHeader");
        check_host(H2, "http://shop/a", "host: a\nhost: b", "Several");
        check_host(H2, "http://u@shop/a", "", "Invalid");
        check_host(H2, "/a", "host: shop", "Rename(shop)");
        // What everybody reads differently.
        check_host(H1, "/a", "host: [10.0.0.1].shop", "Invalid");
        check_host(H1, "/a", "host: [::1]:80", "Keep");
        check_host(H1, "http://u@[10.0.0.1].shop/a", "host: shop", "Invalid");
        check_host(H1, "http://u:1@shop/a", "host: shop", "FollowUri");
        check_host(H2, "http://[10.0.0.1].shop/a", "", "Invalid");
        check_host(H2, "http://[::1]:80/a", "", "Keep");
        check_host(H2, "/a", "host: [10.0.0.1].shop", "Invalid");
        check_host(H2, "/a", "", "Missing");
    }

    #[track_caller]
    fn check_strip(trusted: bool, lines: &str, expected: &str) {
        let mut headers = map(lines);
        HeadSurvey::new(&Uri::from_static("/"), &headers).strip(&mut headers, trusted);
        assert_eq!(headers, map(expected));
    }

    #[test]
    fn what_a_caller_may_not_say_is_taken_off() {
        let all = "x-mesh-retry: no\nx-envoy-retry-on: 5xx\nx-envoy-upstream-rq-timeout-ms: 1\n\
                   x-envoy-expected-rq-timeout-ms: 9\nx-envoy-attempt-count: 2\nx-request-id: 1";
        check_strip(false, all, "x-envoy-attempt-count: 2\nx-request-id: 1");
        let known = "x-envoy-retry-on: 5xx\nx-envoy-upstream-rq-timeout-ms: 1\n\
                     x-envoy-expected-rq-timeout-ms: 9\nx-envoy-attempt-count: 2\nx-request-id: 1";
        check_strip(true, all, known);
        for trusted in [true, false] {
            check_strip(trusted, "x-envoy-internal: true\nx-request-id: 1", "x-request-id: 1");
        }
        check_strip(false, "accept: */*", "accept: */*");
        for trusted in [true, false] {
            for name in ["x_forwarded_client_cert", "x-forwarded_client-cert", "x_mesh_retry"] {
                check_strip(trusted, &format!("{name}: 1\nx_mine_too: 2"), "x_mine_too: 2");
            }
            check_strip(trusted, "x_envoy-max_retries: 1\nx_envoy_internal: 1", "");
        }
        for name in INTERNAL {
            check_strip(false, &format!("{name}: 1"), "");
        }
    }

    #[track_caller]
    fn check_deadline(trusted: bool, lines: &str, expected: Result<Option<u64>, Refusal>) {
        let headers = map(lines);
        let survey = HeadSurvey::new(&Uri::from_static("/"), &headers);
        let now = Timestamp::from_millis(1000);
        let expected = expected.map(|at| at.map(Timestamp::from_millis));
        assert_eq!(survey.deadline(trusted, now), expected, "{lines}");
    }

    #[test]
    fn only_who_is_believed_sets_a_deadline_of_envoys() {
        let envoys = "x-envoy-expected-rq-timeout-ms: 50";
        check_deadline(true, envoys, Ok(Some(1050)));
        check_deadline(false, envoys, Ok(None));
        check_deadline(true, "x-envoy-expected-rq-timeout-ms: 0", Ok(None));
        check_deadline(true, "x-envoy-expected-rq-timeout-ms: 1s", Ok(None));
        let grpc = "content-type: application/grpc\ngrpc-timeout: ";
        check_deadline(false, &format!("{grpc}20m"), Ok(Some(1020)));
        check_deadline(false, &format!("{grpc}0n"), Ok(Some(1000)));
        check_deadline(false, &format!("{grpc}20 m"), Err(Refusal::Timeout));
        check_deadline(false, "grpc-timeout: 20m", Ok(None));
    }

    #[test]
    fn attempts_are_as_the_caller_says() {
        for (lines, expected) in [
            ("", 1),
            ("grpc-previous-rpc-attempts: 2", 3),
            ("x-envoy-attempt-count: 2", 2),
            ("x-envoy-attempt-count: 0", 1),
            ("grpc-previous-rpc-attempts: 99999999999", u32::MAX),
            ("grpc-previous-rpc-attempts: x", 1),
        ] {
            let headers = map(lines);
            let survey = HeadSurvey::new(&Uri::from_static("/"), &headers);
            assert_eq!(survey.attempt(), expected, "{lines}");
        }
    }

    #[test]
    fn limits_say_what_they_are() {
        let headers = map("a: 12345\nb: 1");
        let survey = HeadSurvey::new(&Uri::from_static("/xyz"), &headers);
        assert_eq!((survey.bytes, survey.headers), (4 + 6 + 2, 2));
        let mut limits = RequestLimits::default();
        assert_eq!(survey.check(&limits), Ok(()));
        (limits.max_headers, limits.max_header_bytes) = (2, 12);
        assert_eq!(survey.check(&limits), Ok(()));
        limits.max_header_bytes = 11;
        let text = |limits: &RequestLimits| survey.check(limits).unwrap_err().to_string();
        assert_eq!(text(&limits), "the request's head has 12 bytes, and the limit is 11");
        limits.max_headers = 1;
        assert_eq!(text(&limits), "the request has 2 headers, and the limit is 1");
    }
}
