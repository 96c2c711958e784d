//! Clusters and their endpoints by chance.

use super::{Draw, Range};
use mesh_core::model::cluster::RetryConcurrency;
use mesh_core::model::outlier_detection::{CapRule, FailurePercentage, SuccessRate};
use mesh_core::model::secret::{
    SecretCertificate, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use mesh_core::model::tls::{SpiffeBundles, TlsIdentity, TlsRoots, UpstreamTls, ValidationSecret};
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, ConnectionOptions, Discovery, DnsLookupFamily, DnsOptions,
    DropOverload, Endpoint, Fraction, LbAlgorithm, LbPolicy, Locality, LocalityEndpoints,
    MetadataValue, OutlierDetection, Protocol, ProxyProtocol, SanKind, SanMatcher, Secret,
    SlowStart, TlsLabels, TlsMatch, TlsPolicy,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const CRL: &str = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

impl Draw {
    pub(super) fn cluster(&mut self, name: &str) -> Cluster {
        let mut cluster = Cluster::new(name);
        cluster.lb_policy = self.lb_policy();
        cluster.protocol =
            [Protocol::Auto, Protocol::Http1, Protocol::Http2][self.below(3) as usize];
        if self.ours() {
            cluster.protocol = Protocol::Tcp;
            cluster.proxy_protocol = self.some(|draw| match draw.coin() {
                true => ProxyProtocol::V1,
                false => ProxyProtocol::V2,
            });
        }
        cluster.discovery = self.discovery();
        if let Some(tls) = self.some(Self::tls) {
            cluster.tls = TlsPolicy::On(Arc::new(tls));
        }
        if matches!(cluster.discovery, Discovery::Static) {
            cluster.tls_matches = self.tls_matches(&cluster.tls);
        }
        self.connection(&mut cluster.connection);
        cluster.circuit_breakers.default.max_requests = self.below(9);
        cluster.circuit_breakers.max_connections_per_endpoint = self.some(|draw| 1 + draw.below(9));
        cluster.retry_budget.concurrency = self.some(|draw| {
            let mut rule = RetryConcurrency::default();
            rule.min_retry_concurrency = draw.below(9);
            rule
        });
        // Envoy has one or the other.
        if cluster.retry_budget.concurrency.is_none() || self.ours() {
            cluster.circuit_breakers.high.max_retries = self.some(|draw| draw.below(9));
        }
        if self.ours() {
            cluster.retry_budget.ratio = 0.5;
            cluster.retry_budget.window = self.time();
            cluster.retry_budget.enabled = self.coin();
            cluster.retry_budget.min_per_second = self.below(9);
        }
        cluster.outlier_detection = self.some(Self::outlier_detection);
        match self.below(4) {
            0 => self.aggregate(cluster),
            _ => cluster,
        }
    }

    /// An aggregate with what counts of `cluster`.
    fn aggregate(&mut self, cluster: Cluster) -> Cluster {
        let mut aggregate = Cluster::new(cluster.name);
        aggregate.retry_budget = cluster.retry_budget;
        aggregate.circuit_breakers.high.max_retries = cluster.circuit_breakers.high.max_retries;
        let children = (0..=self.below(3)).map(|number| format!("child-{number}").into());
        aggregate.discovery = Discovery::Aggregate(children.collect());
        aggregate
    }

    fn connection(&mut self, options: &mut ConnectionOptions) {
        options.connect_timeout = self.time();
        options.idle_timeout = self.time();
        options.max_requests_per_connection = self.below(9);
        if !self.ours() {
            return;
        }
        options.happy_eyeballs_delay = self.time();
        options.max_connection_age = self.some(Self::time).unwrap_or_default();
        options.max_connection_age_jitter = self.below(101);
        options.keepalive_while_idle = self.coin();
        options.keepalive_timeout = self.time();
        options.keepalive_interval = match self.below(3) {
            0 => Duration::ZERO,
            1 => Duration::from_micros(1),
            _ => self.time(),
        };
        options.max_concurrent_streams = self.below(3) * 1000;
        options.max_response_head = self.below(100_000);
        options.max_response_headers = self.below(1000);
        if self.coin() {
            options.connect_timeout = Duration::ZERO;
        }
    }

    fn discovery(&mut self) -> Discovery {
        let mut options = DnsOptions::new("a.example", 80);
        options.refresh_rate = Duration::from_millis(1) + self.time();
        options.respect_ttl = self.coin();
        let families = [DnsLookupFamily::V4Only, DnsLookupFamily::V6Only, DnsLookupFamily::All];
        options.lookup_family = Some(families[self.below(3) as usize]);
        if self.ours() {
            options.min_refresh_rate = self.time();
            options.lookup_family = self.some(|_| DnsLookupFamily::Auto);
        }
        let logical = self.coin();
        if !logical || self.ours() {
            options.names.extend(self.some(|_| ("b.example".into(), 443)));
        }
        match (self.below(3), logical) {
            (0, true) => Discovery::LogicalDns(options),
            (0, false) => Discovery::StrictDns(options),
            _ => Discovery::Static,
        }
    }

    /// None of them takes all, and the last is not the cluster's own: decoding leaves out what says nothing.
    fn tls_matches(&mut self, own: &TlsPolicy) -> Vec<TlsMatch> {
        let mut matches = self.list(2, |draw| {
            let tls = draw.some(Self::tls).map(|tls| TlsPolicy::On(Arc::new(tls)));
            TlsMatch::new("m", draw.labels(), tls.unwrap_or_default())
        });
        if let Some(last) = matches.last_mut().filter(|last| last.tls == *own) {
            let mut tls = UpstreamTls::default();
            tls.sni = Some("other.example".into());
            last.tls = TlsPolicy::On(Arc::new(tls));
        }
        matches
    }

    fn labels(&mut self) -> TlsLabels {
        let mut labels = TlsLabels::text("tlsMode", if self.coin() { "istio" } else { "disabled" });
        let more = [MetadataValue::Null, MetadataValue::Bool(true), MetadataValue::Number(1.5)];
        for (name, value) in ["a", "b", "c"].into_iter().zip(more) {
            if self.coin() {
                labels.0.insert(name.into(), value);
            }
        }
        labels
    }

    fn tls(&mut self) -> UpstreamTls {
        let mut tls = UpstreamTls::default();
        tls.san = self.peer_names();
        tls.crl = self.some(|_| SecretSource::Inline(CRL.as_bytes().into()));
        tls.roots = match self.below(7) {
            0 => TlsRoots::System,
            1 => TlsRoots::Mesh,
            2 => TlsRoots::Provider("other".into()),
            3 => TlsRoots::File(Path::new("/roots.pem").into()),
            5 => TlsRoots::Spiffe(Arc::new(self.bundles())),
            4 => {
                let mut secret = ValidationSecret::new("roots");
                secret.roots = match self.below(3) {
                    0 => SecretRoots::Unsaid,
                    1 => SecretRoots::System,
                    _ => SecretRoots::Pem(self.source(CHAIN)),
                };
                TlsRoots::Secret(secret)
            }
            _ => TlsRoots::Pem(CHAIN.into()),
        };
        tls.sni = self.some(|_| "sni.example".into());
        tls.auto_host_sni = self.coin();
        // Where there are no names, decoding leaves it out.
        let may_have_names = !tls.san.is_empty() || matches!(tls.roots, TlsRoots::Secret(_));
        tls.auto_sni_san_validation = may_have_names && self.coin();
        // Not one protocol alone, which may be what follows from the cluster's.
        tls.alpn = match self.below(3) {
            0 => vec!["istio".into(), "h2".into()],
            1 => vec!["http/1.1".into(), "h2".into()],
            _ => Vec::new(),
        };
        tls.identity = match self.below(5) {
            0 => TlsIdentity::None,
            1 => TlsIdentity::Mesh,
            2 => TlsIdentity::Provider("other".into()),
            3 => TlsIdentity::Secret("identity".into()),
            _ => TlsIdentity::Certificate(Arc::new(self.certificate())),
        };
        tls
    }

    /// With types or without: Envoy takes one list or the other.
    pub(super) fn peer_names(&mut self) -> Vec<SanMatcher> {
        let has_types = self.coin();
        self.list(2, |draw| {
            let matcher = draw.string();
            let kind = match draw.below(5) {
                _ if !has_types => SanKind::Any,
                0 => SanKind::Dns,
                1 => SanKind::Uri,
                2 => SanKind::Email,
                3 => SanKind::Ip,
                _ => SanKind::OtherName("1.2.3".into()),
            };
            SanMatcher { kind, matcher }
        })
    }

    fn source(&mut self, text: &str) -> SecretSource {
        match self.coin() {
            true => SecretSource::File(Path::new("/some/file.pem").into()),
            false => SecretSource::Inline(format!("{text}{}", self.below(9)).into_bytes().into()),
        }
    }

    pub(super) fn certificate(&mut self) -> SecretCertificate {
        SecretCertificate::new(self.source(CHAIN), self.source(KEY))
    }

    pub(super) fn secret(&mut self, name: &str) -> Secret {
        if self.coin() {
            return Secret::new(name, SecretContent::Certificate(self.certificate()));
        }
        let roots = match self.below(4) {
            0 => SecretRoots::System,
            3 => SecretRoots::Unsaid,
            1 => SecretRoots::Spiffe(Arc::new(self.bundles())),
            _ => SecretRoots::Pem(self.source(CHAIN)),
        };
        let mut validation = SecretValidation::new(roots);
        validation.crl = self.some(|draw| draw.source(CRL));
        validation.san = self.peer_names();
        Secret::new(name, SecretContent::Validation(validation))
    }

    fn bundles(&mut self) -> SpiffeBundles {
        if self.coin() {
            return SpiffeBundles::Map(self.source(r#"{"trust_domains":{}}"#));
        }
        let all = ["a.example", "b.example"].map(|name| (name.into(), self.source(CHAIN)));
        SpiffeBundles::Each(all.into())
    }

    fn lb_policy(&mut self) -> LbPolicy {
        let balance = self.some(|draw| 100 + draw.below(100));
        let mut policy = LbPolicy::new(match self.below(6) {
            0 => LbAlgorithm::Random,
            1 => LbAlgorithm::LeastRequest {
                choice_count: 2 + self.below(9),
                active_request_bias: f64::from(self.below(4)),
            },
            2 => LbAlgorithm::RingHash {
                minimum_ring_size: 1 + self.below(1000),
                maximum_ring_size: 1001 + self.below(1000),
                hash_balance_factor: balance,
            },
            3 => LbAlgorithm::Maglev { table_size: 251, hash_balance_factor: balance },
            4 if self.range == Range::All => match self.coin() {
                true => LbAlgorithm::PeakEwma {
                    decay: self.time(),
                    default_rtt: self.time(),
                    failure_penalty: self.time(),
                },
                false => LbAlgorithm::Custom("mine".into()),
            },
            _ => LbAlgorithm::RoundRobin,
        });
        policy.panic_threshold = self.below(101);
        policy.locality_weighted = self.coin();
        policy.fail_traffic_on_panic = self.ours();
        if self.ours() {
            policy.overprovisioning_factor = 100 + self.below(100);
        }
        let starts = match policy.algorithm {
            LbAlgorithm::RoundRobin | LbAlgorithm::LeastRequest { .. } => true,
            _ => self.range == Range::All,
        };
        policy.slow_start = self.some(Self::time).filter(|_| starts).map(SlowStart::new);
        if let Some(slow) = &mut policy.slow_start {
            slow.aggression = f64::from(1 + self.below(3));
            slow.min_weight_percent = self.below(101);
        }
        // Envoy has it before the route's only.
        if self.coin() {
            policy.hash_policy = self.list(2, Self::hash);
            policy.hash_policy_first = !(policy.hash_policy.is_empty() || self.ours());
        }
        policy
    }

    fn outlier_detection(&mut self) -> OutlierDetection {
        let mut outlier = OutlierDetection::default();
        outlier.interval = self.time();
        outlier.base_ejection_time = self.time();
        outlier.max_ejection_time = outlier.base_ejection_time + self.time();
        outlier.max_ejection_percent = self.below(101);
        outlier.enforcing_consecutive_5xx = self.below(101);
        outlier.consecutive_5xx = Some(1 + self.below(9));
        outlier.split_external_local_origin_errors = self.coin();
        outlier.always_eject_one_endpoint = self.coin();
        let mut rate = SuccessRate::default();
        rate.stdev_factor = self.below(3000);
        outlier.success_rate = Some(rate);
        outlier.local_origin_success_rate = Some(rate);
        if self.ours() {
            self.ejections(&mut outlier);
        }
        outlier
    }

    /// What Envoy has no fields for.
    fn ejections(&mut self, outlier: &mut OutlierDetection) {
        outlier.cap_rule = if self.coin() { CapRule::Grpc } else { CapRule::Envoy };
        outlier.count_cancelled_after = self.some(Self::time);
        outlier.consecutive_gateway_failure = self.some(|draw| 1 + draw.below(9));
        if self.coin() {
            outlier.max_ejection_time = outlier.base_ejection_time / 2;
        }
        let rate = |draw: &mut Self| {
            let mut rate = SuccessRate::default();
            (rate.minimum_hosts, rate.enforcing) = (draw.below(9), draw.below(101));
            rate
        };
        outlier.success_rate = self.some(rate);
        outlier.local_origin_success_rate = self.some(rate);
        let failures = |draw: &mut Self| {
            let mut rule = FailurePercentage::default();
            (rule.threshold, rule.request_volume) = (draw.below(101), draw.below(9));
            rule.enforcing = draw.below(3);
            rule
        };
        outlier.failure_percentage = self.some(failures);
        outlier.local_origin_failure_percentage = self.some(failures);
    }

    pub(super) fn assignment(&mut self) -> ClusterLoadAssignment {
        let mut assignment = ClusterLoadAssignment::default();
        for priority in 0..self.below(3) {
            let place = Locality::new("r", "z", priority.to_string());
            let mut locality = LocalityEndpoints::new(place);
            locality.priority = priority;
            locality.weight = 1 + self.below(9);
            locality.tls_labels = self.some(Self::labels).map(Arc::new);
            for port in 0..u16::try_from(self.below(3)).unwrap_or_default() {
                let last = u8::try_from(priority).unwrap_or_default();
                let address = SocketAddr::from(([10, 0, 0, last], 80 + port));
                let mut endpoint = Endpoint::new(address.into());
                endpoint.weight = 1 + self.below(9);
                endpoint.hostname = self.some(|_| "h".into());
                endpoint.hash_key = self.some(|_| "k".into());
                endpoint.tls_labels = self.some(Self::labels).map(Arc::new);
                locality.endpoints.push(endpoint);
            }
            assignment.localities.push(Arc::new(locality));
        }
        assignment.drop_overloads = self.list(2, |draw| {
            DropOverload::new(draw.text(), Fraction::per_million(draw.below(1_000_001)))
        });
        assignment
    }
}
