//! Cookies, which HTTP/2 lets callers send in crumbs (RFC 9113 section 8.2.3).
//!
//! Browsers and others send each pair as a header of its own, which compresses better. Beyond HTTP/2 they are one again:
//! servers of HTTP/1.1 read the first line, or none. Each request that comes over HTTP/2 is passed on with one, whatever
//! is spoken there, as Envoy does.

use http::header::{COOKIE, HeaderMap, HeaderValue};

/// Makes crumbs one header.
pub fn join(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.by_ref().nth(1).is_none() {
        return;
    }
    let all: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // What is made of header values is one.
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(came: &[&'static str], joined: &[&str]) {
        let mut headers = HeaderMap::new();
        for crumb in came {
            headers.append(COOKIE, HeaderValue::from_static(crumb));
        }
        join(&mut headers);
        let left: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(left, joined, "{came:?}");
    }

    #[test]
    fn rfc9113_8_2_3_crumbs_are_one_cookie() {
        check(&[], &[]);
        check(&["a=1"], &["a=1"]);
        check(&["a=1; b=2"], &["a=1; b=2"]);
        check(&["a=1", "b=2", "c=3; d=4"], &["a=1; b=2; c=3; d=4"]);
    }
}
