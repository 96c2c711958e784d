//! What a peer must prove: who signs its certificate, and which names it has.

use super::super::subject_alt_names::names;
use super::{OWN_PROVIDER, check_provider, secret, spiffe};
use crate::decode::Context;
use crate::decode::common::Walk;
use crate::decode::secret::{authorities, revoked};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use mesh_core::model::SanMatcher;
use mesh_core::model::secret::{SecretRoots, SecretSource};
use mesh_core::model::tls::{TlsRoots, ValidationSecret};
use proto::certificate_validation_context::TrustChainVerification;
use proto::common_tls_context::ValidationContextType;
use std::sync::Arc;

/// What a peer must prove.
#[derive(Debug, Default)]
pub(in crate::decode) struct Peer {
    /// Who signs its certificate.
    pub(in crate::decode) roots: TlsRoots,
    /// Which names it has.
    pub(in crate::decode) san: Vec<SanMatcher>,
    /// The certificates that were revoked.
    pub(in crate::decode) crl: Option<SecretSource>,
}

/// Who signs the peer's certificate, and which names it must have.
#[expect(deprecated, reason = "control planes still use the older fields")]
pub(super) fn decode(walk: &mut Walk, common: &proto::CommonTlsContext, context: &Context) -> Peer {
    let mut tls = Peer::default();
    match &common.validation_context_type {
        None => walk.error_at(
            "validation_context",
            "it is missing: a client must know who signs the peer's certificate (gRFC A29); for public \
             certificate authorities it is `{ system_root_certs: {} }`",
        ),
        Some(ValidationContextType::ValidationContext(validation)) => {
            walk.at("validation_context", |walk| {
                let found = roots(walk, validation, context);
                let found = found.or_else(|| no_roots(walk));
                tls.roots = found.unwrap_or_default();
                tls.san = names(walk, validation);
                tls.crl = crl(walk, validation);
            });
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            walk.at("combined_validation_context", |walk| {
                combined_validation(walk, combined, context, &mut tls);
            });
        }
        Some(ValidationContextType::ValidationContextCertificateProviderInstance(instance)) => {
            let field = "validation_context_certificate_provider_instance";
            tls.roots = provider(walk, field, &instance.instance_name, context);
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => {
            let name = secret(walk, "validation_context_sds_secret_config", config, context);
            tls.roots = by_secret(name, SecretRoots::Unsaid);
        }
        Some(ValidationContextType::ValidationContextCertificateProvider(_)) => {
            walk.error_at("validation_context_certificate_provider", NO_PLUGIN);
        }
    }
    tls
}

/// Envoy: revoked certificates, of which gRPC refuses a list (A29).
fn crl(walk: &mut Walk, validation: &proto::CertificateValidationContext) -> Option<SecretSource> {
    let source = validation.crl.as_ref()?;
    walk.at("crl", |walk| revoked(walk, source))
}

const NO_PLUGIN: &str = "it is not supported (gRFC A29); name a certificate provider of the bootstrap file in `ca_certificate_provider_instance`, or a secret";

/// What is wrong with bundles of trust domains beside other roots, which would be roots for everybody.
const PROVIDERS_COUNT: &str = "the roots of a certificate provider count (gRFC A29), and what it checks would be left out: leave one out";
const SECRETS_COUNT: &str = "the roots of a secret count, and what it checks would be left out: leave one out, or say it in the secret";

/// What a secret says; whatever, where there is an error.
fn by_secret(name: Option<Arc<str>>, default: SecretRoots) -> TlsRoots {
    let secret = name.map(|name| {
        let mut secret = ValidationSecret::new(name);
        secret.roots = default;
        secret
    });
    secret.map_or_else(TlsRoots::default, TlsRoots::Secret)
}

/// The roots of a certificate provider.
fn provider(walk: &mut Walk, field: &str, name: &str, context: &Context) -> TlsRoots {
    check_provider(walk, field, name, context);
    match name {
        OWN_PROVIDER => TlsRoots::Mesh,
        name => TlsRoots::Provider(name.into()),
    }
}

/// A combined context: a certificate provider, which may be said by the older field, before all else (gRFC
/// A29); else what the secret says, beside the default (Envoy).
#[expect(deprecated, reason = "Istio says the roots by the older field")]
fn combined_validation(
    walk: &mut Walk,
    combined: &proto::common_tls_context::CombinedCertificateValidationContext,
    context: &Context,
    tls: &mut Peer,
) {
    let Some(validation) = &combined.default_validation_context else {
        walk.error_at("default_validation_context", "it is missing (Envoy: required)");
        return;
    };
    let older = combined.validation_context_certificate_provider_instance.as_ref();
    let by = combined.validation_context_sds_secret_config.as_ref();
    let found = walk.at("default_validation_context", |walk| {
        tls.san = names(walk, validation);
        tls.crl = crl(walk, validation);
        let found = roots(walk, validation, context);
        let is_said = older.is_some() || by.is_some();
        if is_said && matches!(found, Some(TlsRoots::Spiffe(_))) {
            let whose = if older.is_some() { PROVIDERS_COUNT } else { SECRETS_COUNT };
            walk.error_at("custom_validator_config", whose);
        }
        found.or_else(|| if is_said { None } else { no_roots(walk) })
    });
    let older = older.map(|instance| {
        let field = "validation_context_certificate_provider_instance";
        provider(walk, field, &instance.instance_name, context)
    });
    let field = "validation_context_sds_secret_config";
    tls.roots = match (found, older, by) {
        (Some(found @ (TlsRoots::Mesh | TlsRoots::Provider(_))), ..) | (_, Some(found), _) => {
            walk.ignored(by.is_some(), field, "the certificate provider's roots count (gRFC A29)");
            found
        }
        (found, _, Some(config)) => {
            let default = found.map(of_default).unwrap_or_default();
            by_secret(secret(walk, field, config, context), default)
        }
        (found, ..) => found.unwrap_or_default(),
    };
}

/// Roots that a secret is merged into.
fn of_default(roots: TlsRoots) -> SecretRoots {
    match roots {
        TlsRoots::Pem(text) => SecretRoots::Pem(SecretSource::Inline(text.as_bytes().into())),
        TlsRoots::File(path) => SecretRoots::Pem(SecretSource::File(path)),
        TlsRoots::System => SecretRoots::System,
        _ => SecretRoots::Unsaid,
    }
}

fn no_roots(walk: &mut Walk) -> Option<TlsRoots> {
    walk.error_at(
        "ca_certificate_provider_instance",
        "nothing says who signs the peer's certificate (gRFC A29); name a certificate provider of the bootstrap file or a secret, or set system_root_certs",
    );
    None
}

/// gRFC A29, A82: the provider first, then those of trust domains (Envoy), the certificates themselves, the
/// system's.
fn roots(
    walk: &mut Walk,
    validation: &proto::CertificateValidationContext,
    context: &Context,
) -> Option<TlsRoots> {
    refuse_checks(walk, validation);
    report_validation(walk, validation);
    if let Some(instance) = &validation.ca_certificate_provider_instance {
        if validation.custom_validator_config.is_some() {
            walk.error_at("custom_validator_config", PROVIDERS_COUNT);
        }
        walk.ignored(
            validation.trusted_ca.is_some(),
            "trusted_ca",
            "the certificate provider's roots count (gRFC A29)",
        );
        let field = "ca_certificate_provider_instance";
        return Some(provider(walk, field, &instance.instance_name, context));
    }
    if let Some(bundles) = spiffe::decode(walk, validation) {
        return Some(TlsRoots::Spiffe(Arc::new(bundles)));
    }
    if validation.custom_validator_config.is_some() {
        // It is an error, and what else is said would not be what was meant.
        return Some(TlsRoots::default());
    }
    if let Some(source) = &validation.trusted_ca {
        let source = walk.at("trusted_ca", |walk| authorities(walk, source));
        return Some(source.map(certificates).unwrap_or_default());
    }
    validation.system_root_certs.is_some().then_some(TlsRoots::System)
}

/// Certificates that were checked to be text.
fn certificates(source: SecretSource) -> TlsRoots {
    match source {
        SecretSource::Inline(bytes) => TlsRoots::Pem(String::from_utf8_lossy(&bytes).into()),
        SecretSource::File(path) => TlsRoots::File(path),
        _ => TlsRoots::default(),
    }
}

/// gRFC A29: checks that can't be made are refused, and so is what would make fewer.
pub(in crate::decode) fn refuse_checks(
    walk: &mut Walk,
    validation: &proto::CertificateValidationContext,
) {
    let trust = validation.trust_chain_verification;
    let untrusted = trust != TrustChainVerification::VerifyTrustChain as i32;
    let sct = validation.require_signed_certificate_timestamp.as_ref();
    for (set, field) in [
        (!validation.verify_certificate_spki.is_empty(), "verify_certificate_spki"),
        (!validation.verify_certificate_hash.is_empty(), "verify_certificate_hash"),
        (sct.is_some_and(|sct| sct.value), "require_signed_certificate_timestamp"),
        (validation.only_verify_leaf_cert_crl, "only_verify_leaf_cert_crl"),
        (validation.allow_expired_certificate, "allow_expired_certificate"),
        (untrusted, "trust_chain_verification"),
        (validation.max_verify_depth.is_some(), "max_verify_depth"),
    ] {
        if set {
            walk.error_at(field, "it is not supported (gRFC A29); leave it out");
        }
    }
}

/// What does nothing for a cluster.
fn report_validation(walk: &mut Walk, validation: &proto::CertificateValidationContext) {
    for (set, field) in [
        (validation.watched_directory.is_some(), "watched_directory"),
        (validation.suppress_client_ca_list, "suppress_client_ca_list"),
    ] {
        walk.ignored(set, field, "it has no meaning for a client without files");
    }
}
