//! [`Pass`]: one request's way through a chain.

use super::ask::{AskDecision, Question};
use super::asking::Known;
use super::chain::{Chain, Filter, Overrides};
use super::reply::FilterReply;
use crate::head::{Peer, RequestHead};
use crate::rbac::{Connection, RbacDecision, Request};
use crate::time::{Timestamp, WallTime};
use http::request::Parts;
use std::sync::Arc;

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
    /// The time that intervals are measured by.
    pub now: Timestamp,
    /// The time of day.
    pub wall: WallTime,
}

/// One request's way through a chain.
#[derive(Debug, Default)]
pub struct Pass {
    /// The filter that is asked next.
    pub(super) next: usize,
    /// What answers left behind.
    pub(super) known: Option<Box<Known>>,
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
    /// Tokens, an authorizer, or whoever counts requests.
    Asked(AskDecision<'a>),
}

impl Pass {
    /// A request that no filter has seen.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: 0, known: None }
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
        self.go_on(chain, overrides, cx, observer)
    }

    pub(super) fn go_on(
        &mut self,
        chain: &Chain,
        overrides: &Overrides,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Step {
        while let Some(own) = chain.filters.get(self.next) {
            let at = self.next;
            self.next += 1;
            let Some(filter) = overrides.effective(at, own) else { continue };
            match filter {
                Filter::Rbac(rbac) => {
                    let head = head_of(cx.request, cx.connection);
                    let mut request = Request::new(&head, cx.connection);
                    request.metadata = self.metadata();
                    let decision = rbac.decide(&request);
                    observer.told(&own.name, Told::Rbac(decision, &request));
                    if let Some(denied) = decision.denied() {
                        return Step::Reply(Box::new(FilterReply::denied(&own.name, &denied)));
                    }
                }
                Filter::Jwt(jwt) => {
                    if let Some(step) = self.ask_tokens(&own.name, jwt, cx, observer) {
                        return step;
                    }
                }
                Filter::ExtAuthz(authz) => return self.ask_authorizer(&own.name, authz, cx),
                Filter::RateLimit(limit) => {
                    if let Some(step) = self.ask_limit(&own.name, limit, cx) {
                        return step;
                    }
                }
            }
        }
        Step::Continue
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
