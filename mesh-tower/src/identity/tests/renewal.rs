//! Renewals in virtual time: an issuer that works, one that is away, and clocks that jump.

use super::super::{Identities, IdentitySink, IdentitySource, NoIdentity};
use super::ca::{Ca, Odd};
use crate::clock::{self, pretend};
use futures_core::future::BoxFuture;
use mesh_core::WallTime;
use mesh_core::identity::RotationOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};

/// How long each certificate is valid, in seconds; it is ten seconds old when it comes.
const LIFE: i64 = 1000;

/// Issues when it is asked, if it is not away.
#[derive(Clone)]
struct Issuer {
    ca: Arc<Ca>,
    is_away: Arc<AtomicBool>,
    issued: Arc<AtomicUsize>,
    renew_at: Option<u16>,
}

struct Test {
    issuer: Issuer,
    identities: Identities,
    task: tokio::task::JoinHandle<()>,
}

impl Issuer {
    fn give(&self, sink: &IdentitySink) {
        if self.is_away.load(Ordering::SeqCst) {
            return sink.failed(&"the issuer is away");
        }
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let ahead = clock::wall().as_unix_seconds().cast_signed() - real.cast_signed();
        let life = Some((ahead - 10, ahead + LIFE - 10));
        sink.publish(self.ca.material(&self.ca.issue(Odd { life, ..Odd::default() }))).unwrap();
        self.issued.fetch_add(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer")
    }
}

impl IdentitySource for Issuer {
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                self.give(&sink);
                sink.wanted().await;
            }
        })
    }

    fn rotation(&self) -> RotationOptions {
        let mut options = RotationOptions::default();
        (options.renew_at, options.jitter) = (self.renew_at, 0);
        options
    }
}

impl Test {
    /// With a first identity in force.
    async fn new(renew_at: Option<u16>) -> Self {
        pretend(clock::wall());
        let (is_away, issued) = (Arc::default(), Arc::default());
        let issuer = Issuer { ca: Arc::new(Ca::new()), is_away, issued, renew_at };
        let identities = Identities::new(None);
        let (running, source) = (identities.clone(), Box::new(issuer.clone()));
        let task = tokio::spawn(async move { running.run(source).await });
        sleep(Duration::from_millis(10)).await;
        assert!(identities.current().is_ok());
        Self { issuer, identities, task }
    }

    fn issued(&self) -> usize {
        self.issuer.issued.load(Ordering::SeqCst)
    }

    fn away(&self, is_away: bool) {
        self.issuer.is_away.store(is_away, Ordering::SeqCst);
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Moves the wall clock, and not the time.
fn jump(seconds: i64) {
    let now = clock::wall().as_unix_seconds();
    pretend(WallTime::from_unix_seconds(now.saturating_add_signed(seconds)));
}

#[tokio::test(start_paused = true)]
async fn each_certificate_is_renewed_at_its_time() {
    let test = Test::new(Some(500)).await;
    for _ in 0..1000 {
        sleep(Duration::from_secs(10)).await;
        assert!(test.identities.current().is_ok(), "{:?}", test.identities.status());
    }
    // One each 490 s: at half of its life, and it was ten seconds old.
    assert_eq!(test.issued(), 1 + 10_000 / 490);
    let status = test.identities.status();
    assert_eq!((status.warned, status.error, status.failures), (None, None, 0));
}

/// `renew_at` of `None`: somebody else renews, as with files.
#[tokio::test(start_paused = true)]
async fn what_is_not_renewed_is_told_and_fails_closed() {
    for renew_at in [Some(400), None] {
        let test = Test::new(renew_at).await;
        test.away(true);
        let (began, mut told) = (Instant::now(), Vec::new());
        while test.identities.current().is_ok() {
            let status = test.identities.status();
            if let Some(percent) = status.warned.filter(|percent| told.last() != Some(percent)) {
                told.push(percent);
                let passed = began.elapsed().as_secs().cast_signed() + 10;
                let expected = LIFE - LIFE * i64::from(percent) / 100;
                assert!((expected..expected + 3).contains(&passed), "{percent} % at {passed} s");
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [50, 25, 10]);
        let end = i64::try_from(began.elapsed().as_secs()).unwrap() + 10;
        assert!((LIFE..LIFE + 3).contains(&end), "{end}");
        let refused = test.identities.current().unwrap_err();
        assert!(matches!(refused, NoIdentity::Expired { .. }), "{refused}");
        assert!(test.identities.trust().is_ok(), "peers can still be verified");
        let (failures, asked) = (test.identities.status().failures, renew_at.is_some());
        assert_eq!(asked, refused.to_string().contains("the issuer is away"), "{refused}");
        // Asked 1, 2, 4, … 60 s after each other, and more often towards the end.
        assert_eq!(asked, (12..100).contains(&failures), "{failures}");

        test.away(false);
        test.identities.reload();
        sleep(Duration::from_secs(1)).await;
        assert!(test.identities.current().is_ok(), "a forced reload takes a second at most");
        let status = test.identities.status();
        assert_eq!((status.warned, status.error), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_back_is_found_without_being_told() {
    let test = Test::new(Some(500)).await;
    test.away(true);
    sleep(Duration::from_secs(3000)).await;
    assert!(test.identities.current().is_err());
    test.away(false);
    sleep(Duration::from_secs(61)).await;
    assert!(test.identities.current().is_ok());
}

#[tokio::test(start_paused = true)]
async fn clocks_jump() {
    let test = Test::new(Some(500)).await;
    sleep(Duration::from_secs(100)).await;
    jump(5000);
    let refused = test.identities.current().unwrap_err();
    assert!(refused.to_string().contains("ended 41"), "{refused}");
    sleep(Duration::from_secs(60)).await;
    assert!(test.identities.current().is_ok(), "it was seen and renewed within a minute");
    assert_eq!(test.issued(), 2);

    jump(-5000);
    let refused = test.identities.current().unwrap_err();
    assert!(matches!(refused, NoIdentity::NotYetValid { .. }), "{refused}");
    assert!(refused.to_string().contains("look at the clock"), "{refused}");
    test.identities.reload();
    sleep(Duration::from_secs(1)).await;
    assert!(test.identities.current().is_ok());

    // Forward and back before anybody looked: nothing has happened.
    jump(5000);
    assert!(test.identities.current().is_err());
    jump(-5000);
    assert!(test.identities.current().is_ok());
    assert_eq!(test.issued(), 3);
}
