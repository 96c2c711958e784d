//! What is in force from a copy on disk.

use super::*;
use crate::last_good::RawResource;
use envoy_types::pb::envoy::admin::v3::ClientResourceStatus;

fn copied(name: &str) -> RawResource {
    RawResource::new(ResourceType::Cluster, name, "v0", Bytes::from_static(b"old"))
}

/// Clusters `a` and `b` begin with a copy of second 1; `SECOND EVENT -> DUMP / COUNTS` from there on, in which
/// `drop NAME` ends what is in force from the copy.
#[track_caller]
fn check(script: &str) {
    let mut run = Run::new(Variant::StateOfTheWorld);
    for name in ["a", "b"] {
        run.status.copied(&copied(name), WallTime::from_unix_seconds(1));
        run.event(1, &format!("watch CDS {name}"));
    }
    run.event(2, "connected");
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (input, expected) = line.split_once("->").unwrap();
        let (at, event) = input.trim().split_once(' ').unwrap();
        match event.trim().strip_prefix("drop ") {
            Some(name) => run.status.not_copied(ResourceType::Cluster, &name.into()),
            None => run.event(at.parse().unwrap(), event.trim()),
        }
        let counts = run.status.counts().into_iter();
        let counts: Vec<_> = counts.map(|of| format!("{} {}", of.cache_state, of.count)).collect();
        assert_eq!(format!("{} / {}", run.dump(), counts.join(", ")), expected.trim(), "{line}");
    }
    let status = run.status.clone();
    drop(run);
    assert_eq!((status.resources(), status.counts()), (vec![], vec![]));
}

#[test]
fn a_copy_is_shown_until_the_server_speaks() {
    const A: &str = "a requested_but_cached v0=old @1";
    const B: &str = "b requested_but_cached v0=old @1";
    check(&format!(
        "2 watch CDS c         -> {A}, {B}, c requested / requested 1, requested_but_cached 2
         3 unwatch CDS c       -> {A}, {B} / requested_but_cached 2
         4 CDS v9 a=new        -> a acked v9=new @4, {B} / acked 1, requested_but_cached 1"
    ));
    check(&format!(
        "3 CDS v9 a=!bad       -> a nacked_but_cached v0=old @1 !bad v9 @3, {B} \
                                  / nacked_but_cached 1, requested_but_cached 1
         4 drop a              -> a nacked !bad v9 @3, {B} / nacked 1, requested_but_cached 1
         5 drop unknown        -> a nacked !bad v9 @3, {B} / nacked 1, requested_but_cached 1"
    ));
}

#[test]
fn it_is_acked_and_its_error_state_says_that_it_is_stale() {
    let mut run = Run::new(Variant::StateOfTheWorld);
    run.status.copied(&copied("a"), WallTime::from_unix_seconds(1));
    run.event(2, "watch CDS a");
    let shown = |run: &Run| {
        let dump = run.status.resources().remove(0);
        let stale = dump.stale;
        (super::super::csds::generic(dump, true), stale)
    };
    let (config, stale) = shown(&run);
    assert_eq!(stale, Some(WallTime::from_unix_seconds(1)));
    assert_eq!(config.client_status(), ClientResourceStatus::Acked);
    assert_eq!(config.version_info, "v0");
    assert_eq!(config.xds_config.unwrap().value, b"old");
    assert_eq!(config.last_updated.unwrap().seconds, 1);
    let error = config.error_state.unwrap();
    assert!(error.details.contains("from the copy on disk"), "{error:?}");
    // What the server says of it counts more.
    run.event(3, "connected");
    run.event(4, "CDS v9 a=!bad");
    let (config, _) = shown(&run);
    assert_eq!(config.client_status(), ClientResourceStatus::Nacked);
    assert_eq!((&*config.version_info, &*config.error_state.unwrap().details), ("v0", "bad"));
    run.event(5, "CDS v10 a=new");
    let (config, stale) = shown(&run);
    assert_eq!(config.client_status(), ClientResourceStatus::Acked);
    assert_eq!((&*config.version_info, config.error_state, stale), ("v10", None, None));
}
