//! `UpstreamTlsContext`: how a cluster's connections are secured.
//!
//! Our own identity and the mesh's roots are certificate providers called `default` (gRFC A29). Envoy
//! has none: it takes the roots from the secret `ROOTCA` of this stream, and without that secret the
//! cluster does not come up, so that it fails closed. Secrets come on this stream, too; gRPC refuses a
//! cluster that names one.

use super::wrap::{ads, any};
use super::{san, secret};
use envoy_types::pb::envoy::config::core::v3::{
    DataSource, TransportSocket, data_source::Specifier, transport_socket::ConfigType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
    SdsSecretConfig, UpstreamTlsContext,
    certificate_validation_context::SystemRootCerts,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
};
use mesh_core::model::secret::SecretSource;
use mesh_core::model::tls::{TlsIdentity, TlsRoots, UpstreamTls};
use mesh_core::model::{Protocol, TlsPolicy};
use std::sync::Arc;

const SOCKET: &str = "envoy.transport_sockets.tls";
/// The certificate provider that bootstrap files call so (gRFC A29).
const PROVIDER: &str = "default";
const ROOTS: &str = "ROOTCA";

/// The transport socket; `None`: plaintext.
pub(super) fn transport_socket(model: &TlsPolicy, protocol: Protocol) -> Option<TransportSocket> {
    let TlsPolicy::On(tls) = model else { return None };
    let context = UpstreamTlsContext {
        sni: tls.sni.as_deref().unwrap_or_default().to_owned(),
        // gRFC A101: the endpoint's hostname, or none.
        auto_host_sni: tls.sni.is_none(),
        auto_sni_san_validation: match &tls.roots {
            // Whether its names count can't be seen here.
            TlsRoots::Secret(secret) => secret.ignores_names,
            _ => tls.san.is_empty(),
        },
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: alpn(protocol),
            validation_context_type: Some(validation(tls)),
            ..identity(&tls.identity)
        }),
        ..UpstreamTlsContext::default()
    };
    Some(TransportSocket {
        name: SOCKET.to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&context))),
    })
}

/// Where nothing is left to decide, the protocol is named; `auto_config` names both by itself.
fn alpn(protocol: Protocol) -> Vec<String> {
    match protocol {
        Protocol::Http1 => vec!["http/1.1".to_owned()],
        Protocol::Http2 => vec!["h2".to_owned()],
        Protocol::Auto | Protocol::Tcp => Vec::new(),
    }
}

/// What says who we are.
fn identity(model: &TlsIdentity) -> CommonTlsContext {
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

fn validation(model: &UpstreamTls) -> ValidationContextType {
    let mut context = CertificateValidationContext::default();
    san::set_names(&mut context, &model.san);
    match &model.roots {
        TlsRoots::System => context.system_root_certs = Some(SystemRootCerts {}),
        TlsRoots::Pem(text) => {
            context.trusted_ca = Some(DataSource {
                specifier: Some(Specifier::InlineString(text.to_string())),
                ..DataSource::default()
            });
        }
        TlsRoots::File(path) => {
            context.trusted_ca = secret::source(&SecretSource::File(Arc::clone(path)));
        }
        TlsRoots::Secret(secret_model) => {
            let by_sds = by_sds(&secret_model.name);
            if secret_model.pem.is_none() && model.san.is_empty() {
                return ValidationContextType::ValidationContextSdsSecretConfig(by_sds);
            }
            context.trusted_ca = secret_model.pem.as_ref().and_then(secret::source);
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
