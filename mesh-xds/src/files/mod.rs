//! Envoy's files: YAML or JSON with Envoy's resources → a [`ConfigUpdate`](mesh_core::ConfigUpdate), or
//! every mistake with its place.
//!
//! What a proxy's file says is to be usable without a proxy, and what `mesh check` says of it is to be what
//! the wire would have been told. So a text becomes the bytes of messages, by the descriptors of Envoy's
//! own `.proto` files, and these go through the very decoders of the wire ([`decode`](crate::decode)), whose
//! paths are found again in the text:
//!
//! ```text
//! text ── foreign::Reading ──> tree with places ── descriptors ──> bytes ── decode ──> resources
//!                                      ^                                      │           │ cascade::whole
//!                                      └────────── errors, ignored fields ────┘      ConfigUpdate
//! ```
//!
//! Rules:
//! - A file is told from `mesh.yaml` by its top ([`format()`]); files of the two formats do not unite.
//! - Shapes: an Envoy bootstrap (`static_resources`), a list of resources with `@type`, `{ resources: […] }`,
//!   one resource with `@type`. One YAML document a file.
//! - The mapping is protobuf's JSON: field names as they are or in camel case. As Envoy takes them, one item may
//!   stand for a list of it, and words of enumerations be in any case (`strict_dns`). Unknown fields are errors,
//!   with "did you mean"; what does nothing is a warning, `ignored_field`. Nothing is silent.
//! - Several files unite by kind and name; a resource that is there twice is an error. So is a name that
//!   leads to none of them: a file has to be complete.
//! - A secret is one of the files' (`static_resources.secrets`, or a resource), whether or not its cluster says
//!   where it comes from. A certificate provider is one of the bootstrap file of whoever reads the resource, and
//!   none is asked for here (gRFC A29).
//! - Files are trusted as gRFC A81's trusted servers are: their host rewrites count.
//! - No variables (`${NAME}`) are put in: a text that has them is taken as it stands.
//!
//! Bounds are those of `mesh.yaml` ([`Bounds`]): 4 MiB a file, 64 levels, 2,000,000 values with aliases
//! expanded, 64 KiB a text, 1,000 diagnostics; patterns as on the wire.
//!
//! What it does not do: read files, and follow them (`mesh_tower::source::FileSource`).

pub(crate) mod descriptors;
mod message;
mod notes;
mod place;
mod scalar;
mod shape;
#[cfg(test)]
mod tests;
mod well_known;
mod wire;

pub use shape::{Format, format};

use crate::cascade::whole::{Whole, whole};
use crate::decode::{Context, Decoded, FieldError, Ignored, decode};
use crate::encode::Encoded;
use crate::{Resource, ResourceType};
use mesh_core::config::foreign::{self, Node, Reading, Span, shorten};
use mesh_core::config::{self, Bounds, Document, Environment, Loaded};
use message::Writer;
use shape::Found;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Reads documents that unite into one configuration: `mesh.yaml` ones, or Envoy's.
///
/// # Examples
/// ```
/// use mesh_core::config::{Bounds, Document};
///
/// let text = r#"
/// resources:
/// - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
///   name: reviews
///   type: STATIC
///   load_assignment:
///     cluster_name: reviews
///     endpoints:
///     - lb_endpoints:
///       - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 8081 } } }
/// "#;
/// let document = Document { name: "envoy.yaml", text };
/// let loaded = mesh_xds::files::load(&[document], &(), &Bounds::default());
/// assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
/// assert!(loaded.update.unwrap().clusters.contains_key("reviews"));
/// ```
#[must_use]
pub fn load(documents: &[Document<'_>], environment: &dyn Environment, bounds: &Bounds) -> Loaded {
    read(documents, environment, bounds).loaded
}

/// What came of some documents, and what a control plane serves of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Files {
    /// The configuration, and what is wrong or suspicious.
    pub loaded: Loaded,
    /// Of Envoy's files: every resource as it is written, with its name. `None`: they were `mesh.yaml`, or
    /// there is an error.
    pub resources: Option<Vec<Encoded>>,
    /// Resources that hold a configuration of a type that is not known here, in words: they lack what is in
    /// it, so they can be used but not served.
    pub opaque: Vec<String>,
}

/// As [`load`], with the resources of Envoy's files, as a control plane serves them: as they are written,
/// not by way of the model.
#[must_use]
pub fn read(documents: &[Document<'_>], environment: &dyn Environment, bounds: &Bounds) -> Files {
    let formats: Vec<Format> = documents.iter().map(|document| format(document.text)).collect();
    if formats.iter().all(|format| *format == Format::MeshYaml) {
        let loaded = config::load(documents, environment, bounds);
        return Files { loaded, resources: None, opaque: Vec::new() };
    }
    let mut reading = Reading::new(documents, *bounds);
    check_formats(&mut reading, &formats);
    if reading.has_errors() {
        return Files {
            loaded: Loaded::new(None, reading.finish()),
            resources: None,
            opaque: Vec::new(),
        };
    }
    let (mut batch, mut is_whole) = (Batch::new(environment), true);
    for document in 0..documents.len() {
        let Some(root) = reading.parse(document) else {
            is_whole = false;
            continue;
        };
        for found in shape::resources(&mut reading, &root) {
            batch.add(&mut reading, found);
        }
    }
    finish(reading, batch, is_whole)
}

/// All documents are of Envoy's format.
fn check_formats(reading: &mut Reading<'_>, formats: &[Format]) {
    let envoy = formats.iter().position(|format| *format == Format::Envoy);
    for (document, format) in (0_u32..).zip(formats) {
        let span = Span::start_of(document);
        match (format, envoy.and_then(|other| u32::try_from(other).ok())) {
            (Format::Unknown, _) => {
                reading
                    .report("unknown_format", span, "this is neither a mesh.yaml nor a file of Envoy's")
                    .suggest(
                        "a mesh.yaml has `version: 1` or `virtual_hosts` at its top; a file of Envoy's \
                         `static_resources`, `resources` or `@type`",
                    );
            }
            (Format::MeshYaml, Some(other)) => {
                reading
                    .report(
                        "mixed_formats",
                        span,
                        "this is a mesh.yaml, and another file is Envoy's",
                    )
                    .suggest("give files of one format: the two do not unite")
                    .label(Span::start_of(other), "a file of Envoy's");
            }
            (Format::MeshYaml | Format::Envoy, _) => {}
        }
    }
}

/// The configuration, if nothing refuses it. `is_whole`: every document could be read.
fn finish(mut reading: Reading<'_>, batch: Batch, is_whole: bool) -> Files {
    let Batch { resources, sites, encoded, opaque, .. } = batch;
    let Whole { mut update, notes } = whole(&resources);
    if is_whole {
        notes::report(&mut reading, &sites, &notes);
    }
    if !reading.has_errors() {
        for refused in foreign::refused(&update) {
            reading.report("invalid_resource", Span::start_of(0), refused);
        }
    }
    update.origin = reading.origin();
    let is_good = !reading.has_errors();
    let loaded = Loaded::new(is_good.then_some(update), reading.finish());
    Files { loaded, resources: is_good.then_some(encoded), opaque }
}

/// Where resources are written.
type Sites = BTreeMap<(ResourceType, Arc<str>), Rc<Node>>;

/// The resources of all documents.
#[derive(Debug)]
struct Batch {
    resources: Vec<Resource>,
    sites: Sites,
    encoded: Vec<Encoded>,
    /// What holds something of a type that is not known.
    opaque: Vec<String>,
    context: Context,
}

impl Batch {
    fn new(environment: &dyn Environment) -> Self {
        let lb_policies = environment.lb_policies();
        Self {
            resources: Vec::new(),
            sites: Sites::new(),
            encoded: Vec::new(),
            opaque: Vec::new(),
            context: Context {
                trusted_server: true,
                static_secrets: true,
                any_certificate_provider: true,
                all_listeners: true,
                ports: true,
                lb_policies,
                ..Context::default()
            },
        }
    }

    /// Reads one resource; what is wrong with it is reported.
    fn add(&mut self, reading: &mut Reading<'_>, Found { kind, node, is_any }: Found) {
        let name: Arc<str> = name(kind, &node).unwrap_or_default().into();
        let label = label(kind, &name);
        let Some(message) = descriptors::message(type_name(kind)) else { return };
        let mut writer = Writer::new(reading, label.clone());
        let mut bytes = writer.fields(&node, &message, is_any);
        if kind == ResourceType::Listener {
            bytes = named(&name, bytes, &node);
        }
        if writer.is_opaque() {
            self.opaque.push(label.clone());
        }
        let decoded = self.decode(kind, &bytes);
        report_ignored(writer.reading, &node, &label, &decoded.ignored);
        if let Err(errors) = &decoded.resource {
            let errors = errors.iter().filter(|error| !writer.explains(&error.path));
            let errors: Vec<_> = errors.collect();
            report_errors(writer.reading, &node, &label, &errors);
        }
        if self.define(reading, (kind, Arc::clone(&name)), &node, &label) {
            self.resources.extend(decoded.resource.ok());
            let mut encoded = Encoded::new(kind, name, bytes);
            encoded.by_name_only = match kind {
                ResourceType::Listener => has(&node, "api_listener"),
                ResourceType::Secret => true,
                ResourceType::RouteConfiguration
                | ResourceType::Cluster
                | ResourceType::Endpoints => false,
            };
            self.encoded.push(encoded);
        }
    }

    fn decode(&self, kind: ResourceType, bytes: &[u8]) -> Decoded {
        decode(kind, bytes, &self.context)
    }

    /// Notes where a resource is; false when there is one of its name already.
    fn define(
        &mut self,
        reading: &mut Reading<'_>,
        key: (ResourceType, Arc<str>),
        node: &Rc<Node>,
        label: &str,
    ) -> bool {
        let field = name_field(key.0);
        if let Some(first) = self.sites.get(&key).filter(|_| !key.1.is_empty()) {
            let (span, first) = (place::of(node, field), place::of(first, field));
            reading
                .report("defined_twice", span, format!("{label} is defined twice"))
                .suggest("keep one of them: nothing is merged")
                .label(first, "the first one");
            return false;
        }
        self.sites.insert(key, Rc::clone(node));
        true
    }
}

fn report_ignored(reading: &mut Reading<'_>, node: &Node, label: &str, ignored: &[Ignored]) {
    for Ignored { path, reason, .. } in ignored {
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let what = format!("{label}: {path}: it does nothing here{reason}");
        reading.report("ignored_field", place::of(node, path), what);
    }
}

fn report_errors(reading: &mut Reading<'_>, node: &Node, label: &str, errors: &[&FieldError]) {
    for error in errors {
        let what = format!("{label}: {error}");
        // Whoever shows the place shows the line, and no line with a key is to be shown.
        let is_key = error.path.contains("private_key");
        let path = if is_key { "name" } else { &error.path };
        reading.report("invalid_resource", place::of(node, path), what);
    }
}

fn type_name(kind: ResourceType) -> &'static str {
    let url = kind.type_url();
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

const fn name_field(kind: ResourceType) -> &'static str {
    if matches!(kind, ResourceType::Endpoints) { "cluster_name" } else { "name" }
}

fn has(node: &Node, field: &str) -> bool {
    node.entries().iter().any(|entry| place::same(&entry.key, field))
}

/// What a resource is called. A listener of a bootstrap needs no name (Envoy makes one): then it is called
/// after its address.
fn name(kind: ResourceType, node: &Node) -> Option<String> {
    let named = place::text(node, &[name_field(kind)]).filter(|name| !name.is_empty());
    if named.is_some() || kind != ResourceType::Listener || has(node, "api_listener") {
        return named.map(str::to_owned);
    }
    let part = |field| place::text(node, &["address", "socket_address", field]);
    Some(format!("{}:{}", part("address")?, part("port_value")?))
}

/// The bytes of a listener with its name, if the text gives it none.
fn named(name: &str, bytes: Vec<u8>, node: &Node) -> Vec<u8> {
    if name.is_empty() || place::text(node, &["name"]).is_some_and(|own| !own.is_empty()) {
        return bytes;
    }
    // The first field of the message: in the order of numbers it comes first.
    let mut fields = wire::Fields::default();
    fields.push(1, &wire::Value::bytes(name));
    let mut named = fields.finish();
    named.extend(bytes);
    named
}

/// "cluster `web`", or "a cluster".
fn label(kind: ResourceType, name: &str) -> String {
    let what = notes::word(kind);
    match name {
        "" => format!("{what} without a name"),
        name => format!("{what} `{}`", shorten(name)),
    }
}
