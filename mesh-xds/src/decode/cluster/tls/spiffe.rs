//! `custom_validator_config`: of the validators of Envoy's, `envoy.tls.cert_validator.spiffe`.
//!
//! Each trust domain has roots of its own, which sign for its members only. What chooses among bundles by the
//! connection (`workload_trust_domain`) is refused: it would make the check stricter than it can be made here.

use crate::decode::address::shorten;
use crate::decode::common::{self, Walk};
use crate::decode::secret::{authorities, bundle_map};
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use mesh_core::identity::TrustDomain;
use mesh_core::model::tls::SpiffeBundles;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The roots of trust domains; `None`: there is no such validator, or an error.
pub(in crate::decode) fn decode(
    walk: &mut Walk,
    message: &proto::CertificateValidationContext,
) -> Option<SpiffeBundles> {
    let validator = message.custom_validator_config.as_ref()?;
    let found = walk.at("custom_validator_config", |walk| config(walk, validator));
    if found.is_some() {
        const IN_PLACE: &str = "the bundles of custom_validator_config count (Envoy)";
        walk.ignored(message.trusted_ca.is_some(), "trusted_ca", IN_PLACE);
        walk.ignored(message.system_root_certs.is_some(), "system_root_certs", IN_PLACE);
    }
    found
}

fn config(walk: &mut Walk, validator: &TypedExtensionConfig) -> Option<SpiffeBundles> {
    let Some(config) = &validator.typed_config else {
        walk.error_at("typed_config", "it is missing");
        return None;
    };
    walk.at("typed_config", |walk| {
        if !common::holds::<proto::SpiffeCertValidatorConfig>(config) {
            walk.error(format_args!(
                "`{}` is not supported; of the validators, SPIFFECertValidatorConfig is",
                shorten(common::type_name(&config.type_url))
            ));
            return None;
        }
        let message = common::unpack::<proto::SpiffeCertValidatorConfig>(walk, config)?;
        if let Some(source) = &message.trust_bundles {
            walk.ignored(
                !message.trust_domains.is_empty(),
                "trust_domains",
                "trust_bundles takes precedence (Envoy)",
            );
            let map = walk.at("trust_bundles", |walk| bundle_map(walk, source));
            return map.map(SpiffeBundles::Map);
        }
        if message.trust_domains.is_empty() {
            walk.error_at("trust_domains", "it is empty: nobody would be believed (Envoy)");
        }
        let mut bundles = BTreeMap::new();
        for (at, domain) in message.trust_domains.iter().enumerate() {
            walk.at(format_args!("trust_domains[{at}]"), |walk| {
                let Some((name, source)) = trust_domain(walk, domain) else { return };
                if bundles.insert(name, source).is_some() {
                    walk.error_at("name", "it stands twice (Envoy): put its roots into one bundle");
                }
            });
        }
        Some(SpiffeBundles::Each(bundles))
    })
}

fn trust_domain(
    walk: &mut Walk,
    message: &proto::spiffe_cert_validator_config::TrustDomain,
) -> Option<(Arc<str>, mesh_core::model::secret::SecretSource)> {
    if !message.workload_trust_domain.is_empty() {
        walk.error_at(
            "workload_trust_domain",
            "it is not supported: a connection has no filter state that chooses; leave it out",
        );
    }
    let name = TrustDomain::parse(&message.name);
    if let Err(error) = &name {
        walk.error_at("name", format_args!("it is no trust domain: {error}"));
    }
    let Some(source) = &message.trust_bundle else {
        walk.error_at("trust_bundle", "it is missing (Envoy): give the roots of the trust domain");
        return None;
    };
    let source = walk.at("trust_bundle", |walk| authorities(walk, source))?;
    name.ok().map(|_| (message.name.as_str().into(), source))
}
