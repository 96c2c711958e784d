//! How connections are secured (gRFC A29, A82, A86, A101).
#![expect(deprecated, reason = "control planes still set the older fields")]

mod matches;
mod refused;
mod secrets;
mod validators;

use super::{Accepted, check_all};
use crate::decode::testing::{any, n, structure};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{DataSource, TransportSocket, data_source};
use envoy_types::pb::envoy::extensions::transport_sockets as sockets;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher as Matcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::tls::{TlsIdentity, TlsRoots, UpstreamTls};
use mesh_core::model::{self, SanKind, SanMatcher, StringMatcher, TlsPolicy};
use sockets::raw_buffer::v3::RawBuffer;
use sockets::tls::v3 as tls;
use std::sync::Arc;
use tls::common_tls_context::{
    CertificateProviderInstance, CombinedCertificateValidationContext, ValidationContextType,
};

fn socket(config: Any) -> TransportSocket {
    TransportSocket { name: "x".into(), config_type: Some(ConfigType::TypedConfig(config)) }
}

fn set(cluster: &mut Cluster, context: &tls::UpstreamTlsContext) {
    cluster.transport_socket = Some(socket(any(context)));
}

fn instance(name: &str) -> tls::CertificateProviderPluginInstance {
    tls::CertificateProviderPluginInstance { instance_name: name.into(), ..Default::default() }
}

fn older(name: &str) -> CertificateProviderInstance {
    CertificateProviderInstance { instance_name: name.into(), ..Default::default() }
}

fn exact(text: &str) -> Matcher {
    Matcher { match_pattern: Some(MatchPattern::Exact(text.into())), ignore_case: false }
}

/// A TLS context whose roots are those of the provider `mesh`.
fn context(change: impl FnOnce(&mut tls::UpstreamTlsContext)) -> tls::UpstreamTlsContext {
    let mut context = tls::UpstreamTlsContext::default();
    common(&mut context).validation_context_type =
        Some(ValidationContextType::ValidationContext(Default::default()));
    validation(&mut context).ca_certificate_provider_instance = Some(instance("mesh"));
    change(&mut context);
    context
}

fn common(context: &mut tls::UpstreamTlsContext) -> &mut tls::CommonTlsContext {
    context.common_tls_context.get_or_insert_default()
}

fn validation(context: &mut tls::UpstreamTlsContext) -> &mut tls::CertificateValidationContext {
    match &mut common(context).validation_context_type {
        Some(ValidationContextType::ValidationContext(validation)) => validation,
        other => panic!("{other:?}"),
    }
}

fn with(cluster: &mut Cluster, change: impl FnOnce(&mut tls::UpstreamTlsContext)) {
    set(cluster, &context(change));
}

fn inline(text: &str) -> Option<DataSource> {
    let specifier = Some(data_source::Specifier::InlineString(text.into()));
    Some(DataSource { specifier, ..Default::default() })
}

fn typed(san_type: i32, matcher: Option<Matcher>) -> tls::SubjectAltNameMatcher {
    tls::SubjectAltNameMatcher { san_type, matcher, oid: String::new() }
}

fn choice(key: Option<&str>, config: Any) -> TransportSocketMatch {
    TransportSocketMatch {
        name: "m".into(),
        r#match: key.map(|key| structure(key, "x")),
        transport_socket: Some(socket(config)),
    }
}

/// The TLS socket that Istio sends to gRPC clients, for a peer of this name.
pub(super) fn istio(name: &str) -> TransportSocket {
    let default_validation_context = Some(tls::CertificateValidationContext {
        match_subject_alt_names: vec![exact(name)],
        ..Default::default()
    });
    let combined = CombinedCertificateValidationContext {
        default_validation_context,
        validation_context_certificate_provider_instance: Some(older("mesh")),
        ..Default::default()
    };
    let context = context(|t| {
        common(t).validation_context_type =
            Some(ValidationContextType::CombinedValidationContext(combined));
        common(t).tls_certificate_certificate_provider_instance = Some(older("mesh"));
    });
    socket(any(&context))
}

fn expect(model: &mut model::Cluster, change: impl FnOnce(&mut UpstreamTls)) {
    let mut tls = UpstreamTls::default();
    tls.roots = TlsRoots::Provider("mesh".into());
    tls.auto_host_sni = false;
    change(&mut tls);
    model.tls = TlsPolicy::On(Arc::new(tls));
}

/// The name `x`, unless an SNI is sent.
fn instead(tls: &mut UpstreamTls) {
    tls.san = vec![SanMatcher::any(StringMatcher::exact("x"))];
    tls.auto_sni_san_validation = true;
}

#[test]
fn what_is_accepted() {
    check_all(ACCEPTED);
}

const ACCEPTED: &[Accepted] = &[
    (
        "Envoy: raw_buffer",
        |c| c.transport_socket = Some(socket(any(&RawBuffer::default()))),
        |_| {},
        &[],
    ),
    (
        "Envoy: raw_buffer by name",
        |c| {
            c.transport_socket = Some(TransportSocket {
                name: "envoy.transport_sockets.raw_buffer".into(),
                config_type: None,
            })
        },
        |_| {},
        &[],
    ),
    ("gRFC A29: a provider's roots", |c| with(c, |_| {}), |m| expect(m, |_| {}), &[]),
    (
        "gRFC A29: our identity",
        |c| with(c, |t| common(t).tls_certificate_provider_instance = Some(instance("mesh"))),
        |m| expect(m, |t| t.identity = TlsIdentity::Provider("mesh".into())),
        &[],
    ),
    (
        "gRFC A82: the system's roots",
        |c| {
            with(c, |t| {
                validation(t).ca_certificate_provider_instance = None;
                validation(t).system_root_certs = Some(Default::default());
            })
        },
        |m| expect(m, |t| t.roots = TlsRoots::System),
        &[],
    ),
    (
        "Envoy: roots in the message",
        |c| {
            with(c, |t| {
                validation(t).ca_certificate_provider_instance = None;
                validation(t).trusted_ca =
                    inline("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
            })
        },
        |m| {
            expect(m, |t| {
                t.roots = TlsRoots::Pem(
                    "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".into(),
                )
            })
        },
        &[],
    ),
    (
        "gRFC A29: the provider counts",
        |c| with(c, |t| validation(t).trusted_ca = inline("x")),
        |m| expect(m, |_| {}),
        &["transport_socket.typed_config.common_tls_context.validation_context.trusted_ca"],
    ),
    (
        "gRFC A101: sni",
        |c| with(c, |t| t.sni = "a.b".into()),
        |m| expect(m, |t| t.sni = Some("a.b".into())),
        &[],
    ),
    (
        "gRFC A101: the hostname before sni",
        |c| {
            with(c, |t| {
                t.sni = "a.b".into();
                t.auto_host_sni = true;
            })
        },
        |m| {
            expect(m, |t| {
                t.sni = Some("a.b".into());
                t.auto_host_sni = true;
            })
        },
        &[],
    ),
    (
        "gRFC A101: the hostname alone",
        |c| with(c, |t| t.auto_host_sni = true),
        |m| expect(m, |t| t.auto_host_sni = true),
        &[],
    ),
    (
        "gRFC A29: names",
        |c| with(c, |t| validation(t).match_subject_alt_names = vec![exact("spiffe://x/y")]),
        |m| expect(m, |t| t.san = vec![SanMatcher::any(StringMatcher::exact("spiffe://x/y"))]),
        &[],
    ),
    (
        "gRFC A101: the SNI instead of names",
        |c| {
            with(c, |t| {
                t.sni = "a.b".into();
                t.auto_sni_san_validation = true;
                validation(t).match_subject_alt_names = vec![exact("x")];
            })
        },
        |m| {
            expect(m, |t| {
                t.sni = Some("a.b".into());
                instead(t);
            })
        },
        &[],
    ),
    (
        "gRFC A101: names where there may be no SNI",
        |c| {
            with(c, |t| {
                t.auto_host_sni = true;
                t.auto_sni_san_validation = true;
                validation(t).match_subject_alt_names = vec![exact("x")];
            })
        },
        |m| {
            expect(m, |t| {
                t.auto_host_sni = true;
                instead(t);
            })
        },
        &[],
    ),
    (
        "gRFC A101: names where there is no SNI",
        |c| {
            with(c, |t| {
                t.auto_sni_san_validation = true;
                validation(t).match_subject_alt_names = vec![exact("x")];
            })
        },
        |m| expect(m, instead),
        &[],
    ),
    (
        "without names the SNI is proven anyway",
        |c| with(c, |t| t.auto_sni_san_validation = true),
        |m| expect(m, |_| {}),
        &[],
    ),
    (
        "Envoy: typed names before untyped",
        |c| {
            with(c, |t| {
                validation(t).match_typed_subject_alt_names = vec![typed(2, Some(exact("a.b")))];
                validation(t).match_subject_alt_names = vec![exact("x")];
            })
        },
        |m| {
            expect(m, |t| {
                t.san =
                    vec![SanMatcher { kind: SanKind::Dns, matcher: StringMatcher::exact("a.b") }]
            })
        },
        &[
            "transport_socket.typed_config.common_tls_context.validation_context.match_subject_alt_names",
        ],
    ),
    (
        "Istio: the older fields",
        |c| c.transport_socket = Some(istio("x")),
        |m| {
            expect(m, |t| {
                t.identity = TlsIdentity::Provider("mesh".into());
                t.san = vec![SanMatcher::any(StringMatcher::exact("x"))];
            })
        },
        &[],
    ),
    (
        "gRFC A29: what is ignored",
        |c| {
            with(c, |t| {
                t.allow_renegotiation = true;
                t.max_session_keys = n(1);
            })
        },
        |m| expect(m, |_| {}),
        &[
            "transport_socket.typed_config.allow_renegotiation",
            "transport_socket.typed_config.max_session_keys",
        ],
    ),
    (
        "Envoy, Istio: the protocols that are offered, the best first",
        |c| with(c, |t| common(t).alpn_protocols = vec!["istio".into(), "h2".into()]),
        |m| expect(m, |t| t.alpn = vec!["istio".into(), "h2".into()]),
        &[],
    ),
    (
        "the one protocol that the cluster speaks is offered anyway",
        |c| {
            with(c, |t| common(t).alpn_protocols = vec!["h2".into()]);
            c.http2_protocol_options = Some(Default::default());
        },
        |m| {
            expect(m, |_| {});
            m.protocol = model::Protocol::Http2;
        },
        &[],
    ),
];
