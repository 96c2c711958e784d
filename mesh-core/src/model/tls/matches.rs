//! [`TlsMatch`]: endpoints of one cluster that are secured in different ways (Envoy: `transport_socket_matches`).
//!
//! Istio tells so which endpoints take mutual TLS and which are without a sidecar. What an endpoint's
//! connections are secured with depends on what is configured, never on a call:
//!
//! 1. the first match all of whose labels the endpoint has, with the same values;
//! 2. else the first one all of whose labels its locality has;
//! 3. else [`Cluster::tls`].
//!
//! A match without labels takes every endpoint (Envoy: `TransportSocketMatcherImpl::resolve`).

use super::TlsPolicy;
use crate::model::{Cluster, Endpoint, LocalityEndpoints, MetadataValue};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What an endpoint, or a locality, says of itself for this (Envoy: `filter_metadata` of
/// `envoy.transport_socket_match`), or what a match wants to be said.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a map, nothing else")]
pub struct TlsLabels(pub BTreeMap<Arc<str>, MetadataValue>);

/// One way of securing connections, and which endpoints are for it (Envoy: `Cluster.TransportSocketMatch`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TlsMatch {
    /// Its name, for those who read.
    pub name: Arc<str>,
    /// What an endpoint must say of itself; empty: every endpoint is for it.
    pub labels: TlsLabels,
    /// How connections are secured.
    pub tls: TlsPolicy,
}

impl TlsMatch {
    /// Secures the endpoints with these labels.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, labels: TlsLabels, tls: TlsPolicy) -> Self {
        Self { name: name.into(), labels, tls }
    }
}

impl TlsLabels {
    /// One label whose value is a text, as Istio's `tlsMode`.
    #[must_use]
    pub fn text(name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self(BTreeMap::from([(name.into(), MetadataValue::Text(value.into()))]))
    }

    /// Whether `said` has all of these, with the same values.
    fn are_in(&self, said: Option<&Self>) -> bool {
        let is_in = |(name, value)| said.is_some_and(|said| said.0.get(name) == Some(value));
        self.0.iter().all(is_in)
    }
}

impl fmt::Display for TlsLabels {
    /// `tlsMode=istio`: texts as they are, other values as in `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            match value {
                MetadataValue::Text(text) => write!(f, "{comma}{name}={text}")?,
                value => write!(f, "{comma}{name}={value:?}")?,
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// Where in [`tls_matches`](Self::tls_matches) the way is in which an endpoint with these labels, in a
    /// locality with those, is secured; `None`: by [`tls`](Self::tls).
    #[must_use]
    pub fn tls_match_at(
        &self,
        locality: Option<&TlsLabels>,
        endpoint: Option<&TlsLabels>,
    ) -> Option<usize> {
        let first = |said| self.tls_matches.iter().position(|one| one.labels.are_in(said));
        first(endpoint).or_else(|| first(locality))
    }

    /// The match by which an endpoint of a locality is secured; `None`: by [`tls`](Self::tls).
    #[must_use]
    pub fn tls_match(
        &self,
        locality: &LocalityEndpoints,
        endpoint: &Endpoint,
    ) -> Option<&TlsMatch> {
        let labels = (locality.tls_labels.as_deref(), endpoint.tls_labels.as_deref());
        self.tls_matches.get(self.tls_match_at(labels.0, labels.1)?)
    }

    /// All ways in which its connections may be secured: its own, then those of its matches.
    pub fn tls_policies(&self) -> impl Iterator<Item = &TlsPolicy> {
        std::iter::once(&self.tls).chain(self.tls_matches.iter().map(|one| &one.tls))
    }

    /// The names of the secrets that these need; one may come twice.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tls_policies().flat_map(TlsPolicy::secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Locality;

    /// `a=1 b=x`: numbers are numbers. `-`: nothing is said.
    fn labels(text: &str) -> TlsLabels {
        let one = |label: &str| {
            let (name, value) = label.split_once('=').unwrap();
            let value = match value.parse() {
                Ok(number) => MetadataValue::Number(number),
                Err(_) => MetadataValue::Text(value.into()),
            };
            (Arc::from(name), value)
        };
        TlsLabels(text.split_whitespace().map(one).collect())
    }

    fn said(text: &str) -> Option<Arc<TlsLabels>> {
        (text != "-").then(|| Arc::new(labels(text)))
    }

    /// Which of `matches` (parts of `|`) an endpoint gets.
    #[track_caller]
    fn check(matches: &str, locality: &str, endpoint: &str, expected: Option<&str>) {
        let mut cluster = Cluster::new("a");
        let all = matches.split('|').zip(["0", "1", "2"]).filter(|(text, _)| *text != "-");
        cluster.tls_matches =
            all.map(|(text, name)| TlsMatch::new(name, labels(text), TlsPolicy::Off)).collect();
        let mut place = LocalityEndpoints::new(Locality::default());
        place.tls_labels = said(locality);
        let mut member =
            Endpoint::new(crate::model::Address::Unix(std::path::Path::new("x").into()));
        member.tls_labels = said(endpoint);
        let found = cluster.tls_match(&place, &member).map(|one| &*one.name);
        assert_eq!(found, expected, "{matches}: {locality}: {endpoint}");
    }

    #[test]
    fn the_first_match_counts_and_what_an_endpoint_says_before_what_its_locality_says() {
        for (matches, locality, endpoint, expected) in [
            ("-", "-", "tlsMode=istio", None),
            ("tlsMode=istio", "-", "tlsMode=istio", Some("0")),
            ("tlsMode=istio", "-", "tlsMode=disabled", None),
            ("tlsMode=istio", "-", "-", None),
            ("tlsMode=istio", "-", "tlsMode=istio more=x", Some("0")),
            // All labels, and a value of the same type.
            ("a=x b=y", "-", "a=x", None),
            ("a=x b=y", "-", "a=x b=y", Some("0")),
            ("a=1", "-", "a=1", Some("0")),
            ("a=1", "-", "a=x", None),
            // The first one; an empty one takes all.
            ("a=x|b=y|", "-", "b=y a=x", Some("0")),
            ("a=x|b=y|", "-", "b=y", Some("1")),
            ("a=x|b=y|", "-", "-", Some("2")),
            ("|a=x", "-", "a=x", Some("0")),
            // A later match by the endpoint counts before an earlier one by its locality.
            ("a=x|b=y", "a=x", "b=y", Some("1")),
            ("a=x|b=y", "a=x", "-", Some("0")),
            ("a=x|b=y", "a=x", "c=z", Some("0")),
            // The labels of both are not put together.
            ("a=x b=y", "a=x", "b=y", None),
        ] {
            check(matches, locality, endpoint, expected);
        }
    }

    #[test]
    fn labels_in_words() {
        assert_eq!(labels("b=1 a=x").to_string(), "a=x, b=Number(1.0)");
    }
}
