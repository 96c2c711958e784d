//! The ports that a request has passed, and that it passes none twice.
//!
//! Each port of a proxy adds its own mark to [`X_MESH_VIA`]. A request that comes with the mark of the port that it
//! comes to goes round: two proxies send it to each other, or an endpoint is a port of the proxy itself. It is answered
//! 508 (RFC 5842 section 7.2), with the marks, which are the way round.
//!
//! `via` (RFC 9110 section 7.6.3) could say the same. It is not used, because servers change what they answer when they
//! see it: nginx, for one, does not compress then.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The ports that a request has passed, the first one first.
pub const X_MESH_VIA: HeaderName = HeaderName::from_static("x-mesh-via");

/// The most marks that a request may have: beyond it goes round by ports that are made anew.
pub const MAX_HOPS: usize = 32;

/// A request goes round.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request goes round: it has passed {0}")]
#[expect(clippy::exhaustive_structs, reason = "there is nothing else to say")]
pub struct Loop(
    /// The marks of the ports that it has passed, with that of this one.
    pub String,
);

/// A request comes to the port of `mark`, a visible text without comma.
///
/// # Errors
/// [`Loop`]: it has passed it before, or more than [`MAX_HOPS`] others.
pub fn pass(headers: &mut HeaderMap, mark: &HeaderValue) -> Result<(), Loop> {
    let Some(first) = headers.get(X_MESH_VIA) else {
        headers.insert(X_MESH_VIA, mark.clone());
        return Ok(());
    };
    let mut path = first.as_bytes().to_vec();
    // One value, as everybody writes it; several are the same.
    for more in headers.get_all(X_MESH_VIA).iter().skip(1) {
        path.extend_from_slice(b", ");
        path.extend_from_slice(more.as_bytes());
    }
    let marks = || path.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let goes_round = marks().any(|passed| passed == mark.as_bytes()) || marks().count() >= MAX_HOPS;
    path.extend_from_slice(b", ");
    path.extend_from_slice(mark.as_bytes());
    match HeaderValue::from_bytes(&path) {
        Ok(value) if !goes_round => {
            headers.insert(X_MESH_VIA, value);
            Ok(())
        }
        // What is made of header values is one, so that it goes round.
        _ => Err(Loop(String::from_utf8_lossy(&path).into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_once() {
        let (a, b) = (HeaderValue::from_static("1/a"), HeaderValue::from_static("2/b"));
        let mut headers = HeaderMap::new();
        assert_eq!(pass(&mut headers, &a), Ok(()));
        assert_eq!(pass(&mut headers, &b), Ok(()));
        assert_eq!(headers[X_MESH_VIA], "1/a, 2/b");
        let round = pass(&mut headers, &a).unwrap_err();
        assert_eq!(round.to_string(), "the request goes round: it has passed 1/a, 2/b, 1/a");
    }

    #[test]
    fn several_values_are_one() {
        let mut headers = HeaderMap::new();
        headers.append(X_MESH_VIA, HeaderValue::from_static("1/a"));
        headers.append(X_MESH_VIA, HeaderValue::from_static(" 2/b ,3/c"));
        for round in ["1/a", "2/b", "3/c"] {
            assert!(
                pass(&mut headers.clone(), &HeaderValue::from_static(round)).is_err(),
                "{round}"
            );
        }
        assert_eq!(pass(&mut headers, &HeaderValue::from_static("2/bb")), Ok(()));
        assert_eq!(headers.get_all(X_MESH_VIA).iter().count(), 1);
    }

    #[test]
    fn ports_without_end() {
        let mut headers = HeaderMap::new();
        for hop in 0..MAX_HOPS {
            let mark = HeaderValue::try_from(format!("{hop}/a")).unwrap();
            assert_eq!(pass(&mut headers, &mark), Ok(()), "{hop}");
        }
        assert!(pass(&mut headers, &HeaderValue::from_static("x/a")).is_err());
    }
}
