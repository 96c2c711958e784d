//! What linking has to say of resources, at their places in the text.

use super::{Sites, name_field, place};
use crate::ResourceType;
use crate::cascade::Key;
use crate::cascade::whole::{Note, NoteKind};
use mesh_core::config::foreign::{Node, Reading, Span, shorten};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Domains that one diagnostic lists.
const MOST: usize = 5;

/// What a resource is called in messages.
pub(super) const fn word(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Listener => "listener",
        ResourceType::RouteConfiguration => "route configuration",
        ResourceType::Cluster => "cluster",
        ResourceType::Endpoints => "endpoints",
        ResourceType::Secret => "secret",
    }
}

/// Reports each note.
pub(super) fn report(reading: &mut Reading<'_>, sites: &Sites, notes: &[Note]) {
    // What is wrong may be what would lead to others.
    let is_good = !reading.has_errors();
    // A resource may have many names that lead nowhere: it is looked through once.
    let mut named: BTreeMap<&Key, BTreeMap<&str, Span>> = BTreeMap::new();
    let by_listeners = LazyCell::new(|| named_by_listeners(sites));
    for note in notes {
        let place = Place::new(sites, note);
        match &note.kind {
            // What is there with mistakes is not missing.
            NoteKind::Missing(kind, name) if sites.contains_key(&(*kind, name.clone())) => {}
            NoteKind::Missing(kind, name) => {
                let named = named.entry(&note.at).or_insert_with(|| place.references());
                let span = named.get(&**name).copied().unwrap_or(place.own);
                missing(reading, sites, (&place.label, span), (*kind, name));
            }
            NoteKind::Shared(domains, other) if is_good => {
                let domains: Vec<_> = domains.iter().map(|one| format!("`{one}`")).collect();
                let message = format!(
                    "{}: {} also served by `{}`, and not told apart by a port",
                    place.label,
                    are(&domains),
                    shorten(other)
                );
                reading.report("shared_domain", place.own, message).suggest(
                    "calls have to name the listener's port; or give each domain to one listener",
                );
            }
            NoteKind::Taken(domain, other) if is_good => {
                let (label, other) = (&place.label, shorten(other));
                let message = format!("{label}: `{domain}` is served by `{other}` already");
                reading
                    .report("shared_domain", place.own, message)
                    .suggest("the earlier one serves it; give it to one of them only");
            }
            // A listener that only an Envoy can serve by names it.
            NoteKind::Unused(_)
                if note.at.0 == ResourceType::Secret && by_listeners.contains(&*note.at.1) => {}
            NoteKind::Unused(why) if is_good => {
                reading.report("unused_resource", place.own, format!("{}: {why}", place.label));
            }
            // A file of Envoy's may hold listeners that only an Envoy can serve by.
            NoteKind::CanNotServe(why) if is_good => {
                let message = format!("{}: no server can serve by it: {why}", place.label);
                reading.report("unused_resource", place.own, message);
            }
            NoteKind::NoPort(path, why) if is_good => {
                let span = place.node.map_or(place.own, |node| place::of(node, path));
                let message = format!("{}: no port is opened for it: {why}", place.label);
                reading.report("unused_resource", span, message).suggest(
                    "`mesh proxy` opens the others; leave out or change what is named here",
                );
            }
            NoteKind::Shared(..)
            | NoteKind::Taken(..)
            | NoteKind::Unused(_)
            | NoteKind::CanNotServe(_)
            | NoteKind::NoPort(..) => {}
        }
    }
}

/// What the texts of listeners name.
fn named_by_listeners(sites: &Sites) -> BTreeSet<&str> {
    let listeners = sites.iter().filter(|((kind, _), _)| *kind == ResourceType::Listener);
    listeners.flat_map(|(_, node)| place::references(node).into_keys()).collect()
}

/// The resource that a note is about.
struct Place<'s> {
    node: Option<&'s Rc<Node>>,
    /// Its name.
    own: Span,
    label: String,
}

impl<'s> Place<'s> {
    fn new(sites: &'s Sites, note: &Note) -> Self {
        let (kind, name) = &note.at;
        let node = sites.get(&note.at);
        let own = node.map_or(Span::start_of(0), |node| place::of(node, name_field(*kind)));
        Self { node, own, label: format!("{} `{}`", word(*kind), shorten(name)) }
    }

    fn references(&self) -> BTreeMap<&'s str, Span> {
        self.node.map(|node| place::references(node)).unwrap_or_default()
    }
}

/// A name that leads nowhere, where it stands.
fn missing(
    reading: &mut Reading<'_>,
    sites: &Sites,
    (label, span): (&str, Span),
    (wanted, name): (ResourceType, &str),
) {
    let known = sites.keys().filter(|(kind, _)| *kind == wanted);
    let close = reading.did_you_mean(name, known.map(|(_, name)| &**name));
    let (what, name_shown) = (word(wanted), shorten(name));
    let (code, message) = match wanted {
        ResourceType::Cluster => {
            ("unknown_cluster", format!("{label}: there is no cluster `{name_shown}`"))
        }
        ResourceType::Endpoints => {
            ("unknown_resource", format!("{label}: there are no endpoints `{name_shown}`"))
        }
        ResourceType::Listener | ResourceType::RouteConfiguration | ResourceType::Secret => {
            ("unknown_resource", format!("{label}: there is no {what} `{name_shown}`"))
        }
    };
    let other = format!("add the {what}, or give the file that has it: no control plane is asked");
    reading.report(code, span, message).suggest_if(close.or(Some(other)));
}

fn are(domains: &[String]) -> String {
    let (shown, rest) = domains.split_at(domains.len().min(MOST));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    let verb = if domains.len() == 1 { "is" } else { "are" };
    format!("{}{more} {verb}", shown.join(", "))
}
