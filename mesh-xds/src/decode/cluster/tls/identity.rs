//! Who we are: a certificate provider, a secret, or a certificate in the cluster itself.

use super::{OWN_PROVIDER, check_provider, secret};
use crate::decode::Context;
use crate::decode::common::Walk;
use crate::decode::secret::certificate;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use mesh_core::model::tls::TlsIdentity;
use std::sync::Arc;

const PROVIDER_COUNTS: &str = "the certificate provider counts (gRFC A29)";
const ONE: &str = "a client shows one identity (Envoy): leave the others out";

/// The identity that we show; none where nothing is said, or where there is an error.
pub(in crate::decode) fn decode(
    walk: &mut Walk,
    common: &proto::CommonTlsContext,
    context: &Context,
) -> TlsIdentity {
    let (certificates, secrets) =
        (&common.tls_certificates, &common.tls_certificate_sds_secret_configs);
    if let Some(identity) = provider(walk, common, context) {
        walk.ignored(!certificates.is_empty(), "tls_certificates", PROVIDER_COUNTS);
        let field = "tls_certificate_sds_secret_configs";
        walk.ignored(!secrets.is_empty(), field, PROVIDER_COUNTS);
        return identity;
    }
    refuse_plugin(walk, common);
    let found = match (&certificates[..], &secrets[..]) {
        ([], []) => return TlsIdentity::None,
        ([], [one]) => {
            let field = "tls_certificate_sds_secret_configs[0]";
            secret(walk, field, one, context).map(TlsIdentity::Secret)
        }
        ([one], []) => {
            let found = walk.at("tls_certificates[0]", |walk| certificate(walk, one));
            found.map(|own| TlsIdentity::Certificate(Arc::new(own)))
        }
        ([], _) => {
            walk.error_at("tls_certificate_sds_secret_configs", ONE);
            None
        }
        (_, []) => {
            walk.error_at("tls_certificates", ONE);
            None
        }
        _ => {
            walk.error_at(
                "tls_certificate_sds_secret_configs",
                "tls_certificates is set as well (Envoy: only one of them may be used): leave one out",
            );
            None
        }
    };
    found.unwrap_or_default()
}

/// gRFC A29: a certificate provider, before all else.
#[expect(deprecated, reason = "control planes still use the older field")]
fn provider(
    walk: &mut Walk,
    common: &proto::CommonTlsContext,
    context: &Context,
) -> Option<TlsIdentity> {
    let (field, name) = if let Some(instance) = &common.tls_certificate_provider_instance {
        ("tls_certificate_provider_instance", &instance.instance_name)
    } else if let Some(instance) = &common.tls_certificate_certificate_provider_instance {
        ("tls_certificate_certificate_provider_instance", &instance.instance_name)
    } else {
        return None;
    };
    check_provider(walk, field, name, context);
    Some(match name.as_str() {
        OWN_PROVIDER => TlsIdentity::Mesh,
        name => TlsIdentity::Provider(name.into()),
    })
}

#[expect(deprecated, reason = "what is deprecated is refused, not left out")]
fn refuse_plugin(walk: &mut Walk, common: &proto::CommonTlsContext) {
    if common.tls_certificate_certificate_provider.is_some() {
        walk.error_at(
            "tls_certificate_certificate_provider",
            "it is not supported (gRFC A29); name a certificate provider of the bootstrap file in `tls_certificate_provider_instance`, or a secret",
        );
    }
}
