//! The formats: vectors, mistakes, and that no request forges anything.

mod errors;
mod forgery;
mod json;
mod text;

use super::{Attempt, Format, Record, Side};
use crate::head::RequestHead;
use crate::local_reply::ResponseFlag;
use crate::model::Address;
use crate::time::WallTime;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use std::time::Duration;

/// What a record borrows.
pub(super) struct World {
    pub(super) request: HeaderMap,
    pub(super) response: HeaderMap,
    pub(super) trailers: HeaderMap,
    pub(super) path: String,
    pub(super) authority: String,
    endpoints: [Address; 2],
}

/// `name: value` a line.
pub(super) fn headers(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            request: headers(
                "x-forwarded-for: 10.0.35.28
                 user-agent: nsq2http
                 x-request-id: cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2
                 x-envoy-original-path: /before?key=ORIGINAL
                 referer: https://a/b?token=REFERER#part
                 authorization: Bearer SECRET
                 cookie: session=SECRET",
            ),
            response: headers(
                "x-envoy-upstream-service-time: 100
                 set-cookie: session=SECRET
                 location: /next?code=LOCATION
                 server: a
                 server: b",
            ),
            trailers: headers("grpc-message: all%20is%20well"),
            path: "/api/v1/locations?q=QUERY".to_owned(),
            authority: "locations".to_owned(),
            endpoints: ["10.0.2.1:80", "10.0.2.2:80"]
                .map(|address| Address::Socket(address.parse().unwrap())),
        }
    }

    /// A record, changed; and what becomes of it.
    pub(super) fn with<T>(
        &self,
        change: impl FnOnce(&mut Record<'_>),
        of: impl FnOnce(&Record<'_>) -> T,
    ) -> T {
        let head = RequestHead::new(&Method::POST, &self.authority, &self.path, &self.request);
        let mut record = Record::new(Side::Client, head);
        record.start = WallTime::parse_rfc3339("2016-04-15T20:17:00Z").unwrap();
        record.start_nanos = 310_000_000;
        record.duration = Duration::from_micros(226_500);
        record.response_after = Some(Duration::from_millis(220));
        record.protocol = Version::HTTP_2;
        record.status = Some(StatusCode::NO_CONTENT);
        (record.bytes_received, record.bytes_sent) = (154, 0);
        record.response_headers = Some(&self.response);
        record.trailers = Some(&self.trailers);
        record.endpoint = Some(&self.endpoints[1]);
        (record.cluster, record.route) = (Some("reviews-v1"), Some("v1"));
        (record.attempt, record.peer_uris) = (2, &["spiffe://a/b", "u:2"]);
        record.remote = Some("10.0.0.9:4000".parse().unwrap());
        let connect = [("connect", Duration::from_micros(70))];
        let mut first = Attempt::new();
        (first.endpoint, first.duration) = (Some(&self.endpoints[0]), Duration::from_micros(70));
        first.flag = Some(ResponseFlag::UpstreamConnectionFailure);
        (first.reason, first.phases) = (Some("connect_refused"), &connect);
        let mut second = Attempt::new();
        (second.endpoint, second.status) = (Some(&self.endpoints[1]), record.status);
        (second.started, second.duration) = (Duration::from_millis(1), Duration::from_millis(4));
        let (attempts, phases) =
            ([first, second], [connect[0], ("body", Duration::from_millis(6))]);
        (record.attempts, record.phases) = (&attempts, &phases);
        change(&mut record);
        of(&record)
    }

    /// The line of a record, changed.
    pub(super) fn line(&self, format: &Format, change: impl FnOnce(&mut Record<'_>)) -> String {
        self.with(change, |record| {
            let mut line = String::new();
            format.render(record, &mut line);
            line
        })
    }
}
