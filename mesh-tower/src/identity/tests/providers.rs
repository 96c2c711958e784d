//! The certificate providers of a bootstrap (gRFC A29), as a mesh has them.

use super::super::{Credentials, FixedIdentity, Given, Identities, NoIdentity};
use super::ca::{Ca, OURS, Odd};
use crate::observe::registry::Registry;
use crate::source::{Bootstrap, Source as _, XdsSource};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = timeout(Duration::from_secs(10), async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

fn id(identities: &Identities) -> Option<String> {
    Some(identities.current().ok()?.spiffe_id()?.as_str().to_owned())
}

#[tokio::test]
async fn providers_of_the_bootstrap_are_there_by_themselves() {
    let (ca, other, directory) = (Ca::new(), Ca::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("ca.pem"), other.pem()).unwrap();
    std::fs::write(path("map.json"), super::sources::map(&ca)).unwrap();
    ca.issue(Odd::default()).write(directory.path());
    let pair = format!(
        r#""certificate_file": "{}", "private_key_file": "{}""#,
        path("cert.pem"),
        path("key.pem")
    );
    let (roots, map) = (
        format!(r#""ca_certificate_file": "{}""#, path("ca.pem")),
        format!(r#""spiffe_trust_bundle_map_file": "{}""#, path("map.json")),
    );
    let provider = |name: &str, fields: &[&str]| {
        let fields = fields.join(", ");
        format!(r#""{name}": {{"plugin_name": "file_watcher", "config": {{{fields}}}}}"#)
    };
    let providers = [
        provider("both", &[&pair, &roots]),
        provider("pair", &[&pair]),
        provider("roots", &[&roots]),
        provider("map", &[&pair, &roots, &map]),
        provider("ours", &[&pair]),
        r#""other": {"plugin_name": "mesh_ca", "config": {}}"#.to_owned(),
    ];
    let bootstrap = format!(
        r#"{{"xds_servers": [{{"server_uri": "127.0.0.1:1", "channel_creds": [{{"type": "insecure"}}]}}],
            "certificate_providers": {{{}}}}}"#,
        providers.join(", ")
    );
    let source = XdsSource::new(Bootstrap::parse(&bootstrap).unwrap());
    assert_eq!(source.certificate_providers().len(), 5, "what is not supported is no provider");

    let of_the_program = "spiffe://mesh.example/program";
    let issued = ca.issue(Odd { uris: Some(&[of_the_program]), ..Odd::default() });
    let (ours, _updates) = FixedIdentity::new(Some(ca.material(&issued)));
    let mut given = Given::default();
    given.providers.insert("ours".into(), Box::new(ours));
    let registry = Registry::new();
    let credentials = Credentials::start(given.with(Some(&source)), &Handle::current(), &registry);
    let named = |name: &str| credentials.provider(name).unwrap();
    for name in ["both", "pair", "roots", "map", "ours"] {
        until(name, || named(name).trust().is_ok()).await;
    }
    // As in gRPC, peers may be of another authority than ours.
    assert_eq!(id(named("both")).as_deref(), Some(OURS));
    assert_eq!(named("both").trust().unwrap().roots().iter().next().unwrap().to_vec(), other.der());
    assert_eq!(id(named("pair")).as_deref(), Some(OURS));
    assert!(named("pair").trust().unwrap().roots().is_empty(), "and so nobody is believed");
    assert!(matches!(named("roots").current(), Err(NoIdentity::NotYet { .. })));
    // gRFC A87: the map beats the certificates.
    let believed = named("map").trust().unwrap();
    let domain = mesh_core::identity::TrustDomain::parse("mesh.example").unwrap();
    assert_eq!(believed.roots().of(Some(&domain)).unwrap()[0].to_vec(), ca.der());
    assert_eq!(id(named("ours")).as_deref(), Some(of_the_program), "the program's comes first");
    assert!(credentials.provider("other").is_none() && credentials.provider("default").is_none());

    let mut text = String::new();
    registry.prometheus(&mut text);
    for part in [
        r#"mesh_identity_expiry_timestamp_seconds{identity="provider/both"} "#,
        r#"mesh_identity_bundle_expiry_timestamp_seconds{identity="provider/map",trust_domain="mesh.example"} "#,
        r#"mesh_identity_root_expiry_timestamp_seconds{identity="provider/roots",trust_domain="",subject="CN=ca of the tests""#,
        r#"mesh_identity_last_good_timestamp_seconds{identity="provider/roots"} "#,
        r#"mesh_identity_failures_total{identity="provider/ours"} 0"#,
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
}

#[tokio::test]
async fn default_is_the_mesh_s_own_where_no_provider_is() {
    let ca = Ca::new();
    let (own, _updates) = FixedIdentity::new(Some(ca.material(&ca.issue(Odd::default()))));
    let mut given = Given::default();
    given.own = Some((Some(OURS.parse().unwrap()), Box::new(own)));
    let credentials = Credentials::start(given, &Handle::current(), &Registry::new());
    until("own", || credentials.own().is_some_and(|own| own.current().is_ok())).await;
    let names: [Arc<str>; 2] = ["default".into(), "another".into()];
    let found = names.map(|name| credentials.provider(&name).and_then(id));
    assert_eq!(found, [Some(OURS.to_owned()), None]);
}
