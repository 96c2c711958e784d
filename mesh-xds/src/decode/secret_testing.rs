//! Secrets for tests.

use super::{Context, Decoded, secret};
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{DataSource, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use prost::Message;
use proto::SpiffeCertValidatorConfig;
use proto::secret::Type;
use proto::spiffe_cert_validator_config::TrustDomain;

pub(super) const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
pub(super) const KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nMAcASECRETAA\n-----END PRIVATE KEY-----\n";

pub(super) fn data(specifier: Specifier) -> DataSource {
    DataSource { specifier: Some(specifier), ..Default::default() }
}

pub(super) fn text(text: &str) -> Option<DataSource> {
    Some(data(Specifier::InlineString(text.to_owned())))
}

/// An exact matcher.
pub(super) fn pair(text: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.to_owned())),
        ..Default::default()
    }
}

pub(super) fn named(kind: Type) -> proto::Secret {
    proto::Secret { name: "default".to_owned(), r#type: Some(kind) }
}

pub(super) fn certificate() -> proto::Secret {
    named(Type::TlsCertificate(proto::TlsCertificate {
        certificate_chain: text(CHAIN),
        private_key: text(KEY),
        ..Default::default()
    }))
}

pub(super) fn validation() -> proto::Secret {
    named(Type::ValidationContext(proto::CertificateValidationContext {
        trusted_ca: text(CHAIN),
        ..Default::default()
    }))
}

pub(super) fn decode_secret(message: &proto::Secret) -> Decoded {
    secret::decode(&message.encode_to_vec(), &Context::default())
}

/// The validator of these trust domains, each with a bundle.
pub(super) fn spiffe(domains: &[&str]) -> Option<TypedExtensionConfig> {
    let domain = |name: &&str| TrustDomain {
        name: (*name).to_owned(),
        trust_bundle: text(CHAIN),
        ..Default::default()
    };
    let config = SpiffeCertValidatorConfig {
        trust_domains: domains.iter().map(domain).collect(),
        ..Default::default()
    };
    validator(&config)
}

/// A validator with this configuration.
pub(super) fn validator(config: &SpiffeCertValidatorConfig) -> Option<TypedExtensionConfig> {
    let typed_config = Some(super::testing::any(config));
    Some(TypedExtensionConfig { name: "envoy.tls.cert_validator.spiffe".into(), typed_config })
}
