//! [`Pass`]: one request's way through a chain.

use super::ask::{AskDecision, Question};
use super::asking::Known;
use super::body_size_limit::{self, BodyLimit, Bounds};
use super::chain::{Chain, CompiledFilter, Filter};
use super::held::Holds;
use super::narrowed::NarrowedChain;
use super::overrides::Overrides;
use super::reply::FilterReply;
use crate::head::{Peer, RequestHead};
use crate::model::Metadata;
use crate::random::SplitMix64;
use crate::rbac::{CompiledRbacFilter, Connection, NarrowedFilter, RbacDecision, Request};
use crate::time::{Timestamp, WallTime};
use http::StatusCode;
use http::request::Parts;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What filters may see, and change.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct FilterContext<'a> {
    /// The head of the request.
    pub request: &'a mut Parts,
    /// The connection that it came on.
    pub connection: &'a Connection<'a>,
    /// What that connection has decided of the chain, if it was [asked](Chain::narrow).
    pub narrowed: Option<&'a NarrowedChain>,
    /// Who made it, where somebody trusted says so; else the connection's other end.
    pub remote: Option<SocketAddr>,
    /// The time that intervals are measured by.
    pub now: Timestamp,
    /// The time of day.
    pub wall: WallTime,
}

/// One request's way through a chain.
///
/// It holds what filters gave (a place below a limit), and gives it back once: at
/// [`handle_end`](Self::handle_end), or when it is dropped, which counts as cancelled.
#[derive(Debug)]
pub struct Pass {
    /// The filter that is asked next.
    pub(super) next: usize,
    /// What answers left behind.
    pub(super) known: Option<Box<Known>>,
    pub(super) random: SplitMix64,
    holds: Holds,
    /// Boxed: most chains bound no body, and a request is moved a few times.
    body_bounds: Option<Box<Bounds>>,
    /// The last time that was told.
    seen: Timestamp,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct End {
    /// The status of HTTP; `None`: there was no answer.
    pub status: Option<StatusCode>,
    /// The status of gRPC, of head or trailers; `None`: there was none.
    pub grpc_status: Option<u32>,
    /// Whether the answer did not come to its end: the caller went away, or the body broke.
    pub cancelled: bool,
}

/// What a filter sees of the pass that asks it.
pub(super) struct Call<'a> {
    /// The filter's name.
    pub(super) name: &'a Arc<str>,
    /// The filter's place.
    pub(super) at: usize,
    pub(super) random: &'a mut SplitMix64,
    pub(super) holds: &'a mut Holds,
    pub(super) body_bounds: &'a mut Option<Box<Bounds>>,
}

/// What the adapter has to do.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Step {
    /// The request goes on to the service.
    Continue,
    /// It is answered by this.
    Reply(Box<FilterReply>),
    /// It waits until then; then [`Pass::handle_delay_over`].
    Delay(Timestamp),
    /// Somebody outside is asked; then [`Pass::handle_answer`].
    Ask(Box<Question>),
}

/// Who is told of what filters decided, as it happens: metrics, logs.
pub trait FilterObserver {
    /// The filter called `filter` decided.
    fn told(&mut self, filter: &Arc<str>, what: Told<'_>);
}

impl<F: FnMut(&Arc<str>, Told<'_>)> FilterObserver for F {
    fn told(&mut self, filter: &Arc<str>, what: Told<'_>) {
        self(filter, what);
    }
}

/// What a filter decided.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Told<'a> {
    /// Who may do what: what was enforced, and what the shadow rules say; and about what.
    Rbac(RbacDecision<'a>, &'a Request<'a>),
    /// A limit.
    Limit(Limit),
    /// A fault on purpose.
    Fault(Injected),
    /// Tokens, an authorizer, or whoever counts requests.
    Asked(AskDecision<'a>),
}

/// What a fault filter did to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: delayed, answered, or left alone")]
pub enum Injected {
    /// It waits for so long.
    Delay(Duration),
    /// It is answered by this status of HTTP, and of gRPC if that was configured.
    Abort(StatusCode, Option<u32>),
    /// Nothing: too many requests have a fault already (Envoy: `faults_overflow`).
    Overflow,
}

/// What a limit decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: within, beyond, and beyond in shadow mode")]
pub enum Limit {
    /// It is within the limit.
    Allowed,
    /// It is beyond it, and refused.
    Limited,
    /// It is beyond it, and goes on, for the limit is not enforced.
    WouldBeLimited,
}

impl Pass {
    /// A request that no filter has seen. `random` is drawn for it, uniform over all of `u64`: what
    /// filters draw (shares of requests, odds) follows from it.
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self {
            next: 0,
            known: None,
            random: SplitMix64::new(random),
            holds: Holds::default(),
            body_bounds: None,
            seen: Timestamp::ZERO,
        }
    }

    /// Asks the filters, from the first on.
    pub fn start(
        &mut self,
        chain: &Chain,
        overrides: &Overrides,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Step {
        (self.next, self.known) = (0, None);
        self.go_on(chain, overrides, cx, observer)
    }

    /// The time that a filter asked for is over.
    pub fn handle_delay_over(
        &mut self,
        chain: &Chain,
        overrides: &Overrides,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Step {
        self.seen = cx.now;
        let at = self.next.saturating_sub(1);
        if let Some(own) = chain.filters.get(at)
            && let Some(Filter::Fault(fault)) = overrides.effective(at, own)
            && let Some(step) = fault.ask_after_delay(&mut self.call(own, at), cx, observer)
        {
            return step;
        }
        self.go_on(chain, overrides, cx, observer)
    }

    /// The bound on the request's body that is enforced, of the filters that were asked: the adapter counts the
    /// body as it comes, lets nothing through from the first byte beyond, and calls
    /// [`handle_body`](Self::handle_body).
    #[must_use]
    pub fn body_limit(&self) -> Option<&BodyLimit> {
        self.body_bounds.as_ref()?.enforced()
    }

    /// The smallest bound on the body, enforced or not: a body that may be larger has to be counted.
    #[must_use]
    pub fn counts_body(&self) -> Option<u64> {
        self.body_bounds.as_ref().map(|bounds| bounds.least())
    }

    /// Of the body so many bytes came, and no more will, or no more are let through: each filter that bounds it
    /// tells what it says of that. The answer to one that is too large, where there is no answer yet. Later calls
    /// do nothing. To be called of every request, at its end if not before: of one without a body, with 0.
    pub fn handle_body(
        &mut self,
        read: u64,
        observer: &mut impl FilterObserver,
    ) -> Option<FilterReply> {
        self.body_bounds.take()?.tell(read, observer)
    }

    /// Whether [`handle_response`](Self::handle_response) has anything to do: for a request that nothing was
    /// held or asked for, in a chain that edits no headers, it has not.
    #[must_use]
    pub fn sees_response(&self, chain: &Chain) -> bool {
        let asked = chain.filters.iter().take(self.next);
        !self.holds.is_empty()
            || self.known.is_some()
            || asked.into_iter().any(|own| matches!(own.filter, Filter::HeaderMutation(_)))
    }

    /// The head of the answer is there, be it the service's or a filter's reply: the filters that saw
    /// the request see it, the last first, and may change it. `chain` and `overrides` are those that
    /// the request was started with.
    pub fn handle_response(
        &mut self,
        chain: &Chain,
        overrides: &Overrides,
        response: &mut http::response::Parts,
        now: Timestamp,
    ) {
        self.seen = now;
        self.holds.see_response(response, now);
        self.edit_response(&mut response.headers);
        let asked = chain.filters.iter().enumerate().take(self.next);
        for (at, own) in asked.rev() {
            match overrides.effective(at, own) {
                Some(Filter::HeaderMutation(edits)) => edits.edit_response(&mut response.headers),
                Some(Filter::LocalRateLimit(limit)) => {
                    if let Some(key) = self.holds.rate_key(at) {
                        limit.write_rest(key, &mut response.headers, now);
                    }
                }
                Some(
                    Filter::Rbac(_)
                    | Filter::Jwt(_)
                    | Filter::ExtAuthz(_)
                    | Filter::RateLimit(_)
                    | Filter::ConcurrencyLimit(_)
                    | Filter::AdaptiveConcurrency(_)
                    | Filter::AdmissionControl(_)
                    | Filter::Fault(_)
                    | Filter::BodySizeLimit(_),
                )
                | None => {}
            }
        }
    }

    /// The answer is over, or will not come: what is held is given back. Later calls do nothing, and
    /// so does dropping. Whatever is held knows its filter: another configuration may be in force by now.
    pub fn handle_end(&mut self, end: End, now: Timestamp) {
        self.seen = now;
        self.holds.release(Some(&end), now);
    }

    pub(super) fn go_on(
        &mut self,
        chain: &Chain,
        overrides: &Overrides,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Step {
        self.seen = cx.now;
        while let Some(own) = chain.filters.get(self.next) {
            let at = self.next;
            self.next += 1;
            let Some(filter) = overrides.effective(at, own) else { continue };
            let step = match filter {
                Filter::Rbac(rbac) => {
                    let is_own = std::ptr::eq(filter, &raw const own.filter);
                    let narrowed = cx.narrowed.filter(|_| is_own).and_then(|all| all.get(at));
                    let route = overrides.metadata();
                    self.ask_rbac((rbac, &own.name), narrowed, route, cx, observer)
                }
                Filter::Jwt(jwt) => self.ask_tokens(&own.name, jwt, cx, observer),
                Filter::ExtAuthz(authz) => self.ask_authorizer(&own.name, authz, cx, observer),
                Filter::RateLimit(limit) => {
                    self.ask_limit(&own.name, limit, overrides.metadata(), cx)
                }
                Filter::LocalRateLimit(limit) => limit.ask(&mut self.call(own, at), cx, observer),
                Filter::ConcurrencyLimit(limit) => limit.ask(&mut self.call(own, at), observer),
                Filter::AdaptiveConcurrency(limit) => {
                    limit.ask(&mut self.call(own, at), cx, observer)
                }
                Filter::AdmissionControl(control) => {
                    control.ask(&mut self.call(own, at), cx, observer)
                }
                Filter::Fault(fault) => fault.ask(&mut self.call(own, at), cx, observer),
                Filter::BodySizeLimit(limit) => {
                    body_size_limit::ask(limit, &mut self.call(own, at), cx, observer)
                }
                Filter::HeaderMutation(edits) => {
                    edits.edit_request(&mut cx.request.headers);
                    None
                }
            };
            if let Some(step) = step {
                return step;
            }
        }
        Step::Continue
    }

    /// Who may do what. What shadow rules say is left for filters that come later.
    fn ask_rbac(
        &mut self,
        (rbac, name): (&CompiledRbacFilter, &Arc<str>),
        narrowed: Option<&NarrowedFilter>,
        route: Option<&Metadata>,
        cx: &FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let head = head_of(cx.request, cx.connection);
        let mut request = Request::new(&head, cx.connection);
        request.route_metadata = route;
        (request.remote, request.metadata) = (cx.remote, self.metadata());
        (request.time, request.version) = (Some(cx.wall), Some(cx.request.version));
        let decision = rbac.decide_narrowed(narrowed, &request);
        observer.told(name, Told::Rbac(decision, &request));
        if let Some(shadow) = decision.shadow {
            rbac.write_shadow(&shadow, &mut self.known().metadata);
        }
        let denied = decision.denied()?;
        Some(Step::Reply(Box::new(FilterReply::denied(name, &denied))))
    }

    fn call<'a>(&'a mut self, own: &'a CompiledFilter, at: usize) -> Call<'a> {
        Call {
            name: &own.name,
            at,
            random: &mut self.random,
            holds: &mut self.holds,
            body_bounds: &mut self.body_bounds,
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.holds.release(None, self.seen);
    }
}

/// What policies see of a head.
pub(super) fn head_of<'a>(request: &'a Parts, connection: &Connection<'a>) -> RequestHead<'a> {
    let uri = &request.uri;
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let authority = match uri.authority() {
        Some(authority) => crate::head::without_userinfo(authority.as_str()),
        None => {
            let host = request.headers.get(http::header::HOST);
            host.and_then(|host| host.to_str().ok()).unwrap_or_default()
        }
    };
    let mut head = RequestHead::new(&request.method, authority, path, &request.headers);
    head.scheme = uri.scheme_str();
    let identity = connection.peer.principals().next().filter(|name| !name.is_empty());
    head.peer = Peer { address: connection.direct_remote, identity };
    head
}
