//! The Workload API, with agents that rotate, refuse, lie, hang and vanish.

mod agent;

use super::super::{Identities, NoIdentity, Roots, WorkloadIdentity, revocation_lists};
use super::ca::{Ca, OURS, Odd};
use agent::{Agent, Says, response};
use mesh_core::identity::TrustDomain;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);
/// From an agent's return to its identity in force.
const SOON: Duration = Duration::from_secs(1);

struct Test {
    ca: Ca,
    agent: Agent,
    identities: Identities,
    task: tokio::task::JoinHandle<()>,
}

impl Test {
    fn new(choose: impl Fn(WorkloadIdentity) -> WorkloadIdentity) -> Self {
        let agent = Agent::new();
        let source = choose(WorkloadIdentity::new(&agent.endpoint()).unwrap());
        let identities = Identities::new(None);
        let running = identities.clone();
        let task = tokio::spawn(async move { running.run(Box::new(source)).await });
        Self { ca: Ca::new(), agent, identities, task }
    }

    /// Something new of ours, with the serial that it will be known by.
    fn issue(&self, life: (i64, i64)) -> Says {
        let pair = self.ca.issue(Odd { life: Some(life), ..Odd::default() });
        Says::This(response(&[(OURS, "", &pair, &self.ca)], &[]))
    }

    fn serial(&self) -> Option<String> {
        self.identities.current().ok().map(|current| current.certificate().serial.to_string())
    }

    async fn until(&self, what: &str, patience: Duration, holds: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        let waited = timeout(patience, async {
            while !holds(self) {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let late = since.elapsed();
        assert!(waited.await.is_ok(), "{what} after {late:?}: {:?}", self.identities.status());
    }

    async fn in_force(&self, patience: Duration, before: Option<&String>) -> String {
        let other = |test: &Self| test.serial().is_some() && test.serial().as_ref() != before;
        self.until("another identity", patience, other).await;
        self.serial().unwrap()
    }

    async fn told(&self, part: &str) {
        let told =
            |test: &Self| test.identities.status().error.is_some_and(|error| error.contains(part));
        self.until(part, PATIENCE, told).await;
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn what_the_agent_sends_is_in_force_at_once() {
    let test = Test::new(|source| source);
    test.told("can't be reached").await;
    let why = test.identities.current().unwrap_err().to_string();
    assert!(why.contains("unix://") && why.contains("is the agent running"), "{why}");
    test.agent.says(test.issue((-10, 3600)));
    test.agent.start();
    let mut serial = test.in_force(SOON, None).await;
    assert_eq!(test.identities.status().error, None);
    for _ in 0..3 {
        test.agent.says(test.issue((-10, 3600)));
        serial = test.in_force(SOON, Some(&serial)).await;
    }
    assert_eq!(test.agent.streams(), 1, "they came on one stream");
}

/// The first word of an agent may be early, for clocks differ; it says nothing more until it renews.
#[tokio::test]
async fn what_could_not_be_used_at_first_is_asked_for_again() {
    let test = Test::new(|source| source);
    test.agent.says(test.issue((3, 3600)));
    test.agent.start();
    test.told("look at the clocks").await;
    test.in_force(PATIENCE, None).await;
    assert_eq!(test.identities.status().error, None);
}

#[tokio::test]
async fn bundles_of_other_trust_domains_come_with_it() {
    let (foreign, own) = (Ca::new(), Ca::new());
    let test = Test::new(|source| source);
    let pair = test.ca.issue(Odd::default());
    // The agent's word about our own domain is the bundle beside the SVID.
    let bundles = [("spiffe://b.example", foreign.der()), ("spiffe://mesh.example", own.der())];
    test.agent.says(Says::This(response(&[(OURS, "", &pair, &test.ca)], &bundles)));
    test.agent.start();
    test.in_force(SOON, None).await;
    let identity = test.identities.current().unwrap();
    let Roots::ByTrustDomain(roots) = identity.roots() else { panic!("{:?}", identity.roots()) };
    let of = |name: &str| roots.get(&TrustDomain::parse(name).unwrap()).unwrap()[0].to_vec();
    assert_eq!((of("mesh.example"), of("b.example")), (test.ca.der(), foreign.der()));
    // Peers of that domain are not believed any more.
    test.agent.says(Says::This(response(&[(OURS, "", &pair, &test.ca)], &[])));
    let alone = |test: &Test| test.identities.trust().is_ok_and(|trust| trust.roots().len() == 1);
    test.until("no longer federated", SOON, alone).await;
}

#[tokio::test]
async fn one_of_several_is_chosen() {
    const OTHER: &str = "spiffe://mesh.example/other";
    type Choose = fn(WorkloadIdentity) -> WorkloadIdentity;
    let choices: [(Choose, &str); 3] = [
        (|source| source, OURS),
        (|source| source.hint("outside"), OTHER),
        (|source| source.id(OTHER.parse().unwrap()), OTHER),
    ];
    for (choose, expected) in choices {
        let test = Test::new(choose);
        let ours = test.ca.issue(Odd::default());
        let other = test.ca.issue(Odd { uris: Some(&[OTHER]), ..Odd::default() });
        let svids = [(OURS, "inside", &ours, &test.ca), (OTHER, "outside", &other, &test.ca)];
        test.agent.says(Says::This(response(&svids, &[])));
        test.agent.start();
        test.in_force(SOON, None).await;
        let current = test.identities.current().unwrap();
        assert_eq!(current.spiffe_id().unwrap().as_str(), expected);
        if expected == OTHER {
            test.agent.says(Says::This(response(&svids[..1], &[])));
            test.told("none of the 1 SVIDs (`spiffe://mesh.example/shop`)").await;
        }
    }
}

#[tokio::test]
async fn garbage_changes_nothing() {
    let (test, stranger) = (Test::new(|source| source), Ca::new());
    test.agent.says(test.issue((-10, 3600)));
    test.agent.start();
    let good = test.in_force(SOON, None).await;
    let pair = test.ca.issue(Odd::default());
    let other = test.ca.issue(Odd { uris: Some(&["spiffe://mesh.example/x"]), ..Odd::default() });
    let svid = [(OURS, "", &pair, &test.ca)];
    let mut cut = response(&svid, &[]);
    cut.svids[0].x509_svid.truncate(40);
    let mut keyless = response(&svid, &[]);
    keyless.svids[0].x509_svid_key = b"secret".to_vec();
    let rows = [
        (response(&[], &[]), "none of the 0 SVIDs"),
        (cut, "the certificates of `spiffe://mesh.example/shop`: no X.509"),
        (keyless, "the private key can't be used"),
        (response(&[("shop", "", &pair, &test.ca)], &[]), "`shop` is no SPIFFE id"),
        (
            response(&[(OURS, "", &other, &test.ca)], &[]),
            "a certificate for `spiffe://mesh.example/x`",
        ),
        (response(&[(OURS, "", &pair, &stranger)], &[]), "does not verify by the 1 roots"),
        (
            response(&svid, &[("spiffe://b", b"junk".to_vec())]),
            "the federated bundle of `spiffe://b`",
        ),
        (response(&svid, &[("B", Vec::new())]), "`B` is no SPIFFE id"),
    ];
    for (response, part) in rows {
        test.agent.says(Says::This(response));
        test.told(part).await;
        assert_eq!(test.serial().as_ref(), Some(&good), "{part}");
        assert!(!test.identities.status().error.unwrap().contains("secret"));
    }
    test.agent.says(test.issue((-10, 3600)));
    test.in_force(SOON, Some(&good)).await;
}

#[tokio::test]
async fn what_was_revoked_does_not_wait_for_the_rest() {
    let test = Test::new(|source| source);
    let [pair, peer] = [(); 2].map(|()| test.ca.issue(Odd::default()));
    let list = |pair| revocation_lists(test.ca.revoke(&[pair]).as_bytes()).unwrap()[0].to_vec();
    let says = |crl: Vec<Vec<u8>>, bundles: &[(&str, Vec<u8>)]| {
        let response = response(&[(OURS, "", &pair, &test.ca)], bundles);
        test.agent.says(Says::This(agent::Response { crl, ..response }));
    };
    let revoked = || test.identities.trust().unwrap().revoked().to_vec();
    says(vec![list(&pair)], &[]);
    test.agent.start();
    test.told("was revoked").await;
    says(Vec::new(), &[]);
    test.in_force(SOON, None).await;
    assert!(revoked().is_empty());

    let junk = [("spiffe://b.example", b"junk".to_vec())];
    // A list that can't be read is none.
    says(vec![list(&peer), b"junk".to_vec()], &junk);
    test.told("the federated bundle of").await;
    assert!(revoked().is_empty());
    let new = list(&peer);
    says(vec![new.clone()], &junk);
    let is_in_force = |test: &Test| {
        test.identities
            .trust()
            .is_ok_and(|trust| trust.revoked().len() == 1 && *trust.revoked()[0] == *new)
    };
    test.until("the list", SOON, is_in_force).await;
    // And goes with what is good.
    says(Vec::new(), &[]);
    let is_gone =
        |test: &Test| test.identities.trust().is_ok_and(|trust| trust.revoked().is_empty());
    test.until("another response", SOON, is_gone).await;
}

#[tokio::test]
async fn an_agent_that_ends_each_stream_is_not_asked_all_the_time() {
    let test = Test::new(|source| source);
    let pair = test.ca.issue(Odd::default());
    test.agent.says(Says::ThisAlone(response(&[(OURS, "", &pair, &test.ca)], &[])));
    test.agent.start();
    test.in_force(SOON, None).await;
    sleep(Duration::from_secs(4)).await;
    // 100 ms, 200 ms, 400 ms and then 500 ms, each less a fifth; of 100 ms they would be forty and more.
    let streams = test.agent.streams();
    assert!((5..=14).contains(&streams), "{streams}");
}

#[tokio::test]
async fn agents_that_refuse_or_vanish_are_asked_until_they_are_back() {
    let test = Test::new(|source| source);
    test.agent.says(Says::Denied);
    test.agent.start();
    test.told("is there an entry whose selectors fit it?").await;
    test.agent.says(test.issue((-10, 3600)));
    let mut serial = test.in_force(SOON, None).await;
    for way in ["refuses", "vanishes", "talks something else"] {
        let failures = test.identities.status().failures;
        match way {
            "refuses" => test.agent.says(Says::Denied),
            "vanishes" => test.agent.vanish(),
            _ => test.agent.babble(),
        }
        // Long enough for the longest wait.
        let often = |test: &Test| test.identities.status().failures >= failures + 6;
        test.until(way, PATIENCE, often).await;
        assert_eq!(test.serial().as_ref(), Some(&serial), "{way}: the last good one serves");
        test.agent.says(test.issue((-10, 3600)));
        test.agent.start();
        serial = test.in_force(SOON, Some(&serial)).await;
        assert_eq!(test.identities.status().error, None);
    }
}

#[tokio::test]
async fn an_agent_that_hangs_is_found_and_what_is_over_fails_closed() {
    let test = Test::new(|source| source);
    test.agent.says(test.issue((-10, 10)));
    test.agent.start();
    let first = test.in_force(SOON, None).await;
    // It keeps its streams open and takes new ones, and says nothing any more.
    test.agent.says(Says::Nothing);
    // A renewal is due at 60 % of the life: 2 s from now; the new stream is given up 5 s later.
    test.told("said nothing for 5 s").await;
    assert_eq!(test.serial(), Some(first), "it has 3 s left");
    let over = |test: &Test| {
        matches!(test.identities.current(), Err(NoIdentity::Expired { why: Some(_), .. }))
    };
    test.until("over", PATIENCE, over).await;
    let why = test.identities.current().unwrap_err().to_string();
    assert!(why.contains("ended") && why.contains("is the agent hanging?"), "{why}");
    assert!(test.identities.trust().is_ok(), "peers can still be verified");
    test.agent.says(test.issue((-10, 3600)));
    test.in_force(SOON, None).await;
}

/// Somebody who asks anew while an agent hangs does not wait until it is given up.
#[tokio::test]
async fn a_reload_gives_up_a_stream_that_says_nothing() {
    let test = Test::new(|source| source);
    test.agent.says(test.issue((-10, 3600)));
    test.agent.start();
    test.in_force(SOON, None).await;
    test.agent.says(Says::Nothing);
    for streams in 2..5 {
        test.identities.reload();
        test.until("another stream", SOON, |test| test.agent.streams() == streams).await;
    }
    assert_eq!(test.identities.status().failures, 0);
}

/// An agent that has lost its server goes on with what it has.
#[tokio::test]
async fn an_agent_that_gives_the_old_one_again_renews_nothing() {
    let test = Test::new(|source| source);
    // A renewal is due at 57 to 63 % of the life: it is.
    test.agent.says(test.issue((-70, 30)));
    test.agent.start();
    test.in_force(SOON, None).await;
    let trust = test.identities.trust().unwrap();
    test.told("the source gave the old one again").await;
    assert!(std::sync::Arc::ptr_eq(&trust, &test.identities.trust().unwrap()));
    test.agent.says(test.issue((-10, 3600)));
    test.until("renewed", SOON, |test| test.identities.status().error.is_none()).await;
}
