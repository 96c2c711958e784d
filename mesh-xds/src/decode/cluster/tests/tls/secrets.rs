//! Secrets that a cluster names, and certificates that it holds (Envoy; gRPC has neither).

use super::super::{Accepted, Refused, check_all, check_all_refused};
use super::{common, exact, expect, inline, instance, instead, older, tls, validation, with};
use crate::decode::secret_testing::spiffe;
use crate::decode::{decode as decode_kind, testing};
use crate::{Resource, ResourceType};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiConfigSource, ConfigSource, DataSource, SelfConfigSource,
    config_source::ConfigSourceSpecifier as Source, data_source,
};
use mesh_core::model::secret::{SecretCertificate, SecretRoots, SecretSource};
use mesh_core::model::tls::{TlsIdentity, TlsRoots, ValidationSecret};
use mesh_core::model::{SanMatcher, StringMatcher, TlsPolicy};
use prost::Message;
use std::path::Path;
use std::sync::Arc;
use tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType as Kind,
};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
const AT: &str = "transport_socket.typed_config.common_tls_context";

fn from(source: Option<Source>) -> Option<ConfigSource> {
    Some(ConfigSource { config_source_specifier: source, ..Default::default() })
}

fn ads() -> Option<ConfigSource> {
    from(Some(Source::Ads(AggregatedConfigSource {})))
}

fn sds(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name: name.into(), sds_config: ads() }
}

fn identity(context: &mut tls::UpstreamTlsContext, names: &[&str]) {
    common(context).tls_certificate_sds_secret_configs = names.iter().map(|one| sds(one)).collect();
}

fn certificate() -> tls::TlsCertificate {
    tls::TlsCertificate {
        certificate_chain: inline(PEM),
        private_key: inline(KEY),
        ..Default::default()
    }
}

fn file(path: &str) -> Option<DataSource> {
    let specifier = Some(data_source::Specifier::Filename(path.into()));
    Some(DataSource { specifier, ..Default::default() })
}

fn source(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

/// A combined context: the secret `r` beside a default.
fn combined(
    context: &mut tls::UpstreamTlsContext,
    change: impl FnOnce(&mut tls::CertificateValidationContext),
) -> &mut CombinedCertificateValidationContext {
    let mut default = tls::CertificateValidationContext::default();
    change(&mut default);
    let both = CombinedCertificateValidationContext {
        default_validation_context: Some(default),
        validation_context_sds_secret_config: Some(sds("r")),
        ..Default::default()
    };
    common(context).validation_context_type = Some(Kind::CombinedValidationContext(both));
    match &mut common(context).validation_context_type {
        Some(Kind::CombinedValidationContext(both)) => both,
        other => panic!("{other:?}"),
    }
}

fn alone(context: &mut tls::UpstreamTlsContext, config: tls::SdsSecretConfig) {
    common(context).validation_context_type = Some(Kind::ValidationContextSdsSecretConfig(config));
}

fn by_secret(name: &str, change: impl FnOnce(&mut ValidationSecret)) -> TlsRoots {
    let mut secret = ValidationSecret::new(name);
    change(&mut secret);
    TlsRoots::Secret(secret)
}

#[test]
fn what_is_accepted() {
    check_all(ACCEPTED);
}

const ACCEPTED: &[Accepted] = &[
    (
        "Envoy: an identity by SDS",
        |c| with(c, |t| identity(t, &["i"])),
        |m| expect(m, |t| t.identity = TlsIdentity::Secret("i".into())),
        &[],
    ),
    (
        "gRFC A47: `self` is the stream, too, and a name has one spelling",
        |c| {
            with(c, |t| {
                identity(t, &["xdstp://x/t/i?b=1&a=2"]);
                let config = &mut common(t).tls_certificate_sds_secret_configs[0];
                config.sds_config = from(Some(Source::Self_(SelfConfigSource::default())));
            })
        },
        |m| expect(m, |t| t.identity = TlsIdentity::Secret("xdstp://x/t/i?a=2&b=1".into())),
        &[],
    ),
    (
        "Envoy: a certificate in the cluster",
        |c| with(c, |t| common(t).tls_certificates = vec![certificate()]),
        |m| {
            expect(m, |t| {
                let own = SecretCertificate::new(source(PEM), source(KEY));
                t.identity = TlsIdentity::Certificate(Arc::new(own));
            })
        },
        &[],
    ),
    (
        "Envoy: a certificate in files",
        |c| {
            with(c, |t| {
                let (certificate_chain, private_key) = (file("/c.pem"), file("/k.pem"));
                common(t).tls_certificates = vec![tls::TlsCertificate {
                    certificate_chain,
                    private_key,
                    ..Default::default()
                }];
            })
        },
        |m| {
            expect(m, |t| {
                let at = |path: &str| SecretSource::File(Path::new(path).into());
                let own = SecretCertificate::new(at("/c.pem"), at("/k.pem"));
                t.identity = TlsIdentity::Certificate(Arc::new(own));
            })
        },
        &[],
    ),
    (
        "gRFC A29: the provider counts before secrets and certificates",
        |c| {
            with(c, |t| {
                identity(t, &["i"]);
                common(t).tls_certificates = vec![certificate()];
                common(t).tls_certificate_provider_instance = Some(instance("mesh"));
            })
        },
        |m| expect(m, |t| t.identity = TlsIdentity::Provider("mesh".into())),
        &[
            "transport_socket.typed_config.common_tls_context.tls_certificates",
            "transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs",
        ],
    ),
    (
        "Envoy: roots by SDS",
        |c| with(c, |t| alone(t, sds("r"))),
        |m| expect(m, |t| t.roots = by_secret("r", |_| {})),
        &[],
    ),
    (
        "Envoy: roots in a file",
        |c| {
            with(c, |t| {
                validation(t).ca_certificate_provider_instance = None;
                validation(t).trusted_ca = file("/r.pem");
            })
        },
        |m| expect(m, |t| t.roots = TlsRoots::File(Path::new("/r.pem").into())),
        &[],
    ),
    (
        "Envoy: a secret beside a default: Istio to Envoy",
        |c| {
            with(c, |t| {
                combined(t, |d| d.match_subject_alt_names = vec![exact("x")]);
                identity(t, &["default"]);
            })
        },
        |m| {
            expect(m, |t| {
                t.identity = TlsIdentity::Secret("default".into());
                t.roots = by_secret("r", |_| {});
                t.san = vec![SanMatcher::any(StringMatcher::exact("x"))];
            })
        },
        &[],
    ),
    (
        "Envoy: a secret beside a default with certificates",
        |c| {
            with(c, |t| {
                combined(t, |d| d.trusted_ca = inline(PEM));
            })
        },
        |m| expect(m, |t| t.roots = by_secret("r", |s| s.roots = SecretRoots::Pem(source(PEM)))),
        &[],
    ),
    (
        "Envoy: the system's roots of a default count beside a secret without any",
        |c| {
            with(c, |t| {
                combined(t, |d| d.system_root_certs = Some(Default::default()));
            })
        },
        |m| expect(m, |t| t.roots = by_secret("r", |s| s.roots = SecretRoots::System)),
        &[],
    ),
    (
        "gRFC A101: the SNI instead of the secret's names",
        |c| {
            with(c, |t| {
                combined(t, |d| d.match_subject_alt_names = vec![exact("x")]);
                t.sni = "a.b".into();
                t.auto_sni_san_validation = true;
            })
        },
        |m| {
            expect(m, |t| {
                t.roots = by_secret("r", |_| {});
                t.sni = Some("a.b".into());
                instead(t);
            })
        },
        &[],
    ),
    (
        "gRFC A29: the default's provider counts before a secret",
        |c| {
            with(c, |t| {
                combined(t, |d| d.ca_certificate_provider_instance = Some(instance("mesh")));
            })
        },
        |m| expect(m, |_| {}),
        &[
            "transport_socket.typed_config.common_tls_context.combined_validation_context.validation_context_sds_secret_config",
        ],
    ),
    (
        "Istio: the older provider counts before a secret",
        |c| {
            with(c, |t| {
                #[expect(deprecated, reason = "Istio sets the older field")]
                let field =
                    &mut combined(t, |_| {}).validation_context_certificate_provider_instance;
                *field = Some(older("mesh"));
            })
        },
        |m| expect(m, |_| {}),
        &[
            "transport_socket.typed_config.common_tls_context.combined_validation_context.validation_context_sds_secret_config",
        ],
    ),
];

#[test]
fn what_is_refused() {
    check_all_refused(REFUSED);
}

const REFUSED: &[Refused] = &[
    (
        "Envoy: a client has one certificate",
        |c| with(c, |t| identity(t, &["i", "j"])),
        "transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs: one identity",
    ),
    (
        "Envoy: a client has one certificate",
        |c| with(c, |t| common(t).tls_certificates = vec![certificate(), certificate()]),
        "transport_socket.typed_config.common_tls_context.tls_certificates: one identity",
    ),
    (
        "Envoy: only one of them may be used",
        |c| {
            with(c, |t| {
                common(t).tls_certificates = vec![certificate()];
                identity(t, &["i"]);
            })
        },
        "transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs: tls_certificates is set",
    ),
    (
        "a certificate that is none",
        |c| {
            with(c, |t| {
                common(t).tls_certificates =
                    vec![tls::TlsCertificate { certificate_chain: inline("x"), ..certificate() }]
            })
        },
        "transport_socket.typed_config.common_tls_context.tls_certificates[0].certificate_chain.inline_string: no PEM",
    ),
    (
        "from another server",
        |c| {
            with(c, |t| {
                identity(t, &["i"]);
                let config = &mut common(t).tls_certificate_sds_secret_configs[0];
                config.sds_config = from(Some(Source::ApiConfigSource(ApiConfigSource::default())));
            })
        },
        "transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].sds_config: one stream",
    ),
    (
        "from nowhere",
        |c| {
            with(c, |t| {
                identity(t, &["i"]);
                common(t).tls_certificate_sds_secret_configs[0].sds_config = None;
            })
        },
        "transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].sds_config: missing",
    ),
    (
        "xDS protocol: `*` is all of them",
        |c| with(c, |t| identity(t, &["*"])),
        "transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].name: no name",
    ),
    (
        "roots from another server",
        |c| {
            with(c, |t| {
                let source = from(Some(Source::Path("/x".into())));
                alone(t, tls::SdsSecretConfig { name: "r".into(), sds_config: source });
            })
        },
        "transport_socket.typed_config.common_tls_context.validation_context_sds_secret_config.sds_config: one stream",
    ),
    (
        "bundles of trust domains beside a secret are not left out",
        |c| {
            with(c, |t| {
                combined(t, |d| d.custom_validator_config = spiffe(&["a.example"]));
            })
        },
        "transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context.custom_validator_config: roots of a secret",
    ),
    (
        "nor beside a certificate provider of the older field",
        |c| {
            with(c, |t| {
                let both = combined(t, |d| d.custom_validator_config = spiffe(&["a.example"]));
                both.validation_context_sds_secret_config = None;
                both.validation_context_certificate_provider_instance = Some(older("mesh"));
            })
        },
        "transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context.custom_validator_config: A29",
    ),
    (
        "a default's checks are checked beside a secret, too",
        |c| {
            with(c, |t| {
                combined(t, |d| d.verify_certificate_spki = vec!["x".into()]);
            })
        },
        "transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context.verify_certificate_spki: A29",
    ),
];

/// A cluster whose identity is a secret without a source.
fn without_a_source() -> Cluster {
    let mut cluster = testing::eds();
    with(&mut cluster, |t| {
        identity(t, &["i"]);
        common(t).tls_certificate_sds_secret_configs[0].sds_config = None;
    });
    cluster
}

#[test]
fn in_files_a_secret_needs_no_source() {
    let body = without_a_source().encode_to_vec();
    let mut context = testing::context();
    let decoded = decode_kind(ResourceType::Cluster, &body, &context);
    testing::check_refused(
        &decoded,
        "on a stream",
        &format!("{AT}.tls_certificate_sds_secret_configs[0].sds_config"),
    );
    context.static_secrets = true;
    let decoded = decode_kind(ResourceType::Cluster, &body, &context);
    let Ok(Resource::Cluster(found)) = decoded.resource else { panic!("{decoded:?}") };
    let TlsPolicy::On(found) = &found.model.tls else { panic!("{found:?}") };
    assert_eq!(found.identity, TlsIdentity::Secret("i".into()));
}

#[test]
fn no_error_and_nothing_shown_has_the_key_in_it() {
    let body = |key: &str| {
        let mut cluster = testing::eds();
        with(&mut cluster, |t| {
            common(t).tls_certificates =
                vec![tls::TlsCertificate { private_key: inline(key), ..certificate() }];
        });
        cluster.encode_to_vec()
    };
    for key in [&format!("{KEY}\nTOPSECRET"), "TOPSECRET"] {
        let decoded = decode_kind(ResourceType::Cluster, &body(key), &testing::context());
        assert!(!format!("{decoded:?}").contains("TOPSECRET"), "{key}");
    }
}
