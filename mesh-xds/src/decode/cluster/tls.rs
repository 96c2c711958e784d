//! `UpstreamTlsContext`: what a peer must prove, and what we show (gRFC A29, A82, A101).
//!
//! Who signs the peer's certificate must be said: by a certificate provider of the bootstrap file, a secret,
//! the system's roots, or the certificates themselves. A certificate provider counts before all else, so that
//! what is sent to gRPC and to Envoy alike means here what it means to gRPC (A29); secrets, which gRPC
//! refuses, are Envoy's. What would make the check stricter than it can be made here is refused. An empty
//! list of names, which accepts any peer in gRPC and Envoy, is stricter here: then the peer must prove the
//! SNI, and without one the endpoint's hostname or address, unless the roots are those of an identity.
//!
//! Secrets come on the stream that the cluster came on (`ads`, `self`), by their canonical names (gRFC A47),
//! so that two spellings of a name are one secret.
//!
//! The order of the SNI is gRFC A101's: the endpoint's hostname, if `auto_host_sni`, then `sni`, then none.
//! Whether one is sent depends on the endpoint, so the names stay beside `auto_sni_san_validation`.

mod identity;
mod spiffe;
mod validation;

pub(in crate::decode) use identity::decode as identity;
pub(in crate::decode) use spiffe::decode as spiffe;
pub(in crate::decode) use validation::{Peer, refuse_checks};

use crate::decode::Context;
use crate::decode::address::shorten;
use crate::decode::common::{self, Walk};
use crate::protocol::canonical;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use mesh_core::model::tls::{TlsRoots, UpstreamTls};
use std::sync::Arc;

/// Envoy, gRFC A101: the longest SNI, in bytes.
const LONGEST_SNI: usize = 255;
/// RFC 7301: the longest name of a protocol, in bytes.
const LONGEST_PROTOCOL: usize = 255;

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
        walk.error_at(
            "common_tls_context",
            "it is missing: a client must know who signs the peer's certificate (gRFC A29); for public \
             certificate authorities it is `{ validation_context: { system_root_certs: {} } }`",
        );
        return None;
    };
    let mut tls = UpstreamTls::default();
    walk.at("common_tls_context", |walk| {
        refuse(walk, common);
        tls.alpn = alpn(walk, common);
        tls.identity = identity::decode(walk, common, context);
        let peer = peer(walk, common, context);
        (tls.roots, tls.san, tls.crl) = (peer.roots, peer.san, peer.crl);
    });
    tls.sni = Some(&message.sni).filter(|sni| !sni.is_empty()).map(|sni| sni.as_str().into());
    tls.auto_host_sni = message.auto_host_sni;
    // Where there are no names, the SNI is proven anyway; those of a secret can't be seen here.
    let may_have_names = !tls.san.is_empty() || matches!(tls.roots, TlsRoots::Secret(_));
    tls.auto_sni_san_validation = message.auto_sni_san_validation && may_have_names;
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
pub(in crate::decode) fn refuse(walk: &mut Walk, common: &proto::CommonTlsContext) {
    for (set, field) in [
        (common.tls_params.is_some(), "tls_params"),
        (common.custom_handshaker.is_some(), "custom_handshaker"),
        (common.custom_tls_certificate_selector.is_some(), "custom_tls_certificate_selector"),
    ] {
        if set {
            walk.error_at(field, "it is not supported (gRFC A29); leave it out");
        }
    }
    walk.ignored(common.key_log.is_some(), "key_log", "keys are not logged");
}

/// The protocols to offer or to agree on. gRFC A29 ignores them; Envoy's meaning holds.
pub(in crate::decode) fn alpn(walk: &mut Walk, common: &proto::CommonTlsContext) -> Vec<Arc<str>> {
    for (at, name) in common.alpn_protocols.iter().enumerate() {
        if name.is_empty() || name.len() > LONGEST_PROTOCOL {
            walk.error_at(
                format_args!("alpn_protocols[{at}]"),
                format_args!("a name has 1 to {LONGEST_PROTOCOL} bytes (RFC 7301)"),
            );
        }
    }
    common.alpn_protocols.iter().map(|name| name.as_str().into()).collect()
}

/// What a peer must prove: who signs its certificate, which names it has, what was revoked.
pub(in crate::decode) fn peer(
    walk: &mut Walk,
    common: &proto::CommonTlsContext,
    context: &Context,
) -> Peer {
    validation::decode(walk, common, context)
}

/// The certificate provider that is the mesh's own, by what bootstrap files call it (gRFC A29; Istio).
const OWN_PROVIDER: &str = "default";

/// gRFC A29: an instance must be one of the bootstrap file's, where there is one.
fn check_provider(walk: &mut Walk, field: &str, instance: &str, context: &Context) {
    let is_named = context.any_certificate_provider && !instance.is_empty();
    if !is_named && !context.certificate_providers.contains(instance) {
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

/// The name of a secret that comes as the cluster did.
fn secret(
    walk: &mut Walk,
    field: impl std::fmt::Display,
    config: &proto::SdsSecretConfig,
    context: &Context,
) -> Option<Arc<str>> {
    walk.at(field, |walk| {
        let is_beside = context.static_secrets && config.sds_config.is_none();
        if !is_beside {
            common::same_server(walk, "sds_config", config.sds_config.as_ref(), true);
        }
        match config.name.as_str() {
            "" => walk.error_at("name", "it is empty (Envoy: min_len 1): name the secret"),
            // xDS protocol: that stands for every resource of a kind.
            "*" => walk.error_at("name", "`*` is no name: name one secret"),
            name => return Some(canonical(&name.into())),
        }
        None
    })
}
