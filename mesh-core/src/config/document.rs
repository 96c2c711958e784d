//! The top of a document, and how several unite.
//!
//! Documents unite by name: each virtual host, each cluster and each setting may be defined in one of
//! them only. Nothing is merged. Anchors and `x-…` keys are private to their document; `defaults` hold
//! for all documents.

use super::cluster::{self, CLUSTER_DEFAULTS, CLUSTER_KIND, ClusterSite};
use super::egress::EGRESS_KIND;
use super::fields::Fields;
use super::identity::{self, IDENTITY_KIND};
use super::inbound::{self, INBOUND_KIND, InboundSite};
use super::matcher::named;
use super::node::{Content, Entry, Node, Span, shorten};
use super::outbound::{self, OUTBOUND_KIND, OutboundSite};
use super::route::{self, ROUTE_DEFAULTS};
use super::shape::{Kind, Shape, key, words};
use super::tls::Members;
use super::value::word;
use super::virtual_host::{self, HostSite, VIRTUAL_HOST_KIND};
use super::{code, headers, reader::Reader};
use crate::model::{
    Egress, HeaderMutations, IdentityConfig, Route, RouteConfiguration, VirtualHost,
};
use crate::update::{ConfigUpdate, Mode, UnknownHosts};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];
const UNKNOWN_HOSTS: [(&str, UnknownHosts); 3] = [
    ("refuse", UnknownHosts::Refuse),
    ("log", UnknownHosts::Log),
    ("passthrough", UnknownHosts::Passthrough),
];

static DEFAULTS: Shape = Shape::new(
    "defaults",
    &[&[
        key(
            "route",
            Kind::Mapping(&ROUTE_DEFAULTS),
            "What routes leave out of the options of forwarding.",
        ),
        key("cluster", Kind::Mapping(&CLUSTER_DEFAULTS), "What clusters leave out."),
    ]],
);
const DEFAULTS_OF_ALL: Kind = Kind::Mapping(&DEFAULTS);
static DEFAULTS_KIND: Kind = DEFAULTS_OF_ALL;

static DOCUMENT: Shape = Shape::new(
    "mesh",
    &[&[
        key("version", Kind::Count { least: 1, most: 1 }, "The format's version: 1.").required(),
        key(
            "mode",
            Kind::Word(&words(&MODES)),
            "enforce, or observe: every call passes by every policy and is measured. Default enforce.",
        ),
        key(
            "unknown_hosts",
            Kind::Word(&words(&UNKNOWN_HOSTS)),
            "What becomes of authorities without a virtual host and without a rule in `egress`: refuse; log: they pass and are told; passthrough. Of an `https` URL, whoever answers must prove its name by the system's roots. Default refuse.",
        ),
        key("egress", EGRESS_KIND, "Where calls may go that no virtual host serves."),
        key(
            "defaults",
            DEFAULTS_OF_ALL,
            "Fills what routes and clusters leave out; never merged deeper than one key.",
        ),
        key("headers", Kind::Mapping(&headers::HEADERS), "Header edits for all routes."),
        key(
            "virtual_hosts",
            Kind::Named(&VIRTUAL_HOST_KIND),
            "Authorities and their routes, by name.",
        ),
        key("clusters", Kind::Named(&CLUSTER_KIND), "Logical services, by name."),
        key("inbound", Kind::Named(&INBOUND_KIND), "Ports that serve, by name."),
        key(
            "outbound",
            Kind::Named(&OUTBOUND_KIND),
            "Ports of `mesh proxy` through which an application calls others, by name.",
        ),
        key(
            "identity",
            IDENTITY_KIND,
            "Who we are: what is shown and believed under `tls: mesh` and by servers. Default nobody.",
        ),
    ]],
)
.with_extensions();
/// A whole document.
pub(super) static DOCUMENT_KIND: Kind = Kind::Mapping(&DOCUMENT);

/// All documents, read, with the places that lints point at.
#[derive(Default)]
pub(super) struct Draft<'n> {
    mode: Mode,
    unknown_hosts: UnknownHosts,
    egress: Egress,
    /// Where `egress.learn` is.
    learn: Option<Span>,
    headers: HeaderMutations,
    identity: Option<Arc<IdentityConfig>>,
    pub(super) hosts: Vec<HostSite<'n>>,
    pub(super) clusters: BTreeMap<Arc<str>, ClusterSite<'n>>,
    pub(super) inbound: BTreeMap<Arc<str>, InboundSite<'n>>,
    pub(super) outbound: BTreeMap<Arc<str>, OutboundSite<'n>>,
    /// Where each virtual host, cluster and setting is defined, readable or not.
    defined: BTreeMap<(&'static str, Box<str>), Span>,
}

impl Draft<'_> {
    /// Where a list is to be learnt that nothing is ever written to.
    pub(super) fn learns_nothing(&self) -> Option<Span> {
        self.learn.filter(|_| self.mode == Mode::Observe && self.egress.learn.is_some())
    }

    /// The configuration that the documents say.
    pub(super) fn update(&self) -> ConfigUpdate {
        let mut routes = RouteConfiguration { headers: self.headers.clone(), ..Default::default() };
        let hosts = self.hosts.iter().map(|site| &site.value);
        routes.virtual_hosts = hosts.chain(self.hosts_of_ports()).cloned().collect();
        let applications = self.inbound.values().filter_map(|site| site.application.as_ref());
        let clusters = self.clusters.values().map(|site| &site.value);
        let clusters = clusters.chain(applications.filter_map(|app| app.cluster.as_ref()));
        let clusters = clusters.map(|update| (Arc::clone(&update.cluster.name), update.clone()));
        let listeners = self.inbound.values().map(|site| &site.value);
        let listeners = listeners.chain(self.outbound.values().map(|site| &site.value));
        let listeners = listeners.map(|model| (Arc::clone(&model.name), Arc::clone(model)));
        ConfigUpdate {
            mode: self.mode,
            unknown_hosts: self.unknown_hosts,
            egress: Arc::new(self.egress.clone()),
            route_configuration: Arc::new(routes),
            clusters: clusters.collect(),
            identity: self.identity.clone(),
            listeners: listeners.collect(),
            ..ConfigUpdate::default()
        }
    }

    /// The virtual hosts of ports, which nobody wrote as such.
    fn hosts_of_ports(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        let applications = self.inbound.values().filter_map(|site| site.application.as_ref());
        let outbound = self.outbound.values().filter_map(|site| site.host.as_ref());
        applications.map(|application| &application.host).chain(outbound)
    }

    /// Their routes.
    pub(super) fn routes_of_ports(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.hosts_of_ports().flat_map(|host| &host.routes)
    }

    /// Where the setting is that a field of the route configuration belongs to.
    pub(super) fn setting(&self, field: &str) -> Option<Span> {
        let name = field.split(['.', '[']).next()?;
        self.defined.get(&(SETTING, name.into())).copied()
    }

    /// The names of the clusters that are defined, readable or not.
    fn cluster_names(&self) -> impl Iterator<Item = &str> {
        self.defined.keys().filter(|(what, _)| *what == CLUSTER).map(|(_, name)| &**name)
    }
}

const HOST: &str = "virtual host";
const CLUSTER: &str = "cluster";
const INBOUND: &str = "inbound";
const OUTBOUND: &str = "outbound";
const SETTING: &str = "setting";

/// Reads all documents.
pub(super) fn read<'n>(reader: &mut Reader<'_>, roots: &'n [Rc<Node>]) -> Draft<'n> {
    let mut draft = Draft::default();
    let tops: Vec<_> = roots.iter().filter_map(|root| top(reader, &mut draft, root)).collect();
    let route = tops.iter().find_map(|top| top.get("route"));
    let cluster = tops.iter().find_map(|top| top.get("cluster"));
    if let Some(entry) = route {
        route::check_defaults(reader, &entry.value);
    }
    if let Some(entry) = cluster {
        cluster::check_defaults(reader, &entry.value);
    }
    let (route, cluster) = (route.map(|entry| &*entry.value), cluster.map(|entry| &*entry.value));
    for root in roots {
        for entry in entries(root, "virtual_hosts") {
            if define(reader, &mut draft, HOST, entry) {
                draft.hosts.extend(virtual_host::virtual_host(reader, entry, route));
            }
        }
        for entry in entries(root, "clusters") {
            if define(reader, &mut draft, CLUSTER, entry)
                && let Some(site) = cluster::cluster(reader, entry, cluster)
            {
                draft.clusters.insert(Arc::from(&*entry.key), site);
            }
        }
    }
    for entry in roots.iter().flat_map(|root| entries(root, "inbound")) {
        if define(reader, &mut draft, INBOUND, entry)
            && let Some(site) = inbound::inbound(reader, entry)
        {
            draft.inbound.insert(Arc::from(&*entry.key), site);
        }
    }
    for entry in roots.iter().flat_map(|root| entries(root, "outbound")) {
        if define(reader, &mut draft, OUTBOUND, entry)
            && let Some(site) = outbound::outbound(reader, entry, &draft.clusters, route)
        {
            draft.outbound.insert(Arc::from(&*entry.key), site);
        }
    }
    virtual_host::check_domains(reader, &draft.hosts);
    check_ports(reader, &draft);
    check_exits(reader, &draft);
    outbound::check_captures(reader, draft.outbound.values());
    draft
}

/// Checks where ports listen, and that none leads to itself.
fn check_ports(reader: &mut Reader<'_>, draft: &Draft<'_>) {
    let inbound = draft.inbound.values().map(|site| (&site.value, site.span("listen")));
    let outbound = draft.outbound.values().map(|site| (&site.value, site.span("listen")));
    let ports = inbound.chain(outbound);
    let ports = ports.filter_map(|(model, span)| Some((model.address.as_ref()?, span)));
    let ports: Vec<_> = ports.collect();
    inbound::check_addresses(reader, &ports);
    let applications = draft.inbound.values().filter_map(|site| site.application.as_ref());
    inbound::check_loops(reader, applications.filter_map(|app| app.address.as_ref()), &ports);
    for site in draft.inbound.values() {
        let named = site.application.as_ref().and_then(|application| application.named.as_ref());
        let Some(named) = named else { continue };
        let Some(cluster) = draft.clusters.get(&named.0) else { continue };
        if site.value.chains().any(|chain| chain.detect.is_some()) {
            let protocol = cluster.value.cluster.protocol;
            inbound::check_speaks_http(reader, named, (protocol, cluster.key_span("protocol")));
        }
        let Some(address) = &site.value.address else { continue };
        let port = (address, site.span("listen"));
        inbound::check_loop_of_cluster(reader, named, &cluster.addresses, port);
    }
}

/// Reports ports that lead whoever can reach them to wherever he says, this machine's own services among them.
fn check_exits(reader: &mut Reader<'_>, draft: &Draft<'_>) {
    if draft.mode == Mode::Enforce && draft.unknown_hosts == UnknownHosts::Refuse {
        return;
    }
    for site in draft.outbound.values().filter(|site| site.is_open && site.host.is_none()) {
        let message = "this port is open, and unknown hosts pass: it leads anybody anywhere";
        let finding = reader.report.add(code::OUTBOUND_OPENED, site.span("open"), message);
        finding.suggest("name a `cluster`, or list in `egress` where calls may go and leave `unknown_hosts` at refuse");
    }
}

/// What a document has under a mapping of names.
fn entries<'n>(root: &'n Node, name: &str) -> &'n [Entry] {
    root.get(name).map_or(&[][..], |entry| entry.value.entries())
}

/// Reads the settings of one document, and returns its `defaults`.
fn top<'n>(reader: &mut Reader<'_>, draft: &mut Draft<'n>, root: &'n Node) -> Option<&'n Node> {
    check_version(reader, root);
    let fields = Fields::open(reader, root, &DOCUMENT_KIND)?;
    fields.skip(&["version"]);
    for name in ["mode", "unknown_hosts", "egress", "headers", "identity"] {
        if let Some(entry) = fields.own(name) {
            define(reader, draft, SETTING, entry);
        }
    }
    if let Some((node, kind)) = fields.value("mode") {
        draft.mode = word(reader, node, kind, &MODES).unwrap_or_default();
    }
    if let Some((node, kind)) = fields.value("unknown_hosts") {
        draft.unknown_hosts = word(reader, node, kind, &UNKNOWN_HOSTS).unwrap_or_default();
    }
    fields.set(reader, "egress", &mut draft.egress);
    if let Some(entry) = fields.own("egress").and_then(|entry| entry.value.get("learn")) {
        draft.learn = Some(entry.value.span);
    }
    fields.set(reader, "headers", &mut draft.headers);
    if let Some(entry) = fields.own("identity") {
        draft.identity = identity::identity(reader, entry);
        // One that can't be read is there nevertheless: what needs it is not wrong.
        reader.identity = Some(Members::of(draft.identity.as_deref()));
    }
    for name in ["virtual_hosts", "clusters", "inbound", "outbound"] {
        if let Some((node, _)) = fields.value(name) {
            // Their entries are read once all defaults are known.
            let _ = named(reader, node);
        }
    }
    let (node, _) = fields.value("defaults")?;
    let defaults = Fields::open(reader, node, &DEFAULTS_KIND)?;
    for name in ["route", "cluster"] {
        if let Some(entry) = defaults.own(name) {
            define(reader, draft, "default", entry);
        }
    }
    Some(node)
}

/// `version` first: a file for another release should not drown in unknown keys.
fn check_version(reader: &mut Reader<'_>, root: &Node) {
    let Some(entry) = root.get("version") else { return };
    let version = match &entry.value.content {
        // An undefined variable is reported; no version has to be guessed.
        Content::Scalar { .. } => match reader.scalar(&entry.value, "a version") {
            Some(scalar) if scalar.text == "1" => return,
            Some(scalar) => format!("`{}`", shorten(&scalar.text)),
            None => return,
        },
        Content::Null | Content::Unknown | Content::Sequence(_) | Content::Mapping(_) => {
            entry.value.describe()
        }
    };
    reader
        .report
        .add(
            code::UNSUPPORTED_VERSION,
            entry.value.span,
            format!("version {version} is not supported"),
        )
        .suggest("write `version: 1`");
}

/// Notes where a name is defined; false when it was defined before.
fn define(
    reader: &mut Reader<'_>,
    draft: &mut Draft<'_>,
    what: &'static str,
    entry: &Entry,
) -> bool {
    let Some(first) = draft.defined.get(&(what, entry.key.clone())) else {
        draft.defined.insert((what, entry.key.clone()), entry.key_span);
        return true;
    };
    // The same file twice over is a duplicate key, which is reported already.
    if first.document != entry.key_span.document {
        let message = format!("the {what} `{}` is defined twice", shorten(&entry.key));
        reader
            .report
            .add(code::DEFINED_TWICE, entry.key_span, message)
            .suggest("keep one of them: nothing is merged across files")
            .label(*first, "the first one");
    }
    false
}

/// Reports clusters that routes or ports name and no document defines.
pub(super) fn check_references(reader: &mut Reader<'_>, draft: &Draft<'_>) {
    for (name, span) in std::mem::take(&mut reader.references) {
        if draft.defined.contains_key(&(CLUSTER, name.as_str().into())) {
            continue;
        }
        let suggestion = reader.did_you_mean(&name, draft.cluster_names());
        let message = format!("there is no cluster `{}`", shorten(&name));
        reader.report.add(code::UNKNOWN_CLUSTER, span, message).suggest_if(suggestion);
    }
}
