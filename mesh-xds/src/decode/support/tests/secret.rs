use super::{Message, Set, fields};
use crate::decode::secret_testing::{certificate, data, decode_secret, pair, text, validation};
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};

const PEM: &str = "a\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n";
const LIST: &str = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";

fn tls(secret: &mut Secret) -> &mut TlsCertificate {
    match &mut secret.r#type {
        Some(Type::TlsCertificate(found)) => found,
        other => panic!("{}", other.is_some()),
    }
}

fn context(secret: &mut Secret) -> &mut CertificateValidationContext {
    match &mut secret.r#type {
        Some(Type::ValidationContext(found)) => found,
        other => panic!("{}", other.is_some()),
    }
}

fn chain(secret: &mut Secret) -> &mut DataSource {
    tls(secret).certificate_chain.as_mut().unwrap()
}

#[track_caller]
fn check(
    name: &'static str,
    path: &'static str,
    fields: &[&'static str],
    base: fn() -> Secret,
    changes: &[Set<Secret>],
) {
    Message { name, path, fields, base, decode: decode_secret, changes }.check();
}

#[test]
fn a_secret() {
    let _ = fields!(Secret { name, r#type });
    let fields =
        ["name", "tls_certificate", "validation_context", "session_ticket_keys", "generic_secret"];
    let changes: [Set<Secret>; 5] = [
        ("name", |m| m.name = "other".into()),
        ("tls_certificate", |m| tls(m).certificate_chain = text(PEM)),
        ("validation_context", |m| *m = validation()),
        ("session_ticket_keys", |m| {
            m.r#type = Some(Type::SessionTicketKeys(Default::default()));
        }),
        ("generic_secret", |m| m.r#type = Some(Type::GenericSecret(Default::default()))),
    ];
    check("Secret", "", &fields, certificate, &changes);
}

#[test]
fn a_tls_certificate() {
    let fields = fields!(TlsCertificate {
        certificate_chain,
        private_key,
        pkcs12,
        watched_directory,
        private_key_provider,
        password,
        ocsp_staple,
        signed_certificate_timestamp,
        tls_params,
    });
    let changes: [Set<Secret>; 9] = [
        ("certificate_chain", |m| tls(m).certificate_chain = text(PEM)),
        ("private_key", |m| tls(m).private_key = text(KEY)),
        ("pkcs12", |m| tls(m).pkcs12 = text("x")),
        ("watched_directory", |m| tls(m).watched_directory = Some(Default::default())),
        ("private_key_provider", |m| tls(m).private_key_provider = Some(Default::default())),
        ("password", |m| tls(m).password = text("x")),
        ("ocsp_staple", |m| tls(m).ocsp_staple = text("x")),
        ("signed_certificate_timestamp", |m| {
            tls(m).signed_certificate_timestamp = vec![DataSource::default()];
        }),
        ("tls_params", |m| tls(m).tls_params = Some(Default::default())),
    ];
    check("TlsCertificate", "tls_certificate", &fields, certificate, &changes);
}

#[test]
#[expect(deprecated, reason = "every field")]
fn a_validation_context() {
    let fields = fields!(CertificateValidationContext {
        trusted_ca,
        ca_certificate_provider_instance,
        system_root_certs,
        watched_directory,
        verify_certificate_spki,
        verify_certificate_hash,
        match_typed_subject_alt_names,
        match_subject_alt_names,
        require_signed_certificate_timestamp,
        crl,
        allow_expired_certificate,
        trust_chain_verification,
        custom_validator_config,
        only_verify_leaf_cert_crl,
        max_verify_depth,
        suppress_client_ca_list,
    });
    let changes: [Set<Secret>; 16] = [
        ("trusted_ca", |m| context(m).trusted_ca = text(PEM)),
        ("ca_certificate_provider_instance", |m| {
            context(m).ca_certificate_provider_instance = Some(Default::default());
        }),
        ("system_root_certs", |m| {
            context(m).trusted_ca = None;
            context(m).system_root_certs = Some(Default::default());
        }),
        ("watched_directory", |m| context(m).watched_directory = Some(Default::default())),
        ("verify_certificate_spki", |m| context(m).verify_certificate_spki = vec!["x".into()]),
        ("verify_certificate_hash", |m| context(m).verify_certificate_hash = vec!["x".into()]),
        ("match_typed_subject_alt_names", |m| {
            use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::SubjectAltNameMatcher;
            let matcher = SubjectAltNameMatcher {
                san_type: 2,
                matcher: Some(pair("a")),
                ..Default::default()
            };
            context(m).match_typed_subject_alt_names = vec![matcher];
        }),
        ("match_subject_alt_names", |m| context(m).match_subject_alt_names = vec![pair("a")]),
        ("require_signed_certificate_timestamp", |m| {
            context(m).require_signed_certificate_timestamp = crate::decode::testing::yes();
        }),
        ("crl", |m| context(m).crl = text(LIST)),
        ("allow_expired_certificate", |m| context(m).allow_expired_certificate = true),
        ("trust_chain_verification", |m| context(m).trust_chain_verification = 1),
        ("custom_validator_config", |m| {
            context(m).trusted_ca = None;
            context(m).custom_validator_config =
                crate::decode::secret_testing::spiffe(&["a.example"]);
        }),
        ("only_verify_leaf_cert_crl", |m| context(m).only_verify_leaf_cert_crl = true),
        ("max_verify_depth", |m| context(m).max_verify_depth = crate::decode::testing::n(1)),
        ("suppress_client_ca_list", |m| context(m).suppress_client_ca_list = true),
    ];
    let name = "CertificateValidationContext (SDS)";
    check(name, "validation_context", &fields, validation, &changes);
}

#[test]
fn a_data_source() {
    let _ = fields!(DataSource { watched_directory, specifier });
    let fields =
        ["filename", "inline_bytes", "inline_string", "environment_variable", "watched_directory"];
    let changes: [Set<Secret>; 5] = [
        ("filename", |m| *chain(m) = data(Specifier::Filename("/a.pem".into()))),
        ("inline_bytes", |m| *chain(m) = data(Specifier::InlineBytes(PEM.into()))),
        ("inline_string", |m| *chain(m) = data(Specifier::InlineString(PEM.into()))),
        ("environment_variable", |m| *chain(m) = data(Specifier::EnvironmentVariable("A".into()))),
        ("watched_directory", |m| chain(m).watched_directory = Some(Default::default())),
    ];
    check("DataSource (SDS)", "tls_certificate.certificate_chain", &fields, certificate, &changes);
}
