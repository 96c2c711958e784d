//! `UpstreamTlsContext`: how a cluster's connections are secured.
//!
//! Our own identity and the mesh's roots are certificate providers called `default` (gRFC A29). Envoy
//! has none: it takes the roots from the secret `ROOTCA` of this stream, and without that secret the
//! cluster does not come up, so that it fails closed.

use super::matcher::string;
use super::wrap::{ads, any};
use envoy_types::pb::envoy::config::core::v3::{
    DataSource, TransportSocket, data_source::Specifier, transport_socket::ConfigType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
    SdsSecretConfig, UpstreamTlsContext,
    certificate_validation_context::SystemRootCerts,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
};
use mesh_core::model::tls::{TlsRoots, UpstreamTls};
use mesh_core::model::{Protocol, TlsPolicy};

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
        auto_sni_san_validation: tls.san.is_empty(),
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_provider_instance: tls.present_identity.then(provider),
            alpn_protocols: alpn(protocol),
            validation_context_type: Some(validation(tls)),
            ..CommonTlsContext::default()
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

fn provider() -> CertificateProviderPluginInstance {
    CertificateProviderPluginInstance {
        instance_name: PROVIDER.to_owned(),
        certificate_name: String::new(),
    }
}

#[expect(deprecated, reason = "any kind of name may match here; the typed matchers want one kind")]
fn validation(model: &UpstreamTls) -> ValidationContextType {
    let mut context = CertificateValidationContext {
        match_subject_alt_names: model.san.iter().map(string).collect(),
        ..CertificateValidationContext::default()
    };
    match &model.roots {
        TlsRoots::System => context.system_root_certs = Some(SystemRootCerts {}),
        TlsRoots::Pem(text) => {
            context.trusted_ca = Some(DataSource {
                specifier: Some(Specifier::InlineString(text.to_string())),
                ..DataSource::default()
            });
        }
        // `Mesh`, and what may come: never without roots.
        _ => {
            context.ca_certificate_provider_instance = Some(provider());
            return ValidationContextType::CombinedValidationContext(
                CombinedCertificateValidationContext {
                    default_validation_context: Some(context),
                    validation_context_sds_secret_config: Some(SdsSecretConfig {
                        name: ROOTS.to_owned(),
                        sds_config: Some(ads()),
                    }),
                    ..CombinedCertificateValidationContext::default()
                },
            );
        }
    }
    ValidationContextType::ValidationContext(context)
}
