//! A source takes over from another one that is in the middle of something.

use super::super::{Identities, IdentitySink, IdentitySource};
use super::ca::{Ca, Odd};
use crate::clock::{self, pretend};
use futures_core::future::BoxFuture;
use mesh_core::identity::RotationOptions;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Hands its sink to the test, and says when it is asked.
#[derive(Debug)]
struct Handed(mpsc::UnboundedSender<IdentitySink>);

impl IdentitySource for Handed {
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                self.0.send(sink.clone()).unwrap();
                sink.wanted().await;
            }
        })
    }

    fn rotation(&self) -> RotationOptions {
        let mut options = RotationOptions::default();
        options.renew_at = None;
        options
    }
}

fn serial(identities: &Identities) -> Arc<str> {
    Arc::clone(&identities.current().unwrap().certificate().serial)
}

#[test]
fn who_was_taken_over_from_says_nothing() {
    let (ca, identities) = (Ca::new(), Identities::new(None));
    let material = || ca.material(&ca.issue(Odd::default()));
    let before = identities.sink();
    before.publish(material()).unwrap();
    // It verified by what was expected then, and says so only now.
    let late = before.verify(material()).unwrap();
    identities.expect(None);
    let sink = identities.sink();
    sink.publish(material()).unwrap();
    let (good, trust) = (serial(&identities), identities.trust().unwrap());
    before.publish_verified(late);
    before.publish(material()).unwrap();
    before.failed(&"away");
    before.failed_again(&"away");
    before.unchanged();
    assert!(!before.revoke(&[ca.revoke(&[]).into_bytes().into()]));
    assert_eq!(serial(&identities), good);
    assert!(Arc::ptr_eq(&trust, &identities.trust().unwrap()));
    let status = identities.status();
    assert_eq!((status.failures, status.error), (0, None));
    sink.failed(&"away");
    before.restored();
    assert!(identities.status().error.is_some());
}

/// Whoever watched over the one before leaves what happens, and what is wanted, to its successor.
#[tokio::test(start_paused = true)]
async fn what_happens_is_for_the_successor() {
    pretend(clock::wall());
    let (ca, identities) = (Ca::new(), Identities::new(None));
    let run = |turn| {
        let (sender, sinks) = mpsc::unbounded_channel();
        let running = identities.clone();
        let source = Box::new(Handed(sender));
        (sinks, tokio::spawn(async move { running.run_in(turn, source).await }))
    };
    let (mut before, old) = run(identities.turn());
    before.recv().await.unwrap();
    // Nobody ends it: it is in the middle of something.
    let turn = identities.expect(None);
    let (mut after, new) = run(turn);
    let sink = after.recv().await.unwrap();
    let life = Some((-10, 90));
    sink.publish(ca.material(&ca.issue(Odd { life, ..Odd::default() }))).unwrap();
    sleep(Duration::from_secs(45)).await;
    assert_eq!(identities.status().warned, Some(50), "somebody watches over it");
    assert!(old.is_finished());
    identities.reload();
    sleep(Duration::from_secs(1)).await;
    assert!(after.try_recv().is_ok(), "it is asked");
    assert!(before.try_recv().is_err(), "and nobody else");
    new.abort();
}
