//! Which connections outlive what they were accepted by. No handshake, and the time is an argument.

use super::ca::{Ca, Pair};
use crate::clock;
use crate::identity::named::{Signers, Texts};
use crate::identity::spiffe::SpiffeTexts;
use crate::identity::{Identity, Material, certificates, private_key, revocation_lists};
use crate::server::{Outlived, Over};
use crate::tls::server::ChainTls;
use crate::tls::server_material::{Inputs, Trust};
use crate::tls::server_watch::{Evidence, InForce, Watched, look};
use bytes::Bytes;
use mesh_core::WallTime;
use mesh_core::model::SanMatcher;
use mesh_core::model::tls::DownstreamTls;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot::error::TryRecvError;

const SHOP: &str = "spiffe://mesh.example/shop";

/// What is believed, and by which policy.
pub(super) struct Believes<'a> {
    pub(super) roots: &'a [&'a Ca],
    pub(super) revoked: Option<u64>,
    pub(super) san: &'a [&'a str],
    pub(super) policy: &'a Arc<DownstreamTls>,
}

fn in_force(own: &Pair, believes: &Believes<'_>) -> Arc<ChainTls> {
    Arc::new(ChainTls::new(inputs(own, believes)).unwrap())
}

pub(super) fn inputs(own: &Pair, believes: &Believes<'_>) -> Inputs {
    let bytes = |text: &str| Arc::<[u8]>::from(text.as_bytes());
    let roots: String = believes.roots.iter().map(|ca| ca.pem()).collect();
    let list = believes.revoked.map(|serial| believes.roots[0].revoke_pem(serial));
    Inputs {
        policy: Arc::clone(believes.policy),
        own: identity(own),
        trust: Some(Trust::Named(Signers::of(Texts::Roots(bytes(&roots))))),
        san: believes.san.iter().map(|id| SanMatcher::uri(*id)).collect(),
        wants_certificate: believes.policy.require_client_certificate || !believes.san.is_empty(),
        crl: list.map(|list| revocation_lists(list.as_bytes()).unwrap().into()),
    }
}

fn identity(Pair { chain, key }: &Pair) -> Arc<Identity> {
    let (chain, key) = (certificates(chain.as_bytes()), private_key(key.as_bytes()));
    let material = Material::of_pair(chain.unwrap(), key.unwrap());
    Arc::new(Identity::verify(material, None, clock::wall()).unwrap())
}

fn shown(pair: &Pair) -> Arc<[Bytes]> {
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes());
    chain.map(|der| Bytes::copy_from_slice(&der.unwrap())).collect()
}

fn later(seconds: u64) -> WallTime {
    WallTime::from_unix_seconds(clock::wall().as_unix_seconds() + seconds)
}

/// What a connection is told that `tls` accepted, when `next` is in force at `now`.
async fn told(
    tls: &Arc<ChainTls>,
    client: Option<(&Pair, u64)>,
    next: Option<&Arc<ChainTls>>,
    now: WallTime,
) -> Option<Outlived> {
    let watched = Watched::default();
    let (evidence, over) = evidence(tls, client);
    let (mut told, is_first) = watched.add(evidence);
    assert!(is_first);
    let in_force: InForce = next.map(|next| ("c".into(), Arc::clone(next))).into_iter().collect();
    // Twice: what was seen once is seen once.
    let mut goes_on = true;
    for _ in 0..2 {
        let stay = look(watched.take(), &in_force, now).await;
        goes_on = watched.put_back(stay);
    }
    let why = match told.try_recv() {
        Ok(why) => Some(why),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Closed) => panic!("it was forgotten"),
    };
    // Who is the same as before may call, and may outlive more.
    let stays = why.is_none_or(|why| why == Outlived::OwnCertificateEnded);
    assert_eq!(goes_on, stays);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(over.is_over(), !stays);
    why
}

fn evidence(tls: &Arc<ChainTls>, client: Option<(&Pair, u64)>) -> (Evidence, Over) {
    let over = Over::default();
    let evidence = Evidence {
        chain: "c".into(),
        tls: Arc::clone(tls),
        shown: client.map(|(pair, _)| shown(pair)).unwrap_or_default(),
        peer_end: client.map(|(_, ends)| later(ends)),
        own_end: Some(tls.own_end()),
        over: over.clone(),
    };
    (evidence, over)
}

/// A connection that is to end takes no calls once its client is not believed any more.
#[tokio::test(start_paused = true)]
async fn who_is_told_to_end_may_outlive_more() {
    let ours = Ca::new("ours");
    let policy = Arc::new(DownstreamTls::mutual());
    let all = Believes { roots: &[&ours], revoked: None, san: &[], policy: &policy };
    let own = ours.issue_for("spiffe://mesh.example/us", 1, (-60, 60));
    let client = ours.issue_for(SHOP, 7, (-60, 600));
    let (tls, watched) = (in_force(&own, &all), Watched::default());
    let (evidence, over) = evidence(&tls, Some((&client, 600)));
    let (told, _) = watched.add(evidence);
    let mut next = InForce::from([("c".into(), Arc::clone(&tls))]);
    let stay = look(watched.take(), &next, later(70)).await;
    assert!(watched.put_back(stay));
    assert_eq!(told.await.unwrap(), Outlived::OwnCertificateEnded);
    // Whoever runs the connection listens no longer.
    next.insert("c".into(), in_force(&own, &Believes { revoked: Some(7), ..all }));
    let stay = look(watched.take(), &next, later(70)).await;
    assert!(!watched.put_back(stay));
    assert!(!over.is_over(), "what was on its way is answered");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(over.is_over());
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_connection_and_what_does_not() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let policy = Arc::new(DownstreamTls::mutual());
    let all = Believes { roots: &[&ours], revoked: None, san: &[], policy: &policy };
    let own = ours.issue_for("spiffe://mesh.example/us", 1, (-60, 600));
    let client = ours.issue_for(SHOP, 7, (-60, 60));
    let shows = Some((&client, 60));
    let (tls, now) = (in_force(&own, &all), clock::wall());
    assert_eq!(told(&tls, shows, None, now).await, None, "nothing is known of now");
    assert_eq!(told(&tls, shows, Some(&tls), now).await, None);
    let renewed = in_force(&ours.issue("spiffe://mesh.example/us", 2), &all);
    assert_eq!(told(&tls, shows, Some(&renewed), now).await, None, "ours was renewed");

    // The clock.
    assert_eq!(told(&tls, shows, Some(&tls), later(50)).await, None);
    assert_eq!(told(&tls, shows, Some(&tls), later(70)).await, Some(Outlived::CertificateEnded));
    assert_eq!(told(&tls, shows, None, later(70)).await, Some(Outlived::CertificateEnded));
    assert_eq!(told(&tls, None, None, later(590)).await, None);
    assert_eq!(told(&tls, None, None, later(610)).await, Some(Outlived::OwnCertificateEnded));

    // Roots, lists and names.
    let both = in_force(&own, &Believes { roots: &[&theirs, &ours], ..all });
    assert_eq!(told(&tls, shows, Some(&both), now).await, None);
    let withdrawn = in_force(&own, &Believes { roots: &[&theirs], ..all });
    assert_eq!(told(&tls, shows, Some(&withdrawn), now).await, Some(Outlived::Untrusted));
    let revoked = in_force(&own, &Believes { revoked: Some(7), ..all });
    assert_eq!(told(&tls, shows, Some(&revoked), now).await, Some(Outlived::Revoked));
    let another = in_force(&own, &Believes { revoked: Some(8), ..all });
    assert_eq!(told(&tls, shows, Some(&another), now).await, None);
    let friends = in_force(&own, &Believes { san: &["spiffe://mesh.example/x"], ..all });
    assert_eq!(told(&tls, shows, Some(&friends), now).await, Some(Outlived::Untrusted));

    // Nobody asked it for a certificate, and then names are wanted.
    let mut open = DownstreamTls::mutual();
    open.require_client_certificate = false;
    let all_may = Believes { policy: &Arc::new(open), ..all };
    let anybody = in_force(&own, &all_may);
    let withdrawn = in_force(&own, &Believes { roots: &[&theirs], ..all_may });
    assert_eq!(told(&anybody, None, Some(&withdrawn), now).await, None, "it showed nothing");
    let named = in_force(&own, &Believes { san: &[SHOP], ..all_may });
    assert_eq!(told(&anybody, None, Some(&named), now).await, Some(Outlived::Untrusted));

    // What says nothing about the client: no list of its issuer, a clock that went back.
    let elsewhere = in_force(&own, &Believes { roots: &[&theirs, &ours], revoked: Some(7), ..all });
    assert_eq!(told(&tls, shows, Some(&elsewhere), now).await, None);
    let san = &["spiffe://mesh.example/x"][..];
    let both = Believes { roots: &[&theirs, &ours], revoked: Some(7), san, ..all };
    let refused = told(&tls, shows, Some(&in_force(&own, &both)), now).await;
    assert_eq!(refused, Some(Outlived::Untrusted), "he is somebody else, whatever is not known");
    let past = WallTime::from_unix_seconds(now.as_unix_seconds() - 3600);
    assert_eq!(told(&tls, shows, Some(&renewed), past).await, None);

    // gRFC A87: an empty map is one by which nobody is believed.
    let map = |text: &str| Texts::Bundles(SpiffeTexts([(None, Arc::from(text.as_bytes()))].into()));
    let emptied = Inputs {
        trust: Some(Trust::Named(Signers::of(map(r#"{"trust_domains": {}}"#)))),
        ..inputs(&own, &all)
    };
    let emptied = Arc::new(ChainTls::new(emptied).unwrap());
    assert_eq!(told(&tls, shows, Some(&emptied), now).await, Some(Outlived::Untrusted));

    // Another policy drains the whole chain, elsewhere; who would not be let in by it makes no calls until then.
    let mut other = DownstreamTls::mutual();
    other.alpn.clear();
    let other = Arc::new(other);
    let known = in_force(&own, &Believes { policy: &other, ..all });
    assert_eq!(told(&tls, shows, Some(&known), now).await, None);
    let unknown = in_force(&own, &Believes { roots: &[&theirs], policy: &other, ..all });
    assert_eq!(told(&tls, shows, Some(&unknown), now).await, Some(Outlived::Untrusted));
}

#[tokio::test]
async fn who_has_left_is_not_looked_at_and_then_nobody_looks() {
    let ours = Ca::new("ours");
    let policy = Arc::new(DownstreamTls::mutual());
    let all = Believes { roots: &[&ours], revoked: None, san: &[], policy: &policy };
    let tls = in_force(&ours.issue("spiffe://mesh.example/us", 1), &all);
    let evidence = || Evidence {
        chain: "c".into(),
        tls: Arc::clone(&tls),
        shown: Arc::default(),
        peer_end: None,
        own_end: None,
        over: Over::default(),
    };
    let watched = Watched::default();
    let (first, looks) = watched.add(evidence());
    let (second, looks_too) = watched.add(evidence());
    assert!(looks && !looks_too, "one looks for all");
    drop(first);
    let left = watched.take();
    assert_eq!(left.len(), 1);
    assert!(watched.put_back(left));
    drop(second);
    let left = watched.take();
    assert!(left.is_empty() && !watched.put_back(left));
    let (_third, looks) = watched.add(evidence());
    assert!(looks, "somebody has to look again");
}
