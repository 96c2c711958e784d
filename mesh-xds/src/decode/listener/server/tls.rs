//! `DownstreamTlsContext`: what a server shows, and what its clients must prove (gRFC A29).

use crate::decode::Context;
use crate::decode::address::shorten;
use crate::decode::cluster::tls;
use crate::decode::common::{self, Walk, ignored};
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use mesh_core::model::tls::{DownstreamTls, TlsIdentity};
use proto::downstream_tls_context::{OcspStaplePolicy, SessionTicketKeysType};
use std::sync::Arc;

/// How connections of a chain are secured; `None`: plaintext, or an error.
pub(super) fn socket(
    walk: &mut Walk,
    message: Option<&TransportSocket>,
    context: &Context,
) -> Option<Arc<DownstreamTls>> {
    let message = message?;
    let Some(ConfigType::TypedConfig(config)) = &message.config_type else {
        if message.name != "envoy.transport_sockets.raw_buffer" {
            let name = shorten(&message.name);
            walk.error_at("typed_config", format_args!("`{name}` has no configuration (gRFC A29)"));
        }
        return None;
    };
    walk.at("typed_config", |walk| {
        if common::holds::<RawBuffer>(config) {
            return None;
        }
        if common::holds::<proto::DownstreamTlsContext>(config) {
            let config = common::unpack(walk, config)?;
            return decode(walk, &config, context).map(Arc::new);
        }
        walk.error(format_args!(
            "`{}` is not supported, and without it connections would not be secured as they should; use \
             DownstreamTlsContext or RawBuffer (gRFC A29)",
            shorten(common::type_name(&config.type_url))
        ));
        None
    })
}

fn decode(
    walk: &mut Walk,
    message: &proto::DownstreamTlsContext,
    context: &Context,
) -> Option<DownstreamTls> {
    report(walk, message);
    let Some(common) = &message.common_tls_context else {
        walk.error_at(
            "common_tls_context",
            "it is missing: a server shows a certificate (gRFC A29)",
        );
        return None;
    };
    let mut tls = DownstreamTls::mutual();
    tls.require_client_certificate =
        message.require_client_certificate.is_some_and(|required| required.value);
    walk.at("common_tls_context", |walk| {
        tls::refuse(walk, common);
        tls.identity = tls::identity(walk, common, context);
        if tls.identity == TlsIdentity::None && walk.errors() == 0 {
            walk.error_at(
                "tls_certificate_provider_instance",
                "nothing says which certificate a server shows (gRFC A29); name a certificate provider of \
                 the bootstrap file, or a secret",
            );
        }
        // Envoy has none by default: gRPC clients insist on `h2`, so the default stays.
        let protocols = tls::alpn(walk, common);
        if !protocols.is_empty() {
            tls.alpn = protocols;
        }
        let said = common.validation_context_type.as_ref();
        let peer = said.map(|_| tls::peer(walk, common, context));
        if tls.require_client_certificate && peer.is_none() {
            walk.error_at(
                "validation_context",
                "`require_client_certificate` is set, and nothing says who signs clients' certificates \
                 (gRFC A29)",
            );
        }
        (tls.roots, tls.san, tls.crl) = match peer {
            Some(peer) => (Some(peer.roots), peer.san, peer.crl),
            None => (None, Vec::new(), None),
        };
    });
    Some(tls)
}

/// gRFC A29: what must not be set, and what does nothing.
fn report(walk: &mut Walk, message: &proto::DownstreamTlsContext) {
    if message.require_sni.is_some_and(|required| required.value) {
        walk.error_at("require_sni", "it is not supported (gRFC A29); leave it out");
    }
    if message.ocsp_staple_policy != OcspStaplePolicy::LenientStapling as i32 {
        walk.error_at(
            "ocsp_staple_policy",
            "no response is stapled: only LENIENT_STAPLING is supported (gRFC A29)",
        );
    }
    const RESUMPTION: &str = "sessions are not resumed: each handshake verifies the peer";
    ignored!(walk, message, {
        disable_stateful_session_resumption: RESUMPTION,
        session_timeout: RESUMPTION,
        full_scan_certs_on_sni_mismatch: "a server shows one certificate",
        prefer_client_ciphers: "the server's order of ciphers counts",
    });
    let field = match &message.session_ticket_keys_type {
        Some(SessionTicketKeysType::SessionTicketKeys(_)) => "session_ticket_keys",
        Some(SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(_)) => {
            "session_ticket_keys_sds_secret_config"
        }
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(_)) => {
            "disable_stateless_session_resumption"
        }
        None => return,
    };
    walk.ignored(true, field, RESUMPTION);
}
