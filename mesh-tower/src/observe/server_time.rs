//! [`ServerTime`]: how a server says where its time went.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// How long a server took to answer, as it says itself (`x-mesh-timing`): with it, the time of an attempt is
/// split into the application's, the mesh's, and the wire's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what the header says, nothing else")]
pub struct ServerTime {
    /// From the call of the application to its response head.
    pub application: Duration,
    /// What the server's mesh took before that: routing, filters, and whatever they waited for.
    pub mesh: Duration,
}

impl ServerTime {
    /// The header: the form of `Server-Timing` (W3C), `app;dur=1.25, mesh;dur=0.04`, in milliseconds.
    pub const HEADER: HeaderName = super::names::X_MESH_TIMING;

    /// Both together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.application.saturating_add(self.mesh)
    }

    /// The header's value, in microseconds as far as it goes.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        let [application, mesh] =
            [self.application, self.mesh].map(|time| time.as_secs_f64() * 1e3);
        let text = format!("app;dur={application:.3}, mesh;dur={mesh:.3}");
        // Visible ASCII and spaces.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// What a response says; `None`: nothing, or nothing that can be read.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(Self::HEADER)?.to_str().ok()?;
        let mut time = Self::default();
        for entry in text.split(',') {
            let (name, duration) = entry.trim().split_once(";dur=")?;
            let millis: f64 = duration.parse().ok()?;
            let duration = Duration::try_from_secs_f64(millis / 1e3).ok()?;
            match name {
                "app" => time.application = duration,
                "mesh" => time.mesh = duration,
                // A later version may say more.
                _ => {}
            }
        }
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &'static str, expected: Option<(u64, u64)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ServerTime::HEADER, HeaderValue::from_static(value));
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
        let found =
            ServerTime::of(&headers).map(|time| (micros(time.application), micros(time.mesh)));
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn what_a_server_says_is_read_or_ignored() {
        check("app;dur=1.250, mesh;dur=0.040", Some((1250, 40)));
        check("mesh;dur=2,app;dur=1,db;dur=9", Some((1000, 2000)));
        for broken in ["", "app", "app;dur=x", "app;dur=-1", "app;dur=NaN", "app;dur=1e300"] {
            check(broken, None);
        }
        assert_eq!(ServerTime::of(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let time = ServerTime {
            application: Duration::from_micros(1_234_567),
            mesh: Duration::from_micros(1),
        };
        assert_eq!(time.header_value(), "app;dur=1234.567, mesh;dur=0.001");
        let mut headers = HeaderMap::new();
        headers.insert(ServerTime::HEADER, time.header_value());
        assert_eq!(ServerTime::of(&headers), Some(time));
    }
}
