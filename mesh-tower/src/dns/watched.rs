//! One cluster that is watched, and what is known of one name: the state between two answers.
//!
//! Pure: no clock and no lookup. [`DnsClusters`](super::DnsClusters) puts results in and takes
//! events out. Between two `take_event` any number of results may come in; one event tells of all.

use super::assignment::{self, Resolved};
use super::clusters::{DnsCluster, DnsEvent, DnsKind};
use super::name::{Host, MalformedName, without_root};
use super::resolve::{Answer, ResolveError};
use mesh_core::model::{Address, ClusterLoadAssignment, DnsLookupFamily, DnsOptions};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Clusters that name the same host with the same timing share its lookups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LookupKey {
    /// In lower case (RFC 4343).
    pub(super) name: Arc<str>,
    pub(super) refresh_rate: Duration,
    pub(super) respect_ttl: bool,
    pub(super) min_refresh_rate: Duration,
}

/// What is known of a name.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The last good answer.
    addresses: Option<Vec<IpAddr>>,
    /// Why the last lookup failed; `None`: it didn't, or there was none.
    failure: Option<ResolveError>,
}

impl Known {
    /// Takes the result of a lookup in; what is not usable is left out.
    pub(super) fn handle_result(&mut self, name: &Arc<str>, result: Result<Answer, ResolveError>) {
        self.failure = match result {
            Ok(answer) => self.handle_answer(name, answer).err(),
            Err(error) => Some(error),
        };
    }

    /// Why the last lookup failed.
    pub(super) const fn failure(&self) -> Option<&ResolveError> {
        self.failure.as_ref()
    }

    fn handle_answer(&mut self, name: &Arc<str>, answer: Answer) -> Result<(), ResolveError> {
        let mut addresses = answer.addresses;
        addresses.retain(assignment::is_usable);
        if addresses.is_empty() {
            return Err(ResolveError::NoRecords { name: name.clone(), ttl: answer.ttl });
        }
        if answer.incomplete {
            let (v4, v6) = families(&addresses);
            let missing = |ip: &&IpAddr| if ip.is_ipv4() { !v4 } else { !v6 };
            addresses.extend(self.addresses.iter().flatten().filter(missing).copied());
        }
        self.addresses = Some(addresses);
        Ok(())
    }

    const fn is_settled(&self) -> bool {
        self.addresses.is_some() || self.failure.is_some()
    }
}

fn families(addresses: &[IpAddr]) -> (bool, bool) {
    (addresses.iter().any(IpAddr::is_ipv4), addresses.iter().any(IpAddr::is_ipv6))
}

/// One of a cluster's names.
#[derive(Debug)]
enum Target {
    Address(IpAddr, u16),
    Name { key: LookupKey, family: DnsLookupFamily, hostname: Arc<str>, port: u16 },
    Malformed(ResolveError),
}

impl Target {
    fn new(name: &Arc<str>, port: u16, options: &DnsOptions, kind: DnsKind) -> Self {
        let default = match kind {
            DnsKind::Strict => DnsLookupFamily::V4Preferred,
            DnsKind::Logical => DnsLookupFamily::All,
        };
        match Host::parse(name) {
            Ok(Host::Address(address)) => Self::Address(address, port),
            Ok(Host::Name(text)) => Self::Name {
                key: LookupKey {
                    name: text.to_ascii_lowercase().into(),
                    refresh_rate: options.refresh_rate,
                    respect_ttl: options.respect_ttl,
                    min_refresh_rate: options.min_refresh_rate,
                },
                family: options.lookup_family.unwrap_or(default),
                hostname: without_root(text).into(),
                port,
            },
            Err(reason) => Self::Malformed(ResolveError::Malformed { name: name.clone(), reason }),
        }
    }
}

/// One cluster and what was said of it last.
#[derive(Debug)]
pub(super) struct Watched {
    spec: DnsCluster,
    targets: Vec<Target>,
    /// What was said last; nobody after a first failure.
    current: Option<Arc<ClusterLoadAssignment>>,
    /// The addresses of a logical cluster, as said last.
    addresses: Arc<[Address]>,
    /// A failure is to be reported.
    report: bool,
    /// The last report was a failure.
    failing: bool,
    /// It stands in the queue of clusters to look at.
    pub(super) queued: bool,
}

impl Watched {
    /// A cluster of which nothing is known yet.
    pub(super) fn new(spec: DnsCluster) -> Self {
        let targets = targets(&spec);
        let addresses = Arc::new([]);
        let (report, failing, queued) = (true, false, false);
        Self { spec, targets, current: None, addresses, report, failing, queued }
    }

    /// Takes a changed specification over; what was said last stays until the new names answered.
    /// Returns whether there was a change.
    pub(super) fn update(&mut self, spec: DnsCluster) -> bool {
        if self.spec == spec {
            return false;
        }
        self.targets = targets(&spec);
        self.spec = spec;
        // The new names may well resolve.
        self.current = self.current.take().filter(|current| !current.is_empty());
        self.report = true;
        true
    }

    /// What was said last.
    pub(super) const fn current(&self) -> Option<&Arc<ClusterLoadAssignment>> {
        self.current.as_ref()
    }

    /// The lookups that it needs.
    pub(super) fn keys(&self) -> impl Iterator<Item = &LookupKey> {
        self.targets.iter().filter_map(|target| match target {
            Target::Name { key, .. } => Some(key),
            Target::Address(..) | Target::Malformed(_) => None,
        })
    }

    /// A lookup failed: the next event says so, unless the name has recovered by then.
    pub(super) const fn handle_failure(&mut self) {
        self.report = true;
    }

    /// What is to be said now, one thing at a time.
    pub(super) fn take_event<L: AsRef<Known>>(
        &mut self,
        lookups: &BTreeMap<LookupKey, L>,
    ) -> Option<DnsEvent> {
        if let Some((assignment, addresses)) = self.assignment(lookups) {
            if self.addresses != addresses {
                self.addresses = addresses.clone();
                return Some(DnsEvent::Addresses(addresses));
            }
            if self.current.as_deref() != Some(&assignment) {
                let assignment = Arc::new(assignment);
                self.current = Some(assignment.clone());
                return Some(DnsEvent::Endpoints(assignment));
            }
        }
        let failure = self.first_failure(lookups);
        match failure {
            Some(error) if std::mem::take(&mut self.report) => {
                self.failing = true;
                let kept = self.current.as_ref().is_some_and(|current| !current.is_empty());
                Some(DnsEvent::Failed { error, kept })
            }
            None if self.is_settled(lookups) && std::mem::take(&mut self.failing) => {
                Some(DnsEvent::Recovered)
            }
            Some(_) if self.current.is_none() && self.is_settled(lookups) => {
                let nobody = Arc::<ClusterLoadAssignment>::default();
                self.current = Some(nobody.clone());
                Some(DnsEvent::Endpoints(nobody))
            }
            Some(_) | None => None,
        }
    }

    /// The endpoints, once each name was answered or failed, and at least one was answered.
    fn assignment<L: AsRef<Known>>(
        &self,
        lookups: &BTreeMap<LookupKey, L>,
    ) -> Option<(ClusterLoadAssignment, Arc<[Address]>)> {
        if !self.is_settled(lookups) {
            return None;
        }
        let resolved = self.targets.iter().filter_map(|target| match target {
            Target::Address(ip, port) => {
                Some(Resolved { hostname: None, addresses: vec![*ip], port: *port })
            }
            Target::Name { key, family, hostname, port } => {
                let mut addresses = lookups.get(key)?.as_ref().addresses.clone()?;
                assignment::select(&mut addresses, *family);
                Some(Resolved { hostname: Some(hostname), addresses, port: *port })
            }
            Target::Malformed(_) => None,
        });
        let resolved: Vec<_> = resolved.filter(|resolved| !resolved.addresses.is_empty()).collect();
        if resolved.is_empty() {
            return None;
        }
        let current = self.current.iter().flat_map(|current| &current.localities);
        let current = current.flat_map(|locality| &locality.endpoints).next();
        Some(match self.spec.kind {
            DnsKind::Strict => (assignment::strict(resolved.iter()), Arc::new([])),
            DnsKind::Logical => {
                assignment::logical(resolved.iter(), current.map(|endpoint| &endpoint.address))
            }
        })
    }

    fn is_settled<L: AsRef<Known>>(&self, lookups: &BTreeMap<LookupKey, L>) -> bool {
        self.keys().all(|key| lookups.get(key).is_some_and(|lookup| lookup.as_ref().is_settled()))
    }

    fn first_failure<L: AsRef<Known>>(
        &self,
        lookups: &BTreeMap<LookupKey, L>,
    ) -> Option<ResolveError> {
        self.targets.iter().find_map(|target| match target {
            Target::Malformed(error) => Some(error.clone()),
            Target::Name { key, family, .. } => {
                let known = lookups.get(key)?.as_ref();
                known.failure().cloned().or_else(|| {
                    // It has addresses, and none of the family that is wanted.
                    let mut addresses = known.addresses.clone()?;
                    assignment::select(&mut addresses, *family);
                    let name = key.name.clone();
                    addresses.is_empty().then_some(ResolveError::NoRecords { name, ttl: None })
                })
            }
            Target::Address(..) => None,
        })
    }
}

fn targets(spec: &DnsCluster) -> Vec<Target> {
    let options = &spec.options;
    if options.names.is_empty() {
        let error = ResolveError::Malformed { name: "".into(), reason: MalformedName::Empty };
        return vec![Target::Malformed(error)];
    }
    let target = |(name, port): &(Arc<str>, u16)| Target::new(name, *port, options, spec.kind);
    options.names.iter().map(target).collect()
}
