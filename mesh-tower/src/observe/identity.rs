//! [`IdentityCells`]: the metrics of who the mesh is.
//!
//! Nothing is counted here: an identity is asked at each export ([`ReadIdentity`]). Ends are given as dates, so
//! that an alert subtracts, and a process that hangs does not look well.
//!
//! Series are bounded: identities by the configuration, those that clusters and listeners name by [`MAX_NAMED`], roots,
//! trust domains and issuers of lists by [`MAX_ROOTS`] each.

use super::names::Metric;
use super::registry::{Value, Visit};
use mesh_core::WallTime;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most roots of an identity that have series of their own, and the most issuers of lists.
pub(crate) const MAX_ROOTS: usize = 64;

/// The most certificates and roots that clusters and listeners name themselves, of all together, that have series.
pub(crate) const MAX_NAMED: usize = 256;

/// What an identity can be asked for.
pub(crate) trait ReadIdentity: Send + Sync {
    /// What is in force. It must not wait for anybody.
    fn read(&self) -> IdentityReading;
}

/// What an identity knows at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdentityReading {
    /// The end of our certificate.
    pub(crate) end: Option<WallTime>,
    pub(crate) roots: Vec<RootReading>,
    /// When a newer list of revoked certificates is due, by its issuer.
    pub(crate) lists: BTreeMap<Arc<str>, WallTime>,
    pub(crate) last_good: Option<WallTime>,
    pub(crate) failures: u64,
}

/// One root.
#[derive(Clone, Debug)]
#[cfg_attr(not(any(feature = "tls", test)), allow(dead_code, reason = "nobody has one"))]
pub(crate) struct RootReading {
    /// Empty: it signs for everybody.
    pub(crate) trust_domain: Arc<str>,
    pub(crate) subject: Arc<str>,
    pub(crate) serial: Arc<str>,
    pub(crate) end: WallTime,
}

/// Who can be asked, and by which name.
pub(crate) type NamedReader = (Arc<str>, Arc<dyn ReadIdentity>);

/// The identities of a mesh, by their names.
#[derive(Default)]
pub(crate) struct IdentityCells {
    readers: Mutex<BTreeMap<Arc<str>, Arc<dyn ReadIdentity>>>,
    /// What clusters and listeners name themselves.
    named: Mutex<Vec<NamedReader>>,
}

impl IdentityCells {
    /// Metrics of the identity `name` are read from `reader` from now on.
    #[cfg_attr(
        not(any(feature = "tls", test)),
        expect(dead_code, reason = "nobody has an identity")
    )]
    pub(crate) fn read_from(&self, name: Arc<str>, reader: Arc<dyn ReadIdentity>) {
        self.readers.lock().insert(name, reader);
    }

    /// Metrics of what clusters and listeners name are read from these from now on, and from no others: of
    /// [`MAX_NAMED`] at most, the first of them.
    #[cfg_attr(
        not(any(feature = "tls", test)),
        expect(dead_code, reason = "nobody has a certificate")
    )]
    pub(crate) fn read_named_from(&self, mut named: Vec<NamedReader>) {
        let count = named.len();
        named.truncate(MAX_NAMED);
        let before = std::mem::replace(&mut *self.named.lock(), named);
        if count > MAX_NAMED && before.len() < MAX_NAMED {
            tracing::warn!(
                target: "mesh::identity", count,
                "clusters and listeners name so many certificates that only the first {MAX_NAMED} have metrics"
            );
        }
    }

    /// Gives `visit` all series of `metric`.
    pub(super) fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        // Asked after the lock: who is asked may take one.
        let (readers, named) = (self.readers.lock().clone(), self.named.lock().clone());
        for (name, reader) in readers.iter().chain(named.iter().map(|(name, one)| (name, one))) {
            one(metric, name, &reader.read(), visit);
        }
    }
}

fn one(metric: Metric, name: &str, read: &IdentityReading, visit: &mut Visit<'_>) {
    let mut date = |date: Option<WallTime>| {
        if let Some(date) = date {
            visit(&[name], Value::Number(date.as_unix_seconds()));
        }
    };
    match metric {
        Metric::IdentityEnd => date(read.end),
        Metric::IdentityLastGood => date(read.last_good),
        Metric::IdentityFailures => visit(&[name], Value::Number(read.failures)),
        Metric::IdentityRootEnd => roots(name, &read.roots, visit),
        Metric::IdentityBundleEnd => bundles(name, &read.roots, visit),
        Metric::IdentityCrlEnd => {
            for (issuer, end) in read.lists.iter().take(MAX_ROOTS) {
                visit(&[name, issuer], Value::Number(end.as_unix_seconds()));
            }
        }
        _ => {}
    }
}

fn roots(name: &str, roots: &[RootReading], visit: &mut Visit<'_>) {
    // A root may stand in a file twice.
    let mut seen = BTreeSet::new();
    for root in roots {
        let RootReading { trust_domain, subject, serial, end } = root;
        if seen.len() < MAX_ROOTS && seen.insert((trust_domain, subject, serial)) {
            let labels = [name, trust_domain, subject, serial];
            visit(&labels, Value::Number(end.as_unix_seconds()));
        }
    }
}

fn bundles(name: &str, roots: &[RootReading], visit: &mut Visit<'_>) {
    let mut bundles: BTreeMap<&str, WallTime> = BTreeMap::new();
    for root in roots {
        let end = bundles.entry(&root.trust_domain).or_insert(root.end);
        *end = root.end.max(*end);
    }
    for (trust_domain, end) in bundles.into_iter().take(MAX_ROOTS) {
        visit(&[name, trust_domain], Value::Number(end.as_unix_seconds()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::registry::Registry;

    struct Fixed(IdentityReading);

    impl ReadIdentity for Fixed {
        fn read(&self) -> IdentityReading {
            self.0.clone()
        }
    }

    fn at(seconds: u64) -> WallTime {
        WallTime::from_unix_seconds(seconds)
    }

    fn root(trust_domain: &str, serial: &str, end: u64) -> RootReading {
        let (trust_domain, serial) = (trust_domain.into(), serial.into());
        RootReading { trust_domain, subject: "CN=ca".into(), serial, end: at(end) }
    }

    fn exported(readings: &[(&str, IdentityReading)]) -> Vec<String> {
        let registry = Registry::new();
        for (name, reading) in readings {
            let reader = Arc::new(Fixed(reading.clone()));
            registry.identities().read_from((*name).into(), reader);
        }
        let mut text = String::new();
        registry.prometheus(&mut text);
        let lines = text.lines().filter_map(|line| line.strip_prefix("mesh_identity_"));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn ends_are_dates() {
        // Of two roots with one name the second follows the first; one stands there twice.
        let roots = vec![
            root("a.example", "01", 50),
            root("a.example", "02", 90),
            root("a.example", "02", 90),
            root("b.example", "01", 70),
        ];
        let (end, last_good) = (Some(at(10)), Some(at(5)));
        let lists = [("CN=ca".into(), at(40))].into();
        let own = IdentityReading { end, roots, lists, last_good, failures: 3 };
        let lines = exported(&[("mesh", own), ("provider/x", IdentityReading::default())]);
        let expected = [
            r#"expiry_timestamp_seconds{identity="mesh"} 10"#,
            r#"root_expiry_timestamp_seconds{identity="mesh",trust_domain="a.example",subject="CN=ca",serial="01"} 50"#,
            r#"root_expiry_timestamp_seconds{identity="mesh",trust_domain="a.example",subject="CN=ca",serial="02"} 90"#,
            r#"root_expiry_timestamp_seconds{identity="mesh",trust_domain="b.example",subject="CN=ca",serial="01"} 70"#,
            r#"bundle_expiry_timestamp_seconds{identity="mesh",trust_domain="a.example"} 90"#,
            r#"bundle_expiry_timestamp_seconds{identity="mesh",trust_domain="b.example"} 70"#,
            r#"crl_expiry_timestamp_seconds{identity="mesh",issuer="CN=ca"} 40"#,
            r#"last_good_timestamp_seconds{identity="mesh"} 5"#,
            r#"failures_total{identity="mesh"} 3"#,
            r#"failures_total{identity="provider/x"} 0"#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_series_of_what_is_named_are_bounded() {
        let registry = Registry::new();
        let name = |count: usize| {
            let named = (0..count).map(|at| {
                let reading = IdentityReading {
                    end: Some(WallTime::from_unix_seconds(at as u64)),
                    ..Default::default()
                };
                let reader: Arc<dyn ReadIdentity> = Arc::new(Fixed(reading));
                (format!("secret/{at:04}").into(), reader)
            });
            registry.identities().read_named_from(named.collect());
            let mut text = String::new();
            registry.prometheus(&mut text);
            text.lines().filter(|line| line.starts_with("mesh_identity_expiry")).count()
        };
        assert_eq!(name(MAX_NAMED + 10), MAX_NAMED);
        assert_eq!(name(2), 2);
        assert_eq!(name(0), 0);
    }

    #[test]
    fn the_series_of_roots_are_bounded() {
        let roots = (0..200).map(|at| root(&format!("{at}.example"), "01", at));
        let own = IdentityReading { roots: roots.collect(), ..IdentityReading::default() };
        let lines = exported(&[("mesh", own)]);
        let count = |prefix: &str| lines.iter().filter(|line| line.starts_with(prefix)).count();
        assert_eq!((count("root_"), count("bundle_")), (MAX_ROOTS, MAX_ROOTS));
    }
}
