//! What can't be secured as it is said.

use super::super::{Refused, check_all_refused};
use super::{choice, common, exact, inline, instance, older, set, socket, typed, validation, with};
use crate::decode::secret_testing::spiffe;
use crate::decode::testing::{any, broken, yes};
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::extensions::transport_sockets as sockets;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher as Matcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use sockets::http_11_proxy::v3::Http11ProxyUpstreamTransport;
use sockets::tls::v3 as tls;
use tls::common_tls_context::ValidationContextType;

#[test]
fn what_is_refused() {
    check_all_refused(REFUSED);
}

const REFUSED: &[Refused] = &[
    (
        "gRFC A29: a config",
        |c| {
            c.transport_socket = Some(TransportSocket {
                name: "envoy.transport_sockets.tls".into(),
                config_type: None,
            })
        },
        "transport_socket.typed_config: `envoy.transport_sockets.tls` has no configuration",
    ),
    (
        "broken TLS is not plaintext",
        |c| c.transport_socket = Some(socket(broken::<tls::UpstreamTlsContext>())),
        "transport_socket.typed_config: not a valid",
    ),
    (
        "gRFC A86",
        |c| c.transport_socket = Some(socket(any(&Http11ProxyUpstreamTransport::default()))),
        "transport_socket.typed_config: A86",
    ),
    (
        "another socket is not plaintext",
        |c| c.transport_socket = Some(socket(any(&sockets::alts::v3::Alts::default()))),
        "transport_socket.typed_config: Alts",
    ),
    (
        "another socket is not plaintext",
        |c| {
            c.transport_socket =
                Some(socket(any(&sockets::quic::v3::QuicUpstreamTransport::default())))
        },
        "transport_socket.typed_config: QuicUpstreamTransport",
    ),
    (
        "RFC 7301: names of protocols",
        |c| with(c, |t| common(t).alpn_protocols = vec!["h2".into(), String::new()]),
        "transport_socket.typed_config.common_tls_context.alpn_protocols[1]: 1 to 255 bytes",
    ),
    (
        "a matcher can't be left out",
        |c| c.transport_socket_matcher = Some(Default::default()),
        "transport_socket_matcher: not supported",
    ),
    (
        "gRFC A29: a common context",
        |c| set(c, &Default::default()),
        "transport_socket.typed_config.common_tls_context: missing",
    ),
    (
        "gRFC A29: a validation context",
        |c| with(c, |t| common(t).validation_context_type = None),
        "transport_socket.typed_config.common_tls_context.validation_context: missing",
    ),
    (
        "gRFC A29: roots",
        |c| with(c, |t| validation(t).ca_certificate_provider_instance = None),
        "transport_socket.typed_config.common_tls_context.validation_context.ca_certificate_provider_instance: nothing says",
    ),
    (
        "gRFC A29: a provider of the bootstrap file",
        |c| with(c, |t| validation(t).ca_certificate_provider_instance = Some(instance("other"))),
        "transport_socket.typed_config.common_tls_context.validation_context.ca_certificate_provider_instance.instance_name: `other`",
    ),
    (
        "gRFC A29: a provider of the bootstrap file",
        |c| with(c, |t| common(t).tls_certificate_provider_instance = Some(instance(""))),
        "transport_socket.typed_config.common_tls_context.tls_certificate_provider_instance.instance_name: ``",
    ),
    (
        "gRFC A29: the older field too",
        |c| with(c, |t| common(t).tls_certificate_certificate_provider_instance = Some(older("x"))),
        "transport_socket.typed_config.common_tls_context.tls_certificate_certificate_provider_instance.instance_name: `x`",
    ),
    (
        "gRFC A29: the older field too",
        |c| {
            with(c, |t| {
                common(t).validation_context_type = Some(
                    ValidationContextType::ValidationContextCertificateProviderInstance(older("x")),
                )
            })
        },
        "transport_socket.typed_config.common_tls_context.validation_context_certificate_provider_instance.instance_name: `x`",
    ),
    (
        "a certificate is checked",
        |c| with(c, |t| common(t).tls_certificates = vec![Default::default()]),
        "transport_socket.typed_config.common_tls_context.tls_certificates[0].private_key: missing",
    ),
    (
        "Envoy: a secret has a name",
        |c| with(c, |t| common(t).tls_certificate_sds_secret_configs = vec![Default::default()]),
        "transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].name: empty",
    ),
    (
        "gRFC A29: no plugin",
        |c| with(c, |t| common(t).tls_certificate_certificate_provider = Some(Default::default())),
        "transport_socket.typed_config.common_tls_context.tls_certificate_certificate_provider: A29",
    ),
    (
        "Envoy: a secret has a name",
        |c| {
            with(c, |t| {
                common(t).validation_context_type = Some(
                    ValidationContextType::ValidationContextSdsSecretConfig(Default::default()),
                )
            })
        },
        "transport_socket.typed_config.common_tls_context.validation_context_sds_secret_config.name: empty",
    ),
    (
        "gRFC A29: no plugin",
        |c| {
            with(c, |t| {
                common(t).validation_context_type = Some(
                    ValidationContextType::ValidationContextCertificateProvider(Default::default()),
                )
            })
        },
        "transport_socket.typed_config.common_tls_context.validation_context_certificate_provider: A29",
    ),
    (
        "Envoy: a default context",
        |c| {
            with(c, |t| {
                common(t).validation_context_type =
                    Some(ValidationContextType::CombinedValidationContext(Default::default()))
            })
        },
        "transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context: missing",
    ),
    (
        "gRFC A29: tls_params",
        |c| with(c, |t| common(t).tls_params = Some(Default::default())),
        "transport_socket.typed_config.common_tls_context.tls_params: A29",
    ),
    (
        "gRFC A29: custom_handshaker",
        |c| with(c, |t| common(t).custom_handshaker = Some(Default::default())),
        "transport_socket.typed_config.common_tls_context.custom_handshaker: A29",
    ),
    (
        "gRFC A29: spki",
        |c| with(c, |t| validation(t).verify_certificate_spki = vec!["x".into()]),
        "transport_socket.typed_config.common_tls_context.validation_context.verify_certificate_spki: A29",
    ),
    (
        "gRFC A29: hash",
        |c| with(c, |t| validation(t).verify_certificate_hash = vec!["x".into()]),
        "transport_socket.typed_config.common_tls_context.validation_context.verify_certificate_hash: A29",
    ),
    (
        "gRFC A29: sct",
        |c| with(c, |t| validation(t).require_signed_certificate_timestamp = yes()),
        "transport_socket.typed_config.common_tls_context.validation_context.require_signed_certificate_timestamp: A29",
    ),
    (
        "revocation lists are somewhere",
        |c| with(c, |t| validation(t).crl = Some(Default::default())),
        "transport_socket.typed_config.common_tls_context.validation_context.crl: nothing says where it is",
    ),
    (
        "gRFC A29: a provider's roots count, and no check is left out",
        |c| with(c, |t| validation(t).custom_validator_config = spiffe(&["a.example"])),
        "transport_socket.typed_config.common_tls_context.validation_context.custom_validator_config: A29",
    ),
    (
        "no weaker check",
        |c| with(c, |t| validation(t).trust_chain_verification = 1),
        "transport_socket.typed_config.common_tls_context.validation_context.trust_chain_verification: not supported",
    ),
    (
        "no weaker check",
        |c| with(c, |t| validation(t).allow_expired_certificate = true),
        "transport_socket.typed_config.common_tls_context.validation_context.allow_expired_certificate: not supported",
    ),
    (
        "gRFC A101: 255 bytes",
        |c| with(c, |t| t.sni = "a".repeat(256)),
        "transport_socket.typed_config.sni: 255",
    ),
    (
        "roots from nowhere",
        |c| {
            with(c, |t| {
                validation(t).ca_certificate_provider_instance = None;
                validation(t).trusted_ca = Some(Default::default());
            })
        },
        "transport_socket.typed_config.common_tls_context.validation_context.trusted_ca: inline_string",
    ),
    (
        "roots that are none",
        |c| {
            with(c, |t| {
                validation(t).ca_certificate_provider_instance = None;
                validation(t).trusted_ca = inline("x");
            })
        },
        "transport_socket.typed_config.common_tls_context.validation_context.trusted_ca.inline_string: no PEM",
    ),
    (
        "Envoy: an empty name",
        |c| with(c, |t| validation(t).match_subject_alt_names = vec![exact("")]),
        "transport_socket.typed_config.common_tls_context.validation_context.match_subject_alt_names[0].exact: empty",
    ),
    (
        "a name says something",
        |c| {
            with(c, |t| {
                validation(t).match_subject_alt_names = vec![exact("a"), Matcher::default()]
            })
        },
        "transport_socket.typed_config.common_tls_context.validation_context.match_subject_alt_names[1]: no pattern",
    ),
    (
        "a pattern that is none",
        |c| {
            with(c, |t| {
                let match_pattern = Some(MatchPattern::SafeRegex(Default::default()));
                validation(t).match_subject_alt_names =
                    vec![Matcher { match_pattern, ignore_case: false }];
            })
        },
        "transport_socket.typed_config.common_tls_context.validation_context.match_subject_alt_names[0].safe_regex.regex: empty",
    ),
    (
        "typed names: an other name has a type",
        |c| {
            with(c, |t| {
                validation(t).match_typed_subject_alt_names = vec![typed(5, Some(exact("a@b")))]
            })
        },
        "transport_socket.typed_config.common_tls_context.validation_context.match_typed_subject_alt_names[0].oid: numbers with dots",
    ),
    (
        "typed names: a known type",
        |c| with(c, |t| validation(t).match_typed_subject_alt_names = vec![typed(9, None)]),
        "transport_socket.typed_config.common_tls_context.validation_context.match_typed_subject_alt_names[0].san_type: 9",
    ),
    (
        "typed names: a matcher",
        |c| with(c, |t| validation(t).match_typed_subject_alt_names = vec![typed(2, None)]),
        "transport_socket.typed_config.common_tls_context.validation_context.match_typed_subject_alt_names[0].matcher: missing",
    ),
    (
        "matches: each is checked",
        |c| c.transport_socket_matches = vec![choice(None, broken::<tls::UpstreamTlsContext>())],
        "transport_socket_matches[0].transport_socket.typed_config: not a valid",
    ),
];
