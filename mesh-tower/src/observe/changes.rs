//! [`Changes`]: what is different between two configurations, in a few names.
//!
//! What is the same pointer is not looked at, so that it costs a step for each cluster and a comparison for
//! each that may have changed.

use mesh_core::ConfigUpdate;
use mesh_core::model::{Listener, VirtualHost};
use mesh_core::update::ClusterUpdate;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What is different between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Virtual hosts, by name.
    pub virtual_hosts: Changed,
    /// Clusters, by name; their endpoints do not count here.
    pub clusters: Changed,
    /// The clusters that stay and have other endpoints.
    pub endpoints: Names,
    /// Listeners, by name; one that is not there for another reason counts as changed.
    pub listeners: Changed,
    /// Secrets, by name.
    pub secrets: Changed,
    /// The authorities that a source on demand has answered for, served or not.
    pub answers: Changed,
    /// Whether it says otherwise who the mesh is.
    pub identity: bool,
    /// Whether anything else is different: the mode, unknown hosts, what applies to all routes.
    pub settings: bool,
}

/// What came, went and changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// What was not there before.
    pub added: Names,
    /// What is not there any more.
    pub removed: Names,
    /// What is different.
    pub changed: Names,
}

/// Some things, by the first of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Names {
    /// How many there are.
    pub count: usize,
    /// The first names in order, at most [`FIRST`](Self::FIRST).
    pub first: Vec<Arc<str>>,
}

impl Names {
    /// The most names that are kept.
    pub const FIRST: usize = 5;

    fn push(&mut self, name: &Arc<str>) {
        self.count += 1;
        if self.first.len() < Self::FIRST {
            self.first.push(Arc::clone(name));
        }
    }
}

impl Changes {
    /// Other endpoints of these clusters, and nothing else.
    pub(crate) fn of_endpoints<'a>(clusters: impl Iterator<Item = &'a Arc<str>>) -> Self {
        let mut changes = Self::default();
        clusters.for_each(|name| changes.endpoints.push(name));
        changes
    }

    /// What is different in `new`.
    pub(crate) fn between(old: &ConfigUpdate, new: &ConfigUpdate) -> Self {
        let mut changes = Self::default();
        let (before, after) = (&old.route_configuration, &new.route_configuration);
        if !Arc::ptr_eq(before, after) {
            let (hosts, next) = (by_name(&before.virtual_hosts), by_name(&after.virtual_hosts));
            side_by_side(&hosts, &next, |name, old, new| {
                let same = |(old, new): (&&Arc<VirtualHost>, &&Arc<VirtualHost>)| {
                    Arc::ptr_eq(old, new) || old == new
                };
                changes.virtual_hosts.note(name, old, new, same);
            });
            changes.settings = (&before.name, &before.headers) != (&after.name, &after.headers);
        }
        side_by_side(&old.clusters, &new.clusters, |name, old, new| {
            let same = |(old, new): (&ClusterUpdate, &ClusterUpdate)| {
                Arc::ptr_eq(&old.cluster, &new.cluster) || old.cluster == new.cluster
            };
            changes.clusters.note(name, old, new, same);
            if let (Some(old), Some(new)) = (old, new)
                && !same_endpoints(old, new)
            {
                changes.endpoints.push(name);
            }
        });
        side_by_side(&old.listeners, &new.listeners, |name, old, new| {
            let same =
                |(old, new): (&Arc<Listener>, &Arc<Listener>)| Arc::ptr_eq(old, new) || old == new;
            changes.listeners.note(name, old, new, same);
        });
        changes.of_absent_listeners(old, new);
        if !Arc::ptr_eq(&old.secrets, &new.secrets) {
            changes.secrets.note_all(&old.secrets, &new.secrets);
        }
        let (none, also_none) = (Arc::default(), Arc::default());
        let before = old.on_demand.as_ref().unwrap_or(&none);
        let after = new.on_demand.as_ref().unwrap_or(&also_none);
        if !Arc::ptr_eq(before, after) {
            changes.answers.note_all(before, after);
        }
        changes.identity = old.identity != new.identity;
        changes.settings |= (old.mode, old.unknown_hosts, &old.egress)
            != (new.mode, new.unknown_hosts, &new.egress);
        changes
    }

    /// A listener that comes or goes is told as that.
    fn of_absent_listeners(&mut self, old: &ConfigUpdate, new: &ConfigUpdate) {
        if Arc::ptr_eq(&old.absent_listeners, &new.absent_listeners) {
            return;
        }
        side_by_side(&old.absent_listeners, &new.absent_listeners, |name, before, after| {
            let is_told = old.listeners.contains_key(name) != new.listeners.contains_key(name);
            if before != after && !is_told {
                self.listeners.changed.push(name);
            }
        });
    }
}

impl Changed {
    fn note_all<V: PartialEq>(&mut self, old: &BTreeMap<Arc<str>, V>, new: &BTreeMap<Arc<str>, V>) {
        side_by_side(old, new, |name, old, new| {
            self.note(name, old, new, |(old, new)| old == new);
        });
    }

    fn note<V>(
        &mut self,
        name: &Arc<str>,
        old: Option<&V>,
        new: Option<&V>,
        same: impl FnOnce((&V, &V)) -> bool,
    ) {
        match (old, new) {
            (Some(old), Some(new)) if same((old, new)) => {}
            (Some(_), Some(_)) => self.changed.push(name),
            (None, _) => self.added.push(name),
            (_, None) => self.removed.push(name),
        }
    }

    const fn is_nothing(&self) -> bool {
        self.added.count + self.removed.count + self.changed.count == 0
    }
}

fn same_endpoints(old: &ClusterUpdate, new: &ClusterUpdate) -> bool {
    match (&old.endpoints, &new.endpoints) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
        (old, new) => old.is_none() && new.is_none(),
    }
}

fn by_name(hosts: &[Arc<VirtualHost>]) -> BTreeMap<Arc<str>, &Arc<VirtualHost>> {
    hosts.iter().map(|host| (Arc::clone(&host.name), host)).collect()
}

/// Gives `see` each name with what it has on either side, in the order of names.
fn side_by_side<'a, V>(
    old: &'a BTreeMap<Arc<str>, V>,
    new: &'a BTreeMap<Arc<str>, V>,
    mut see: impl FnMut(&Arc<str>, Option<&'a V>, Option<&'a V>),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let name = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some((name, _)), None) | (None, Some((name, _))) => Arc::clone(name),
            (Some((one, _)), Some((other, _))) => Arc::clone((*one).min(*other)),
        };
        let before = old.next_if(|(next, _)| **next == name).map(|(_, value)| value);
        let after = new.next_if(|(next, _)| **next == name).map(|(_, value)| value);
        see(&name, before, after);
    }
}

impl fmt::Display for Changes {
    /// `virtual hosts +1 (shop); clusters ~2 (a, b) -1 (c); endpoints ~1 (a)`, or `nothing`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (what, changed) in [
            ("virtual hosts", &self.virtual_hosts),
            ("clusters", &self.clusters),
            ("listeners", &self.listeners),
            ("secrets", &self.secrets),
            ("answers", &self.answers),
        ] {
            if !changed.is_nothing() {
                write!(f, "{between}{what}{changed}")?;
                between = "; ";
            }
        }
        if self.endpoints.count > 0 {
            write!(f, "{between}endpoints")?;
            self.endpoints.write(f, '~')?;
            between = "; ";
        }
        for (what, is_different) in [("identity", self.identity), ("settings", self.settings)] {
            if is_different {
                write!(f, "{between}{what}")?;
                between = "; ";
            }
        }
        if between.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.added.write(f, '+')?;
        self.changed.write(f, '~')?;
        self.removed.write(f, '-')
    }
}

impl Names {
    fn write(&self, f: &mut fmt::Formatter<'_>, mark: char) -> fmt::Result {
        if self.count == 0 {
            return Ok(());
        }
        let more = if self.count > self.first.len() { ", …" } else { "" };
        write!(f, " {mark}{} ({}{more})", self.count, self.first.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::model::{
        Address, Cluster, ForwardAction, IdentityConfig, IdentityOrigin, Route,
    };
    use mesh_core::update::{Answer, Mode, SecretAnswer};
    use std::net::SocketAddr;

    /// `shop>v1` is a virtual host and its cluster, `v1=1,2` a cluster with its ports.
    fn config(words: &str) -> ConfigUpdate {
        let mut update = ConfigUpdate::in_code();
        for word in words.split_whitespace() {
            if let Some((host, cluster)) = word.split_once('>') {
                let route = Route::forward(ForwardAction::to(cluster));
                update = update.virtual_host(VirtualHost::of(host).unwrap().route(route));
            } else if let Some((cluster, ports)) = word.split_once('=') {
                let (cluster, limit) = cluster.split_once(':').unwrap_or((cluster, "9"));
                let mut cluster = Cluster::new(cluster);
                cluster.circuit_breakers.default.max_requests = limit.parse().unwrap();
                let ports = ports.split(',').filter_map(|port| port.parse().ok());
                let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
                update = update.cluster(cluster, ports.map(address).collect::<Vec<_>>());
            }
        }
        update
    }

    #[test]
    fn each_kind_of_change_is_named() {
        for (old, new, expected) in [
            ("", "", "nothing"),
            ("a>x x=1", "a>x x=1", "nothing"),
            ("", "a>x x=1", "virtual hosts +1 (a); clusters +1 (x)"),
            ("a>x x=1", "", "virtual hosts -1 (a); clusters -1 (x)"),
            ("a>x x=1", "a>y x=1", "virtual hosts ~1 (a)"),
            ("a>x b>x x=1", "b>x c>x x=1", "virtual hosts +1 (c) -1 (a)"),
            ("x=1 y=1", "x=1,2 y=1", "endpoints ~1 (x)"),
            ("x=1 y=1", "x:3=1 y=1", "clusters ~1 (x)"),
            ("x=1 y=1", "x:3=2 z=1", "clusters +1 (z) ~1 (x) -1 (y); endpoints ~1 (x)"),
            ("", "a=1 b=1 c=1 d=1 e=1 f=1 g=1", "clusters +7 (a, b, c, d, e, …)"),
        ] {
            let changes = Changes::between(&config(old), &config(new));
            assert_eq!(changes.to_string(), expected, "{old} -> {new}");
        }
    }

    #[test]
    fn a_field_that_is_different_is_never_nothing() {
        let (web, why) = (Arc::<str>::from("web"), Arc::<str>::from("not there"));
        let listener = |address: Option<Address>| {
            let mut listener = Listener::new("web");
            listener.address = address;
            BTreeMap::from([("web".into(), Arc::new(listener))])
        };
        let check = |expected: &str, sets: [&dyn Fn(&mut ConfigUpdate); 2]| {
            let (mut old, mut new) = (config("a>x x=1"), config("a>x x=1"));
            sets[0](&mut old);
            sets[1](&mut new);
            assert_eq!(Changes::between(&old, &new).to_string(), expected);
        };
        let none = |_: &mut ConfigUpdate| {};
        let some = |update: &mut ConfigUpdate| update.listeners = listener(None);
        let other = |update: &mut ConfigUpdate| {
            update.listeners = listener(Some(Address::Socket(([127, 0, 0, 1], 80).into())));
        };
        let absent = |update: &mut ConfigUpdate| {
            update.absent_listeners = Arc::new([(web.clone(), why.clone())].into());
        };
        check("nothing", [&some, &some]);
        check("listeners +1 (web)", [&none, &some]);
        check("listeners ~1 (web)", [&some, &other]);
        check("listeners -1 (web)", [&some, &absent]);
        check("listeners ~1 (web)", [&none, &absent]);
        check("nothing", [&absent, &absent]);
        let missing = |update: &mut ConfigUpdate| {
            update.secrets = Arc::new([(web.clone(), SecretAnswer::Missing(why.clone()))].into());
        };
        check("secrets +1 (web)", [&none, &missing]);
        check("nothing", [&missing, &missing]);
        let answered = |update: &mut ConfigUpdate| {
            update.on_demand = Some(Arc::new([(web.clone(), Answer::Absent(why.clone()))].into()));
        };
        check("answers +1 (web)", [&none, &answered]);
        check("nothing", [&answered, &answered]);
        let identity = |update: &mut ConfigUpdate| {
            let source = IdentityOrigin::WorkloadApi("unix:///a".into());
            update.identity = Some(Arc::new(IdentityConfig::new(source)));
        };
        check("identity", [&none, &identity]);
        check("nothing", [&identity, &identity]);
        let mode = |update: &mut ConfigUpdate| {
            identity(update);
            update.mode = Mode::Observe;
        };
        check("identity; settings", [&none, &mode]);
    }

    #[test]
    fn settings_and_pointers() {
        let (old, mut new) = (config("a>x x=1"), config("a>x x=1"));
        new.mode = Mode::Observe;
        assert_eq!(Changes::between(&old, &new).to_string(), "settings");
        assert_eq!(Changes::between(&old, &old.clone()), Changes::default());
    }
}
