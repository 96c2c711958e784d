//! `UpstreamTlsContext`: what a peer must prove, and what we show (gRFC A29, A82, A101).
//!
//! Who signs the peer's certificate must be said: by a certificate provider of the bootstrap file, the
//! system's roots, or the certificates themselves. Certificates by SDS are refused (gRFC A29), and so
//! is all that would make the check stricter than it can be made here. An empty list of names, which
//! accepts any peer in gRPC and Envoy, is stricter here: then the peer must prove the SNI.
//!
//! The order of the SNI is gRFC A101's: the endpoint's hostname, if `auto_host_sni`, then `sni`.

use super::subject_alt_names::names;
use crate::decode::Context;
use crate::decode::address::shorten;
use crate::decode::common::Walk;
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use mesh_core::model::tls::{TlsRoots, UpstreamTls};
use proto::certificate_validation_context::TrustChainVerification;
use proto::common_tls_context::ValidationContextType;

/// Envoy, gRFC A101: the longest SNI, in bytes.
const LONGEST_SNI: usize = 255;

/// What a TLS context comes to; nothing when there is an error.
pub(super) fn decode(
    walk: &mut Walk,
    message: &proto::UpstreamTlsContext,
    context: &Context,
) -> Option<UpstreamTls> {
    report(walk, message);
    if message.sni.len() > LONGEST_SNI {
        walk.error_at("sni", format_args!("it is longer than {LONGEST_SNI} bytes (gRFC A101)"));
    }
    let Some(common) = &message.common_tls_context else {
        walk.error_at("common_tls_context", "it is missing (gRFC A29)");
        return None;
    };
    let mut tls = UpstreamTls::default();
    walk.at("common_tls_context", |walk| {
        refuse(walk, common);
        tls.present_identity = identity(walk, common, context);
        validation(walk, common, context, &mut tls);
    });
    let sni = Some(&message.sni).filter(|sni| !sni.is_empty() && !message.auto_host_sni);
    tls.sni = sni.map(|sni| sni.as_str().into());
    // gRFC A101: the SNI that was sent takes the place of the names; without one they stay.
    if message.auto_sni_san_validation && (message.auto_host_sni || !message.sni.is_empty()) {
        tls.san.clear();
    }
    Some(tls)
}

#[expect(deprecated, reason = "control planes still set `enforce_rsa_key_usage`")]
fn report(walk: &mut Walk, message: &proto::UpstreamTlsContext) {
    for (set, field, reason) in [
        (message.allow_renegotiation, "allow_renegotiation", "TLS 1.3 has none (gRFC A29)"),
        (message.max_session_keys.is_some(), "max_session_keys", "it is built in (gRFC A29)"),
        (message.enforce_rsa_key_usage.is_some(), "enforce_rsa_key_usage", "it is always enforced"),
    ] {
        walk.ignored(set, field, reason);
    }
}

/// gRFC A29: what must not be set, as it can't be done.
fn refuse(walk: &mut Walk, common: &proto::CommonTlsContext) {
    for (set, field) in [
        (common.tls_params.is_some(), "tls_params"),
        (common.custom_handshaker.is_some(), "custom_handshaker"),
        (common.custom_tls_certificate_selector.is_some(), "custom_tls_certificate_selector"),
    ] {
        if set {
            walk.error_at(field, "it is not supported (gRFC A29); leave it out");
        }
    }
    walk.ignored(
        !common.alpn_protocols.is_empty(),
        "alpn_protocols",
        "ALPN follows from the protocol (gRFC A29)",
    );
    walk.ignored(common.key_log.is_some(), "key_log", "keys are not logged");
}

/// Whether we show an identity, which only a certificate provider can give.
#[expect(deprecated, reason = "control planes still use the older field")]
fn identity(walk: &mut Walk, common: &proto::CommonTlsContext, context: &Context) -> bool {
    if let Some(instance) = &common.tls_certificate_provider_instance {
        let field = "tls_certificate_provider_instance";
        check_provider(walk, field, &instance.instance_name, context);
    } else if let Some(instance) = &common.tls_certificate_certificate_provider_instance {
        let field = "tls_certificate_certificate_provider_instance";
        check_provider(walk, field, &instance.instance_name, context);
    } else {
        for (set, field) in [
            (!common.tls_certificates.is_empty(), "tls_certificates"),
            (
                !common.tls_certificate_sds_secret_configs.is_empty(),
                "tls_certificate_sds_secret_configs",
            ),
            (
                common.tls_certificate_certificate_provider.is_some(),
                "tls_certificate_certificate_provider",
            ),
        ] {
            if set {
                walk.error_at(field, "it is not supported (gRFC A29); name a certificate provider of the bootstrap file in `tls_certificate_provider_instance`");
            }
        }
        return false;
    }
    true
}

/// gRFC A29: an instance must be one of the bootstrap file's.
fn check_provider(walk: &mut Walk, field: &str, instance: &str, context: &Context) {
    if !context.certificate_providers.contains(instance) {
        let instance = shorten(instance);
        walk.at(field, |walk| {
            walk.error_at(
                "instance_name",
                format_args!(
                    "the bootstrap file has no certificate provider `{instance}` (gRFC A29)"
                ),
            );
        });
    }
}

/// Who signs the peer's certificate, and which names it must have.
#[expect(deprecated, reason = "control planes still use the older fields")]
fn validation(
    walk: &mut Walk,
    common: &proto::CommonTlsContext,
    context: &Context,
    tls: &mut UpstreamTls,
) {
    match &common.validation_context_type {
        None => walk.error_at(
            "validation_context",
            "it is missing: a client must know who signs the peer's certificate (gRFC A29)",
        ),
        Some(ValidationContextType::ValidationContext(validation)) => {
            walk.at("validation_context", |walk| {
                let found = roots(walk, validation, context);
                let found = found.or_else(|| no_roots(walk));
                tls.roots = found.unwrap_or_default();
                tls.san = names(walk, validation);
            });
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            walk.at("combined_validation_context", |walk| {
                combined_validation(walk, combined, context, tls);
            });
        }
        Some(ValidationContextType::ValidationContextCertificateProviderInstance(instance)) => {
            let field = "validation_context_certificate_provider_instance";
            check_provider(walk, field, &instance.instance_name, context);
            tls.roots = TlsRoots::Mesh;
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(_)) => {
            walk.error_at("validation_context_sds_secret_config", NO_SDS);
        }
        Some(ValidationContextType::ValidationContextCertificateProvider(_)) => {
            walk.error_at("validation_context_certificate_provider", NO_SDS);
        }
    }
}

const NO_SDS: &str = "it is not supported (gRFC A29); name a certificate provider of the bootstrap file in `ca_certificate_provider_instance`";

/// gRFC A29: of a combined context, the default one, and the older field for its roots.
#[expect(deprecated, reason = "Istio says the roots by the older field")]
fn combined_validation(
    walk: &mut Walk,
    combined: &proto::common_tls_context::CombinedCertificateValidationContext,
    context: &Context,
    tls: &mut UpstreamTls,
) {
    let Some(validation) = &combined.default_validation_context else {
        walk.error_at("default_validation_context", "it is missing (Envoy: required)");
        return;
    };
    let older = combined.validation_context_certificate_provider_instance.as_ref();
    walk.at("default_validation_context", |walk| {
        let found = roots(walk, validation, context);
        let found = found.or_else(|| older.is_none().then(|| no_roots(walk)).flatten());
        tls.roots = found.unwrap_or(TlsRoots::Mesh);
        tls.san = names(walk, validation);
    });
    if let Some(instance) = older {
        let field = "validation_context_certificate_provider_instance";
        check_provider(walk, field, &instance.instance_name, context);
    }
    walk.ignored(
        combined.validation_context_sds_secret_config.is_some(),
        "validation_context_sds_secret_config",
        "the roots are those of the default context (gRFC A29)",
    );
}

fn no_roots(walk: &mut Walk) -> Option<TlsRoots> {
    walk.error_at(
        "ca_certificate_provider_instance",
        "nothing says who signs the peer's certificate (gRFC A29); name a certificate provider of the bootstrap file, or set system_root_certs",
    );
    None
}

/// gRFC A29, A82: the provider first, then the certificates themselves, then the system's.
fn roots(
    walk: &mut Walk,
    validation: &proto::CertificateValidationContext,
    context: &Context,
) -> Option<TlsRoots> {
    refuse_checks(walk, validation);
    report_validation(walk, validation);
    if let Some(instance) = &validation.ca_certificate_provider_instance {
        walk.ignored(
            validation.trusted_ca.is_some(),
            "trusted_ca",
            "the certificate provider's roots count (gRFC A29)",
        );
        let field = "ca_certificate_provider_instance";
        check_provider(walk, field, &instance.instance_name, context);
        return Some(TlsRoots::Mesh);
    }
    if let Some(source) = &validation.trusted_ca {
        return Some(walk.at("trusted_ca", |walk| pem(walk, source)).unwrap_or_default());
    }
    validation.system_root_certs.is_some().then_some(TlsRoots::System)
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
        (validation.crl.is_some(), "crl"),
        (validation.only_verify_leaf_cert_crl, "only_verify_leaf_cert_crl"),
        (validation.custom_validator_config.is_some(), "custom_validator_config"),
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

fn pem(walk: &mut Walk, source: &DataSource) -> Option<TlsRoots> {
    let text = match &source.specifier {
        Some(Specifier::InlineString(text)) => Some(text.as_str()),
        Some(Specifier::InlineBytes(bytes)) => std::str::from_utf8(bytes).ok(),
        _ => {
            walk.error("only certificates in the message itself are read: use inline_string");
            return None;
        }
    };
    match text.filter(|text| text.contains("-----BEGIN CERTIFICATE-----")) {
        Some(text) => Some(TlsRoots::Pem(text.into())),
        None => {
            walk.error("it holds no PEM certificate: there is no `-----BEGIN CERTIFICATE-----`");
            None
        }
    }
}
