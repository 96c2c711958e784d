//! `custom_validator_config` and `crl`: roots of trust domains, and what was revoked.

use super::super::made;
use super::{Cluster, common, inline, set, tls, validation};
use crate::decode::secret_testing::{spiffe, validator};
use crate::decode::testing::{check_refused, decode_cluster, eds, ignored};
use mesh_core::model::TlsPolicy;
use mesh_core::model::secret::SecretSource;
use mesh_core::model::tls::{SpiffeBundles, TlsRoots, UpstreamTls};
use tls::common_tls_context::ValidationContextType;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// A cluster whose peers must prove this.
fn with(cluster: &mut Cluster, change: impl FnOnce(&mut tls::CertificateValidationContext)) {
    let mut context = tls::UpstreamTlsContext::default();
    common(&mut context).validation_context_type =
        Some(ValidationContextType::ValidationContext(Default::default()));
    change(validation(&mut context));
    set(cluster, &context);
}

#[track_caller]
fn policy(change: fn(&mut Cluster)) -> UpstreamTls {
    match &made(change).model.tls {
        TlsPolicy::On(tls) => (**tls).clone(),
        other => panic!("{other:?}"),
    }
}

fn source(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

#[test]
fn envoy_each_trust_domain_has_roots_of_its_own() {
    let found = policy(|c| {
        with(c, |v| v.custom_validator_config = spiffe(&["b.example", "a.example"]));
    });
    let all = ["a.example", "b.example"].map(|name| (name.into(), source(PEM)));
    assert_eq!(found.roots, TlsRoots::Spiffe(SpiffeBundles::Each(all.into()).into()));
}

#[test]
fn envoy_a_bundle_map_takes_precedence() {
    const MAP: &str = r#"{"trust_domains":{}}"#;
    let change = |c: &mut Cluster| {
        with(c, |v| {
            v.trusted_ca = inline(PEM);
            let config = tls::SpiffeCertValidatorConfig {
                trust_domains: vec![Default::default()],
                trust_bundles: inline(MAP),
            };
            v.custom_validator_config = validator(&config);
        });
    };
    let found = policy(change);
    assert_eq!(found.roots, TlsRoots::Spiffe(SpiffeBundles::Map(source(MAP)).into()));
    let mut message = eds();
    change(&mut message);
    let decoded = decode_cluster(&message);
    let ignored = ignored(&decoded);
    let ends = ["typed_config.trust_domains", "trusted_ca"];
    assert!(
        ignored.len() == 2 && ends.iter().all(|end| ignored.iter().any(|i| i.ends_with(end))),
        "{ignored:?}"
    );
}

#[test]
fn envoy_lists_of_revoked_certificates() {
    const LIST: &str = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    let found = policy(|c| {
        with(c, |v| {
            v.trusted_ca = inline(PEM);
            v.crl = inline(LIST);
        });
    });
    assert_eq!(found.crl, Some(source(LIST)));
}

type Change = fn(&mut tls::SpiffeCertValidatorConfig);

#[test]
fn what_is_refused() {
    let table: [(Change, &str, &str); 7] = [
        (|c| c.trust_domains.clear(), "trust_domains", "nobody would be believed"),
        (
            |c| c.trust_domains[0].name = "spiffe://a".into(),
            "trust_domains[0].name",
            "no trust domain",
        ),
        (|c| c.trust_domains[0].name.clear(), "trust_domains[0].name", "no trust domain"),
        (|c| c.trust_domains[0].trust_bundle = None, "trust_domains[0].trust_bundle", "missing"),
        (
            |c| c.trust_domains[0].workload_trust_domain = "b".into(),
            "trust_domains[0].workload_trust_domain",
            "leave it out",
        ),
        (|c| c.trust_domains.push(c.trust_domains[0].clone()), "trust_domains[1].name", "twice"),
        (
            |c| c.trust_bundles = inline("{}"),
            "trust_bundles.inline_string",
            "no SPIFFE trust bundle map",
        ),
    ];
    for (change, at, words) in table {
        let domain = tls::spiffe_cert_validator_config::TrustDomain {
            name: "a.example".into(),
            trust_bundle: inline(PEM),
            ..Default::default()
        };
        let mut config =
            tls::SpiffeCertValidatorConfig { trust_domains: vec![domain], ..Default::default() };
        change(&mut config);
        let mut message = eds();
        with(&mut message, |v| v.custom_validator_config = validator(&config));
        let place = "transport_socket.typed_config.common_tls_context.validation_context.custom_validator_config.typed_config";
        check_refused(&decode_cluster(&message), at, &format!("{place}.{at}: {words}"));
    }
    let mut message = eds();
    with(&mut message, |v| {
        v.trusted_ca = inline(PEM);
        let mut other = spiffe(&["a.example"]).unwrap();
        other.typed_config.as_mut().unwrap().type_url = "type.googleapis.com/acme.Check".into();
        v.custom_validator_config = Some(other);
    });
    let place = "transport_socket.typed_config.common_tls_context.validation_context.custom_validator_config.typed_config";
    check_refused(
        &decode_cluster(&message),
        "another",
        &format!("{place}: `acme.Check` is not supported"),
    );
}
