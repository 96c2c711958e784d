//! `UpstreamTlsContext`: how a cluster's connections are secured.
//!
//! Our own identity and the mesh's roots are certificate providers called `default` (gRFC A29). Envoy
//! has none: it takes the roots from the secret `ROOTCA` of this stream, and without that secret the
//! cluster does not come up, so that it fails closed. Secrets come on this stream, too; gRPC refuses a
//! cluster that names one.

use super::san;
use super::secret::{self, source};
use super::wrap::{ads, any};
use crate::tls_labels;
use envoy_types::pb::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use envoy_types::pb::envoy::config::core::v3::{
    DataSource, TransportSocket, data_source::Specifier, transport_socket::ConfigType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
    SdsSecretConfig, UpstreamTlsContext,
    certificate_validation_context::SystemRootCerts,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
};
use mesh_core::model::secret::{SecretRoots, SecretSource};
use mesh_core::model::tls::{TlsIdentity, TlsRoots};
use mesh_core::model::{Cluster, Protocol, SanMatcher, TlsPolicy};
use std::sync::Arc;

pub(super) const SOCKET: &str = "envoy.transport_sockets.tls";
const PLAINTEXT: &str = "envoy.transport_sockets.raw_buffer";
/// The certificate provider that bootstrap files call so (gRFC A29).
const PROVIDER: &str = "default";
const ROOTS: &str = "ROOTCA";

/// The transport socket; `None`: plaintext.
pub(super) fn transport_socket(model: &TlsPolicy, protocol: Protocol) -> Option<TransportSocket> {
    let TlsPolicy::On(tls) = model else { return None };
    let context = UpstreamTlsContext {
        sni: tls.sni.as_deref().unwrap_or_default().to_owned(),
        auto_host_sni: tls.auto_host_sni,
        // Without names the SNI is proven, which neither gRPC nor Envoy does by itself. Whether a secret has
        // some can't be seen here.
        auto_sni_san_validation: tls.auto_sni_san_validation
            || (tls.san.is_empty() && !matches!(tls.roots, TlsRoots::Secret(_))),
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: alpn(&tls.alpn, protocol),
            validation_context_type: Some(certificate_authorities(
                &tls.roots,
                &tls.san,
                tls.crl.as_ref().and_then(source),
            )),
            ..identity(&tls.identity)
        }),
        ..UpstreamTlsContext::default()
    };
    Some(TransportSocket {
        name: SOCKET.to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&context))),
    })
}

/// The ways of some endpoints, each with a socket: what says nothing would be the cluster's own.
pub(super) fn transport_socket_matches(model: &Cluster) -> Vec<TransportSocketMatch> {
    let matches = model.tls_matches.iter().map(|one| TransportSocketMatch {
        name: one.name.to_string(),
        r#match: Some(tls_labels::to_match(&one.labels)),
        transport_socket: Some(transport_socket(&one.tls, model.protocol).unwrap_or_else(|| {
            TransportSocket {
                name: PLAINTEXT.to_owned(),
                config_type: Some(ConfigType::TypedConfig(any(&RawBuffer {}))),
            }
        })),
    });
    matches.collect()
}

/// What is said; else, where nothing is left to decide, the protocol: `auto_config` names both by itself.
fn alpn(said: &[Arc<str>], protocol: Protocol) -> Vec<String> {
    if !said.is_empty() {
        return said.iter().map(ToString::to_string).collect();
    }
    match protocol {
        Protocol::Http1 => vec!["http/1.1".to_owned()],
        Protocol::Http2 => vec!["h2".to_owned()],
        Protocol::Auto | Protocol::Tcp => Vec::new(),
    }
}

/// What says who we are.
pub(super) fn identity(model: &TlsIdentity) -> CommonTlsContext {
    let mut context = CommonTlsContext::default();
    match model {
        TlsIdentity::None => {}
        TlsIdentity::Secret(name) => {
            context.tls_certificate_sds_secret_configs = vec![by_sds(name)];
        }
        TlsIdentity::Certificate(own) => {
            context.tls_certificates = vec![secret::certificate(own)];
        }
        TlsIdentity::Provider(name) => {
            context.tls_certificate_provider_instance = Some(provider(name));
        }
        // `Mesh`, and what may come.
        _ => context.tls_certificate_provider_instance = Some(provider(PROVIDER)),
    }
    context
}

fn provider(name: &str) -> CertificateProviderPluginInstance {
    CertificateProviderPluginInstance {
        instance_name: name.to_owned(),
        certificate_name: String::new(),
    }
}

/// A secret of this stream.
fn by_sds(name: &str) -> SdsSecretConfig {
    SdsSecretConfig { name: name.to_owned(), sds_config: Some(ads()) }
}

fn combined(
    context: CertificateValidationContext,
    by_sds: SdsSecretConfig,
) -> ValidationContextType {
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(context),
        validation_context_sds_secret_config: Some(by_sds),
        ..CombinedCertificateValidationContext::default()
    })
}

/// What says who signs a peer's certificate, which names it has, and which are revoked.
pub(super) fn certificate_authorities(
    roots: &TlsRoots,
    names: &[SanMatcher],
    crl: Option<DataSource>,
) -> ValidationContextType {
    let is_more = !names.is_empty() || crl.is_some();
    let mut context = CertificateValidationContext { crl, ..Default::default() };
    san::set_names(&mut context, names);
    match roots {
        TlsRoots::System => context.system_root_certs = Some(SystemRootCerts {}),
        TlsRoots::Pem(text) => {
            context.trusted_ca = Some(DataSource {
                specifier: Some(Specifier::InlineString(text.to_string())),
                ..DataSource::default()
            });
        }
        TlsRoots::File(path) => {
            context.trusted_ca = source(&SecretSource::File(Arc::clone(path)));
        }
        TlsRoots::Spiffe(bundles) => {
            context.custom_validator_config = Some(secret::spiffe(bundles));
        }
        TlsRoots::Secret(secret) => {
            let by_sds = by_sds(&secret.name);
            if secret.roots == SecretRoots::Unsaid && !is_more {
                return ValidationContextType::ValidationContextSdsSecretConfig(by_sds);
            }
            match &secret.roots {
                SecretRoots::Pem(pem) => context.trusted_ca = source(pem),
                SecretRoots::System => context.system_root_certs = Some(SystemRootCerts {}),
                // Bundles of trust domains are none of a default's beside a secret.
                _ => {}
            }
            return combined(context, by_sds);
        }
        TlsRoots::Provider(name) => {
            context.ca_certificate_provider_instance = Some(provider(name));
            return combined(context, by_sds(ROOTS));
        }
        // `Mesh`, and what may come: never without roots.
        _ => {
            context.ca_certificate_provider_instance = Some(provider(PROVIDER));
            return combined(context, by_sds(ROOTS));
        }
    }
    ValidationContextType::ValidationContext(context)
}
