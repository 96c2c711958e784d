//! [`Naming`]: what the listener of an authority is called, as targets of gRPC's clients say it (gRFC A47).
//!
//! A channel of gRPC has one target, and that says of whom its listener is: `xds://<authority>/<service>`. Calls of
//! a mesh have a URI of their own protocol, with no place for that, and must not know of control planes. So it is
//! said once, for the hosts that calls are made to.

use crate::bootstrap::{Authority, Bootstrap};
use crate::cascade::domains;
use mesh_core::head::port_start;
use mesh_core::model::Domain;
use std::sync::Arc;

/// Which authority of `xdstp:` names the listeners of which hosts have.
#[derive(Clone, Debug, Default)]
pub(super) struct Naming {
    /// `None`: as `xds:///…`.
    pub(super) default: Option<Arc<str>>,
    by_domain: Vec<(Domain, Arc<str>)>,
}

impl Naming {
    /// The hosts of `domain` have this one.
    pub(super) fn insert(&mut self, domain: Domain, authority: Arc<str>) {
        self.by_domain.retain(|(known, _)| *known != domain);
        self.by_domain.push((domain, authority));
    }

    /// That of `service`, a host with or without a port, by the domain that fits best.
    fn authority(&self, service: &str) -> Option<&Arc<str>> {
        let host = port_start(service.as_bytes()).and_then(|at| service.get(..at));
        let rank = |domain: &Domain| {
            let with_port = domains::rank(domain, service);
            with_port.max(host.and_then(|host| domains::rank(domain, host)))
        };
        let ranks = self.by_domain.iter().filter_map(|(domain, of)| Some((rank(domain)?, of)));
        let best = ranks.max_by_key(|(rank, _)| *rank);
        best.map(|(_, authority)| authority).or(self.default.as_ref())
    }

    /// The name of its listener.
    pub(super) fn listener(&self, bootstrap: &Bootstrap, service: &str) -> Arc<str> {
        let authority = self.authority(service).map(|authority| &**authority);
        let named = bootstrap.client_listener_name(authority, service);
        let name = named.unwrap_or_else(|_unknown| {
            // The name that it would have. Who asks for it is told that its authority is not known.
            let authority = Authority::new(authority.unwrap_or_default());
            authority.client_listener_template().fill(service)
        });
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(default: Option<&str>, service: &str, expected: &str) {
        let text = r#"{ "xds_servers": [{ "server_uri": "a:1", "channel_creds": [{ "type": "insecure" }] }],
            "authorities": { "x": {}, "y": {}, "z": {} } }"#;
        let bootstrap = Bootstrap::parse(text).unwrap();
        let mut naming = Naming { default: default.map(Into::into), ..Naming::default() };
        for (domain, authority) in [
            ("*.team", "old"),
            ("*.team", "x"),
            ("*.special.team", "y"),
            ("shop.team:8080", "z"),
            ("nobody", "unknown"),
        ] {
            naming.insert(Domain::parse(domain).unwrap(), authority.into());
        }
        let listener = |authority: &str| {
            format!("xdstp://{authority}/envoy.config.listener.v3.Listener/{service}")
        };
        let expected = match expected {
            "" => service.to_owned(),
            authority => listener(authority),
        };
        assert_eq!(*naming.listener(&bootstrap, service), *expected);
    }

    #[test]
    fn the_domain_that_fits_best_says_it() {
        check(None, "shop", "");
        check(Some("z"), "shop", "z");
        check(Some("z"), "shop.team", "x");
        check(None, "shop.team:80", "x");
        check(None, "a.special.team:80", "y");
        check(None, "shop.team:8080", "z");
        check(None, "team", "");
        check(None, "nobody", "unknown");
    }
}
