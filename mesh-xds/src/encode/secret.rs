//! Secrets, and where their bytes are.

use super::san;
use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    self as pb, CertificateValidationContext, TlsCertificate,
    certificate_validation_context::SystemRootCerts, secret::Type,
};
use mesh_core::model::Secret;
use mesh_core::model::secret::{
    SecretCertificate, SecretContent, SecretRoots, SecretSource, SecretValidation,
};

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
    match &model.roots {
        SecretRoots::Pem(pem) => context.trusted_ca = source(pem),
        // `System`, and what may come: never without roots.
        _ => context.system_root_certs = Some(SystemRootCerts {}),
    }
    context
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
