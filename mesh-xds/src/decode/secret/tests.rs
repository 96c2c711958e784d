use super::*;
use crate::decode::secret_testing::{
    CHAIN, KEY, certificate, data, decode_secret, named, pair, text, validation,
};
use crate::decode::testing::{broken, check_refused, ignored};
use crate::{ResourceType, decode as decode_kind};
use mesh_core::model::{SanKind, SanMatcher, StringMatcher};

fn tls(chain: Option<DataSource>, key: Option<DataSource>) -> proto::Secret {
    named(Type::TlsCertificate(proto::TlsCertificate {
        certificate_chain: chain,
        private_key: key,
        ..Default::default()
    }))
}

fn change_tls(change: fn(&mut proto::TlsCertificate)) -> proto::Secret {
    let mut message = proto::TlsCertificate {
        certificate_chain: text(CHAIN),
        private_key: text(KEY),
        ..Default::default()
    };
    change(&mut message);
    named(Type::TlsCertificate(message))
}

fn change_validation(change: fn(&mut proto::CertificateValidationContext)) -> proto::Secret {
    let mut message =
        proto::CertificateValidationContext { trusted_ca: text(CHAIN), ..Default::default() };
    change(&mut message);
    named(Type::ValidationContext(message))
}

fn bytes(bytes: &[u8]) -> Option<DataSource> {
    Some(data(Specifier::InlineBytes(bytes.to_vec())))
}

fn file(path: &str) -> Option<DataSource> {
    Some(data(Specifier::Filename(path.to_owned())))
}

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

fn named_file(path: &str) -> SecretSource {
    SecretSource::File(Path::new(path).into())
}

#[track_caller]
fn check_accepted(cases: Vec<(&str, proto::Secret, SecretContent)>) {
    for (rule, message, expected) in cases {
        let decoded = decode_secret(&message);
        assert_eq!(decoded.name.as_deref(), Some("default"), "{rule}");
        let found = decoded.resource.unwrap_or_else(|errors| panic!("{rule}: {errors:?}"));
        let expected = Secret::new("default", expected);
        assert_eq!(found, Resource::Secret(Arc::new(expected)), "{rule}");
    }
}

#[test]
fn certificates_that_are_accepted() {
    let identity = |chain: SecretSource, key: SecretSource| {
        SecretContent::Certificate(SecretCertificate::new(chain, key))
    };
    let old_key = KEY.replace("PRIVATE", "RSA PRIVATE");
    let sec1 = KEY.replace("PRIVATE", "EC PRIVATE");
    let two = format!("{CHAIN}{CHAIN}");
    let commented = format!("subject=/CN=a\n{CHAIN}");
    check_accepted(vec![
        ("text", certificate(), identity(inline(CHAIN), inline(KEY))),
        (
            "bytes",
            tls(bytes(CHAIN.as_bytes()), bytes(KEY.as_bytes())),
            identity(inline(CHAIN), inline(KEY)),
        ),
        (
            "files",
            tls(file("/c.pem"), file("/k.pem")),
            identity(named_file("/c.pem"), named_file("/k.pem")),
        ),
        ("a relative file", tls(file("c"), text(KEY)), identity(named_file("c"), inline(KEY))),
        ("a chain", tls(text(&two), text(KEY)), identity(inline(&two), inline(KEY))),
        ("a comment", tls(text(&commented), text(KEY)), identity(inline(&commented), inline(KEY))),
        ("PKCS #1", tls(text(CHAIN), text(&old_key)), identity(inline(CHAIN), inline(&old_key))),
        ("SEC 1", tls(text(CHAIN), text(&sec1)), identity(inline(CHAIN), inline(&sec1))),
    ]);
}

#[test]
fn validation_contexts_that_are_accepted() {
    let peer = |roots: SecretRoots, kind: SanKind, san: &[&str]| {
        let mut found = SecretValidation::new(roots);
        let san = san.iter().map(|name| StringMatcher::exact(*name));
        found.san = san.map(|matcher| SanMatcher { kind: kind.clone(), matcher }).collect();
        SecretContent::Validation(found)
    };
    let pem = || SecretRoots::Pem(inline(CHAIN));
    check_accepted(vec![
        ("roots", validation(), peer(pem(), SanKind::Any, &[])),
        (
            "roots in a file",
            change_validation(|m| m.trusted_ca = file("/ca.pem")),
            peer(SecretRoots::Pem(named_file("/ca.pem")), SanKind::Any, &[]),
        ),
        (
            "the system's roots",
            change_validation(|m| {
                m.trusted_ca = None;
                m.system_root_certs = Some(Default::default());
            }),
            peer(SecretRoots::System, SanKind::Any, &[]),
        ),
        // Envoy: the context that it is merged into may have some.
        (
            "no roots",
            change_validation(|m| m.trusted_ca = None),
            peer(SecretRoots::Unsaid, SanKind::Any, &[]),
        ),
        (
            "names alone",
            change_validation(|m| {
                #[expect(deprecated, reason = "Istio uses the names without types")]
                let names = &mut m.match_subject_alt_names;
                *names = vec![pair("c.example")];
                m.trusted_ca = None;
            }),
            peer(SecretRoots::Unsaid, SanKind::Any, &["c.example"]),
        ),
        (
            "both roots",
            change_validation(|m| m.system_root_certs = Some(Default::default())),
            peer(pem(), SanKind::Any, &[]),
        ),
        (
            "names",
            change_validation(|m| {
                #[expect(deprecated, reason = "Istio uses the names without types")]
                let names = &mut m.match_subject_alt_names;
                *names = vec![pair("spiffe://a/b"), pair("c.example")];
            }),
            peer(pem(), SanKind::Any, &["spiffe://a/b", "c.example"]),
        ),
        (
            "a typed name",
            change_validation(|m| {
                m.match_typed_subject_alt_names = vec![proto::SubjectAltNameMatcher {
                    san_type: 3,
                    matcher: Some(pair("spiffe://a/b")),
                    ..Default::default()
                }];
            }),
            peer(pem(), SanKind::Uri, &["spiffe://a/b"]),
        ),
        (
            "timestamps that are not required",
            change_validation(|m| {
                m.require_signed_certificate_timestamp = Some(Default::default());
            }),
            peer(pem(), SanKind::Any, &[]),
        ),
    ]);
}

/// A rule, a secret that breaks it, and the error.
type Refused = (&'static str, proto::Secret, &'static str);

#[track_caller]
fn check_all(cases: &[Refused]) {
    for (rule, message, error) in cases {
        let decoded = decode_secret(message);
        check_refused(&decoded, rule, error);
        let shown = format!("{decoded:?}");
        assert!(!shown.contains("SECRET"), "{rule}: {shown}");
    }
}

#[test]
fn what_is_no_secret_or_has_no_bytes() {
    let of = |specifier| tls(Some(data(specifier)), text(KEY));
    let no_name = proto::Secret { name: String::new(), ..certificate() };
    let no_type = proto::Secret { r#type: None, ..certificate() };
    check_all(&[
        ("no name", no_name, "name: it is empty"),
        ("no type", no_type, ": it is empty"),
        (
            "ticket keys",
            named(Type::SessionTicketKeys(Default::default())),
            "session_ticket_keys: it has no use",
        ),
        (
            "a generic secret",
            named(Type::GenericSecret(Default::default())),
            "generic_secret: it has no use",
        ),
        ("nothing", tls(None, None), "tls_certificate.certificate_chain: it is missing"),
        ("no key", tls(text(CHAIN), None), "tls_certificate.private_key: it is missing"),
        ("no chain", tls(None, text(KEY)), "tls_certificate.certificate_chain: it is missing"),
        (
            "an empty source",
            tls(Some(DataSource::default()), text(KEY)),
            "tls_certificate.certificate_chain: nothing says where",
        ),
        (
            "an empty path",
            of(Specifier::Filename(String::new())),
            "tls_certificate.certificate_chain.filename: it is empty",
        ),
        (
            "an empty text",
            of(Specifier::InlineString(String::new())),
            "tls_certificate.certificate_chain.inline_string: it holds no PEM",
        ),
        (
            "no bytes",
            of(Specifier::InlineBytes(Vec::new())),
            "tls_certificate.certificate_chain.inline_bytes: it holds no PEM",
        ),
        (
            "no text",
            of(Specifier::InlineBytes(vec![0xff, 0xfe])),
            "tls_certificate.certificate_chain.inline_bytes: it is no text",
        ),
        (
            "DER",
            of(Specifier::InlineBytes(vec![0x30, 0])),
            "tls_certificate.certificate_chain.inline_bytes: it holds no PEM",
        ),
        (
            "a variable",
            of(Specifier::EnvironmentVariable("A".into())),
            "tls_certificate.certificate_chain.environment_variable: it is not read",
        ),
    ]);
}

#[test]
fn certificates_that_are_refused() {
    let of = |specifier| tls(Some(data(specifier)), text(KEY));
    let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let old_encrypted = KEY.replace("SECRET", "Proc-Type: 4,ENCRYPTED\nSECRET");
    check_all(&[
        (
            "a key for a chain",
            of(Specifier::InlineString(KEY.into())),
            "tls_certificate.certificate_chain.inline_string: it holds no PEM",
        ),
        (
            "a chain for a key",
            tls(text(CHAIN), text(CHAIN)),
            "tls_certificate.private_key.inline_string: it holds no PEM private key",
        ),
        (
            "an encrypted key",
            tls(text(CHAIN), text(&encrypted)),
            "tls_certificate.private_key.inline_string: it is encrypted",
        ),
        (
            "an old encrypted key",
            tls(text(CHAIN), text(&old_encrypted)),
            "tls_certificate.private_key.inline_string: it is encrypted",
        ),
        (
            "a chain that is cut off",
            tls(text(&CHAIN[..40]), text(KEY)),
            "tls_certificate.certificate_chain.inline_string: broken PEM: a part has no `-----END`",
        ),
        (
            "no base64",
            tls(text(&CHAIN.replace("MAA", "M*A")), text(KEY)),
            "tls_certificate.certificate_chain.inline_string: broken PEM: something",
        ),
        (
            "no DER",
            tls(text(&CHAIN.replace("MAA", "MAE")), text(KEY)),
            "tls_certificate.certificate_chain.inline_string: what is in its PEM is cut off",
        ),
        (
            "half of a key",
            tls(text(CHAIN), text(&KEY.replace("ETAA", ""))),
            "tls_certificate.private_key.inline_string: what is in its PEM is cut off",
        ),
        (
            "PKCS #12",
            change_tls(|m| m.pkcs12 = file("/a")),
            "tls_certificate.pkcs12: it is not supported",
        ),
        (
            "a provider",
            change_tls(|m| m.private_key_provider = Some(Default::default())),
            "tls_certificate.private_key_provider: it is not",
        ),
        (
            "a password",
            change_tls(|m| m.password = text("a")),
            "tls_certificate.password: it is not supported",
        ),
        (
            "parameters",
            change_tls(|m| m.tls_params = Some(Default::default())),
            "tls_certificate.tls_params: it is not supported",
        ),
    ]);
}

#[test]
fn validation_contexts_that_are_refused() {
    let provider = proto::CertificateProviderPluginInstance::default();
    check_all(&[
        (
            "a broken list beside roots",
            change_validation(|m| {
                let list = "-----BEGIN X509 CRL-----\nM!A=\n-----END X509 CRL-----\n";
                m.trusted_ca = text(&format!("{CHAIN}{list}"));
            }),
            "validation_context.trusted_ca.inline_string: broken PEM",
        ),
        (
            "roots that are none",
            change_validation(|m| m.trusted_ca = text(KEY)),
            "validation_context.trusted_ca.inline_string: it holds no",
        ),
        (
            "roots of a provider",
            {
                let mut secret = validation();
                if let Some(Type::ValidationContext(context)) = &mut secret.r#type {
                    context.ca_certificate_provider_instance = Some(provider);
                }
                secret
            },
            "validation_context.ca_certificate_provider_instance: a secret",
        ),
        (
            "pinned keys",
            change_validation(|m| m.verify_certificate_spki = vec!["a".into()]),
            "validation_context.verify_certificate_spki",
        ),
        (
            "pinned certificates",
            change_validation(|m| m.verify_certificate_hash = vec!["a".into()]),
            "validation_context.verify_certificate_hash",
        ),
        (
            "revocations that are none",
            change_validation(|m| m.crl = text(CHAIN)),
            "validation_context.crl.inline_string: it holds no list",
        ),
        (
            "no trust",
            change_validation(|m| m.trust_chain_verification = 1),
            "validation_context.trust_chain_verification",
        ),
        (
            "a depth",
            change_validation(|m| m.max_verify_depth = crate::decode::testing::n(3)),
            "validation_context.max_verify_depth",
        ),
        (
            "a custom check",
            change_validation(|m| m.custom_validator_config = Some(Default::default())),
            "validation_context.custom_validator_config.typed_config: it is missing",
        ),
    ]);
}

#[test]
fn every_error_is_told_and_what_does_nothing_is_reported() {
    let decoded = decode_secret(&change_tls(|m| {
        m.certificate_chain = None;
        m.private_key = None;
        m.password = text("a");
    }));
    assert_eq!(decoded.resource.unwrap_err().len(), 3);
    let decoded = decode_secret(&change_validation(|m| {
        m.system_root_certs = Some(Default::default());
        m.suppress_client_ca_list = true;
    }));
    let expected =
        ["validation_context.suppress_client_ca_list", "validation_context.system_root_certs"];
    assert_eq!(ignored(&decoded), expected);
}

#[test]
fn a_private_key_is_not_shown() {
    let decoded = decode_secret(&certificate());
    let shown = format!("{decoded:?}");
    assert!(shown.contains("Inline(") && !shown.contains("SECRET"), "{shown}");
}

#[test]
fn what_is_no_message_has_no_name() {
    let body = broken::<proto::Secret>().value;
    let decoded = decode_kind::decode(ResourceType::Secret, &body, &Context::default());
    assert!(decoded.name.is_none() && decoded.resource.is_err());
}
