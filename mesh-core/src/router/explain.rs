//! Why a request goes where it goes: [`Router::explain`].
//!
//! The answer comes from the functions that [`Router::route`] uses, which report what they pass over;
//! nothing is decided a second time. Only what a real call leaves to chance is left open: a route for
//! a share of requests counts as passed over, with its share, and a split is told by its odds.

use super::clusters::RouteClusters;
use super::matcher::{HeaderView, query_value};
use super::route::CompiledRoute;
use super::route_match::{Failed, Request};
use super::virtual_host::CompiledVirtualHost;
use super::{Router, domains};
use crate::head::RequestHead;
use crate::model::{
    Domain, Fraction, HeaderMatcher, PathMatcher, QueryParameterMatcher, RouteAction,
};
use crate::random::Random;
use http::{HeaderName, Method};
use std::sync::Arc;

mod display;

pub(crate) use display::wanted_value;

/// The most near misses that are listed.
const NEAR_MISSES: usize = 20;
/// The most similar patterns that are listed when nothing matched.
const CLOSEST: usize = 3;
/// The longest text that similarity is computed for, in bytes.
const SIMILAR: usize = 256;

/// Why a request goes where it goes. [`Display`](std::fmt::Display) tells it in lines of plain words.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The authority that was looked up.
    pub authority: String,
    /// The virtual host that serves it.
    pub host: Option<HostMatch>,
    /// The route that takes the request, if no share of requests comes before it.
    pub route: Option<RouteChoice>,
    /// Earlier routes whose path matched, in order, at most 20.
    pub near_misses: Vec<NearMiss>,
    /// How many more near misses there are.
    pub near_misses_left_out: usize,
    /// When no virtual host or route matched: the most similar ones, at most 3.
    pub closest: Vec<Closest>,
}

/// The virtual host that serves an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostMatch {
    /// Its name.
    pub name: Arc<str>,
    /// The pattern that matched.
    pub pattern: Domain,
}

/// The route that takes a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteChoice {
    /// The route.
    pub route: Arc<CompiledRoute>,
    /// The clusters that it may choose, with their odds; empty when it doesn't forward, and when the
    /// request lacks the header that names the cluster.
    pub shares: Vec<Share>,
    /// The header that names the cluster.
    pub cluster_header: Option<HeaderName>,
    /// Whether the draw of a split is decided by what the request carries
    /// ([`SplitBy`](crate::model::SplitBy)): the odds are then all or nothing.
    pub settled: bool,
}

/// The odds of one cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Share {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// From 0 to 1.
    pub odds: f64,
    /// Whether the configuration has the cluster.
    pub known: bool,
}

/// A route whose path matched and that did not take the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NearMiss {
    /// Its place in the virtual host.
    pub index: usize,
    /// Its name.
    pub route: Arc<str>,
    /// The first condition that did not hold.
    pub mismatch: Mismatch,
}

/// A condition that a request did not fulfil.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// The method is another.
    Method {
        /// The request's.
        actual: Method,
        /// The route's.
        wanted: Vec<Method>,
    },
    /// The content type is not gRPC's.
    NotGrpc,
    /// A header is another or missing.
    Header {
        /// The request's values, joined; `None`: missing.
        actual: Option<String>,
        /// The route's condition.
        wanted: HeaderMatcher,
    },
    /// A query parameter is another or missing.
    QueryParameter {
        /// The request's first value; `None`: missing.
        actual: Option<String>,
        /// The route's condition.
        wanted: QueryParameterMatcher,
    },
    /// The route takes a share of requests only.
    Fraction(Fraction),
}

/// Something similar to what was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closest {
    /// A domain of a virtual host.
    Domain {
        /// The virtual host's name.
        host: Arc<str>,
        /// The domain.
        pattern: Domain,
    },
    /// A route's path.
    Route {
        /// Its place in the virtual host.
        index: usize,
        /// Its name.
        route: Arc<str>,
        /// The path it wants.
        path: PathMatcher,
    },
}

impl Router {
    /// Tells where a request goes and why, and what it just missed.
    #[must_use]
    pub fn explain(&self, head: &RequestHead<'_>) -> Explanation {
        let mut explanation = Explanation {
            authority: head.authority.to_owned(),
            host: None,
            route: None,
            near_misses: Vec::new(),
            near_misses_left_out: 0,
            closest: Vec::new(),
        };
        let Some(place) = self.domains.find(head.authority) else {
            explanation.closest = self.closest_domains(head.authority);
            return explanation;
        };
        let host = &self.hosts[place.host as usize].compiled;
        explanation.host = Some(HostMatch {
            name: host.model.name.clone(),
            pattern: host.model.domains[place.domain as usize].clone(),
        });
        let mut rejected = Vec::new();
        let mut certain = OnlyCertain;
        let mut request = Request::new(head, &mut certain);
        let found = host.find(&mut request, |route, failed| rejected.push((route, failed)));
        if found.is_none() {
            explanation.closest = closest_routes(host, head);
        }
        explanation.route = found.map(|route| choice(route, head));

        // Routes are tried list by list: sorted, and cut where the winner is.
        let end = found.map_or(usize::MAX, |route| route.index());
        rejected.retain(|(route, _)| (*route as usize) < end);
        rejected.sort_unstable_by_key(|(route, _)| *route);
        let misses = rejected.iter().filter_map(|(at, failed)| {
            let route = &host.routes[*at as usize];
            let mismatch = describe(*failed, route, head)?;
            Some(NearMiss { index: *at as usize, route: route.name().clone(), mismatch })
        });
        explanation.near_misses = misses.collect();
        explanation.near_misses_left_out =
            explanation.near_misses.len().saturating_sub(NEAR_MISSES);
        explanation.near_misses.truncate(NEAR_MISSES);
        // What is listed as a near miss is similar, as a matter of course.
        let misses = &explanation.near_misses;
        explanation.closest.retain(|closest| match closest {
            Closest::Route { index, .. } => misses.iter().all(|miss| miss.index != *index),
            Closest::Domain { .. } => true,
        });
        explanation
    }

    fn closest_domains(&self, authority: &str) -> Vec<Closest> {
        let authority = authority.to_ascii_lowercase();
        let hosts = self.configuration.virtual_hosts.iter();
        let domains = hosts.flat_map(|host| host.domains.iter().map(move |domain| (host, domain)));
        most_similar(domains.map(|(host, domain)| {
            let pattern = domains::text_of(domain);
            let len = pattern.len();
            let part = match domain {
                Domain::Suffix(_) => authority.get(authority.len().saturating_sub(len)..),
                Domain::Prefix(_) => authority.get(..len.min(authority.len())),
                Domain::Exact(_) | Domain::Any => Some(&*authority),
            };
            let closest = Closest::Domain { host: host.name.clone(), pattern: domain.clone() };
            (pattern, part.unwrap_or(&authority), closest)
        }))
    }
}

/// Draws the number that falls into no share but all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnlyCertain;

impl Random for OnlyCertain {
    fn next_u64(&mut self) -> u64 {
        u64::MAX
    }
}

fn choice(route: &Arc<CompiledRoute>, head: &RequestHead<'_>) -> RouteChoice {
    let clusters = route.forward().map(|forward| &forward.clusters);
    let settled = clusters.and_then(RouteClusters::split).and_then(|split| split.certain(head));
    let mut shares = clusters.map(|clusters| shares(clusters, route, head)).unwrap_or_default();
    if let Some(taker) = settled {
        for (at, share) in shares.iter_mut().enumerate() {
            share.odds = if at == taker { 1.0 } else { 0.0 };
        }
    }
    RouteChoice {
        route: route.clone(),
        shares,
        cluster_header: clusters.and_then(|clusters| clusters.header().cloned()),
        settled: settled.is_some(),
    }
}

fn shares(clusters: &RouteClusters, route: &CompiledRoute, head: &RequestHead<'_>) -> Vec<Share> {
    if let Some(header) = clusters.header() {
        let Some(name) = head.headers.get(header) else { return Vec::new() };
        let cluster = String::from_utf8_lossy(name.as_bytes()).as_ref().into();
        let chosen = clusters.choose(head, &mut Vec::new(), &mut OnlyCertain);
        let known = chosen.is_some_and(|chosen| chosen.slot.is_some());
        return vec![Share { cluster, odds: 1.0, known }];
    }
    let weights: Vec<u32> = match &route.model().action {
        RouteAction::Forward(forward) => match &forward.cluster {
            crate::model::ClusterSpecifier::Split(split) => {
                split.clusters.iter().map(|part| part.weight).collect()
            }
            _ => vec![1],
        },
        _ => Vec::new(),
    };
    let total = clusters.split().map_or(1, super::split::CompiledSplit::total);
    let parts = clusters.targets().iter().zip(weights);
    parts
        .map(|(cluster, weight)| Share {
            cluster: cluster.name.clone(),
            odds: f64::from(weight) / total as f64,
            known: cluster.slot.is_some(),
        })
        .collect()
}

/// The failed condition with what the request has instead; `None` for a path that does not match.
fn describe(failed: Failed, route: &CompiledRoute, head: &RequestHead<'_>) -> Option<Mismatch> {
    let matcher = &route.model().matcher;
    Some(match failed {
        Failed::Path => return None,
        Failed::Method => {
            Mismatch::Method { actual: head.method.clone(), wanted: matcher.methods.clone() }
        }
        Failed::Grpc => Mismatch::NotGrpc,
        Failed::Header(at) => {
            let wanted = matcher.headers[at].clone();
            let actual = HeaderView::new(head).values(&wanted.name);
            let actual = actual.map(|value| String::from_utf8_lossy(&value).into_owned());
            Mismatch::Header { actual, wanted }
        }
        Failed::QueryParameter(at) => {
            let wanted = matcher.query_parameters[at].clone();
            let actual = query_value(head.query(), &wanted.name).map(str::to_owned);
            Mismatch::QueryParameter { actual, wanted }
        }
        Failed::Fraction => Mismatch::Fraction(matcher.runtime_fraction.unwrap_or(Fraction::ALL)),
    })
}

fn closest_routes(host: &CompiledVirtualHost, head: &RequestHead<'_>) -> Vec<Closest> {
    let path = head.path();
    most_similar(host.routes.iter().filter_map(|route| {
        let wanted = &route.model().matcher.path;
        let (pattern, part) = match wanted {
            PathMatcher::Path(text) => (text, path),
            PathMatcher::Prefix(text) | PathMatcher::PathSeparatedPrefix(text) => {
                (text, path.get(..text.len().min(path.len())).unwrap_or(path))
            }
            PathMatcher::Regex(_) => return None,
        };
        let closest = Closest::Route {
            index: route.index(),
            route: route.name().clone(),
            path: wanted.clone(),
        };
        Some((&**pattern, part, closest))
    }))
}

/// The few of `(pattern, text, what)` whose pattern differs least from its text; none that differs
/// in half of it.
fn most_similar<'t>(all: impl Iterator<Item = (&'t str, &'t str, Closest)>) -> Vec<Closest> {
    let mut similar: Vec<(usize, Closest)> = Vec::new();
    for (pattern, text, closest) in all {
        if pattern.len() > SIMILAR || text.len() > SIMILAR {
            continue;
        }
        let distance = distance(pattern.as_bytes(), text.as_bytes());
        if distance * 2 < pattern.len().max(text.len()) {
            similar.push((distance, closest));
        }
    }
    similar.sort_by_key(|(distance, _)| *distance);
    similar.into_iter().take(CLOSEST).map(|(_, closest)| closest).collect()
}

/// How many bytes to insert, delete or change (Levenshtein).
pub(crate) fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
