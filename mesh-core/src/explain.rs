//! Why a request goes where it goes, to the endpoint's door; and what a code means.
//!
//! A mesh that can't be asked is a mesh that is guessed at. [`explain`] puts the question for one
//! request to the very code that decides about calls ([`Snapshot::route`], [`Router::explain`],
//! [`Balancer::odds`]), and gathers what it answers: virtual host, route, what was passed over and
//! why, the odds of each cluster and endpoint, what the endpoint gets to see, and the policies in
//! force. Nothing is decided a second time.
//!
//! [`Display`](std::fmt::Display) tells it in plain words. Without a mesh at hand, [`snapshot`] makes
//! one of a configuration. [`reasons`] knows every flag, reason and event by its code; [`Expectation`]
//! compares what is decided with what was expected.
//!
//! [`explain_inbound`] does the same for a request that comes to a server.
//!
//! What is left to chance stays open: splits and endpoints are told by their odds, and a route for a
//! share of requests counts as passed over. Overrides by `x-envoy-*` headers and what the adapter adds
//! (trace context, attempt counts) are not looked at.
//!
//! [`Router::explain`]: crate::router::Router::explain
//! [`Balancer::odds`]: crate::lb::Balancer::odds

mod display;
mod expect;
mod inbound;
#[cfg(feature = "config")]
mod json;
mod policies;
pub mod reasons;
mod redact;
mod report;
mod request;

#[cfg(test)]
mod tests;

pub use expect::{Difference, Expectation, ExpectedCluster};
pub use inbound::{
    ExplainedFilter, ExplainedInbound, InboundConclusion, InboundRequest, explain_inbound,
};
pub use report::{ChildReport, ClusterReport, EndpointReport, HashPick};
pub use request::{InvalidUrl, Request};

use crate::egress::{EgressRefusal, EgressVerdict};
use crate::head::RequestHead;
use crate::lb::{CustomPick, Pick};
use crate::local_reply::Reason;
use crate::model::{ClusterSpecifier, LbAlgorithm, RouteAction};
use crate::router::{CompiledForward, Explanation, OnlyCertain, RewrittenHost, RouteChoice, Share};
use crate::state::{ApplyError, Attach, Routing, Snapshot, Updater};
use crate::time::Timestamp;
use crate::update::ConfigUpdate;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use std::sync::Arc;

/// What becomes of a request, and why.
///
/// # Examples
/// ```
/// use mesh_core::explain::{Conclusion, Request, explain, snapshot};
/// use mesh_core::update::ConfigUpdate;
///
/// let snapshot = snapshot(ConfigUpdate::default())?;
/// let explained = explain(&snapshot, &Request::new("http://reviews/1")?);
/// assert!(matches!(explained.conclusion, Conclusion::Refused(_)));
/// assert!(explained.to_string().contains("no virtual host serves `reviews`"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explained {
    /// The request that was asked about.
    pub request: Request,
    /// How virtual host and route were found.
    pub routing: Explanation,
    /// What becomes of the request.
    pub conclusion: Conclusion,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Conclusion {
    /// It goes to a cluster.
    Forward(Forward),
    /// It is answered here, by a redirect or a direct response, with the header edits of its route.
    Reply(Response<Bytes>),
    /// It goes where its URL points, past every policy.
    Passthrough(Passthrough),
    /// It is refused.
    Refused(Reason),
}

/// Why a request passes by every policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Passthrough {
    /// The mesh only observes ([`Mode::Observe`](crate::update::Mode::Observe)).
    Observing,
    /// Unknown hosts may pass ([`UnknownHosts::Passthrough`](crate::update::UnknownHosts)).
    UnknownHost,
    /// The rule at this place of `egress.allow` lets it.
    Listed(usize),
    /// No rule lets it, and such calls are told and not refused ([`UnknownHosts::Log`](crate::update::UnknownHosts)).
    Unlisted(EgressRefusal),
}

/// How a request is forwarded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Forward {
    /// The policies of the route.
    pub policies: Arc<CompiledForward>,
    /// The path and query that the endpoint sees.
    pub path: String,
    /// The clusters that may take the request, in the order of the configuration.
    pub parts: Vec<Part>,
}

/// One of the clusters that may take a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Part {
    /// Its name and odds.
    pub share: Share,
    /// What the header edits do to this request.
    pub request_edits: Vec<HeaderChange>,
    /// What the header edits do to a response without headers.
    pub response_edits: Vec<HeaderChange>,
    /// The headers that the endpoint sees.
    pub headers: HeaderMap,
    /// The authority that the endpoint sees. It may come from a header, as the edits leave it.
    pub host: RewrittenHost,
    /// The cluster; `None`: the configuration has none of this name, so the call is refused.
    pub cluster: Option<ClusterReport>,
}

/// What edits do to the values of one header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderChange {
    /// The header's name.
    pub name: HeaderName,
    /// Its values before; empty: it was not there.
    pub before: Vec<HeaderValue>,
    /// Its values after; empty: it is taken away.
    pub after: Vec<HeaderValue>,
}

/// Tells what becomes of `request` under `snapshot`.
#[must_use]
pub fn explain<A: Attach>(snapshot: &Snapshot<A>, request: &Request) -> Explained {
    let head = request.head();
    let routing = snapshot.router().explain(&head);
    let conclusion = conclude(snapshot, &routing, &head);
    Explained { request: request.clone(), routing, conclusion }
}

/// The snapshot that `update` makes, with nothing attached.
///
/// Load-balancing policies that only a program knows ([`LbAlgorithm::Custom`]) are taken as known; of
/// their odds nothing is.
///
/// # Errors
/// [`ApplyError`] as from [`Updater::apply`].
pub fn snapshot(update: ConfigUpdate) -> Result<Arc<Snapshot<()>>, ApplyError> {
    let (mut updater, mesh) = Updater::new(());
    for cluster in update.clusters.values() {
        if let LbAlgorithm::Custom(name) = &cluster.cluster.lb_policy.algorithm {
            updater.register_policy(Arc::clone(name), Arc::new(Unknown));
        }
    }
    updater.apply(update, Timestamp::ZERO)?;
    Ok(Arc::clone(&mesh.snapshot()))
}

/// A policy that only the program knows.
#[derive(Debug)]
struct Unknown;

impl Pick for Unknown {
    fn pick(&self, _: &CustomPick<'_>) -> Option<u32> {
        None
    }
}

fn conclude<A: Attach>(
    snapshot: &Snapshot<A>,
    routing: &Explanation,
    head: &RequestHead<'_>,
) -> Conclusion {
    let chosen = routing.route.as_ref();
    match snapshot.route(head, &mut OnlyCertain) {
        Ok(Routing::Passthrough(verdict)) => Conclusion::Passthrough(match verdict {
            None => Passthrough::Observing,
            Some(EgressVerdict::Allowed(Some(rule))) => Passthrough::Listed(rule),
            Some(EgressVerdict::Allowed(None)) => Passthrough::UnknownHost,
            Some(EgressVerdict::Logged(why) | EgressVerdict::Refused(why)) => {
                Passthrough::Unlisted(why)
            }
        }),
        Ok(Routing::Reply(_, Ok(reply))) => Conclusion::Reply(*reply),
        Ok(Routing::Reply(_, Err(reason))) => Conclusion::Refused(reason),
        Ok(Routing::Forward(..)) => forward(snapshot, chosen, head),
        // The draw met a part of a split that is not there; others may be.
        Err(Reason::UnknownCluster) if chosen.is_some_and(|chosen| chosen.shares.len() > 1) => {
            forward(snapshot, chosen, head)
        }
        Err(reason) => Conclusion::Refused(reason),
    }
}

fn forward<A: Attach>(
    snapshot: &Snapshot<A>,
    chosen: Option<&RouteChoice>,
    head: &RequestHead<'_>,
) -> Conclusion {
    let Some((chosen, policies)) = chosen.and_then(|c| Some((c, c.route.forward()?))) else {
        return Conclusion::Refused(Reason::NoRoute);
    };
    let path = match policies.path(head) {
        Ok(path) => path.map_or_else(|| head.path_and_query.to_owned(), |path| path.to_string()),
        Err(invalid) => return Conclusion::Refused(invalid.into()),
    };
    let is_split = matches!(
        &chosen.route.model().action,
        RouteAction::Forward(forward) if matches!(forward.cluster, ClusterSpecifier::Split(_))
    );
    let parts = chosen.shares.iter().enumerate().map(|(at, share)| {
        let split = is_split.then_some(at);
        part(snapshot, (chosen, policies), share, split, head)
    });
    let parts = parts.collect();
    Conclusion::Forward(Forward { policies: Arc::clone(policies), path, parts })
}

fn part<A: Attach>(
    snapshot: &Snapshot<A>,
    (chosen, policies): (&RouteChoice, &CompiledForward),
    share: &Share,
    split: Option<usize>,
    head: &RequestHead<'_>,
) -> Part {
    let route = &chosen.route;
    // Envoy: `RouteEntryImplBase::finalizeRequestHeaders` edits first, then rewrites the host, then
    // the path.
    let mut headers = head.headers.clone();
    route.edit_request(split, &mut headers);
    let request_edits = changes(head.headers, &headers);
    let host = policies.host(&RequestHead { headers: &headers, ..*head });
    let mut response = HeaderMap::new();
    route.edit_response(split, &mut response);
    let response_edits = changes(&HeaderMap::new(), &response);
    let target = snapshot.target_of(route, &share.cluster, split);
    let cluster = target.map(|target| ClusterReport::of(target, head));
    Part { share: share.clone(), request_edits, response_edits, headers, host, cluster }
}

/// What differs between two lists of headers, by name.
fn changes(before: &HeaderMap, after: &HeaderMap) -> Vec<HeaderChange> {
    let mut names: Vec<&HeaderName> = before.keys().chain(after.keys()).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    names.dedup();
    let values = |headers: &HeaderMap, name| headers.get_all(name).iter().cloned().collect();
    let changes = names.into_iter().map(|name| HeaderChange {
        name: name.clone(),
        before: values(before, name),
        after: values(after, name),
    });
    changes.filter(|change| change.before != change.after).collect()
}
