//! What is decided under the lock when a connection is retired just then, in each order.
#![cfg(feature = "tls")]

use super::*;
use crate::connect::h2;
use crate::connect::tests::{Bench, bounded, hyper_h1, hyper_h2};
use crate::tls::client_watch::Retire as _;
use mesh_core::model::Protocol;
use std::thread;

const WHY: CloseReason = CloseReason::Untrusted;

struct World {
    bench: Bench,
    shared: Arc<Shared>,
}

impl World {
    fn new(kind: Kind) -> Self {
        let bench = match kind {
            Kind::H1 => Bench::new(Protocol::Http1, hyper_h1()),
            Kind::H2 => Bench::new(Protocol::Http2, hyper_h2()),
        };
        let shared = Arc::new(Shared::new(Address::Socket(([127, 0, 0, 1], 80).into())));
        Self { bench, shared }
    }

    /// What a call gets.
    async fn granted(&self, kind: Kind) -> Grant {
        match self.shared.ask(kind, &self.bench.settings, RoutingPriority::Default) {
            Place::Granted(grant) => grant,
            Place::Queued(_ticket, answer) => match bounded(answer).await.unwrap() {
                Ok(granted) => granted.grant,
                Err(refusal) => panic!("{refusal:?}"),
            },
            Place::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    async fn h1(&self) -> Box<H1Connection> {
        let Grant::H1(checkout) = self.granted(Kind::H1).await else { panic!("it is HTTP/2") };
        checkout.take().unwrap()
    }

    async fn h2(&self) -> Arc<H2Connection> {
        drop(self.granted(Kind::H2).await);
        Arc::clone(&self.shared.h2.load().as_ref().unwrap()[0])
    }

    /// Its attempt has made a connection that the pool does not know yet.
    fn not_yet(&self, kind: Kind) {
        let mut lanes = self.shared.lanes.lock();
        let lane = lanes.as_mut().unwrap().lane(kind);
        (lane.connecting, lane.usable) = (lane.connecting + 1, lane.usable - 1);
        self.shared.h2.store(None);
    }

    /// Attempts, connections that take calls, and those that are idle.
    fn counts(&self, kind: Kind) -> (u32, i32, usize) {
        let mut lanes = self.shared.lanes.lock();
        let lanes = lanes.as_mut().unwrap();
        let idle = lanes.idle_count();
        let lane = lanes.lane(kind);
        (lane.connecting, lane.usable, idle)
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_retired_before_it_is_given_back_is_not_idle() {
    let world = World::new(Kind::H1);
    let connection = world.h1().await;
    let (id, retirement) = (connection.id(), connection.retirement());
    // Its task found it good just before.
    retirement.retire(WHY);
    world.shared.offer_h1(connection);
    assert_eq!(world.counts(Kind::H1), (0, 0, 0));
    assert_ne!(world.h1().await.id(), id);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_is_being_retired_is_not_taken() {
    let world = World::new(Kind::H1);
    let connection = world.h1().await;
    let retirement = connection.retirement();
    world.shared.offer_h1(connection);
    assert_eq!(world.counts(Kind::H1), (0, 1, 1));
    thread::scope(|scope| {
        let mut lanes = world.shared.lanes.lock();
        scope.spawn(|| retirement.retire(WHY));
        // It waits for the lock.
        while retirement.is_there() {
            thread::yield_now();
        }
        assert!(lanes.as_mut().unwrap().take_idle().is_none());
    });
    assert_eq!(world.counts(Kind::H1), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_http1_that_is_retired_before_the_pool_knows_it_is_counted_out() {
    let world = World::new(Kind::H1);
    let connection = world.h1().await;
    let (id, retirement) = (connection.id(), connection.retirement());
    world.not_yet(Kind::H1);
    retirement.retire(WHY);
    world.shared.opened_h1(connection, Took::default());
    assert_eq!(world.counts(Kind::H1), (0, 0, 0));
    assert_ne!(world.h1().await.id(), id);
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_http2_that_is_retired_before_the_pool_knows_it_keeps_nobody_waiting() {
    let world = World::new(Kind::H2);
    let connection = world.h2().await;
    world.not_yet(Kind::H2);
    h2::Retirement::of(&connection).retire(WHY);
    world.shared.opened_h2(&connection, Took::default());
    assert_eq!(world.counts(Kind::H2), (0, 0, 0));
    assert!(!Arc::ptr_eq(&world.h2().await, &connection));
    assert_eq!(world.counts(Kind::H2), (0, 1, 0));
}
