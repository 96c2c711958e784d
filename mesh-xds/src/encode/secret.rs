//! Secrets, and where their bytes are.

use super::san;
use super::wrap::extension;
use envoy_types::pb::envoy::config::core::v3::{
    DataSource, TypedExtensionConfig, data_source::Specifier,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    self as pb, CertificateValidationContext, SpiffeCertValidatorConfig, TlsCertificate,
    certificate_validation_context::SystemRootCerts, secret::Type,
    spiffe_cert_validator_config::TrustDomain,
};
use mesh_core::model::Secret;
use mesh_core::model::secret::{
    SecretCertificate, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use mesh_core::model::tls::SpiffeBundles;

/// A `Secret`. It holds whatever private key the model holds: it is for a stream, and for nothing else.
#[must_use]
pub fn secret(model: &Secret) -> pb::Secret {
    let content = match &model.content {
        SecretContent::Certificate(model) => Some(Type::TlsCertificate(certificate(model))),
        SecretContent::Validation(model) => Some(Type::ValidationContext(validation(model))),
        _ => None,
    };
    pb::Secret { name: model.name.to_string(), r#type: content }
}

/// A `TlsCertificate`.
pub(super) fn certificate(model: &SecretCertificate) -> TlsCertificate {
    TlsCertificate {
        certificate_chain: source(&model.chain),
        private_key: source(&model.private_key),
        ..TlsCertificate::default()
    }
}

fn validation(model: &SecretValidation) -> CertificateValidationContext {
    let mut context = CertificateValidationContext::default();
    san::set_names(&mut context, &model.san);
    context.crl = model.crl.as_ref().and_then(source);
    match &model.roots {
        SecretRoots::Pem(pem) => context.trusted_ca = source(pem),
        SecretRoots::Spiffe(bundles) => context.custom_validator_config = Some(spiffe(bundles)),
        SecretRoots::Unsaid => {}
        // `System`, and what may come: never without roots where some are meant.
        _ => context.system_root_certs = Some(SystemRootCerts {}),
    }
    context
}

/// The validator of trust domains.
pub(super) fn spiffe(model: &SpiffeBundles) -> TypedExtensionConfig {
    let mut config = SpiffeCertValidatorConfig::default();
    for (domain, bytes) in model.sources() {
        match domain {
            Some(domain) => config.trust_domains.push(TrustDomain {
                name: domain.to_string(),
                trust_bundle: source(bytes),
                ..TrustDomain::default()
            }),
            None => config.trust_bundles = source(bytes),
        }
    }
    extension("envoy.tls.cert_validator.spiffe", &config)
}

/// A `DataSource`.
pub(super) fn source(model: &SecretSource) -> Option<DataSource> {
    let specifier = match model {
        SecretSource::File(path) => Specifier::Filename(path.to_string_lossy().into_owned()),
        SecretSource::Inline(bytes) => Specifier::InlineBytes(bytes.to_vec()),
        _ => return None,
    };
    Some(DataSource { specifier: Some(specifier), ..DataSource::default() })
}
