//! Explanations in plain words.

use super::{Closest, Explanation, HostMatch, Mismatch, RouteChoice, Share};
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::{Domain, HeaderMatcher, PathMatcher, RouteAction, StringMatcher};
use std::fmt;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => writeln!(f, "no virtual host serves `{}`", self.authority)?,
            Some(host) => writeln!(f, "{host}")?,
        }
        for miss in &self.near_misses {
            writeln!(f, "routes[{}] `{}` passes: {}", miss.index, miss.route, miss.mismatch)?;
        }
        if self.near_misses_left_out > 0 {
            writeln!(f, "… and {} more", self.near_misses_left_out)?;
        }
        match &self.route {
            Some(choice) => writeln!(f, "{choice}")?,
            None if self.host.is_some() => writeln!(f, "no route of it matches")?,
            None => {}
        }
        for closest in &self.closest {
            writeln!(f, "similar: {closest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match &self.pattern {
            Domain::Exact(_) => "an exact domain",
            Domain::Suffix(_) => "the longest suffix that matches, and no exact domain does",
            Domain::Prefix(_) => {
                "the longest prefix that matches, and no exact domain or suffix does"
            }
            Domain::Any => "nothing else matches",
        };
        write!(f, "virtual host `{}` by `{}`: {why}", self.name, self.pattern)
    }
}

impl fmt::Display for RouteChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, name) = (self.route.index(), self.route.name());
        write!(
            f,
            "routes[{index}] `{name}` takes it by {}: ",
            Path(&self.route.model().matcher.path)
        )?;
        match &self.route.model().action {
            RouteAction::Redirect(redirect) => write!(f, "redirect ({})", redirect.status),
            RouteAction::DirectResponse(response) => write!(f, "answer ({})", response.status),
            RouteAction::NonForwarding => f.write_str("for the server that it came to"),
            RouteAction::Forward(_) => match (&self.cluster_header, &*self.shares) {
                (Some(header), []) => {
                    write!(f, "header `{header}`, which names the cluster, is missing")
                }
                (_, shares) => {
                    for (at, share) in shares.iter().enumerate() {
                        write!(f, "{}{share}", if at == 0 { "" } else { ", " })?;
                    }
                    f.write_str(if self.settled {
                        " (decided by what the request carries)"
                    } else {
                        ""
                    })
                }
            },
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hundredths of a percent: a third is 33.33 %.
        let percent = (self.odds * 10_000.0).round() / 100.0;
        write!(f, "cluster `{}` {percent} %", self.cluster)?;
        if self.known { Ok(()) } else { f.write_str(" (not in the configuration)") }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actual =
            |f: &mut fmt::Formatter<'_>, what, name: &str, actual: &Option<String>| match actual {
                Some(value) => write!(f, "{what} `{name}` is `{value}`, wanted: "),
                None => write!(f, "{what} `{name}` is missing, wanted: "),
            };
        match self {
            Self::Method { actual, wanted } => {
                write!(f, "the method is {actual}, wanted: ")?;
                for (at, method) in wanted.iter().enumerate() {
                    write!(f, "{}{method}", if at == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
            Self::NotGrpc => f.write_str("the content type is not gRPC's"),
            Self::Header { actual: value, wanted } => {
                actual(f, "header", wanted.name.as_str(), value)?;
                f.write_str(&wanted_value(wanted))
            }
            Self::QueryParameter { actual: value, wanted } => {
                actual(f, "query parameter", &wanted.name, value)?;
                match &wanted.value {
                    Some(value) => Wanted(value).fmt(f),
                    None => f.write_str("present"),
                }
            }
            Self::Fraction(fraction) => {
                let percent = f64::from(fraction.as_per_million()) / 10_000.0;
                write!(f, "it takes only {percent} % of requests")
            }
        }
    }
}

impl fmt::Display for Closest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain { host, pattern } => write!(f, "`{pattern}` of virtual host `{host}`"),
            Self::Route { index, route, path } => {
                write!(f, "routes[{index}] `{route}` by {}", Path(path))
            }
        }
    }
}

/// What a condition wants of a header's value.
pub(crate) fn wanted_value(matcher: &HeaderMatcher) -> String {
    let not = if matcher.invert { "not " } else { "" };
    match &matcher.kind {
        HeaderMatcherKind::Present(true) => format!("{not}present"),
        HeaderMatcherKind::Present(false) => format!("{not}absent"),
        HeaderMatcherKind::String(string) => format!("{not}{}", Wanted(string)),
        HeaderMatcherKind::Range(range) => {
            format!("{not}a number from {} to below {}", range.start, range.end)
        }
    }
}

struct Path<'p>(&'p PathMatcher);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PathMatcher::Prefix(text) => write!(f, "prefix `{text}`"),
            PathMatcher::Path(text) => write!(f, "path `{text}`"),
            PathMatcher::PathSeparatedPrefix(text) => write!(f, "path-separated prefix `{text}`"),
            PathMatcher::Regex(pattern) => write!(f, "regex `{}`", pattern.0),
        }
    }
}

struct Wanted<'m>(&'m StringMatcher);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.pattern {
            StringPattern::Exact(text) => write!(f, "`{text}`")?,
            StringPattern::Prefix(text) => write!(f, "something that starts with `{text}`")?,
            StringPattern::Suffix(text) => write!(f, "something that ends with `{text}`")?,
            StringPattern::Contains(text) => write!(f, "something that contains `{text}`")?,
            StringPattern::Regex(pattern) => write!(f, "a match of `{}`", pattern.0)?,
        }
        f.write_str(if self.0.ignore_case { " (in any case)" } else { "" })
    }
}
