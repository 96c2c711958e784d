//! [`AccessLogFilter`]: which lines are written.

use super::record::Record;
use crate::model::matcher::Fraction;
use crate::outcome::grpc_to_http;
use crate::random::Random;
use xxhash_rust::xxh64::xxh64;

/// Which lines are written: those that fulfil one of its conditions, or all, if it has none.
///
/// # Examples
/// All that went wrong, and one in a hundred of the others:
/// ```
/// use mesh_core::access_log::AccessLogFilter;
/// use mesh_core::model::matcher::Fraction;
///
/// let filter = AccessLogFilter::all().status_at_least(500).flagged().fraction(Fraction::percent(1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLogFilter {
    status_at_least: Option<u16>,
    flagged: bool,
    fraction: Option<Fraction>,
}

impl AccessLogFilter {
    /// No condition: every line is written.
    #[must_use]
    pub const fn all() -> Self {
        Self { status_at_least: None, flagged: false, fraction: None }
    }

    /// Those with this HTTP status or a higher one. A status of gRPC counts as the one of HTTP that it stands for.
    #[must_use]
    pub const fn status_at_least(mut self, status: u16) -> Self {
        self.status_at_least = Some(status);
        self
    }

    /// Those with a response flag: the mesh answered or gave up by itself, or the caller did.
    #[must_use]
    pub const fn flagged(mut self) -> Self {
        self.flagged = true;
        self
    }

    /// This share of all. It goes by the trace, else by `x-request-id`, so that all lines of one request are
    /// written or none; a request that has neither is drawn for.
    #[must_use]
    pub const fn fraction(mut self, fraction: Fraction) -> Self {
        self.fraction = Some(fraction);
        self
    }

    /// Whether the line of `record` is written.
    #[must_use]
    pub fn takes(&self, record: &Record<'_>, random: &mut impl Random) -> bool {
        let Self { status_at_least, flagged, fraction } = *self;
        if status_at_least.is_none() && !flagged && fraction.is_none() {
            return true;
        }
        (flagged && !record.flags.is_empty())
            || status_at_least.is_some_and(|least| status(record) >= least)
            || fraction.is_some_and(|fraction| fraction.takes(draw(record, random)))
    }
}

/// The status that counts.
fn status(record: &Record<'_>) -> u16 {
    let http = record.status.map_or(0, |status| status.as_u16());
    record.grpc_status.map_or(http, |status| grpc_to_http(status).max(http))
}

/// The same number for all lines of one request.
fn draw(record: &Record<'_>, random: &mut impl Random) -> u64 {
    if let Some(trace) = record.trace_id {
        return xxh64(&trace, 0);
    }
    match record.request.headers.get(X_REQUEST_ID) {
        Some(id) => xxh64(id.as_bytes(), 0),
        None => random.next_u64(),
    }
}

pub(super) const X_REQUEST_ID: &str = "x-request-id";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::Side;
    use crate::head::RequestHead;
    use crate::local_reply::ResponseFlag;
    use crate::random::SplitMix64;
    use http::{HeaderMap, HeaderValue, Method, StatusCode};

    #[track_caller]
    fn check(
        filter: AccessLogFilter,
        (status, grpc, flags): (u16, Option<u32>, &[ResponseFlag]),
        expected: bool,
    ) {
        let headers = HeaderMap::new();
        let head = RequestHead::new(&Method::GET, "a", "/", &headers);
        let mut record = Record::new(Side::Client, head);
        (record.status, record.grpc_status) = (StatusCode::from_u16(status).ok(), grpc);
        record.flags = flags;
        assert_eq!(filter.takes(&record, &mut SplitMix64::new(1)), expected);
    }

    #[test]
    fn one_condition_suffices() {
        let all = AccessLogFilter::all();
        check(all, (200, None, &[]), true);
        check(all.status_at_least(500), (499, None, &[]), false);
        check(all.status_at_least(500), (500, None, &[]), true);
        check(all.status_at_least(500), (200, Some(14), &[]), true);
        check(all.status_at_least(500), (200, Some(5), &[]), false);
        check(all.status_at_least(500), (0, None, &[ResponseFlag::UpstreamOverflow]), false);
        check(
            all.status_at_least(500).flagged(),
            (0, None, &[ResponseFlag::UpstreamOverflow]),
            true,
        );
        check(all.flagged(), (503, None, &[]), false);
        check(all.fraction(Fraction::NONE), (200, None, &[]), false);
        check(all.fraction(Fraction::ALL), (200, None, &[]), true);
        check(
            all.fraction(Fraction::NONE).flagged(),
            (200, None, &[ResponseFlag::NoRouteFound]),
            true,
        );
    }

    #[test]
    fn a_share_is_the_same_for_both_sides_of_a_request() {
        let filter = AccessLogFilter::all().fraction(Fraction::percent(25));
        let mut taken = 0;
        for number in 0..1000_u32 {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from(number));
            let sides = [Side::Client, Side::Server].map(|side| {
                let head = RequestHead::new(&Method::GET, "a", "/", &headers);
                let random = &mut SplitMix64::new(u64::from(number) + side as u64);
                filter.takes(&Record::new(side, head), random)
            });
            assert_eq!(sides[0], sides[1], "{number}");
            taken += u32::from(sides[0]);
        }
        assert!((200..300).contains(&taken), "{taken}");
    }

    #[test]
    fn requests_without_any_id_are_drawn_for() {
        let filter = AccessLogFilter::all().fraction(Fraction::percent(25));
        let headers = HeaderMap::new();
        let head = RequestHead::new(&Method::GET, "a", "/", &headers);
        let random = &mut SplitMix64::new(1);
        let record = Record::new(Side::Client, head);
        let taken = (0..1000).filter(|_| filter.takes(&record, random)).count();
        assert!((200..300).contains(&taken), "{taken}");
    }
}
