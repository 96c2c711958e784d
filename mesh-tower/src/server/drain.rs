//! [`Drains`]: how connections end without losing a call.
//!
//! ```text
//!  a server ends, a chain is another one, or a client is not believed any more
//!     │
//!     ├─ HTTP/2: GOAWAY for streams to come, a round trip, GOAWAY for good (RFC 9113 section 6.8)
//!     ├─ HTTP/1.1: `connection: close` with each answer, for a while; then who is silent is closed
//!     └─ at the deadline: closed, whatever is in flight
//! ```
//!
//! An idle connection of HTTP/1.1 has no way to say that it is about to be closed: a request may be on its
//! way. So those are closed last, when whoever is busy has had an answer that says so.
//!
//! What it does not do: tell that the server ends. That comes first ([`MeshServer::drain`]).
//!
//! [`MeshServer::drain`]: super::MeshServer::drain

use super::detect::Carried;
use super::listen::elsewhere;
use super::open::Outlived;
use crate::observe::port::Drained;
use mesh_core::WallTime;
use mesh_core::inbound::{CompiledFilterChain, CompiledListener};
use mesh_core::model::Address;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long silent connections of HTTP/1.1 are kept, at most; half the deadline, if that is less.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// How long connections have that end for another reason than the server's end (gRFC A36, of a chain that is
/// another one: ten minutes).
pub(super) const CHANGED: Duration = Duration::from_secs(600);

/// When a connection ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// When silent connections are closed.
    pub(super) quiet: Instant,
    /// When all are closed; `None`: never.
    pub(super) deadline: Option<Instant>,
    /// Why.
    pub(super) why: Drained,
}

/// The connections of a server, by what would end them.
#[derive(Debug)]
pub(super) struct Drains {
    state: Mutex<State>,
    open: watch::Sender<usize>,
    /// Who accepts.
    accepting: watch::Sender<usize>,
    /// The end of the whole server.
    all: watch::Sender<Option<Plan>>,
}

#[derive(Debug, Default)]
struct State {
    groups: Vec<Group>,
    /// Another server is at its address, or none: no connection stays, whatever the configuration has.
    is_replaced: bool,
}

/// Connections that were accepted by the same chain, at the same address.
#[derive(Debug)]
struct Group {
    chain: Arc<CompiledFilterChain>,
    carried: Carried,
    bound: Option<Address>,
    plan: watch::Sender<Option<Plan>>,
}

/// What a connection was accepted by.
#[derive(Clone, Copy, Debug)]
pub(super) struct By<'a> {
    pub(super) chain: &'a Arc<CompiledFilterChain>,
    pub(super) carried: Carried,
    /// Where; `None`: its socket is not the server's.
    pub(super) bound: Option<&'a Address>,
}

impl Group {
    const fn by(&self) -> By<'_> {
        By { chain: &self.chain, carried: self.carried, bound: self.bound.as_ref() }
    }
}

/// A connection's place among those that are drained.
#[derive(Debug)]
pub(super) struct Place {
    plan: watch::Receiver<Option<Plan>>,
    open: watch::Sender<usize>,
    /// The plan by which the connection ends, once it was told.
    pub(super) told: Option<Plan>,
}

/// What is waited for, though it has no place yet: who accepts, and who was accepted.
#[derive(Debug)]
pub(super) struct Entered(watch::Sender<usize>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }
}

impl Place {
    /// Waits until the connection is to end.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn drained(&mut self) -> Plan {
        let planned = match self.plan.wait_for(Option::is_some).await {
            Ok(plan) => *plan,
            Err(_) => None,
        };
        match planned {
            Some(plan) => plan,
            // The server is gone without a word: its connections stay until they end.
            None => std::future::pending().await,
        }
    }
}

impl Plan {
    /// One that begins now.
    pub(super) fn within(deadline: Duration, why: Drained) -> Self {
        let now = Instant::now();
        Self { quiet: now + QUIET.min(deadline / 2), deadline: now.checked_add(deadline), why }
    }

    /// One of a connection that has outlived what it was accepted by.
    pub(super) fn of(outlived: Outlived) -> Self {
        let why = match outlived {
            Outlived::CertificateEnded => Drained::CertificateEnded,
            Outlived::OwnCertificateEnded => Drained::OwnCertificateEnded,
            Outlived::Revoked => Drained::Revoked,
            Outlived::Untrusted => Drained::Untrusted,
        };
        Self::within(CHANGED, why)
    }
}

impl Drains {
    pub(super) fn new() -> Self {
        let [open, accepting] = [0, 0].map(watch::Sender::new);
        Self { state: Mutex::default(), open, accepting, all: watch::Sender::new(None) }
    }

    /// The end of the server waits for who has entered.
    pub(super) fn enter(&self) -> Entered {
        self.open.send_modify(|open| *open += 1);
        Entered(self.open.clone())
    }

    /// Somebody accepts, until the guard is dropped.
    pub(super) fn accepts(&self) -> Entered {
        self.accepting.send_modify(|accepting| *accepting += 1);
        Entered(self.accepting.clone())
    }

    /// Waits until nobody accepts.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn accepted(&self) {
        let mut accepting = self.accepting.subscribe();
        // The sender is here.
        drop(accepting.wait_for(|accepting| *accepting == 0).await);
    }

    /// A place for a connection, while what `listener` gives is in force. If the chain is another one by now, the listener
    /// elsewhere, or the server ends, it is drained from the first request on. Both are looked at under the lock, so that what changes
    /// later finds the connection.
    pub(super) fn join(
        &self,
        by: By<'_>,
        listener: impl FnOnce() -> Option<Arc<CompiledListener>>,
        today: WallTime,
    ) -> Place {
        self.open.send_modify(|open| *open += 1);
        let mut state = self.state.lock();
        let all = *self.all.borrow();
        let ends = all.or_else(|| {
            let stays = !state.is_replaced && fits(by, listener().as_deref(), today);
            (!stays).then(|| Plan::within(CHANGED, Drained::Configuration))
        });
        state.groups.retain(|group| group.plan.receiver_count() > 0);
        let same = |group: &&Group| {
            ends.is_none()
                && group.plan.borrow().is_none()
                && group.carried == by.carried
                && group.bound.as_ref() == by.bound
                && is_same(by, &group.chain)
        };
        let plan = if let Some(group) = state.groups.iter().find(same) {
            group.plan.subscribe()
        } else {
            let plan = watch::Sender::new(ends);
            let receiver = plan.subscribe();
            let (chain, bound) = (Arc::clone(by.chain), by.bound.cloned());
            state.groups.push(Group { chain, carried: by.carried, bound, plan });
            receiver
        };
        Place { plan, open: self.open.clone(), told: None }
    }

    /// `listener` is in force: connections of chains that are gone, over, or secured otherwise end, and those that were
    /// accepted where the listener is no more (gRFC A36).
    pub(super) fn changed(&self, listener: Option<&CompiledListener>, today: WallTime) {
        let mut state = self.state.lock();
        state.groups.retain(|group| group.plan.receiver_count() > 0);
        for group in &state.groups {
            if state.is_replaced || !fits(group.by(), listener, today) {
                group.plan.send_if_modified(|plan| {
                    let is_new = plan.is_none();
                    if is_new {
                        *plan = Some(Plan::within(CHANGED, Drained::Configuration));
                    }
                    is_new
                });
            }
        }
    }

    /// The server is not the one of its listener any more: its connections end as those of a chain that is gone.
    pub(super) fn replaced(&self, today: WallTime) {
        self.state.lock().is_replaced = true;
        self.changed(None, today);
    }

    /// Ends all connections, those to come too. Of several deadlines the earliest counts.
    pub(super) fn all(&self, mut plan: Plan) {
        self.all.send_modify(|all| {
            let before = all.as_ref().and_then(|before| before.deadline);
            plan.deadline = plan.deadline.into_iter().chain(before).min();
            *all = Some(plan);
        });
        for group in &self.state.lock().groups {
            group.plan.send_replace(Some(plan));
        }
    }

    /// Waits until the whole server ends.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn ending(&self) -> Plan {
        let mut all = self.all.subscribe();
        let planned = match all.wait_for(Option::is_some).await {
            Ok(plan) => *plan,
            Err(_) => None,
        };
        match planned {
            Some(plan) => plan,
            // The sender is here.
            None => std::future::pending().await,
        }
    }

    /// Waits for the deadline of the server's end, which a later drain may bring forward.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn over(&self) {
        let mut all = self.all.subscribe();
        loop {
            let deadline = all.borrow_and_update().and_then(|plan| plan.deadline);
            tokio::select! {
                () = until(deadline) => return,
                // The sender is here.
                _changed = all.changed() => {}
            }
        }
    }

    /// Waits until the whole server ends, and who has said nothing yet is waited for no longer.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn quiet(&self) {
        let plan = self.ending().await;
        tokio::time::sleep_until(plan.quiet).await;
    }

    /// Waits until no connection is open.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn empty(&self) {
        let mut open = self.open.subscribe();
        // The sender is here.
        drop(open.wait_for(|open| *open == 0).await);
    }
}

/// Waits for a deadline, if there is one.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Whether connections that were accepted so may stay.
fn fits(by: By<'_>, listener: Option<&CompiledListener>, today: WallTime) -> bool {
    let here = listener.filter(|listener| {
        let ends = listener.model().address.as_ref().zip(by.bound);
        ends.is_none_or(|(configured, bound)| elsewhere(configured, bound).is_none())
    });
    let next = here.and_then(|listener| listener.chain(&by.chain.model().name));
    next.is_some_and(|next| {
        let is_over = next.model().until.is_some_and(|until| until <= today);
        !is_over && is_same(by, next)
    })
}

/// Requests are asked for themselves, by what is in force. Bytes were asked about once.
fn is_same(by: By<'_>, other: &CompiledFilterChain) -> bool {
    let By { chain, carried, .. } = by;
    let (one, two) = (chain.model(), other.model());
    let admits = || one.admits_as(two) && one.tls == two.tls;
    let asks = || carried == Carried::Requests || chain.asks_bytes_as(other);
    Arc::ptr_eq(one, two) || (admits() && asks())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::model::filter_chain::TransportProtocol::{RawBuffer, Tls};
    use mesh_core::model::rbac::RbacFilter;
    use mesh_core::model::tls::DownstreamTls;
    use mesh_core::model::{
        FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig, Listener,
    };

    fn listener(name: &str, set: impl FnOnce(&mut FilterChain)) -> Arc<CompiledListener> {
        let mut chain = FilterChain::new(name, None);
        set(&mut chain);
        let mut listener = Listener::new("l");
        listener.filter_chains = vec![Arc::new(chain)];
        Arc::new(CompiledListener::compile(&Arc::new(listener), None).unwrap())
    }

    /// Whether a connection of the chain `a` ends when `next` is in force.
    #[track_caller]
    fn check(next: Option<&CompiledListener>, expected: bool) {
        check_of((listener("a", |_| {}), Carried::Requests), next, expected);
    }

    #[track_caller]
    fn check_of(
        (before, carried): (Arc<CompiledListener>, Carried),
        next: Option<&CompiledListener>,
        expected: bool,
    ) {
        let drains = Drains::new();
        let today = WallTime::from_unix_seconds(100);
        let by = By { chain: &before.chains()[0], carried, bound: None };
        let place = drains.join(by, || Some(Arc::clone(&before)), today);
        assert!(place.plan.borrow().is_none());
        drains.changed(next, today);
        assert_eq!(place.plan.borrow().is_some(), expected, "{next:?}");
    }

    #[test]
    fn what_ends_the_connections_of_a_chain() {
        check(Some(&listener("a", |_| {})), false);
        check(Some(&listener("a", |chain| chain.handshake_timeout = Duration::ZERO)), false);
        check(Some(&listener("b", |_| {})), true);
        check(Some(&listener("a", |chain| chain.matcher.source_ports = vec![1])), true);
        let rbac = RbacFilter::default();
        check(Some(&listener("a", |chain| chain.network_rbac = vec![Arc::new(rbac)])), true);
        check(None, true);
        check(
            Some(&listener("a", |chain| chain.tls = Some(Arc::new(DownstreamTls::mutual())))),
            true,
        );
        let secured = |transport| {
            listener("a", |chain| {
                chain.tls = Some(Arc::new(DownstreamTls::mutual()));
                chain.matcher.transport_protocol = transport;
            })
        };
        for (before, next, ends) in [
            (None, Some(Tls), false),
            (Some(Tls), None, false),
            (None, Some(RawBuffer), true),
            (Some(RawBuffer), None, true),
        ] {
            check_of((secured(before), Carried::Requests), Some(&secured(next)), ends);
        }
        let plaintext = |transport| listener("a", |c| c.matcher.transport_protocol = transport);
        check(Some(&plaintext(Some(RawBuffer))), true);
        let until = |seconds| {
            move |chain: &mut FilterChain| chain.until = Some(WallTime::from_unix_seconds(seconds))
        };
        check(Some(&listener("a", until(101))), false);
        check(Some(&listener("a", until(100))), true);
    }

    #[test]
    fn bytes_end_with_the_rule_that_let_them_pass() {
        let detecting = |filters: usize| {
            let filter =
                |at: usize| HttpFilter::new(at.to_string(), HttpFilterConfig::Rbac(Arc::default()));
            let http = HttpConnectionManager::serving((0..filters).map(filter).collect());
            move |chain: &mut FilterChain| {
                chain.http = Some(Arc::new(http));
                chain.detect = Some(Duration::from_secs(5));
            }
        };
        let one = || listener("a", detecting(1));
        let later = listener("a", |chain| {
            detecting(1)(chain);
            chain.detect = Some(Duration::from_secs(1));
        });
        let other = listener("a", detecting(2));
        let http = listener("a", |chain| {
            detecting(1)(chain);
            chain.detect = None;
        });
        let bytes = listener("a", |_| {});
        for (carried, next, expected) in [
            (Carried::Bytes, &one(), false),
            (Carried::Bytes, &later, false),
            (Carried::Bytes, &other, true),
            (Carried::Bytes, &http, true),
            (Carried::Bytes, &bytes, true),
            (Carried::Requests, &other, false),
        ] {
            check_of((one(), carried), Some(next), expected);
        }
    }

    /// gRFC A36.
    #[test]
    fn connections_end_where_the_listener_is_no_more() {
        let at = |port: u16| Address::Socket(([127, 0, 0, 1], port).into());
        let moved = |port: Option<u16>| {
            let mut next = Listener::clone(listener("a", |_| {}).model());
            next.address = port.map(at);
            Arc::new(CompiledListener::compile(&Arc::new(next), None).unwrap())
        };
        let (drains, today) = (Drains::new(), WallTime::from_unix_seconds(0));
        let join = |bound: Option<&Address>, listener: &Arc<CompiledListener>| {
            let by = By { chain: &listener.chains()[0], carried: Carried::Requests, bound };
            drains.join(by, || Some(Arc::clone(listener)), today)
        };
        let [one, two] = [1, 2].map(at);
        let before = moved(None);
        let places = [Some(&one), Some(&two), None].map(|bound| join(bound, &before));
        let ends = || places.each_ref().map(|place| place.plan.borrow().is_some());
        drains.changed(Some(&moved(Some(0))), today);
        assert_eq!(ends(), [false; 3], "port 0 is any");
        drains.changed(Some(&moved(Some(2))), today);
        assert_eq!(ends(), [true, false, false]);
        // Its handshake took longer than that.
        let late = join(Some(&one), &moved(Some(2)));
        assert!(late.plan.borrow().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_the_server_ends_is_drained_and_waited_for() {
        let (before, drains) = (listener("a", |_| {}), Drains::new());
        drains.all(Plan::within(Duration::from_secs(5), Drained::ShutDown));
        drains.ending().await;
        drains.empty().await;
        let today = WallTime::from_unix_seconds(0);
        let by = By { chain: &before.chains()[0], carried: Carried::Requests, bound: None };
        let mut late = drains.join(by, || Some(Arc::clone(&before)), today);
        let plan = late.drained().await;
        assert_eq!(plan.deadline.map(|at| at - Instant::now()), Some(Duration::from_secs(5)));
        let waits = tokio::time::timeout(Duration::from_secs(1), drains.empty()).await;
        assert!(waits.is_err(), "it is open");
        drop(late);
        drains.empty().await;
    }
}
