//! Envoy's files against prost-reflect, the wire, and the model.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use mesh_core::config::{self, Bounds, Document, Severity};
use mesh_core::model::RouteConfiguration;
use mesh_core::update::ConfigUpdate;
use mesh_xds::ResourceType;
use mesh_xds::decode::{Context, decode};
use mesh_xds::encode::{ALL_ROUTES, Encoded, resources, socket_listener};
use mesh_xds::files::{Files, read};
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn texts(directory: &str, extension: &str) -> Vec<(String, String)> {
    let listed = root(directory).read_dir().unwrap();
    let paths = listed.map(|entry| entry.unwrap().path());
    let mut texts: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    texts.sort();
    assert!(!texts.is_empty(), "{directory}");
    texts
}

fn documents(texts: &[(String, String)]) -> Vec<Document<'_>> {
    texts.iter().map(|(name, text)| Document { name, text }).collect()
}

/// Reads texts without a mistake.
#[track_caller]
fn good(texts: &[(String, String)]) -> Files {
    let files = read(&documents(texts), &(), &Bounds::default());
    let errors: Vec<_> =
        files.loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    assert!(files.loaded.update.is_some() && errors.is_empty(), "{errors:#?}");
    files
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(&include_bytes!("../../src/files/descriptors.binpb")[..]).unwrap()
}

fn name(kind: ResourceType) -> &'static str {
    kind.type_url().rsplit('/').next().unwrap()
}

/// A resource as JSON, by prost-reflect.
fn json(pool: &DescriptorPool, resource: &Encoded) -> Value {
    let message = pool.get_message_by_name(name(resource.kind)).unwrap();
    let message = DynamicMessage::decode(message, &*resource.body).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut value =
        message.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
    value["@type"] = json!(resource.kind.type_url());
    value
}

fn as_file(pool: &DescriptorPool, resources: &[Encoded]) -> String {
    let resources: Vec<_> = resources.iter().map(|resource| json(pool, resource)).collect();
    format!("{:#}", json!({ "resources": resources }))
}

/// The same resources, whatever the order of maps in their bytes.
#[track_caller]
fn check_same(found: &Encoded, expected: &Encoded) {
    assert_eq!((found.kind, &found.name), (expected.kind, &expected.name));
    let pool = pool();
    assert_eq!(json(&pool, found), json(&pool, expected));
    let context = context();
    let [found, expected] = [found, expected].map(|one| decode(one.kind, &one.body, &context));
    assert_eq!(found.resource, expected.resource);
    assert_eq!(found.ignored, expected.ignored);
}

fn context() -> Context {
    let mut context = Context::default();
    context.trusted_server = true;
    // As in files: a listener that no server can serve by is kept, and told.
    context.all_listeners = true;
    context
}

#[test]
fn what_prost_reflect_writes_is_read_as_the_same_resources() {
    let pool = pool();
    for file in texts("tests/good/envoy", "yaml") {
        let written = good(std::slice::from_ref(&file)).resources.unwrap();
        let text = as_file(&pool, &written);
        let again = good(&[(file.0, text)]).resources.unwrap();
        assert_eq!(written.len(), again.len());
        for (written, again) in written.iter().zip(&again) {
            assert_eq!(written, again, "the same content gives the same bytes");
        }
    }
}

#[test]
fn it_is_read_as_prost_reflect_reads_it() {
    let pool = pool();
    for file in texts("tests/good/envoy", "yaml") {
        for written in good(std::slice::from_ref(&file)).resources.unwrap() {
            let mut value = json(&pool, &written);
            value.as_object_mut().unwrap().remove("@type");
            let message = pool.get_message_by_name(name(written.kind)).unwrap();
            let read = DynamicMessage::deserialize(message, value).unwrap();
            let body = read.encode_to_vec();
            check_same(&written, &Encoded::new(written.kind, written.name.clone(), body));
        }
    }
}

#[test]
fn a_model_that_is_encoded_and_written_down_is_read_as_the_same_model() {
    let pool = pool();
    let mut files = texts("tests/good", "yaml");
    files.retain(|(name, _)| !name.ends_with("variables.yaml") && !name.ends_with("part.yaml"));
    let address = SocketAddr::from(([127, 0, 0, 1], 15001));
    for file in files {
        let loaded = config::load(&documents(std::slice::from_ref(&file)), &(), &Bounds::default());
        let expected = loaded.update.unwrap_or_else(|| panic!("{}", file.0));
        // The mesh's own identity is a provider that a bootstrap file names, and a file of Envoy's has none.
        if expected.identity.is_some() {
            continue;
        }
        let mut all: Vec<_> = resources(&expected);
        // As a client that asks for all would be told.
        all.retain(|one| !one.by_name_only && !one.name.starts_with("mesh/"));
        all.push(Encoded::listener(&socket_listener("outbound", address, ALL_ROUTES)));
        let text = as_file(&pool, &all);
        let mut found = good(&[(file.0.clone(), text)]).loaded.update.unwrap();
        // It is a port as well, which the model has not.
        assert!(found.listeners.remove("outbound").unwrap().forward.is_some());
        assert_eq!(without_names(&found), without_names(&expected), "{}", file.0);
    }
}

/// Where it comes from, and what the routes are called, is of the resources.
fn without_names(update: &ConfigUpdate) -> ConfigUpdate {
    let mut update = update.clone();
    update.origin = Default::default();
    let mut routes = RouteConfiguration::clone(&update.route_configuration);
    routes.name = Default::default();
    update.route_configuration = Arc::new(routes);
    update
}

#[test]
fn what_istiod_told_is_the_same_as_text() {
    const KINDS: [&str; 4] = ["listeners", "routes", "clusters", "endpoints"];
    let fixture = |kind, end| root(&format!("tests/interop/istiod/fixtures/{kind}.{end}"));
    let text = |kind| std::fs::read_to_string(fixture(kind, "json")).unwrap();
    // Providers of certificates are for a bootstrap file to name, and a file has none.
    let mut clusters: Value = serde_json::from_str(&text("clusters")).unwrap();
    for cluster in clusters["resources"].as_array_mut().unwrap() {
        cluster.as_object_mut().unwrap().remove("transport_socket");
    }
    let texts = KINDS.map(|kind| match kind {
        "clusters" => (kind.to_owned(), clusters.to_string()),
        kind => (kind.to_owned(), text(kind)),
    });
    let files = good(&texts);
    let told = KINDS.iter().flat_map(|kind| {
        let bytes = std::fs::read(fixture(kind, "binpb")).unwrap();
        let mut told = DiscoveryResponse::decode(&*bytes).unwrap().resources;
        for any in told.iter_mut().filter(|_| *kind == "clusters") {
            let mut cluster = Cluster::decode(&*any.value).unwrap();
            cluster.transport_socket = None;
            any.value = cluster.encode_to_vec();
        }
        told
    });
    let (found, told) = (files.resources.unwrap(), told.collect::<Vec<_>>());
    assert_eq!(found.len(), told.len());
    for (found, told) in found.iter().zip(told) {
        assert_eq!(found.kind.type_url(), told.type_url);
        check_same(found, &Encoded::new(found.kind, found.name.clone(), told.value));
    }
    let update = files.loaded.update.unwrap();
    let routes = &update.route_configuration.virtual_hosts;
    let domains: Vec<_> =
        routes.iter().flat_map(|host| &host.domains).map(ToString::to_string).collect();
    assert_eq!(
        domains,
        ["least", "more", "peer"].map(|name| format!("{name}.default.svc.cluster.local:7070"))
    );
    assert!(update.clusters.values().all(|cluster| cluster.endpoints.is_some()));
}

/// What is said of a file, but for what does nothing unless that is all there is to say; and how much that is.
fn said(file: &(String, String)) -> (String, usize) {
    let loaded = read(&documents(std::slice::from_ref(file)), &(), &Bounds::default()).loaded;
    let (ignored, rest): (Vec<_>, Vec<_>) =
        loaded.diagnostics.iter().partition(|found| found.code == "ignored_field");
    let shown = if rest.is_empty() { &ignored } else { &rest };
    let shown: Vec<_> =
        shown.iter().map(|d| format!("{} {}:{}", d.code, d.line, d.column)).collect();
    (shown.join(", "), ignored.len())
}

/// Compares the first line of a file with what it should be. With `MESH_BLESS=1` it is written anew: read the
/// difference.
#[track_caller]
fn check_first_line((path, text): &(String, String), expected: &str) {
    let (first, rest) = text.split_once('\n').unwrap();
    if std::env::var_os("MESH_BLESS").is_some() {
        std::fs::write(path, format!("{expected}\n{rest}")).unwrap();
        return;
    }
    assert_eq!(first, expected, "{path}");
}

#[test]
fn each_broken_file_has_its_one_mistake() {
    for file in texts("tests/broken/envoy", "yaml") {
        check_first_line(&file, &format!("# expect: {}", said(&file).0));
    }
}

#[test]
fn good_files_have_nothing_to_say_but_what_does_nothing() {
    for file in texts("tests/good/envoy", "yaml") {
        let (shown, ignored) = said(&file);
        // Which `mesh check` tells of listeners that can be no ports.
        let (no_port, rest): (Vec<_>, Vec<_>) =
            shown.split(", ").partition(|one| one.starts_with("unused_resource"));
        assert!(
            rest.iter().all(|one| one.is_empty() || one.starts_with("ignored_field")),
            "{shown}"
        );
        let no_port = match no_port.len() {
            0 => String::new(),
            some => format!(", no port: {some}"),
        };
        check_first_line(&file, &format!("# ignored: {ignored}{no_port}"));
    }
}

/// A text with a few of its bytes replaced, and a few of its lines gone or there twice.
fn changed(text: &str, bytes: &[(usize, u8)], lines: &[(usize, bool)]) -> String {
    let mut kept: Vec<&str> = text.lines().collect();
    for (at, twice) in lines {
        let at = at % kept.len().max(1);
        match twice {
            true => kept.insert(at, kept.get(at).copied().unwrap_or_default()),
            false if kept.len() > 1 => drop(kept.remove(at)),
            false => {}
        }
    }
    let mut text = kept.join("\n").into_bytes();
    for (at, byte) in bytes {
        let at = at % text.len().max(1);
        if let Some(old) = text.get_mut(at) {
            *old = *byte;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

proptest! {
    #[test]
    fn whatever_is_changed_there_is_a_configuration_or_a_mistake_in_the_text(
        file: proptest::sample::Index,
        bytes in proptest::collection::vec((any::<usize>(), b' '..b'~'), 0..4),
        lines in proptest::collection::vec((any::<usize>(), any::<bool>()), 0..3),
    ) {
        let good = texts("tests/good/envoy", "yaml");
        let (name, text) = file.get(&good);
        let text = changed(text, &bytes, &lines);
        let files = read(&[Document { name, text: &text }], &(), &Bounds::default());
        let found = &files.loaded.diagnostics;
        prop_assert!(found.iter().all(|found| text.get(found.span.clone()).is_some()));
        let refused = found.iter().any(|found| found.severity == Severity::Error);
        prop_assert_eq!(files.loaded.update.is_none(), refused);
        if let Some(update) = files.loaded.update {
            prop_assert!(mesh_core::explain::snapshot(update).is_ok());
        }
        for resource in files.resources.into_iter().flatten() {
            let decoded = decode(resource.kind, &resource.body, &context());
            prop_assert!(decoded.resource.is_ok(), "{:?}", decoded.resource);
        }
    }
}
