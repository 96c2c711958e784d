//! [`Authorities`]: which route configuration serves an authority that a client dials.
//!
//! gRPC asks for a listener by the authority that is dialled, port and all (gRFC A27), and there is no
//! list of what may be dialled: `*.shop` and any port are in the model. So API listeners are made when
//! they are asked for. The order is the router's: exact, the longest suffix, the longest prefix, `*`;
//! within each kind a pattern with the port wins over one without.

use super::route_configuration::split_port;
use mesh_core::model::{Domain, RouteConfiguration};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The domains of all virtual hosts, each with the name of its route configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    exact: BTreeMap<Arc<str>, Arc<str>>,
    /// The longest first.
    suffix: Vec<(Arc<str>, Arc<str>)>,
    /// The longest first.
    prefix: Vec<(Arc<str>, Arc<str>)>,
    any: Option<Arc<str>>,
}

impl Authorities {
    /// The domains of `model`, whose virtual hosts are served by the route configurations `names`, in
    /// the same order.
    #[must_use]
    pub fn new(model: &RouteConfiguration, names: &[Arc<str>]) -> Self {
        let mut authorities = Self::default();
        for (host, name) in model.virtual_hosts.iter().zip(names) {
            for domain in &host.domains {
                let name = Arc::clone(name);
                match domain {
                    Domain::Exact(text) => {
                        authorities.exact.entry(Arc::clone(text)).or_insert(name);
                    }
                    Domain::Suffix(text) => authorities.suffix.push((Arc::clone(text), name)),
                    Domain::Prefix(text) => authorities.prefix.push((Arc::clone(text), name)),
                    Domain::Any => authorities.any = authorities.any.or(Some(name)),
                }
            }
        }
        // Stable: of equal ones the first that is written.
        authorities.suffix.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        authorities.prefix.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        authorities
    }

    /// The route configuration that serves `authority`; `None`: there is no virtual host for it.
    #[must_use]
    pub fn find(&self, authority: &str) -> Option<&Arc<str>> {
        let authority = authority.to_ascii_lowercase();
        let host = split_port(&authority).unwrap_or(&authority);
        let forms = [authority.as_str(), host];
        let exact = forms.iter().find_map(|form| self.exact.get(*form));
        exact
            .or_else(|| longest(&self.suffix, &forms, |form, text| form.ends_with(text)))
            .or_else(|| longest(&self.prefix, &forms, |form, text| form.starts_with(text)))
            .or(self.any.as_ref())
    }
}

/// The first of `patterns` that fits a form of the authority; a wildcard stands for one byte at least.
fn longest<'a>(
    patterns: &'a [(Arc<str>, Arc<str>)],
    forms: &[&str],
    fits: impl Fn(&str, &str) -> bool,
) -> Option<&'a Arc<str>> {
    let fits = |text: &str| forms.iter().any(|form| form.len() > text.len() && fits(form, text));
    patterns.iter().find(|(text, _)| fits(text)).map(|(_, name)| name)
}
