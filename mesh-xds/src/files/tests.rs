//! What files say, and what is wrong with them. The corpora in `tests/good/envoy` and `tests/broken/envoy` are
//! read by `mesh check`'s tests, and by `tests/it/files.rs`.

use super::{Files, descriptors, read};
use crate::ResourceType;
use crate::encode::Encoded;
use mesh_core::config::{Bounds, Diagnostic, Document, code_explanation};
use prost_reflect::{DynamicMessage, ReflectMessage};

const CLUSTER: &str = "\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str =
    "\"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

fn files(texts: &[&str]) -> Files {
    let names: Vec<_> = (0..texts.len()).map(|index| format!("{index}.yaml")).collect();
    let documents = names.iter().zip(texts).map(|(name, text)| Document { name, text });
    read(&documents.collect::<Vec<_>>(), &(), &Bounds::default())
}

fn shown(found: &Diagnostic) -> String {
    let Diagnostic { code, document, line, column, message, .. } = found;
    format!("{document}:{line}:{column} {code}: {message}")
}

/// What is found, as `document:line:column code: message`.
#[track_caller]
fn check(texts: &[&str], expected: &[&str]) {
    let files = files(texts);
    let found: Vec<_> = files.loaded.diagnostics.iter().map(shown).collect();
    assert_eq!(found, expected);
    for found in &files.loaded.diagnostics {
        assert!(code_explanation(found.code).is_some());
    }
}

#[test]
fn every_mistake_is_found_in_one_run() {
    let text = format!(
        "resources:\n- {CLUSTER}\n  name: one\n  typ: EDS\n  connect_timeout: 5\n- {CLUSTER}\n  name: two\n  \
         type: ORIGINAL_DST\n  lb_subset_config: {{ fallback_policy: NO }}\n"
    );
    check(
        &[&text],
        &[
            "0:4:3 unknown_key: cluster `one`: Cluster has no field `typ`",
            "0:5:20 invalid_duration: cluster `one`: connect_timeout: `5` is no duration: write seconds, as `1.5s`",
            "0:8:9 invalid_resource: cluster `two`: type: ORIGINAL_DST is not supported: there is no redirected connection to follow; use EDS, STATIC or DNS",
            "0:9:3 ignored_field: cluster `two`: lb_subset_config: it does nothing here: it has no selectors, so there are no subsets (Envoy)",
            "0:9:40 unknown_word: cluster `two`: lb_subset_config.fallback_policy: `NO` is no word of LbSubsetFallbackPolicy",
        ],
    );
    let found = files(&[&text]).loaded.diagnostics;
    assert_eq!(found[0].suggestion.as_deref(), Some("did you mean `type`?"));
}

#[test]
fn files_unite_by_name_and_each_is_complete_only_with_the_others() {
    let cluster = format!(
        "{CLUSTER}\nname: one\ntype: EDS\neds_cluster_config: {{ eds_config: {{ ads: {{}} }} }}\n"
    );
    let endpoints = format!("{ENDPOINTS}\ncluster_name: one\n");
    check(&[&cluster, &endpoints], &[]);
    check(&[&cluster], &["0:2:7 unknown_resource: cluster `one`: there are no endpoints `one`"]);
    check(&[&endpoints], &["0:2:15 unused_resource: endpoints `one`: no cluster names it"]);
    check(
        &[&cluster, &endpoints, &cluster],
        &["2:2:7 defined_twice: cluster `one` is defined twice"],
    );
    check(
        &[&cluster, "version: 1\n", "kind: Service\n"],
        &[
            "1:1:1 mixed_formats: this is a mesh.yaml, and another file is Envoy's",
            "2:1:1 unknown_format: this is neither a mesh.yaml nor a file of Envoy's",
        ],
    );
}

#[test]
fn mesh_yaml_is_read_by_its_own_reader() {
    let good = files(&["version: 1\nclusters: { one: { dns: \"one:80\" } }\n"]);
    assert!(good.loaded.update.is_some() && good.resources.is_none());
    let ours = files(&["version: 1\nvirtual_hosts: 7\n"]);
    assert_eq!(ours.loaded.diagnostics[0].code, "wrong_type");
}

#[test]
fn the_same_content_has_the_same_bytes() {
    let one = format!("{CLUSTER}\nname: one\nalt_stat_name: a\ntype: STATIC\n");
    let other = format!("# moved\ntype: 0\nname: one\naltStatName: a\n{CLUSTER}\n");
    let [one, other] = [one, other].map(|text| files(&[&text]).resources.unwrap());
    assert_eq!(one, other);
}

#[test]
fn bytes_of_an_unknown_type_are_taken_as_they_are() {
    let text = |value: &str| {
        format!(
            "{CLUSTER}\nname: one\nmetadata:\n  typed_filter_metadata:\n    a: {{ \"@type\": a/acme.A, {value} }}\n"
        )
    };
    let given = files(&[&text("value: aGk=")]);
    assert!(given.opaque.is_empty(), "{:?}", given.loaded.diagnostics);
    let resources = given.resources.unwrap();
    assert!(resources[0].body.windows(2).any(|bytes| bytes == b"hi"));
    let lost = files(&[&text("path: a")]);
    assert_eq!(lost.opaque, ["cluster `one`"]);
    assert!(lost.loaded.update.is_some());
}

#[test]
fn bounds_hold() {
    let mut bounds = Bounds::default();
    bounds.document_bytes = 20;
    let text = "static_resources: {} # and more\n";
    let found = read(&[Document { name: "a", text }], &(), &bounds).loaded.diagnostics;
    assert_eq!(found[0].code, "document_too_large");
}

/// A cluster whose identity is the secret `id`, in a bootstrap with these secrets.
fn bootstrap(source: &str, secrets: &str) -> String {
    format!(
        "static_resources:
  clusters:
  - name: one
    type: STATIC
    load_assignment: {{ cluster_name: one }}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context:
          tls_certificate_sds_secret_configs: [{{ name: id{source} }}]
          validation_context: {{ system_root_certs: {{}} }}
  secrets:
{secrets}"
    )
}

fn certificate(name: &str, key: &str) -> String {
    format!(
        "  - name: {name}
    tls_certificate:
      certificate_chain: {{ inline_string: \"-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\" }}
      private_key: {{ inline_string: \"{key}\" }}
"
    )
}

#[test]
fn secrets_of_a_file_are_those_that_clusters_name() {
    let key = "-----BEGIN PRIVATE KEY-----\\nMAA=\\n-----END PRIVATE KEY-----";
    for source in ["", ", sds_config: { ads: {} }"] {
        let files = files(&[&bootstrap(source, &certificate("id", key))]);
        let found: Vec<_> = files.loaded.diagnostics.iter().map(shown).collect();
        assert!(found.is_empty(), "{found:?}");
        let update = files.loaded.update.unwrap();
        assert_eq!(update.secrets.keys().map(|name| &**name).collect::<Vec<_>>(), ["id"]);
        let served = files.resources.unwrap();
        let secret = served.iter().find(|one| one.kind == ResourceType::Secret).unwrap();
        assert!(secret.by_name_only);
    }
    let both = format!("{}{}", certificate("id", key), certificate("other", key));
    check(
        &[&bootstrap("", &both)],
        &["0:18:11 unused_resource: secret `other`: no cluster and no listener names it"],
    );
    check(
        &[&bootstrap("", &certificate("ix", key))],
        &[
            "0:11:56 unknown_resource: cluster `one`: there is no secret `id`",
            "0:14:11 unused_resource: secret `ix`: no cluster and no listener names it",
        ],
    );
}

#[test]
fn a_secret_that_only_envoys_listener_names_is_used() {
    let listener = "static_resources:
  listeners:
  - name: envoys
    address: { socket_address: { address: 127.0.0.1, port_value: 1 } }
    listener_filters: [{ name: odd }]
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs: [{ name: shown }]
            validation_context_sds_secret_config: { name: believed }
  secrets:
";
    let key = "-----BEGIN PRIVATE KEY-----\\nMAA=\\n-----END PRIVATE KEY-----";
    let secrets = ["shown", "believed", "other"].map(|name| certificate(name, key)).concat();
    let files = files(&[&format!("{listener}{secrets}")]);
    let unused = files.loaded.diagnostics.iter().filter(|found| found.code == "unused_resource");
    let unused: Vec<_> = unused.filter(|found| found.message.starts_with("secret")).collect();
    assert_eq!(unused.len(), 1, "{unused:?}");
    assert_eq!(unused[0].message, "secret `other`: no cluster and no listener names it");
}

#[test]
fn a_certificate_provider_is_one_of_whoever_connects() {
    let named = |name: &str| {
        let own = format!("tls_certificate_provider_instance: {{ instance_name: {name} }}");
        let text = bootstrap("", "").replace("  secrets:\n", "");
        text.replace("tls_certificate_sds_secret_configs: [{ name: id }]", &own)
    };
    let files = files(&[&named("of_theirs")]);
    assert!(files.loaded.diagnostics.is_empty(), "{:?}", files.loaded.diagnostics);
    let served = files.resources.unwrap();
    let name = b"of_theirs";
    assert!(served[0].body.windows(name.len()).any(|bytes| bytes == name), "as it is written");
    check(
        &[&named("\"\"")],
        &[
            "0:11:63 invalid_resource: cluster `one`: transport_socket.typed_config.common_tls_context.\
           tls_certificate_provider_instance.instance_name: the bootstrap file has no certificate \
           provider `` (gRFC A29)",
        ],
    );
}

#[test]
fn a_key_that_is_wrong_is_told_at_the_name() {
    let text = bootstrap("", &certificate("id", "TOPSECRET"));
    let files = files(&[&text]);
    let [found] = &files.loaded.diagnostics[..] else { panic!("{:?}", files.loaded.diagnostics) };
    assert!(found.message.contains("private_key"), "{}", found.message);
    let line = text.lines().nth(found.line - 1).unwrap();
    assert_eq!(line, "  - name: id", "the line that is shown has no key in it");
    assert!(!format!("{found:?}").contains("TOPSECRET"));
}

// === descriptors ===

/// The types that decoders look into, and the resources.
const DECODED: &[&str] = &[
    "envoy.config.route.v3.FilterConfig",
    "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
    "envoy.extensions.clusters.dns.v3.DnsCluster",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
    "envoy.extensions.load_balancing_policies.maglev.v3.Maglev",
    "envoy.extensions.load_balancing_policies.random.v3.Random",
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
    "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality",
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions",
    "udpa.type.v1.TypedStruct",
    "xds.type.v3.TypedStruct",
];

#[test]
fn every_message_that_is_decoded_is_described() {
    assert!(descriptors::pool().all_messages().count() > 200);
    let resources = ResourceType::ALL.map(super::type_name);
    for name in DECODED.iter().copied().chain(resources) {
        assert!(descriptors::message(name).is_some(), "{name}");
    }
}

/// A field that envoy-types has and the descriptors have not, or the other way round, would be lost on the
/// way: what prost writes, prost-reflect reads without a remainder, and writes as prost reads it.
#[test]
fn messages_are_the_same_by_their_types_and_by_their_descriptors() {
    for resource in crate::encode::resources(&everything()) {
        let Encoded { kind, body, .. } = resource;
        let message = descriptors::message(super::type_name(kind)).unwrap();
        let dynamic = DynamicMessage::decode(message, &*body).unwrap();
        assert_eq!(dynamic.unknown_fields().count(), 0, "{}", dynamic.descriptor().full_name());
        let again = prost::Message::encode_to_vec(&dynamic);
        let context = crate::decode::Context { trusted_server: true, ..Default::default() };
        let [there, back] =
            [&body[..], &again].map(|body| crate::decode::decode(kind, body, &context).resource);
        assert!(there.is_ok());
        assert_eq!(there, back);
    }
}

#[test]
fn the_set_is_the_one_that_was_built() {
    use xxhash_rust::xxh64::xxh64;
    // `mesh-xds/descriptors` builds it, and compares with `--check`. A change is deliberate.
    assert_eq!(format!("{:016x}", xxh64(descriptors::BYTES, 0)), "3c261ca80d6a9bdb");
}

fn everything() -> mesh_core::ConfigUpdate {
    let text = include_str!("../../../mesh-core/src/config/tests/everything.yaml");
    let documents = [Document { name: "everything.yaml", text }];
    let environment = Beside;
    mesh_core::config::load(&documents, &environment, &Bounds::default()).update.unwrap()
}

/// `everything.yaml` names a variable, and a file beside it.
struct Beside;

impl mesh_core::config::Environment for Beside {
    fn variable(&self, _: &str) -> Option<String> {
        Some("x".to_owned())
    }

    fn file(&self, _: &str, _: &str) -> Result<String, mesh_core::config::FileError> {
        Ok(include_str!("../../../mesh-core/src/config/tests/ca.pem").to_owned())
    }
}
