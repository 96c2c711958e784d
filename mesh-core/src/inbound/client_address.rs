//! Who made a request: the address that policies call `remote_ip`, and what `x-forwarded-for` becomes.
//!
//! Everybody may write `x-forwarded-for`, and each proxy appends whom it took the request from. So what is
//! right of the entries that trusted proxies wrote is as good as they are, and what is left of them is a
//! claim (Envoy: `x-forwarded-for` of "HTTP header manipulation").
//!
//! | [`ClientAddress`] | trusted hops | who made the request |
//! |---|---|---|
//! | `Connection` | 0 | the other end of the connection |
//! | `Connection` | *n* | entry *n* from the right |
//! | `ForwardedFor` | *n* | entry *n* + 1 from the right |
//!
//! Where there is no such entry, or it is no IP address, it is the other end of the connection. Entries of
//! several header lines are those of one list (RFC 9110 section 5.3). An entry with a port is no IP address,
//! as for Envoy.

use crate::model::HttpConnectionManager;
use crate::model::filter_chain::ClientAddress;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use std::net::{IpAddr, SocketAddr};

/// The header.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of who made a request, as proxies say that are trusted; `None`: it is the other end of the
/// connection.
#[must_use]
pub fn client_address(http: &HttpConnectionManager, headers: &HeaderMap) -> Option<IpAddr> {
    let hops = http.xff_num_trusted_hops;
    let skipped = match http.client_address {
        ClientAddress::Connection { .. } => hops.checked_sub(1)?,
        ClientAddress::ForwardedFor => hops,
    };
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let mut entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let entry = entries.nth(usize::try_from(skipped).ok()?)?;
    let address: IpAddr = std::str::from_utf8(entry).ok()?.trim().parse().ok()?;
    Some(address.to_canonical())
}

/// What `x-forwarded-for` becomes for whoever comes next; `None`: it stays as it came.
#[must_use]
pub fn forwarded_for(
    http: &HttpConnectionManager,
    headers: &HeaderMap,
    other_end: Option<SocketAddr>,
) -> Option<HeaderValue> {
    let ClientAddress::Connection { append: true } = http.client_address else { return None };
    let other_end = other_end?.ip().to_canonical().to_string();
    let mut list = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        list.extend_from_slice(line.as_bytes());
        list.push(b',');
    }
    list.extend_from_slice(other_end.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(list)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: ClientAddress = ClientAddress::Connection { append: false };
    const XFF: ClientAddress = ClientAddress::ForwardedFor;

    fn http(client_address: ClientAddress, hops: u32) -> HttpConnectionManager {
        let mut http = HttpConnectionManager::serving(Vec::new());
        (http.client_address, http.xff_num_trusted_hops) = (client_address, hops);
        http
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(client_address: ClientAddress, hops: u32, lines: &[&str], expected: Option<&str>) {
        let found = client_address_of(client_address, hops, lines);
        assert_eq!(found.as_deref(), expected, "{client_address:?} {hops} {lines:?}");
    }

    fn client_address_of(by: ClientAddress, hops: u32, lines: &[&str]) -> Option<String> {
        client_address(&http(by, hops), &headers(lines)).map(|ip| ip.to_string())
    }

    #[test]
    fn envoy_use_remote_address_believes_as_many_proxies_as_there_are() {
        let list = &["203.0.113.128, 203.0.113.10,203.0.113.1"][..];
        check(END, 0, list, None);
        check(END, 1, list, Some("203.0.113.1"));
        check(END, 2, list, Some("203.0.113.10"));
        check(END, 3, list, Some("203.0.113.128"));
        check(END, 4, list, None);
        check(END, u32::MAX, list, None);
        check(END, 1, &[], None);
    }

    #[test]
    fn envoy_without_it_the_header_counts() {
        let list = &["203.0.113.128, 203.0.113.10,203.0.113.1"][..];
        check(XFF, 0, list, Some("203.0.113.1"));
        check(XFF, 1, list, Some("203.0.113.10"));
        check(XFF, 2, list, Some("203.0.113.128"));
        check(XFF, 3, list, None);
        check(XFF, u32::MAX, list, None);
        check(XFF, 0, &[], None);
    }

    #[test]
    fn envoy_what_is_no_address_says_nothing() {
        for list in ["", "unknown", "10.0.0.1,", "10.0.0.1, ", "10.0.0.1:80", "[::1]", "1.2.3"] {
            check(XFF, 0, &[list], None);
            check(END, 1, &[list], None);
        }
        check(XFF, 1, &["10.0.0.1,"], Some("10.0.0.1"));
        check(XFF, 0, &["::ffff:10.0.0.1"], Some("10.0.0.1"));
        check(XFF, 0, &["evil\u{e9}"], None);
        check(XFF, 0, &[" \t2001:db8::1 "], Some("2001:db8::1"));
        // What stands left of the entry that counts is nobody's business.
        check(XFF, 0, &["\u{e9}, 10.0.0.1"], Some("10.0.0.1"));
    }

    #[test]
    fn rfc_9110_lines_are_one_list() {
        let lines = &["10.0.0.1, 10.0.0.2", "10.0.0.3"][..];
        check(XFF, 0, lines, Some("10.0.0.3"));
        check(XFF, 1, lines, Some("10.0.0.2"));
        check(XFF, 2, lines, Some("10.0.0.1"));
        check(END, 2, lines, Some("10.0.0.2"));
    }

    #[track_caller]
    fn check_append(by: ClientAddress, end: Option<&str>, lines: &[&str], expected: Option<&str>) {
        let end = end.map(|end| end.parse().unwrap());
        let found = forwarded_for(&http(by, 0), &headers(lines), end);
        let expected = expected.map(|text| HeaderValue::from_bytes(text.as_bytes()).unwrap());
        assert_eq!(found, expected, "{by:?} {end:?} {lines:?}");
    }

    #[test]
    fn envoy_the_other_end_is_appended_only_where_it_counts() {
        let append = ClientAddress::Connection { append: true };
        let end = Some("10.0.0.9:1234");
        check_append(append, end, &[], Some("10.0.0.9"));
        check_append(append, end, &["1.1.1.1"], Some("1.1.1.1,10.0.0.9"));
        check_append(append, end, &["1.1.1.1", "2.2.2.2"], Some("1.1.1.1,2.2.2.2,10.0.0.9"));
        check_append(append, Some("[2001:db8::1]:1"), &[], Some("2001:db8::1"));
        check_append(append, Some("[::ffff:10.0.0.9]:1"), &[], Some("10.0.0.9"));
        check_append(append, end, &["\u{e9}"], Some("\u{e9},10.0.0.9"));
        check_append(append, None, &["1.1.1.1"], None);
        check_append(END, end, &["1.1.1.1"], None);
        check_append(XFF, end, &["1.1.1.1"], None);
    }
}
