//! Listeners of servers by chance.

use super::{Draw, Range};
use mesh_core::WallTime;
use mesh_core::model::filter_chain::{
    ClientAddress, EscapedSlashes, FilterChainMatch, ForwardClientCert, SourceType,
    TransportProtocol,
};
use mesh_core::model::secret::SecretSource;
use mesh_core::model::tls::{DownstreamTls, TlsIdentity, TlsRoots, ValidationSecret};
use mesh_core::model::{
    Address, Capture, Cidr, FilterChain, Forward, ForwardTo, HttpConnectionManager, HttpFilter,
    HttpFilterConfig, HttpFilterOverride, Listener, Permission, Policy, Principal, Rbac,
    RbacAction, RbacFilter, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const CRL: &str = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";

impl Draw {
    /// A listener whose chains are for different connections.
    pub(super) fn listener(&mut self, name: &str) -> Listener {
        let mut listener = Listener::new(name);
        listener.address = Some(Address::Socket(SocketAddr::from(([127, 0, 0, 1], 8443))));
        if self.ours() {
            let to = match self.below(3) {
                0 => ForwardTo::Application("inbound|a".into()),
                1 => ForwardTo::Authority("outbound|a".into()),
                _ => ForwardTo::EachAuthority,
            };
            let mut forward = Forward::new(to);
            if self.coin() {
                forward.idle_timeout = self.some(|_| Duration::from_secs(7));
            }
            listener.forward = Some(forward);
            listener.proxy_protocol = self.coin();
            listener.capture = self.some(|draw| match draw.coin() {
                true => Capture::Rest,
                false => Capture::Ports(vec![1 + u16::try_from(draw.below(60_000)).unwrap(), 5432]),
            });
        }
        for number in 0..self.below(3) {
            let mut chain = self.chain(&format!("chain-{number}"));
            chain.matcher = self.chain_match(number);
            listener.filter_chains.push(Arc::new(chain));
        }
        if self.coin() || listener.filter_chains.is_empty() {
            listener.default_filter_chain = Some(Arc::new(self.chain("default")));
        }
        listener
    }

    /// The port tells them apart.
    fn chain_match(&mut self, number: u32) -> FilterChainMatch {
        let mut matcher = FilterChainMatch::default();
        matcher.destination_port = u16::try_from(1000 + number).ok();
        matcher.prefix_ranges = self.list(2, Self::block);
        matcher.direct_source_prefix_ranges = self.list(2, Self::block);
        matcher.source_prefix_ranges = self.list(2, Self::block);
        matcher.source_type = [SourceType::Any, SourceType::SameIpOrLoopback, SourceType::External]
            [self.below(3) as usize];
        matcher.source_ports = self.list(2, |draw| u16::try_from(1 + draw.below(65_535)).unwrap());
        matcher.server_names = self.list(2, |draw| ["a.b", "*.c"][draw.below(2) as usize].into());
        matcher.application_protocols = self.list(2, |_| "h2".into());
        matcher.transport_protocol = self.some(|draw| match draw.coin() {
            true => TransportProtocol::Tls,
            false => TransportProtocol::RawBuffer,
        });
        matcher
    }

    fn block(&mut self) -> Cidr {
        let address = ["10.1.2.3", "fd00::1"][self.below(2) as usize];
        Cidr::new(address.parse().unwrap(), self.below(33)).unwrap()
    }

    fn chain(&mut self, name: &str) -> FilterChain {
        let mut chain = FilterChain::new(name, None);
        let http = self.manager();
        chain.handshake_timeout = self.time();
        chain.tls = self.some(|draw| Arc::new(draw.downstream_tls()));
        chain.network_rbac = self.list(2, |draw| Arc::new(draw.network_rbac()));
        chain.http = Some(Arc::new(http));
        if self.ours() {
            chain.until = Some(WallTime::from_unix_seconds(1_800_000_000));
            chain.detect = self.some(|draw| draw.time() + Duration::from_millis(1));
        }
        chain
    }

    fn manager(&mut self) -> HttpConnectionManager {
        let mut routes = RouteConfiguration::default();
        routes.name = "inbound".into();
        routes.virtual_hosts = vec![Arc::new(self.inbound_host())];
        let filters = ["one", "two"].map(|name| {
            let mut filter = HttpFilter::new(name, self.http_rbac());
            filter.disabled = self.coin();
            filter
        });
        let mut http = HttpConnectionManager::new(Arc::new(routes), filters.into());
        http.limits.max_header_bytes = 1024 * (1 + self.below(8192));
        http.limits.max_headers = 1 + self.below(1000);
        let time =
            |coin, seconds: u32| (coin && seconds > 0).then(|| Duration::from_secs(seconds.into()));
        http.timeouts.idle = time(self.coin(), self.below(7200));
        http.timeouts.stream_flush = time(self.coin(), self.below(7200));
        if self.ours() {
            http.limits.max_body_bytes = Some(u64::MAX - u64::from(self.below(9)));
        }
        http.path.normalize = self.coin();
        http.path.merge_slashes = self.coin();
        http.path.escaped_slashes = [
            EscapedSlashes::Keep,
            EscapedSlashes::Reject,
            EscapedSlashes::UnescapeAndRedirect,
            EscapedSlashes::UnescapeAndForward,
        ][self.below(4) as usize];
        http.forward_client_cert = [
            ForwardClientCert::Sanitize,
            ForwardClientCert::ForwardOnly,
            ForwardClientCert::AppendForward,
            ForwardClientCert::SanitizeSet,
            ForwardClientCert::AlwaysForwardOnly,
        ][self.below(5) as usize];
        http.xff_num_trusted_hops = self.below(3);
        http.client_address = match self.coin() {
            true => ClientAddress::Connection { append: self.coin() },
            false => ClientAddress::ForwardedFor,
        };
        http
    }

    fn inbound_host(&mut self) -> VirtualHost {
        let mut host = VirtualHost::of("*").unwrap();
        host.filters.insert("one".into(), self.said_of_filter());
        let mut route = Route::new("r", RouteMatch::any(), RouteAction::NonForwarding);
        route.filters.insert("two".into(), self.said_of_filter());
        host.route(route)
    }

    fn said_of_filter(&mut self) -> HttpFilterOverride {
        match self.below(3) {
            0 => HttpFilterOverride::Disabled,
            1 if self.range == Range::All => HttpFilterOverride::Enabled,
            _ => HttpFilterOverride::Config(self.http_rbac()),
        }
    }

    fn http_rbac(&mut self) -> HttpFilterConfig {
        let mut filter = self.network_rbac();
        filter.track_per_rule_stats = self.coin();
        HttpFilterConfig::Rbac(Arc::new(filter))
    }

    fn network_rbac(&mut self) -> RbacFilter {
        let mut filter = RbacFilter::default();
        filter.rules = self.some(|draw| Arc::new(draw.rules()));
        filter.shadow_rules = self.some(|draw| Arc::new(draw.rules()));
        filter.rules_stat_prefix = "p".into();
        filter
    }

    fn rules(&mut self) -> Rbac {
        let mut rules = Rbac::default();
        rules.action =
            [RbacAction::Allow, RbacAction::Deny, RbacAction::Log][self.below(3) as usize];
        for name in ["a", "b", "c"] {
            let permissions = vec![Permission::DestinationIp(self.block())];
            let principals = vec![Principal::SourceIp(self.block())];
            rules.policies.insert(name.into(), Policy { permissions, principals, condition: None });
        }
        rules
    }

    fn downstream_tls(&mut self) -> DownstreamTls {
        let mut tls = DownstreamTls::mutual();
        tls.identity = match self.below(4) {
            0 => TlsIdentity::Mesh,
            1 => TlsIdentity::Provider("other".into()),
            2 => TlsIdentity::Secret("identity".into()),
            _ => TlsIdentity::Certificate(Arc::new(self.certificate())),
        };
        tls.roots = match self.below(5) {
            0 => None,
            1 => Some(TlsRoots::Mesh),
            2 => Some(TlsRoots::Provider("other".into())),
            3 => Some(TlsRoots::Secret(ValidationSecret::new("roots"))),
            _ => Some(TlsRoots::File(std::path::Path::new("/roots.pem").into())),
        };
        tls.require_client_certificate = tls.roots.is_some() && self.coin();
        if tls.roots.is_some() {
            tls.san = self.peer_names();
            tls.crl = self.some(|_| SecretSource::Inline(CRL.as_bytes().into()));
        }
        if self.coin() {
            tls.alpn = vec!["h2".into()];
        }
        tls
    }
}
