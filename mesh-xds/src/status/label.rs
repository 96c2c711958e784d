//! The words for states, types and authorities in metrics (gRFC A78, A88).

use crate::ResourceType;
use crate::protocol::ResourceState;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The scope of the one client: `grpc.target` in metrics, `client_scope` in CSDS. gRPC has a client for
/// each target and one named `#server`; a mesh has one for all of its calls.
pub const CLIENT_SCOPE: &str = "#mesh";

/// The most authorities of resources that are counted by their name; those of further ones are counted
/// together, as `#other`.
pub const MAX_AUTHORITIES: usize = 64;

/// The authority of names that are not `xdstp:` (gRFC A78).
const OLD: &str = "#old";
/// Authorities beyond [`MAX_AUTHORITIES`].
const OTHER: &str = "#other";

/// The state of a resource as the label `grpc.xds.cache_state`: gRFC A78, with the words of A88, and one of ours
/// in their way: `requested_but_cached` is in force from a copy on disk. `cached`: a last good value is held.
#[must_use]
pub const fn cache_state(state: ResourceState, cached: bool) -> &'static str {
    match (state, cached) {
        (ResourceState::Requested, false) => "requested",
        (ResourceState::Requested, true) => "requested_but_cached",
        (ResourceState::DoesNotExist, false) => "does_not_exist",
        (ResourceState::DoesNotExist, true) => "does_not_exist_but_cached",
        (ResourceState::Acked, _) => "acked",
        (ResourceState::Nacked, false) => "nacked",
        (ResourceState::Nacked, true) => "nacked_but_cached",
        (ResourceState::ReceivedError, false) => "received_error",
        (ResourceState::ReceivedError, true) => "received_error_but_cached",
        (ResourceState::Timeout, _) => "timeout",
    }
}

/// A type as the label `grpc.xds.resource_type`: `envoy.config.listener.v3.Listener`.
#[must_use]
pub fn resource_type(kind: ResourceType) -> &'static str {
    let url = kind.type_url();
    url.split_once('/').map_or(url, |(_, name)| name)
}

/// The authority of a resource's name, in its own words.
fn authority(name: &str) -> &str {
    match name.strip_prefix("xdstp://") {
        Some(rest) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        // `xdstp:///…`, or without any slash: no authority at all.
        None if name.starts_with("xdstp:") => "",
        None => OLD,
    }
}

/// The authorities of the names that are known, at most [`MAX_AUTHORITIES`] of them, each with how many
/// names it has.
#[derive(Debug, Default)]
pub(super) struct Labels(BTreeMap<Arc<str>, usize>);

impl Labels {
    /// The label of one name more.
    pub(super) fn take(&mut self, name: &str) -> Arc<str> {
        let mut wanted = authority(name);
        if !self.0.contains_key(wanted) && self.0.len() >= MAX_AUTHORITIES {
            wanted = OTHER;
        }
        let label = match self.0.get_key_value(wanted) {
            Some((label, _)) => Arc::clone(label),
            None => Arc::from(wanted),
        };
        *self.0.entry(Arc::clone(&label)).or_default() += 1;
        label
    }

    /// A name is gone that had this label.
    pub(super) fn give_back(&mut self, label: &Arc<str>) {
        if let Some(names) = self.0.get_mut(label) {
            *names -= 1;
            if *names == 0 {
                self.0.remove(label);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_of_names() {
        for (name, expected) in [
            ("shop", "#old"),
            ("shop:80", "#old"),
            ("xdstp://traffic.example/envoy.config.listener.v3.Listener/a?b=1", "traffic.example"),
            ("xdstp://traffic.example", "traffic.example"),
            ("xdstp:///envoy.config.listener.v3.Listener/a", ""),
            ("xdstp:a", ""),
        ] {
            assert_eq!(authority(name), expected, "{name}");
        }
    }

    #[test]
    fn they_are_bounded_and_free_themselves() {
        let mut labels = Labels::default();
        let name = |number: usize| format!("xdstp://{number}/a");
        for number in 0..MAX_AUTHORITIES {
            assert_eq!(*labels.take(&name(number)), *number.to_string());
        }
        let other = labels.take(&name(MAX_AUTHORITIES));
        assert_eq!(&*other, OTHER);
        assert_eq!(&*labels.take(&name(3)), "3", "known before");
        labels.give_back(&"3".into());
        labels.give_back(&other);
        assert_eq!(&*labels.take(&name(999)), OTHER, "3 has a name yet");
        labels.give_back(&OTHER.into());
        labels.give_back(&"3".into());
        assert_eq!(&*labels.take(&name(999)), "999");
    }

    #[test]
    fn types_are_named_as_grpc_does() {
        let names = ResourceType::ALL.map(resource_type);
        assert_eq!(names[0], "envoy.config.listener.v3.Listener");
        assert_eq!(names[3], "envoy.config.endpoint.v3.ClusterLoadAssignment");
    }
}
