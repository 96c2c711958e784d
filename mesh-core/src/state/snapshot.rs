//! [`Snapshot`]: the routes and clusters in force.

use super::tables::Tables;
use super::{Attach, LiveCluster, ReplyTarget, Target};
use crate::egress::{CompiledEgress, EgressVerdict};
use crate::head::RequestHead;
use crate::inbound::{CompiledFilterChain, CompiledListener};
use crate::local_reply::Reason;
use crate::outcome::{Failure, ProtocolFailure};
use crate::random::Random;
use crate::router::{Decision, Router};
use crate::time::Timestamp;
use crate::update::{Answer, Mode, Origin, Secrets};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The targets of a route table by their number.
pub(super) type Targets<A> = Arc<[TargetSlot<A>]>;

/// What servers do, by the names that they ask for.
pub type Listeners = BTreeMap<Arc<str>, Arc<CompiledListener>>;

/// What a call finds under the number of a target.
#[derive(Debug)]
pub(super) enum TargetSlot<A: Attach> {
    Forward(Arc<Target<A>>),
    Reply(Arc<ReplyTarget<A>>),
    /// The cluster is not in the configuration.
    UnknownCluster,
}

impl<A: Attach> TargetSlot<A> {
    pub(super) const fn forward(&self) -> Option<&Arc<Target<A>>> {
        match self {
            Self::Forward(target) => Some(target),
            Self::Reply(_) | Self::UnknownCluster => None,
        }
    }
}

/// The routes and clusters in force: what one call sees, from its start to its end.
#[derive(Debug)]
pub struct Snapshot<A: Attach> {
    /// Shared by snapshots that differ in something else: it may index 10,000 domains.
    pub(super) router: Arc<Router>,
    pub(super) targets: Targets<A>,
    /// The routes of ports whose filter chains have some of their own.
    pub(super) tables: Arc<Tables<A>>,
    pub(super) clusters: Arc<BTreeMap<Arc<str>, Arc<LiveCluster<A>>>>,
    pub(super) origin: Origin,
    pub(super) mode: Mode,
    pub(super) egress: Arc<CompiledEgress>,
    pub(super) on_demand: Option<Arc<BTreeMap<Arc<str>, Answer>>>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) listeners: Arc<Listeners>,
    pub(super) absent_listeners: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    pub(super) generation: u64,
    pub(super) applied_at: Option<Timestamp>,
    /// The mesh was shut down.
    pub(super) ended: bool,
}

/// What becomes of a request.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "closed: whoever routes must act on each")]
pub enum Routing<A: Attach> {
    /// It goes to this target. A split may have made cookies, so that the caller's next request goes
    /// there too: [`Target::hash`] takes them, and hands all of them out for the response.
    Forward(Arc<Target<A>>, Vec<HeaderValue>),
    /// It is answered here, by a redirect or a direct response; an error: what the redirect makes of the
    /// request is no location.
    Reply(Arc<ReplyTarget<A>>, Result<Box<Response<Bytes>>, Reason>),
    /// It goes where its URI points, and is measured: the mesh only observes, or lets unknown hosts
    /// pass; then what is said of where it goes. `None`: the mesh only observes.
    Passthrough(Option<EgressVerdict>),
}

impl<A: Attach> Snapshot<A> {
    /// A snapshot before any configuration.
    pub(super) fn initial() -> Self {
        Self {
            router: Arc::default(),
            targets: Arc::new([]),
            tables: Arc::default(),
            clusters: Arc::default(),
            origin: Origin::default(),
            mode: Mode::default(),
            egress: Arc::default(),
            on_demand: None,
            secrets: Arc::default(),
            listeners: Arc::default(),
            absent_listeners: Arc::default(),
            generation: 0,
            applied_at: None,
            ended: false,
        }
    }

    /// Decides what becomes of a request.
    ///
    /// # Errors
    /// [`Reason::NotConfigured`] before the first configuration, [`Reason::ShutDown`] after the mesh
    /// has ended; otherwise what the router found
    /// missing: a virtual host, a route, the header that names the cluster, the cluster.
    pub fn route(
        &self,
        head: &RequestHead<'_>,
        random: &mut impl Random,
    ) -> Result<Routing<A>, Reason> {
        if self.mode == Mode::Observe {
            return Ok(Routing::Passthrough(None));
        }
        self.by_routes(head, random, true)
    }

    /// Decides what becomes of bytes that were meant for an address, which is the authority of `head`: only a domain
    /// that is just that takes them, for patterns are of names.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn route_address(
        &self,
        head: &RequestHead<'_>,
        random: &mut impl Random,
    ) -> Result<Routing<A>, Reason> {
        let is_known = self.mode == Mode::Observe || self.applied_at.is_none();
        if is_known || self.router.has_domain(head.authority) {
            return self.route(head, random);
        }
        self.leave(head)
    }

    /// Decides what becomes of a request by the routes of `authority`, whatever it says of itself. It goes there or
    /// nowhere: also where the mesh only observes, and where unknown hosts may pass.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn route_as(
        &self,
        authority: &str,
        head: &RequestHead<'_>,
        random: &mut impl Random,
    ) -> Result<Routing<A>, Reason> {
        self.by_routes(&RequestHead { authority, ..*head }, random, false)
    }

    /// Decides what becomes of a request, or of bytes, that `chain` of `listener` has let pass: by the chain's own
    /// routes. It goes there or nowhere. `taken`: the number of the route that the chain found for it
    /// ([`Router::take`]), which is not looked for again, so that it goes where its filters were asked for; `None`:
    /// none was, or the chain is not the one in force any more.
    ///
    /// # Errors
    /// As [`route`](Self::route); [`Reason::NoVirtualHost`] where the chain has no routes, or is gone.
    pub fn route_chain(
        &self,
        (listener, chain): (&str, &Arc<CompiledFilterChain>),
        taken: Option<u32>,
        head: &RequestHead<'_>,
        random: &mut impl Random,
    ) -> Result<Routing<A>, Reason> {
        self.configured()?;
        let (table, is_same) = self.tables.of(listener, chain).ok_or(Reason::NoVirtualHost)?;
        let decision = match taken.filter(|_| is_same) {
            Some(route) => table.router.take(route, head, random),
            None => table.router.route(head, random),
        };
        routing(decision.map_err(Reason::from)?, &table.targets, head)
    }

    fn configured(&self) -> Result<(), Reason> {
        match (self.applied_at, self.ended) {
            (Some(_), _) => Ok(()),
            (None, true) => Err(Reason::ShutDown),
            (None, false) => Err(Reason::NotConfigured),
        }
    }

    /// `leaves`: what no virtual host takes may go where it points.
    #[inline]
    fn by_routes(
        &self,
        head: &RequestHead<'_>,
        random: &mut impl Random,
        leaves: bool,
    ) -> Result<Routing<A>, Reason> {
        self.configured()?;
        match self.router.route(head, random) {
            Ok(decision) => routing(decision, &self.targets, head),
            Err(error) => match Reason::from(error) {
                Reason::NoVirtualHost if leaves => self.leave(head),
                reason => Err(reason),
            },
        }
    }

    /// A call that no virtual host takes.
    #[cold]
    fn leave(&self, head: &RequestHead<'_>) -> Result<Routing<A>, Reason> {
        let port = if head.scheme == Some("https") { 443 } else { 80 };
        let mut hosts = head.headers.get_all(header::HOST).iter().map(HeaderValue::to_str);
        let (host, several) = (hosts.next(), hosts.next().is_some());
        // What is no text is not the authority, and two are not one.
        let host = host.map(|host| host.ok().filter(|_| !several).unwrap_or_default());
        let model = self.egress.model();
        match self.egress.decide(head.authority, host, port) {
            // Where a list is learnt, what would be on it is told.
            EgressVerdict::Refused(_) if model.allow.is_empty() && model.learn.is_none() => {
                Err(Reason::NoVirtualHost)
            }
            EgressVerdict::Refused(why) => Err(Reason::EgressRefused(why)),
            verdict => Ok(Routing::Passthrough(Some(verdict))),
        }
    }

    /// Where calls may go that no virtual host serves.
    #[must_use]
    pub const fn egress(&self) -> &Arc<CompiledEgress> {
        &self.egress
    }

    /// Whether a call to `authority` need not wait for a source that works on demand: it has its answer,
    /// or the configuration is one that answers for all.
    #[must_use]
    pub fn has_answer(&self, authority: &str) -> bool {
        if self.ended || self.mode == Mode::Observe {
            return true;
        }
        let Some(answers) = &self.on_demand else { return self.applied_at.is_some() };
        match crate::scan::has_capital(authority.as_bytes()) {
            true => answers.contains_key(&*authority.to_ascii_lowercase()),
            false => answers.contains_key(authority),
        }
    }

    /// Why there are no routes for `authority`, when the source said so.
    #[must_use]
    pub fn absence(&self, authority: &str) -> Option<&Arc<str>> {
        let answers = self.on_demand.as_ref()?;
        match answers.get(&*authority.to_ascii_lowercase())? {
            Answer::Absent(why) => Some(why),
            Answer::Served => None,
        }
    }

    /// The compiled routes.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The cluster of this name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Arc<LiveCluster<A>>> {
        self.clusters.get(name)
    }

    /// All clusters, by name.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<LiveCluster<A>>> {
        self.clusters.values()
    }

    /// What is known of each secret that a cluster of it names.
    #[must_use]
    pub const fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// What servers do, by the names that they ask for. It is the same pointer for as long as nothing of
    /// it changes.
    #[must_use]
    pub const fn listeners(&self) -> &Arc<Listeners> {
        &self.listeners
    }

    /// Why there is no listener of this name, though a server asked for it; `None`: there is one, or nobody
    /// has an answer yet.
    #[must_use]
    pub fn absent_listener(&self, name: &str) -> Option<&Arc<str>> {
        self.absent_listeners.get(name)
    }

    /// Where the configuration comes from.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether the mesh acts or only measures.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Which snapshot it is, counted from 1; 0: there is no configuration yet. A new one comes with
    /// other routes, clusters, secrets or settings, or with another name; not with other endpoints alone.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// When it was published; `None`: there is no configuration yet.
    #[must_use]
    pub const fn applied_at(&self) -> Option<Timestamp> {
        self.applied_at
    }
}

/// What is behind a decision.
#[inline]
fn routing<A: Attach>(
    decision: Decision<'_>,
    targets: &Targets<A>,
    head: &RequestHead<'_>,
) -> Result<Routing<A>, Reason> {
    match decision {
        Decision::Forward { target, set_cookies, .. } => {
            let target = targets.get(target as usize).and_then(TargetSlot::forward);
            let target = target.ok_or(Reason::UnknownCluster)?;
            Ok(Routing::Forward(Arc::clone(target), set_cookies))
        }
        ref decision @ (Decision::Redirect { target, .. }
        | Decision::DirectResponse { target, .. }) => match targets.get(target as usize) {
            Some(TargetSlot::Reply(target)) => {
                Ok(Routing::Reply(Arc::clone(target), reply(decision, head).map(Box::new)))
            }
            _ => Err(Reason::NoRoute),
        },
        // gRFC A36: such a route is for servers.
        Decision::NonForwarding { .. } => Err(Reason::NoRoute),
    }
}

/// What a route answers by itself, with its header edits.
pub(crate) fn reply(
    decision: &Decision<'_>,
    head: &RequestHead<'_>,
) -> Result<Response<Bytes>, Reason> {
    let mut response = Response::new(Bytes::new());
    match decision {
        Decision::Redirect { redirect, .. } => {
            let location = redirect.location(head);
            let invalid = Failure::Protocol(ProtocolFailure::InvalidRequest);
            *response.status_mut() = redirect.status();
            let location = location.map_err(|_invalid_rewrite| Reason::Attempt(invalid))?;
            response.headers_mut().insert(header::LOCATION, location);
        }
        Decision::DirectResponse { response: direct, .. } => {
            *response.status_mut() = direct.status;
            // RFC 9110 9.3.2: an answer to HEAD has no content.
            if *head.method != Method::HEAD {
                *response.body_mut() = direct.body.clone();
            }
        }
        Decision::Forward { .. } | Decision::NonForwarding { .. } => {}
    }
    decision.route().edit_response(None, response.headers_mut());
    Ok(response)
}
