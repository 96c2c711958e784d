//! [`Expectation`]: what a request is expected to become, compared with what it does.

use super::{Conclusion, Explained, Forward, Part};
use crate::model::HeaderMatcher;
use crate::router::{CompiledHeaderMatcher, Mismatch, RewrittenHost};
use http::header;
use std::fmt;

/// How far a share may be from the expected one, in percent points: as far as one digit after the
/// point is written.
const TOLERANCE: f64 = 0.05;

/// What is expected of a request. What is `None` or empty is not compared.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Expectation {
    /// The name of the virtual host.
    pub virtual_host: Option<String>,
    /// The name of the route.
    pub route: Option<String>,
    /// The cluster, or the clusters of a split with their odds.
    pub cluster: Option<ExpectedCluster>,
    /// Path and query as the endpoint sees them.
    pub path: Option<String>,
    /// The authority as the endpoint sees it.
    pub host: Option<String>,
    /// Headers as the endpoint sees them: all must hold, for every cluster with a share.
    pub headers: Vec<HeaderMatcher>,
    /// Where a redirect sends the caller.
    pub redirect: Option<String>,
    /// The status of a redirect, of a direct response, or of the reply to what is refused.
    pub status: Option<u16>,
    /// The code of the reason for which the request is refused.
    pub error: Option<String>,
}

/// The clusters that are expected.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "one or several")]
pub enum ExpectedCluster {
    /// This one takes every request.
    One(String),
    /// These take so many percent, within 0.05; others take nothing. Odds are compared, not draws.
    Split(Vec<(String, f64)>),
}

/// Something that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// What: the key of the expectation; for a header `headers.` and its name.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What is.
    pub actual: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.what, self.expected, self.actual)
    }
}

impl Expectation {
    /// Everything that is not as expected.
    #[must_use]
    pub fn differences(&self, explained: &Explained) -> Vec<Difference> {
        let mut differences = Differences { found: Vec::new(), explained };
        let host = explained.routing.host.as_ref().map(|host| &*host.name);
        let route = explained.routing.route.as_ref().map(|choice| &**choice.route.name());
        differences.text("virtual_host", self.virtual_host.as_deref(), host);
        differences.text("route", self.route.as_deref(), route);
        if let Some(expected) = &self.cluster {
            differences.cluster(expected);
        }
        differences.text("path", self.path.as_deref(), explained.path());
        differences.host(self.host.as_deref());
        for matcher in &self.headers {
            differences.header(matcher);
        }
        differences.text("redirect", self.redirect.as_deref(), explained.redirect());
        let (status, expected) = (explained.status(), self.status.map(|status| status.to_string()));
        differences.text("status", expected.as_deref(), status.as_deref());
        differences.text("error", self.error.as_deref(), explained.error());
        differences.found
    }
}

impl Explained {
    /// How the request is forwarded, when it is.
    #[must_use]
    pub const fn forward(&self) -> Option<&Forward> {
        match &self.conclusion {
            Conclusion::Forward(forward) => Some(forward),
            Conclusion::Reply(_) | Conclusion::Passthrough(_) | Conclusion::Refused(_) => None,
        }
    }

    /// The code of the reason for which the request is refused, when it is.
    #[must_use]
    pub const fn error(&self) -> Option<&'static str> {
        match &self.conclusion {
            Conclusion::Refused(reason) => Some(reason.code()),
            Conclusion::Forward(_) | Conclusion::Reply(_) | Conclusion::Passthrough(_) => None,
        }
    }

    fn path(&self) -> Option<&str> {
        self.forward().map(|forward| &*forward.path)
    }

    fn host_at<'e>(&'e self, part: &'e Part) -> &'e str {
        match &part.host {
            RewrittenHost::Unchanged => self.request.authority(),
            RewrittenHost::To(authority) => authority.as_str(),
            RewrittenHost::EndpointHostname => "(the endpoint's hostname)",
        }
    }

    fn redirect(&self) -> Option<&str> {
        let Conclusion::Reply(reply) = &self.conclusion else { return None };
        reply.headers().get(header::LOCATION)?.to_str().ok()
    }

    fn status(&self) -> Option<String> {
        match &self.conclusion {
            Conclusion::Reply(reply) => Some(reply.status().as_u16().to_string()),
            Conclusion::Refused(reason) => Some(reason.http_status().as_u16().to_string()),
            Conclusion::Forward(_) | Conclusion::Passthrough(_) => None,
        }
    }

    /// What happens, where something else was looked for.
    fn instead(&self) -> String {
        match &self.conclusion {
            Conclusion::Forward(_) => "the request is forwarded".to_owned(),
            Conclusion::Reply(reply) => {
                format!("the request is answered here ({})", reply.status())
            }
            Conclusion::Passthrough(_) => "the request passes by every policy".to_owned(),
            Conclusion::Refused(reason) => format!("the request is refused ({})", reason.code()),
        }
    }
}

struct Differences<'e> {
    found: Vec<Difference>,
    explained: &'e Explained,
}

impl Differences<'_> {
    fn add(&mut self, what: impl Into<String>, expected: String, actual: String) {
        self.found.push(Difference { what: what.into(), expected, actual });
    }

    fn text(&mut self, what: &str, expected: Option<&str>, actual: Option<&str>) {
        let Some(expected) = expected else { return };
        if actual == Some(expected) {
            return;
        }
        let actual = actual.map_or_else(
            || format!("none: {}", self.explained.instead()),
            |actual| format!("`{actual}`"),
        );
        self.add(what, format!("`{expected}`"), actual);
    }

    /// The authority, which must be the same at every cluster with a share.
    fn host(&mut self, expected: Option<&str>) {
        let parts = self.explained.forward().map(|forward| &*forward.parts).unwrap_or_default();
        let hosts = parts.iter().filter(|part| part.share.odds > 0.0);
        let mut hosts = hosts.map(|part| self.explained.host_at(part)).peekable();
        let first = hosts.peek().copied();
        let other = hosts.find(|host| expected.is_some_and(|expected| expected != *host));
        self.text("host", expected, other.or(first));
    }

    fn cluster(&mut self, expected: &ExpectedCluster) {
        let expected: Vec<(&str, f64)> = match expected {
            ExpectedCluster::One(name) => vec![(name, 100.0)],
            ExpectedCluster::Split(parts) => {
                parts.iter().map(|(name, percent)| (&**name, *percent)).collect()
            }
        };
        let actual = self.explained.forward().map(shares).unwrap_or_default();
        let share = |shares: &[(&str, f64)], name| {
            shares
                .iter()
                .filter(|(known, _)| *known == name)
                .map(|(_, percent)| percent)
                .sum::<f64>()
        };
        let names = expected.iter().chain(&actual).map(|(name, _)| *name);
        let same = !actual.is_empty()
            && names.into_iter().all(|name| {
                (share(&expected, name) - share(&actual, name)).abs() <= TOLERANCE + 1e-9
            });
        if !same {
            let found = match &*actual {
                [] => format!("none: {}", self.explained.instead()),
                actual => told(actual),
            };
            self.add("cluster", told(&expected), found);
        }
    }

    fn header(&mut self, wanted: &HeaderMatcher) {
        let what = format!("headers.{}", wanted.name);
        let expected = |actual: Option<String>| {
            let text = Mismatch::Header { actual, wanted: wanted.clone() }.to_string();
            text.split_once("wanted: ").map(|(_, wanted)| wanted.to_owned()).unwrap_or(text)
        };
        let Some(forward) = self.explained.forward() else {
            return self.add(what, expected(None), format!("none: {}", self.explained.instead()));
        };
        let Ok(matcher) = CompiledHeaderMatcher::new(wanted) else { return };
        let parts = forward.parts.iter().filter(|part| part.share.odds > 0.0);
        let Some(part) = parts.into_iter().find(|part| !matcher.matches(&part.headers)) else {
            return;
        };
        let actual = values(part, wanted);
        let mut found = match &actual {
            Some(values) => format!("`{values}`"),
            None => "no such header".to_owned(),
        };
        if forward.parts.len() > 1 {
            found.push_str(&format!(" at cluster `{}`", part.share.cluster));
        }
        self.add(what, expected(actual), found);
    }
}

fn values(part: &Part, wanted: &HeaderMatcher) -> Option<String> {
    let values = part.headers.get_all(&wanted.name).iter();
    let values: Vec<_> =
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    if values.is_empty() { None } else { Some(values.join(",")) }
}

/// The clusters that take something, in percent.
fn shares(forward: &Forward) -> Vec<(&str, f64)> {
    let shares = forward.parts.iter().map(|part| &part.share);
    let shares = shares.filter(|share| share.odds > 0.0);
    shares.map(|share| (&*share.cluster, share.odds * 100.0)).collect()
}

fn told(shares: &[(&str, f64)]) -> String {
    let told = shares.iter().map(|(name, percent)| match percent {
        percent if (*percent - 100.0).abs() < f64::EPSILON => format!("`{name}`"),
        percent => format!("`{name}` {} %", (percent * 100.0).round() / 100.0),
    });
    told.collect::<Vec<_>>().join(", ")
}
