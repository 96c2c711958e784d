//! How a cluster is secured: the model → Envoy's transport socket.

use super::cluster::{Look, check};
use super::short;
use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use mesh_core::model::secret::{SecretRoots, SecretSource};
use mesh_core::model::tls::{TlsIdentity, TlsRoots, UpstreamTls, ValidationSecret};
use mesh_core::model::{Cluster, Protocol, SanMatcher, StringMatcher, TlsPolicy};
use prost::Message;
use std::sync::Arc;

/// How a cluster's transport socket looks.
#[expect(deprecated, reason = "names of any kind")]
fn socket(c: &pb::Cluster) -> String {
    let Some(socket) = &c.transport_socket else { return "plaintext".to_owned() };
    let Some(ConfigType::TypedConfig(any)) = &socket.config_type else { return String::new() };
    let tls = UpstreamTlsContext::decode(&*any.value).expect("a context");
    let common = tls.common_tls_context.expect("always said");
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType as Kind;
    let roots = match common.validation_context_type {
        Some(Kind::ValidationContext(context)) => {
            let names = context.match_subject_alt_names.len();
            let system = context.system_root_certs.is_some();
            format!("system {system} pem {} names {names}", context.trusted_ca.is_some())
        }
        Some(Kind::CombinedValidationContext(both)) => {
            let context = both.default_validation_context.expect("required");
            let secret = both.validation_context_sds_secret_config.expect("required");
            let provider = context.ca_certificate_provider_instance;
            let provider = provider.map_or_else(String::new, |one| one.instance_name);
            let (pem, names) =
                (context.trusted_ca.is_some(), context.match_subject_alt_names.len());
            format!("provider {provider} secret {} pem {pem} names {names}", secret.name)
        }
        other => short(&other),
    };
    let own = match (
        common.tls_certificate_provider_instance,
        &common.tls_certificates[..],
        &common.tls_certificate_sds_secret_configs[..],
    ) {
        (None, [], []) => "none".to_owned(),
        (Some(own), [], []) => own.instance_name,
        (None, [], [own]) => format!("sds:{}", own.name),
        other => panic!("{other:?}"),
    };
    format!(
        "sni {:?} {} {} alpn {:?} own {own} {roots}",
        tls.sni, tls.auto_host_sni, tls.auto_sni_san_validation, common.alpn_protocols
    )
}

#[test]
fn security() {
    let look: Look = socket;
    let tls = |edit: fn(&mut UpstreamTls)| {
        let mut tls = UpstreamTls::default();
        edit(&mut tls);
        move |c: &mut Cluster| c.tls = TlsPolicy::On(Arc::new(tls))
    };
    check(|_| {}, look, "plaintext", "");
    let system = "sni \"\" true true alpn [] own none system true pem false names 0";
    check(tls(|_| {}), look, system, "");
    let named = tls(|tls| {
        tls.sni = Some("a.b".into());
        tls.auto_host_sni = false;
        tls.san = vec![SanMatcher::any(StringMatcher::exact("spiffe://a/b"))];
        tls.roots = TlsRoots::Pem("pem".into());
    });
    let pem = "sni \"a.b\" false false alpn [] own none system false pem true names 1";
    check(named, look, pem, "");
    let both = tls(|tls| {
        tls.sni = Some("a.b".into());
        tls.san = vec![SanMatcher::any(StringMatcher::exact("spiffe://a/b"))];
        tls.auto_sni_san_validation = true;
    });
    let instead = "sni \"a.b\" true true alpn [] own none system true pem false names 1";
    check(both, look, instead, "");
    let mesh = tls(|tls| (tls.roots, tls.identity) = (TlsRoots::Mesh, TlsIdentity::Mesh));
    let providers =
        "sni \"\" true true alpn [] own default provider default secret ROOTCA pem false names 0";
    check(mesh, look, providers, "");
    let secrets = tls(|tls| {
        tls.identity = TlsIdentity::Secret("id".into());
        let mut roots = ValidationSecret::new("roots");
        roots.roots = SecretRoots::Pem(SecretSource::Inline(b"pem"[..].into()));
        tls.roots = TlsRoots::Secret(roots);
        tls.san = vec![SanMatcher::any(StringMatcher::exact("x"))];
    });
    let by_sds = "sni \"\" true false alpn [] own sds:id provider  secret roots pem true names 1";
    check(secrets, look, by_sds, "");
    let edit = tls(|_| {});
    let http2 = |c: &mut Cluster| {
        edit(c);
        c.protocol = Protocol::Http2;
    };
    let alpn = "sni \"\" true true alpn [\"h2\"] own none system true pem false names 0";
    check(http2, look, alpn, "");
    let istio = tls(|tls| tls.alpn = vec!["istio".into(), "h2".into()]);
    let said = "sni \"\" true true alpn [\"istio\", \"h2\"] own none system true pem false names 0";
    check(istio, look, said, "");
}
