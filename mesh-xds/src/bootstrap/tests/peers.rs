//! Bootstraps of others, and the same made in code.

use super::*;
use std::path::Path;
use std::time::Duration;

/// What Istio's agent writes (template `grpc-agent`).
const ISTIO: &str = r#"{
  "xds_servers": [
    {
      "server_uri": "unix:///etc/istio/proxy/XDS",
      "channel_creds": [{"type": "insecure"}],
      "server_features": ["xds_v3"]
    }
  ],
  "node": {
    "id": "sidecar~10.0.0.7~echo-1.ns~ns.svc.cluster.local",
    "metadata": {"GENERATOR": "grpc", "NAMESPACE": "ns", "INSTANCE_IPS": "10.0.0.7"},
    "locality": {}
  },
  "certificate_providers": {
    "default": {
      "plugin_name": "file_watcher",
      "config": {
        "certificate_file": "/var/lib/istio/data/cert-chain.pem",
        "private_key_file": "/var/lib/istio/data/key.pem",
        "ca_certificate_file": "/var/lib/istio/data/root-cert.pem",
        "refresh_interval": "900s"
      }
    }
  },
  "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s"
}"#;

#[test]
fn istio() {
    let data = Path::new("/var/lib/istio/data");
    let files = CertificateFiles::new()
        .with_identity(IdentityFiles::new(data.join("cert-chain.pem"), data.join("key.pem")))
        .with_ca_certificate(data.join("root-cert.pem"))
        .with_refresh_interval(Duration::from_secs(900));
    let server = Server::new("unix:///etc/istio/proxy/XDS", ChannelCreds::Insecure)
        .unwrap()
        .with_feature(ServerFeature::XdsV3);
    let metadata = serde_json::json!({
        "GENERATOR": "grpc", "NAMESPACE": "ns", "INSTANCE_IPS": "10.0.0.7",
    });
    let node = Node::new("sidecar~10.0.0.7~echo-1.ns~ns.svc.cluster.local")
        .with_metadata(metadata.as_object().unwrap().clone())
        .unwrap()
        .with_locality(Locality::default());
    let made = Bootstrap::new(server)
        .with_node(node)
        .with_certificate_provider("default", CertificateProvider::file_watcher(files).unwrap())
        .with_server_listener_template(Template::new("xds.istio.io/grpc/lds/inbound/%s"));
    let read = accepts("istio-agent", ISTIO);
    assert_eq!(read, made);
    assert_eq!(read.client_listener_name(None, "echo.ns:7070").unwrap(), "echo.ns:7070");
    let inbound = read.server_listener_name("0.0.0.0:7070".parse().unwrap()).unwrap();
    assert_eq!(inbound, "xds.istio.io/grpc/lds/inbound/0.0.0.0:7070");
}

#[test]
fn istiod_directly() {
    // gRFC A97: what Istio needs without its agent.
    let text = r#"{"xds_servers": [{"server_uri": "dns:///istiod.istio-system.svc:15012",
        "channel_creds": [{"type": "google_default"}, {"type": "tls", "config": {
            "ca_certificate_file": "/var/run/secrets/istio/root-cert.pem"}}],
        "call_creds": [{"type": "jwt_token_file", "config": {
            "jwt_token_file": "/var/run/secrets/tokens/istio-token"}}]}]}"#;
    let roots = Path::new("/var/run/secrets/istio/root-cert.pem");
    let tls = ChannelCreds::Tls(CertificateFiles::new().with_ca_certificate(roots));
    let token = Path::new("/var/run/secrets/tokens/istio-token");
    let server = Server::new("dns:///istiod.istio-system.svc:15012", tls)
        .unwrap()
        .with_call_creds(CallCreds::JwtTokenFile(token.into()))
        .unwrap();
    assert_eq!(accepts("gRFC A97", text), Bootstrap::new(server));
}

#[test]
fn federation() {
    let text = r#"{
      "xds_servers": [{"server_uri": "one:1", "channel_creds": [{"type": "insecure"}]},
                      {"server_uri": "two:1", "channel_creds": [{"type": "insecure"}]}],
      "client_default_listener_resource_name_template":
        "xdstp://a.example/envoy.config.listener.v3.Listener/client/%s?project_id=1234",
      "authorities": {
        "a.example": {"client_listener_resource_name_template":
          "xdstp://a.example/envoy.config.listener.v3.Listener/client/%s?project_id=1234"},
        "b.example": {"fallback_on_reachability_only": true,
          "xds_servers": [{"server_uri": "b:1", "channel_creds": [{"type": "tls"}]}]}}}"#;
    let template = "xdstp://a.example/envoy.config.listener.v3.Listener/client/%s?project_id=1234";
    let insecure = |uri| Server::new(uri, ChannelCreds::Insecure).unwrap();
    let tls = Server::new("b:1", ChannelCreds::Tls(CertificateFiles::new())).unwrap();
    let a = Authority::new("a.example").with_client_listener_template(Template::new(template));
    let b =
        Authority::new("b.example").with_servers([tls]).with_fallback_on_reachability_only(true);
    let made = Bootstrap::new(insecure("one:1"))
        .with_fallback(insecure("two:1"))
        .with_client_default_listener_template(Template::new(template))
        .with_authority(a.unwrap())
        .with_authority(b);
    let read = accepts("gRFC A47, A71, A95", text);
    assert_eq!(read, made);
    let name = read.client_listener_name(None, "server.example.com").unwrap();
    let name = ResourceName::parse(crate::ResourceType::Listener, &name).unwrap();
    assert_eq!(read.authority_of(&name).unwrap().unwrap().name(), &"a.example".into());
}

#[test]
fn what_is_made_in_code_is_checked_where_it_is_made() {
    assert!(Server::new("xds:///a", ChannelCreds::Insecure).is_err());
    let token = CallCreds::JwtTokenFile(Path::new("/t").into());
    let server = Server::new("a:1", ChannelCreds::Insecure).unwrap();
    assert_eq!(server.with_call_creds(token), Err(InsecureToken));
    assert!(CertificateProvider::file_watcher(CertificateFiles::new()).is_err());
    let foreign = Authority::new("a").with_client_listener_template(Template::new("xdstp://b/x"));
    assert!(foreign.unwrap_err().to_string().contains("does not begin with `xdstp://a/`"));
    let mut deep = serde_json::json!({});
    for _ in 0..MAX_METADATA_DEPTH {
        deep = serde_json::json!({ "a": deep });
    }
    assert_eq!(
        Node::new("x").with_metadata(deep.as_object().unwrap().clone()),
        Err(MetadataTooDeep)
    );
}
