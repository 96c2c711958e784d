//! [`OtlpEndpoint`]: where a collector is.
//!
//! `http://host:port` or `https://host[:port]`: gRPC has no path. OTLP's port over gRPC is 4317, and of `http` it
//! must be said, because what a URL means without one, 80, is never meant.

use http::Uri;
use std::fmt;
use std::sync::Arc;

/// Where a collector takes OTLP over gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint {
    secure: bool,
    /// With brackets around an IPv6 address.
    host: Arc<str>,
    port: u16,
}

impl OtlpEndpoint {
    /// Reads `http://host:port` or `https://host[:port]`.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "write a URL with host and port, such as `http://127.0.0.1:4317`";
        let uri: Uri = text.parse().map_err(|_error| FORM)?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(FORM),
        };
        let authority = uri.authority().ok_or(FORM)?;
        if authority.as_str().contains('@') {
            return Err(
                "a user is not said in the URL: set a header, `OTEL_EXPORTER_OTLP_HEADERS`",
            );
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err("it is asked over gRPC, which has no path: leave path and query out");
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(FORM)?;
        let said = authority.as_str().len() > host.len();
        let port = match uri.port_u16() {
            Some(port) if port > 0 => port,
            None if secure && !said => 443,
            _ => return Err("its port must be said; of OTLP over gRPC it is 4317"),
        };
        Ok(Self { secure, host: host.into(), port })
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host, as a certificate has it: without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// Host and port, as a URL has them.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (OtlpEndpoint::parse(text), expected) {
            (Ok(endpoint), Ok(expected)) => assert_eq!(endpoint.to_string(), expected),
            (Err(rule), Err(part)) => assert!(rule.contains(part), "{text}: {rule}"),
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn endpoints_are_urls_without_a_path() {
        check("http://127.0.0.1:4317", Ok("http://127.0.0.1:4317"));
        check("http://collector:4317/", Ok("http://collector:4317"));
        check("http://[::1]:4317", Ok("http://[::1]:4317"));
        check("https://otlp.example", Ok("https://otlp.example:443"));
        check("https://otlp.example:4317", Ok("https://otlp.example:4317"));
        for text in ["127.0.0.1:4317", "collector", "", "ftp://a:1", "http://", "http:// a:1"] {
            check(text, Err("write a URL"));
        }
        for text in [
            "http://collector",
            "http://collector:",
            "http://a:0",
            "https://a:0",
            "https://a:99999",
        ] {
            check(text, Err(""));
        }
        check("http://collector", Err("4317"));
        check("http://a:4317/v1/metrics", Err("no path"));
        check("http://a:4317/?x", Err("no path"));
        check("http://user:password@a:4317", Err("header"));
    }

    #[test]
    fn a_certificate_has_no_brackets() {
        let endpoint = OtlpEndpoint::parse("https://[::1]:4317").unwrap();
        assert_eq!((endpoint.host(), &*endpoint.authority()), ("::1", "[::1]:4317"));
        assert!(endpoint.is_secure());
    }
}
