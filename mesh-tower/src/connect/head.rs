//! Fitting a request's head to the protocol that it is sent over.
//!
//! HTTP/2 (RFC 9113 sections 8.2.2 and 8.3.1): no connection-specific headers, `te` only as
//! `trailers`, `:authority` instead of `Host`, and a scheme. HTTP/1.1 (RFC 9112 section 3.2): the
//! origin form, and a `Host`. What the caller wrote as `Host` is what the server sees, in either
//! protocol; else the URI's authority, which is the name that was routed; without both it is the
//! endpoint's address. Userinfo is never sent.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use mesh_core::model::Address;

/// A request that HTTP has no form for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid request: {0}")]
pub(super) struct InvalidRequest(&'static str);

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fits the head of `request` to HTTP/2.
pub(super) fn prepare_h2<B>(
    request: &mut Request<B>,
    scheme: &Scheme,
    address: &Address,
) -> Result<(), InvalidRequest> {
    let host = if has_unfit(request.headers()) { strip(request.headers_mut()) } else { None };
    let uri = request.uri();
    let complete = uri.scheme().is_some() && uri.authority().is_some_and(is_plain);
    let connect = *request.method() == Method::CONNECT;
    if complete && host.is_none() && uri.path_and_query().is_some() && !connect {
        return Ok(());
    }
    // The target of CONNECT is its URI's authority (RFC 9113 section 8.5).
    let authority = authority(uri, host.as_ref().filter(|_| !connect), address)?;
    let mut parts = http::uri::Parts::default();
    if !connect || request.extensions().get::<h2::ext::Protocol>().is_some() {
        let path = uri.path_and_query().ok_or(InvalidRequest("the URI has no path"))?;
        parts.scheme = Some(uri.scheme().unwrap_or(scheme).clone());
        parts.path_and_query = Some(path.clone());
    }
    parts.authority = Some(authority);
    *request.uri_mut() = Uri::from_parts(parts)
        .map_err(|_malformed| InvalidRequest("the URI has no absolute form"))?;
    Ok(())
}

/// Adds the length of a body that is known, as servers may want it (RFC 9110 section 8.6). Not to a gRPC
/// request: its messages carry their own lengths, and gRPC clients don't send it.
pub(super) fn state_length<B>(request: &mut Request<B>, length: Option<u64>) {
    let Some(length) = length else { return };
    if mesh_core::head::is_grpc_content_type(request.headers()) {
        return;
    }
    let expected = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    if length != 0 || expected {
        request
            .headers_mut()
            .entry(CONTENT_LENGTH)
            .or_insert_with(|| mesh_core::head::decimal(length));
    }
}

/// Fits the head of `request` to HTTP/1.1. `known` is the `host` that was written last: the same again is not made.
pub(super) fn prepare_h1<B>(
    request: &mut Request<B>,
    address: &Address,
    known: &mut Option<HeaderValue>,
) -> Result<(), InvalidRequest> {
    *request.version_mut() = Version::HTTP_11;
    let uri = request.uri();
    if !request.headers().contains_key(HOST) {
        let authority = authority(uri, None, address)?;
        if known.as_ref().is_none_or(|known| known != authority.as_str()) {
            let host = HeaderValue::from_str(authority.as_str())
                .map_err(|_malformed| InvalidRequest("the authority is no header value"))?;
            *known = Some(host);
        }
        if let Some(host) = known {
            request.headers_mut().insert(HOST, host.clone());
        }
    }
    let uri = request.uri();
    if *request.method() == Method::CONNECT {
        return uri.authority().map(|_| ()).ok_or(InvalidRequest("CONNECT needs an authority"));
    }
    let Some(path) = uri.path_and_query() else {
        return Err(InvalidRequest("the URI has no path"));
    };
    if uri.scheme().is_some() {
        *request.uri_mut() = Uri::from(origin_form(path.clone()));
    }
    Ok(())
}

/// An absolute URI without a path names the root.
fn origin_form(path: PathAndQuery) -> PathAndQuery {
    match path.as_str() {
        "" => PathAndQuery::from_static("/"),
        _ => path,
    }
}

/// Whether any header may have to go: one look at the lengths of the names. `te: trailers` may stay, and
/// is in every gRPC request.
fn has_unfit(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, value)| match name.as_str().len() {
        2 => *name == TE && value != "trailers",
        4 | 7 | 10 | 16 | 17 => {
            *name == HOST
                || *name == UPGRADE
                || *name == CONNECTION
                || *name == KEEP_ALIVE
                || *name == PROXY_CONNECTION
                || *name == TRANSFER_ENCODING
        }
        _ => false,
    })
}

/// Removes what HTTP/2 forbids, and answers with the `Host` that was there.
fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    // Headers that `connection` names are of this connection too (RFC 9110 section 7.6.1).
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != TE)
        .collect();
    for name in
        named.iter().chain(&[CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE])
    {
        headers.remove(name);
    }
    if headers.get_all(TE).iter().any(|value| value != "trailers") {
        headers.remove(TE);
    }
    headers.remove(HOST)
}

fn is_plain(authority: &Authority) -> bool {
    !authority.as_str().contains('@')
}

/// The authority to send: the `Host` header's, else the URI's, else the endpoint's address.
fn authority(
    uri: &Uri,
    host: Option<&HeaderValue>,
    address: &Address,
) -> Result<Authority, InvalidRequest> {
    const BAD: InvalidRequest = InvalidRequest("the authority is malformed");
    match (uri.authority(), host) {
        (_, Some(host)) => Authority::try_from(host.as_bytes()).map_err(|_malformed| BAD),
        (Some(authority), None) if is_plain(authority) => Ok(authority.clone()),
        (Some(authority), None) => {
            let plain = authority.as_str().rsplit('@').next().unwrap_or_default();
            plain.parse().map_err(|_malformed| BAD)
        }
        (None, None) => match address {
            Address::Socket(address) => address.to_string().parse().map_err(|_malformed| BAD),
            Address::Unix(_) => Ok(Authority::from_static("localhost")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn text(request: &Request<()>) -> String {
        let mut headers: Vec<_> =
            request.headers().iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        headers.sort();
        format!("{} {}", request.uri(), headers.join(" ")).trim_end().to_owned()
    }

    fn address() -> Address {
        Address::Socket("127.0.0.1:80".parse().unwrap())
    }

    #[track_caller]
    fn check_h2(uri: &str, headers: &[(&str, &str)], expected: &str) {
        let mut request = request("GET", uri, headers);
        prepare_h2(&mut request, &Scheme::HTTP, &address()).unwrap();
        assert_eq!(text(&request), expected, "{uri} {headers:?}");
    }

    #[test]
    fn rfc9113_8_3_1_authority_instead_of_host() {
        check_h2("http://a/x", &[], "http://a/x");
        check_h2("https://a:1/x?y", &[("host", "b")], "https://b/x?y");
        check_h2("/x", &[("host", "b:2")], "http://b:2/x");
        check_h2("/x", &[], "http://127.0.0.1:80/x");
        check_h2("http://user:secret@a:1/x", &[], "http://a:1/x");
    }

    #[test]
    fn rfc9113_8_2_2_connection_headers_go() {
        for (name, value) in [
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
        ] {
            check_h2("http://a/", &[(name, value), ("accept", "x")], "http://a/ accept=x");
        }
        let named = [("connection", "close, X-Hop"), ("x-hop", "1"), ("user-agent", "u")];
        check_h2("http://a/", &named, "http://a/ user-agent=u");
        check_h2("http://a/", &[("te", "trailers")], "http://a/ te=trailers");
        let both = [("te", "trailers"), ("te", "gzip"), ("accept", "x")];
        check_h2("http://a/", &both, "http://a/ accept=x");
        check_h2("http://a/", &[("te", "trailers"), ("connection", "te")], "http://a/ te=trailers");
    }

    #[test]
    fn connect_has_only_an_authority() {
        let mut request = request("CONNECT", "a:443", &[("host", "b")]);
        prepare_h2(&mut request, &Scheme::HTTP, &address()).unwrap();
        assert_eq!(text(&request), "a:443");
    }

    #[track_caller]
    fn check_h1(method: &str, uri: &str, headers: &[(&str, &str)], expected: &str) {
        let mut request = request(method, uri, headers);
        prepare_h1(&mut request, &address(), &mut None).unwrap();
        assert_eq!(text(&request), expected, "{uri} {headers:?}");
    }

    #[test]
    fn rfc9112_3_2_origin_form_and_host() {
        check_h1("GET", "http://a:1/x?y", &[], "/x?y host=a:1");
        check_h1("GET", "http://a", &[], "/ host=a");
        check_h1("GET", "http://u@a/", &[], "/ host=a");
        check_h1("GET", "http://a/", &[("host", "b:2")], "/ host=b:2");
        check_h1("GET", "/x", &[("host", "b")], "/x host=b");
        check_h1("GET", "/x", &[], "/x host=127.0.0.1:80");
        check_h1("OPTIONS", "*", &[("host", "b")], "* host=b");
        check_h1("CONNECT", "a:443", &[], "a:443 host=a:443");
    }

    #[test]
    fn requests_without_a_form_are_refused() {
        assert!(prepare_h1(&mut request("GET", "a:80", &[]), &address(), &mut None).is_err());
        assert!(prepare_h2(&mut request("GET", "a:80", &[]), &Scheme::HTTP, &address()).is_err());
        let bad_host = &mut request("GET", "/", &[("host", "a b")]);
        assert!(prepare_h2(bad_host, &Scheme::HTTP, &address()).is_err());
    }

    #[test]
    fn known_lengths_are_stated() {
        let length = |method, length| {
            let mut request = request(method, "/", &[]);
            state_length(&mut request, length);
            request.headers().get(CONTENT_LENGTH).map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(length("GET", Some(0)), None);
        assert_eq!(length("POST", Some(0)).as_deref(), Some("0"));
        assert_eq!(length("GET", Some(7)).as_deref(), Some("7"));
        assert_eq!(length("POST", None), None);
        let mut grpc = request("POST", "/", &[("content-type", "application/grpc")]);
        state_length(&mut grpc, Some(7));
        assert_eq!(grpc.headers().get(CONTENT_LENGTH), None);
    }
}
