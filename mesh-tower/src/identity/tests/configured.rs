//! What a configuration calls `identity`: followed as it changes, and examined before it is used.

use super::super::credentials::{Credentials, Given};
use super::super::{
    CertificateError, FixedIdentity, Identities, IdentitySink, IdentitySource, examine,
    examine_roots, inspect, private_key,
};
use super::ca::{Ca, OURS, Odd, Pair};
use super::sources::until;
use crate::clock;
use crate::observe::registry::Registry;
use crate::{BuildError, Mesh};
use futures_util::future::BoxFuture;
use mesh_core::config::{IdentityPart, IdentityTrouble, IdentityTroubleKind};
use mesh_core::model::{IdentityConfig, IdentityFiles, IdentityOrigin};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The files of `pair`, in a directory of their own.
fn files(directory: &Path, name: &str, ca: &Ca, pair: &Pair) -> Arc<IdentityConfig> {
    let directory = directory.join(name);
    std::fs::create_dir_all(&directory).unwrap();
    pair.write(&directory);
    std::fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    let [cert, key, roots] = ["cert.pem", "key.pem", "ca.pem"].map(|name| directory.join(name));
    Arc::new(IdentityConfig::new(IdentityOrigin::Files(IdentityFiles::new(cert, key, roots))))
}

fn serial(identities: &Identities) -> Option<Arc<str>> {
    identities.current().ok().map(|current| Arc::clone(&current.certificate().serial))
}

#[tokio::test]
async fn another_place_takes_over_once_it_has_something_good() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, registry) = (Ca::new(), Registry::new());
    let credentials = Credentials::start(Given::default(), &Handle::current(), &registry);
    assert!(credentials.own().is_none());
    credentials.follow(None, &Handle::current(), &registry);
    assert!(credentials.own().is_none());

    let first = files(directory.path(), "a", &ca, &ca.issue(Odd::default()));
    credentials.follow(Some(&first), &Handle::current(), &registry);
    let own = credentials.own().unwrap().clone();
    until(&own, "the first", |own| serial(own).is_some()).await;
    let before = serial(&own);

    // Another place that is not good: what is in force stays, and it is told.
    let mut stranger = IdentityConfig::clone(&files(
        directory.path(),
        "b",
        &ca,
        &ca.issue(Odd { uris: Some(&["spiffe://mesh.example/other"]), ..Odd::default() }),
    ));
    stranger.spiffe_id = Some(OURS.parse().unwrap());
    credentials.follow(Some(&Arc::new(stranger.clone())), &Handle::current(), &registry);
    until(&own, "refused", |own| own.status().error.is_some()).await;
    assert_eq!(serial(&own), before);
    assert!(own.status().error.unwrap().contains("is who we are"));

    // It is mended, and what a configuration without identity says changes nothing.
    credentials.follow(None, &Handle::current(), &registry);
    files(directory.path(), "b", &ca, &ca.issue(Odd::default()));
    until(&own, "the second", |own| serial(own) != before).await;
    assert_eq!(own.status().error, None);
}

#[tokio::test]
async fn the_identity_of_the_program_comes_first() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, registry) = (Ca::new(), Registry::new());
    let (source, _updates) = FixedIdentity::new(Some(ca.material(&ca.issue(Odd::default()))));
    let given = Given { own: Some((None, Box::new(source))), ..Given::default() };
    let credentials = Credentials::start(given, &Handle::current(), &registry);
    let own = credentials.own().unwrap().clone();
    until(&own, "the program's", |own| serial(own).is_some()).await;
    let before = serial(&own);
    let other = files(directory.path(), "a", &ca, &ca.issue(Odd::default()));
    credentials.follow(Some(&other), &Handle::current(), &registry);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(serial(&own), before);
}

#[tokio::test]
async fn a_file_says_who_the_mesh_is() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    files(directory.path(), "tls", &ca, &ca.issue(Odd::default()));
    let path = directory.path().join("mesh.yaml");
    let text =
        "version: 1\nidentity: { cert: tls/cert.pem, key: tls/key.pem, roots: tls/ca.pem }\n";
    std::fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().file(&path).build().unwrap();
    let own = mesh.identities().unwrap().clone();
    until(&own, "in force", |own| serial(own).is_some()).await;
    assert_eq!(own.current().unwrap().spiffe_id().map(|id| id.as_str()), Some(OURS));

    let agent = "version: 1\nidentity: { spire: \"unix:///run/spire/agent.sock\" }\n";
    std::fs::write(&path, agent).unwrap();
    let built = Mesh::builder().file(&path).build();
    if cfg!(feature = "spiffe") {
        // The agent is not there: who we are comes later, or never.
        let own = built.unwrap().identities().unwrap().clone();
        assert!(own.current().is_err());
        return;
    }
    match built {
        Err(error @ BuildError::Identity(_)) => {
            assert!(error.to_string().contains("needs the feature `spiffe`"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// Everything that is wrong with the files of `pair`, by part.
fn examined(config: &IdentityConfig) -> Vec<(IdentityPart, IdentityTroubleKind, String)> {
    let troubles = examine(config, clock::wall());
    troubles.into_iter().map(|found| (found.part, found.kind, found.message)).collect()
}

#[track_caller]
fn check(config: &IdentityConfig, expected: &[(IdentityPart, IdentityTroubleKind, &str)]) {
    let found = examined(config);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((part, kind, message), (wanted, of, text)) in found.iter().zip(expected) {
        assert_eq!((part, kind), (wanted, of), "{message}");
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn encrypted_keys_are_told_as_such() {
    let pkcs8 =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for key in [pkcs8, older] {
        let encrypted = Err(CertificateError::EncryptedKey);
        assert_eq!(private_key(key.as_bytes()).map(drop), encrypted);
        assert_eq!(inspect(key.as_bytes(), clock::wall()).map(drop), encrypted);
    }
}

#[test]
fn what_is_wrong_with_files_is_told_with_the_path_to_mend() {
    use IdentityPart::{Cert, Crl, Key, Roots, SpiffeId};
    use IdentityTroubleKind::{EndsSoon, Invalid, Unreadable};
    let directory = tempfile::tempdir().unwrap();
    let (ca, other) = (Ca::new(), Ca::new());
    let good = ca.issue(Odd::default());
    let write = |name: &str, ca: &Ca, pair: &Pair| {
        IdentityConfig::clone(&files(directory.path(), name, ca, pair))
    };
    check(&write("good", &ca, &good), &[]);
    let over = ca.issue(Odd { life: Some((-7200, -60)), ..Odd::default() });
    check(&write("over", &ca, &over), &[(Cert, Invalid, "over/cert.pem` ended on 20")]);
    let brief = ca.issue(Odd { life: Some((-3600, 300)), ..Odd::default() });
    check(&write("brief", &ca, &brief), &[(Cert, EndsSoon, "less than a tenth of its life left")]);
    let crossed = Pair { key: ca.issue(Odd::default()).key, ..good.clone() };
    check(&write("crossed", &ca, &crossed), &[(Key, Invalid, "crossed/key.pem`: the private key")]);
    check(
        &write("strange", &other, &good),
        &[(Roots, Invalid, "strange/ca.pem`: the certificate")],
    );
    let mut named = write("named", &ca, &good);
    named.spiffe_id = Some("spiffe://mesh.example/cart".parse().unwrap());
    check(&named, &[(SpiffeId, Invalid, "named/cert.pem`: the certificate is for")]);
    let empty = Pair { chain: "hello".to_owned(), key: good.chain };
    check(
        &write("empty", &ca, &empty),
        &[(Cert, Invalid, "no certificate in it"), (Key, Invalid, "no private key in it")],
    );
    let mut missing = IdentityFiles::new(
        directory.path().join("nowhere"),
        directory.path().join("good/key.pem"),
        directory.path().join("good/ca.pem"),
    );
    missing.crl = Some(directory.path().join("good/ca.pem").into());
    check(
        &IdentityConfig::new(IdentityOrigin::Files(missing)),
        &[(Cert, Unreadable, "nowhere` can't be read"), (Crl, Invalid, "no list of revoked")],
    );
}

/// What is in the file of a cluster's roots; whoever signs may be any certificate there.
#[test]
fn roots_of_a_cluster_that_sign_for_nobody_are_told() {
    use IdentityTroubleKind::{EndsSoon, Invalid};
    #[track_caller]
    fn check(pem: &str, expected: &[(IdentityTroubleKind, &str)]) {
        let found = examine_roots(Path::new("tls/ca.pem"), pem, clock::wall());
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (trouble, (kind, text)) in found.iter().zip(expected) {
            let IdentityTrouble { message, suggestion, .. } = trouble;
            assert_eq!(trouble.kind, *kind, "{message}");
            assert!(message.contains(text) && message.contains("tls/ca.pem"), "{message}");
            assert!(suggestion.is_some() || !text.contains("root"), "{message}");
        }
    }
    let ca = Ca::new();
    let issue = |from, to| ca.issue(Odd { life: Some((from, to)), ..Odd::default() }).chain;
    let (good, over, coming) = (ca.pem(), issue(-7200, -3600), issue(3600, 7200));
    check(&good, &[]);
    check(&format!("{good}{coming}"), &[]);
    check(&format!("{good}{over}"), &[(EndsSoon, "a root of")]);
    check(&issue(-36_000, 60), &[(EndsSoon, "less than a tenth of its life left: it ends on 2")]);
    let older = issue(-9000, -8000);
    check(&format!("{over}{older}"), &[(Invalid, "every root in it has ended, the last one on 2")]);
    check(&format!("{over}{coming}"), &[(Invalid, "no root in it is valid now: one begins on 2")]);
    check("", &[(Invalid, "no certificate in it")]);
    check(&good[..good.len() / 2], &[(Invalid, "")]);
    let none = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    check(none, &[(Invalid, "no certificate in it can be used as a root")]);
    check(&format!("{good}{none}"), &[]);
    let list = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    check(&format!("{good}{list}"), &[(Invalid, "")]);
}

/// A source that can't be started here takes nobody's place: what is in force is renewed as before.
#[cfg(feature = "spiffe")]
#[tokio::test]
async fn a_source_that_cant_be_started_leaves_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, registry) = (Ca::new(), Registry::new());
    let credentials = Credentials::start(Given::default(), &Handle::current(), &registry);
    let good = files(directory.path(), "a", &ca, &ca.issue(Odd::default()));
    credentials.follow(Some(&good), &Handle::current(), &registry);
    let own = credentials.own().unwrap().clone();
    until(&own, "the first", |own| serial(own).is_some()).await;
    let before = serial(&own);
    let origin = IdentityOrigin::WorkloadApi("unix:///run/agent?socket".into());
    let odd = Arc::new(IdentityConfig::new(origin));
    credentials.follow(Some(&odd), &Handle::current(), &registry);
    until(&own, "told", |own| own.status().error.is_some()).await;
    assert!(credentials.origin().contains("cert.pem"), "{}", credentials.origin());
    // Its files are still looked at.
    ca.issue(Odd::default()).write(&directory.path().join("a"));
    until(&own, "the next", |own| serial(own) != before).await;
}

/// A source that says when it is dropped.
#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl IdentitySource for Held {
    fn start(self: Box<Self>, _: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _held = self;
            std::future::pending().await
        })
    }
}

/// No task is left behind, and no key in it.
#[tokio::test]
async fn sources_end_with_their_mesh() {
    let held = Arc::new(());
    let source = |held: &Arc<()>| Box::new(Held(Arc::clone(held))) as Box<dyn IdentitySource>;
    let given = Given {
        own: Some((None, source(&held))),
        providers: [(Arc::from("p"), source(&held))].into(),
    };
    let credentials = Credentials::start(given, &Handle::current(), &Registry::new());
    let clone = credentials.clone();
    drop(credentials);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&held), 3, "one of two is there");
    drop(clone);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&held), 1);
}
