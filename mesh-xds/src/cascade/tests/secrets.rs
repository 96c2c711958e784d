//! Secrets that clusters name: asked for, waited for, and other ones alone.

use super::*;
use mesh_core::model::secret::{SecretContent, SecretRoots, SecretSource, SecretValidation};
use mesh_core::model::tls::{TlsIdentity, TlsRoots, UpstreamTls, ValidationSecret};
use mesh_core::model::{Secret, TlsPolicy};
use mesh_core::update::SecretAnswer;

/// A secret of this text.
pub(in crate::cascade) fn secret(name: &str, text: &str) -> Resource {
    let roots = SecretRoots::Pem(SecretSource::Inline(text.as_bytes().into()));
    let content = SecretContent::Validation(SecretValidation::new(roots));
    Resource::Secret(Arc::new(Secret::new(name, content)))
}

/// `id=secret`, `roots=secret`; plaintext without.
pub(super) fn policy(words: &[&str]) -> TlsPolicy {
    let mut tls = UpstreamTls::default();
    for word in words {
        match word.split_once('=') {
            Some(("id", name)) => tls.identity = TlsIdentity::Secret(canonical(&name.into())),
            Some(("roots", name)) => {
                tls.roots = TlsRoots::Secret(ValidationSecret::new(canonical(&name.into())));
            }
            other => panic!("{other:?}"),
        }
    }
    if words.is_empty() { TlsPolicy::Off } else { TlsPolicy::On(Arc::new(tls)) }
}

/// What is known of the secrets of a policy.
pub(super) fn told(update: &ConfigUpdate, tls: &TlsPolicy) -> String {
    let one = |name: &Arc<str>| match &update.secrets[name] {
        SecretAnswer::Missing(why) => format!("{name}!{why}"),
        SecretAnswer::Known(secret) => match &secret.content {
            SecretContent::Validation(SecretValidation {
                roots: SecretRoots::Pem(SecretSource::Inline(bytes)),
                ..
            }) => format!("{name}={}", String::from_utf8_lossy(bytes)),
            other => panic!("{other:?}"),
        },
    };
    let known: Vec<_> = tls.secrets().map(one).collect();
    if known.is_empty() { String::new() } else { format!("{{{}}}", known.join(" ")) }
}

#[test]
fn a_cluster_is_served_once_its_secrets_have_their_answers() {
    // After the endpoints, before them, and one of each.
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c -> +CDS c |
         CDS c eds id=i roots=r -> +EDS c +SDS i +SDS r |
         EDS c 1 -> |
         SDS i 1 -> |
         SDS r 2 -> | a=c[1]{i=1 r=2}",
    );
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c -> +CDS c |
         CDS c eds id=i roots=r -> +EDS c +SDS i +SDS r |
         SDS r 2 -> |
         SDS i 1 -> |
         EDS c 1 -> | a=c[1]{i=1 r=2}",
    );
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c -> +CDS c |
         CDS c static=7 id=x roots=x -> +SDS x |
         SDS x 1 -> | a=c[7]{x=1 x=1}",
    );
}

#[test]
fn a_secret_that_is_absent_or_refused_holds_up_nothing_else() {
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c,d -> +CDS c +CDS d |
         CDS d static=2 -> |
         CDS c static=1 id=i -> +SDS i |
         fail SDS i gone -> | a=c[1]{i!no such},d[2]
         SDS i 1 -> | a=c[1]{i=1},d[2]
         fail SDS i -> | a=c[1]{i=1},d[2]
         fail SDS i gone -> | a=c[1]{i!no such},d[2]",
    );
    // Refused, and there is no value before it.
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c -> +CDS c |
         CDS c static=1 roots=r -> +SDS r |
         fail SDS r -> | a=c[1]{r!no such}",
    );
}

#[test]
fn a_secret_is_shared_and_watched_as_long_as_somebody_needs_it() {
    check(
        "ask a -> +LDS a |
         ask b -> +LDS b |
         LDS a inline=a:c -> +CDS c |
         LDS b inline=b:d -> +CDS d |
         CDS c static=1 id=i -> +SDS i |
         CDS d static=2 id=i -> |
         SDS i 1 -> | a=c[1]{i=1} b=d[2]{i=1}
         SDS i 2 -> | a=c[1]{i=2} b=d[2]{i=2}
         drop a -> -LDS a -CDS c | b=d[2]{i=2}
         drop b -> -LDS b -CDS d -SDS i |",
    );
}

#[test]
fn a_cluster_stays_as_it_was_until_its_next_secret_is_there() {
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c -> +CDS c |
         CDS c static=1 id=i -> +SDS i |
         SDS i 1 -> | a=c[1]{i=1}
         CDS c static=2 id=j -> +SDS j -SDS i | a=c[1]{i=1}
         forget SDS i -> | a=c[1]{i=1}
         SDS j 5 -> | a=c[2]{j=5}",
    );
    // Or the certainty that there is none.
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c -> +CDS c |
         CDS c static=1 -> | a=c[1]
         CDS c static=2 id=j -> +SDS j | a=c[1]
         fail SDS j gone -> | a=c[2]{j!no such}
         CDS c static=3 -> -SDS j | a=c[3]",
    );
    // It may think again.
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c -> +CDS c |
         CDS c static=1 -> | a=c[1]
         CDS c static=2 id=j -> +SDS j | a=c[1]
         CDS c static=3 -> -SDS j | a=c[3]",
    );
}

#[test]
fn an_aggregate_waits_for_the_secrets_of_all_its_children() {
    check(
        "ask a -> +LDS a |
         LDS a inline=a:g -> +CDS g |
         CDS g of=c,d -> +CDS c +CDS d |
         CDS c static=1 id=i -> +SDS i |
         CDS d static=2 id=j -> +SDS j |
         SDS i 1 -> |
         SDS j 2 -> | a=g(c[1]{i=1} d[2]{j=2})",
    );
}

#[test]
fn two_spellings_of_a_name_are_one_secret() {
    check(
        "ask a -> +LDS a |
         LDS a inline=a:c,d -> +CDS c +CDS d |
         CDS c static=1 id=xdstp://x/s/i?b=1&a=2 -> +SDS xdstp://x/s/i?a=2&b=1 |
         CDS d static=2 id=xdstp://x/s/i?a=2&b=1 -> |
         SDS xdstp://x/s/i?b=1&a=2 5 -> | a=c[1]{xdstp://x/s/i?a=2&b=1=5},d[2]{xdstp://x/s/i?a=2&b=1=5}",
    );
}

#[test]
fn what_a_copy_on_disk_withholds_is_waited_for_by_nobody() {
    check(
        "ask a -> +LDS a |
         withhold i -> |
         LDS a inline=a:c,d -> +CDS c +CDS d |
         CDS d static=2 -> |
         CDS c static=1 id=i -> +SDS i | a=c[1]{i!not kept},d[2]
         SDS i 1 -> | a=c[1]{i=1},d[2]
         withhold i -> | a=c[1]{i=1},d[2]",
    );
}

/// 50 clusters with one identity, all told.
fn fifty() -> Cascade {
    let mut cascade = Cascade::new("test");
    for number in 0..50 {
        for event in [
            format!("ask a{number}"),
            format!("LDS a{number} inline=*:c{number}"),
            format!("CDS c{number} static=1 id=i"),
        ] {
            step(&mut cascade, &event);
            cascade.poll_watches();
        }
    }
    assert!(cascade.configuration().clusters.is_empty(), "all of them wait for it");
    step(&mut cascade, "SDS i 1");
    cascade.poll_watches();
    let Some(Change::Whole(update)) = cascade.poll_change() else { panic!("a whole one") };
    assert_eq!((update.clusters.len(), update.secrets.len()), (50, 1));
    cascade
}

#[test]
fn a_rotated_secret_is_told_alone() {
    let mut cascade = fifty();
    let before = cascade.configuration();
    for event in ["SDS i 2", "fail SDS i gone", "SDS i 3", "SDS unknown 1"] {
        step(&mut cascade, event);
        assert_eq!(cascade.poll_watches(), Watches::default());
        assert!(cascade.dirty.is_empty(), "no authority is walked");
    }
    let Some(Change::Endpoints(update)) = cascade.poll_change() else { panic!("a secret only") };
    assert!(update.clusters.is_empty());
    let names: Vec<_> = update.secrets.keys().map(|name| &**name).collect();
    assert_eq!(names, ["i"]);
    assert_ne!(update.origin.version, before.origin.version);
    let after = cascade.configuration();
    assert_eq!(update.secrets, *after.secrets);
    for (name, cluster) in &before.clusters {
        assert!(Arc::ptr_eq(&cluster.cluster, &after.clusters[name].cluster));
    }
    assert_eq!(cascade.poll_change(), None);
    step(&mut cascade, "SDS i 1");
    cascade.poll_watches();
    let Some(Change::Endpoints(update)) = cascade.poll_change() else { panic!("a secret only") };
    assert_eq!(update.origin, before.origin, "the same content, the same version");
}
