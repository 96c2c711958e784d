//! [`openings`]: where a listener lets in who proves nothing, or whoever proves anything.
//!
//! Both are sometimes wanted, and both are how a port stays open for years. So they are told: by whoever
//! serves, at the start and when they change.

use super::CompiledListener;
use crate::model::filter_chain::TransportProtocol;
use crate::model::http_filter::HttpFilterConfig;
use crate::model::{FilterChain, Forward};
use crate::time::WallTime;
use std::fmt;
use std::sync::Arc;

/// Where a listener is open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opening {
    /// The filter chain.
    pub chain: Arc<str>,
    /// Who gets in.
    pub kind: OpeningKind,
    /// When it ends by itself; `None`: never.
    pub until: Option<WallTime>,
}

/// Who gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: no TLS, no certificate, no policy")]
pub enum OpeningKind {
    /// Whoever connects, in plaintext, though there is an identity to do TLS with.
    Plaintext,
    /// TLS clients without a certificate.
    WithoutCertificate,
    /// Everybody whose certificate is good: no policy says who may do what.
    WithoutPolicy,
}

/// Where `listener` is open at `now`: what has ended by itself is open no more. One that a proxy's own application
/// calls through is not meant. `has_identity`: whether its server could show who it is, so that TLS is to be expected;
/// a chain with TLS says so, too.
#[must_use]
pub fn openings(listener: &CompiledListener, has_identity: bool, now: WallTime) -> Vec<Opening> {
    // Who calls through it is the application.
    if listener.model().forward.as_ref().is_some_and(Forward::is_outbound) {
        return Vec::new();
    }
    let models = || listener.model().chains();
    let has_identity = has_identity || models().any(|chain| chain.tls.is_some());
    let opening = |chain: &Arc<FilterChain>| {
        let kind = match &chain.tls {
            None if has_identity => OpeningKind::Plaintext,
            None => return None,
            Some(tls) if !tls.wants_certificate(None) => OpeningKind::WithoutCertificate,
            Some(_) if !has_policy(chain) => OpeningKind::WithoutPolicy,
            Some(_) => return None,
        };
        Some(Opening { chain: Arc::clone(&chain.name), kind, until: chain.until })
    };
    let is_closed = |chain: &&Arc<FilterChain>| {
        chain.until.is_some_and(|until| until <= now)
            || chain.matcher.transport_protocol == Some(TransportProtocol::Undetected)
    };
    models().filter(|chain| !is_closed(chain)).filter_map(opening).collect()
}

/// Rules that are enforced, for connections or for requests.
fn has_policy(chain: &FilterChain) -> bool {
    let of_connections = || chain.network_rbac.iter().any(|rbac| rbac.rules.is_some());
    let of_requests = || {
        let filters = chain.http.iter().flat_map(|http| &http.http_filters);
        filters.filter(|filter| !filter.disabled).any(
            |filter| matches!(&filter.config, HttpFilterConfig::Rbac(rbac) if rbac.rules.is_some()),
        )
    };
    of_connections() || of_requests()
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.kind {
            OpeningKind::Plaintext => "takes plaintext from everybody",
            OpeningKind::WithoutCertificate => "takes clients without a certificate",
            OpeningKind::WithoutPolicy => {
                "lets everybody with a good certificate do everything: no policy is configured"
            }
        };
        write!(f, "the filter chain `{}` {who}", self.chain)?;
        match self.until {
            Some(until) => write!(f, ", until {until}"),
            None => f.write_str(", without an end (`until`)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ForwardTo;
    use crate::model::Listener;
    use crate::model::rbac::RbacFilter;
    use crate::model::tls::DownstreamTls;

    #[track_caller]
    fn check(has_identity: bool, set: impl FnOnce(&mut FilterChain), expected: &str) {
        let mut chain = FilterChain::new("c", None);
        set(&mut chain);
        let mut listener = Listener::new("l");
        listener.filter_chains = vec![Arc::new(chain)];
        let listener = CompiledListener::compile(&Arc::new(listener), None).unwrap();
        let told: Vec<String> = openings(&listener, has_identity, WallTime::from_unix_seconds(6))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(told.join("; "), expected);
    }

    fn mutual(chain: &mut FilterChain) {
        chain.tls = Some(Arc::new(DownstreamTls::mutual()));
    }

    #[test]
    fn what_an_application_calls_through_is_not_open() {
        for (to, open) in [
            (ForwardTo::EachAuthority, false),
            (ForwardTo::Authority("outbound|a".into()), false),
            (ForwardTo::Application("inbound|a".into()), true),
            (ForwardTo::Chain { outbound: true }, false),
            (ForwardTo::Chain { outbound: false }, true),
        ] {
            let mut listener = Listener::new("l");
            listener.filter_chains = vec![Arc::new(FilterChain::new("c", None))];
            listener.forward = Some(Forward::new(to.clone()));
            let listener = CompiledListener::compile(&Arc::new(listener), None).unwrap();
            assert_eq!(!openings(&listener, true, WallTime::default()).is_empty(), open, "{to:?}");
        }
    }

    #[test]
    fn who_gets_in() {
        check(false, |_| {}, "");
        check(
            true,
            |_| {},
            "the filter chain `c` takes plaintext from everybody, without an end (`until`)",
        );
        check(
            true,
            |chain| chain.until = Some(WallTime::from_unix_seconds(7)),
            "the filter chain `c` takes plaintext from everybody, until 1970-01-01T00:00:07Z",
        );
        // It refuses from then on.
        check(true, |chain| chain.until = Some(WallTime::from_unix_seconds(6)), "");
        check(
            false,
            mutual,
            "the filter chain `c` lets everybody with a good certificate do everything: \
             no policy is configured, without an end (`until`)",
        );
        check(
            false,
            |chain| {
                let mut tls = DownstreamTls::mutual();
                tls.require_client_certificate = false;
                chain.tls = Some(Arc::new(tls));
            },
            "the filter chain `c` takes clients without a certificate, without an end (`until`)",
        );
        check(
            false,
            |chain| {
                mutual(chain);
                let mut rbac = RbacFilter::default();
                rbac.rules = Some(Arc::default());
                chain.network_rbac = vec![Arc::new(rbac)];
            },
            "",
        );
    }
}
