//! Servers: who gets in, when connections end, and what is told of it.

mod abuse;
pub(crate) mod ca;
mod drain;
mod heads;
mod http2;
mod many;
mod ready;
mod rest;
mod services;
pub(crate) mod world;

use crate::fixture::{bounded, eventually};
use bytes::Bytes;
use ca::{Ca, Pair};
use http::{Request, Response};
use http_body_util::Full;
use mesh_core::identity::TrustDomain;
use mesh_core::model::filter_chain::TransportProtocol;
use mesh_core::model::matcher::StringPattern;
use mesh_core::model::rbac::{
    AuditCondition, AuditLogger, Permission, Policy, Principal, Rbac, RbacAction, RbacFilter,
};
use mesh_core::model::secret::SecretCertificate;
use mesh_core::model::tls::{DownstreamTls, SpiffeBundles, TlsIdentity, TlsRoots};
use mesh_core::model::{CelExpr, Condition, FilterChain, SanMatcher, StringMatcher};
use mesh_core::rbac::AuditRecord;
use mesh_tower::identity::{Material, Roots, revocation_lists};
use mesh_tower::server::{AuditSink, Connection, Incoming, RequestBody, ServingMode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use world::{FRIEND, OURS, World, chain, client, get, inline, mutual, secured, serving};

const FAILED: &str = "mesh_server_handshakes_failed_total";
const REFUSED: &str = "mesh_server_connections_refused_total";
const NETWORK_RBAC: &str = "mesh_server_network_rbac_total";
const ACCEPTED: &str = "mesh_server_connections_accepted_total";

/// What becomes of a client that shows `shows`, over both versions of TLS: its name, or the reason that is
/// counted.
#[track_caller]
fn check(
    world: &World,
    shows: Option<&Pair>,
    expected: Result<&str, &str>,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let configs = [&rustls::version::TLS12, &rustls::version::TLS13]
        .map(|version| client(&world.ca, shows, version));
    let expected = expected.map(str::to_owned).map_err(|reason| format!("{{reason=\"{reason}\"}}"));
    async move {
        for config in configs {
            let before = world.counts(FAILED);
            let came = world.call(Some(config)).await;
            match &expected {
                Ok(name) => assert_eq!(came.as_ref(), Ok(name), "{caller}"),
                Err(reason) => {
                    assert!(came.is_err(), "{caller}: {came:?}");
                    let counted = || {
                        let now = world.counts(FAILED);
                        let news = now.iter().filter(|line| !before.contains(line));
                        news.map(|line| line.split(' ').next().unwrap().to_owned())
                            .collect::<Vec<_>>()
                    };
                    eventually("it is counted", || !counted().is_empty()).await;
                    assert_eq!(counted(), [reason.as_str()], "{caller}");
                }
            }
        }
    }
}

fn only_friends(tls: &mut DownstreamTls) {
    let prefix = StringPattern::Prefix("spiffe://mesh.example/".into());
    tls.san = vec![SanMatcher::any(StringMatcher::new(prefix))];
}

#[tokio::test]
async fn who_proves_what_is_asked_for_gets_in() {
    let ca = Ca::new("ours");
    let crl = inline(&ca.revoke(66, 3600));
    let strict = mutual(|tls| {
        only_friends(tls);
        tls.crl = Some(crl);
    });
    let world = World::new(ca, vec![strict]).await;
    let ca = &world.ca;
    check(&world, Some(&ca.issue(FRIEND)), Ok(FRIEND)).await;
    check(&world, None, Err("no_certificate")).await;
    check(&world, Some(&ca.issue_for(FRIEND, (-7200, -3600), 2)), Err("expired")).await;
    check(&world, Some(&ca.issue_for(FRIEND, (3600, 7200), 3)), Err("not_yet_valid")).await;
    check(&world, Some(&ca.issue_for(FRIEND, (-60, 60), 66)), Err("revoked")).await;
    check(&world, Some(&ca.issue("spiffe://other.example/friend")), Err("wrong_name")).await;
    let others = Ca::new("others").issue(FRIEND);
    check(&world, Some(&others), Err("unknown_issuer")).await;
    assert_eq!(world.counts(ACCEPTED), ["{security=\"mutual_tls\"} 2"]);
    let by_peer = [format!("{{security=\"mutual_tls\",peer=\"{FRIEND}\"}} 2")];
    assert_eq!(world.counts("mesh_server_peer_connections_total"), by_peer);
    eventually("all are closed", || world.counts("mesh_server_connections_active").is_empty())
        .await;
}

/// Envoy: who wants names wants a certificate, whatever `require_client_certificate` says.
#[tokio::test]
async fn nobody_without_a_certificate_has_a_name() {
    let optional = mutual(|tls| {
        only_friends(tls);
        tls.require_client_certificate = false;
    });
    let world = World::new(Ca::new("ours"), vec![optional]).await;
    check(&world, None, Err("no_certificate")).await;
    check(&world, Some(&world.ca.issue(FRIEND)), Ok(FRIEND)).await;
}

#[tokio::test]
async fn a_revocation_list_that_ended_or_is_of_nobody_lets_nobody_in() {
    let ca = Ca::new("ours");
    let over = inline(&ca.revoke(66, -60));
    let world = World::new(ca, vec![mutual(|tls| tls.crl = Some(over))]).await;
    check(&world, Some(&world.ca.issue(FRIEND)), Err("revocation_list_expired")).await;
    let of_others = inline(&Ca::new("others").revoke(66, 3600));
    let world = World::new(Ca::new("ours"), vec![mutual(|tls| tls.crl = Some(of_others))]).await;
    check(&world, Some(&world.ca.issue(FRIEND)), Err("revocation_unknown")).await;
}

#[tokio::test]
async fn roots_sign_for_their_own_trust_domain_only() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let (others, ours) = (Ca::new("others"), world.ca.issue(OURS));
    let root = |ca: &Ca| vec![CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()];
    let bundles = BTreeMap::from([
        (TrustDomain::parse("mesh.example").unwrap(), root(&world.ca)),
        (TrustDomain::parse("other.example").unwrap(), root(&others)),
    ]);
    let (chain, key) = ours.der();
    let material = Material::from_der(chain, key, Roots::ByTrustDomain(Arc::new(bundles)));
    world.identity.publish(material).await.unwrap();
    let theirs = "spiffe://other.example/friend";
    check(&world, Some(&world.ca.issue(FRIEND)), Ok(FRIEND)).await;
    check(&world, Some(&others.issue(theirs)), Ok(theirs)).await;
    check(&world, Some(&world.ca.issue(theirs)), Err("unknown_issuer")).await;
    check(&world, Some(&others.issue(FRIEND)), Err("unknown_issuer")).await;
    check(&world, Some(&world.ca.issue("spiffe://third.example/x")), Err("no_bundle")).await;
}

/// The same by the configuration (Envoy: `envoy.tls.cert_validator.spiffe`), whatever the identity believes.
#[tokio::test]
async fn bundles_of_the_configuration_sign_for_their_own_trust_domain_only() {
    let (ours, others) = (Ca::new("ours"), Ca::new("others"));
    let all = [("mesh.example", &ours), ("other.example", &others)];
    let all = all.map(|(domain, ca)| (domain.into(), inline(&ca.pem())));
    let bundles = TlsRoots::Spiffe(SpiffeBundles::Each(all.into()).into());
    let world = World::new(ours, vec![mutual(|tls| tls.roots = Some(bundles))]).await;
    let theirs = "spiffe://other.example/friend";
    check(&world, Some(&world.ca.issue(FRIEND)), Ok(FRIEND)).await;
    check(&world, Some(&others.issue(theirs)), Ok(theirs)).await;
    check(&world, Some(&world.ca.issue(theirs)), Err("unknown_issuer")).await;
    check(&world, Some(&others.issue(FRIEND)), Err("unknown_issuer")).await;
    check(&world, Some(&world.ca.issue("spiffe://third.example/x")), Err("no_bundle")).await;
}

/// `By` of `x-forwarded-client-cert` is who was shown, and not the mesh's own identity.
#[tokio::test]
async fn what_this_end_showed_is_known() {
    const GATEWAY: &str = "spiffe://mesh.example/gateway";
    let ca = Ca::new("ours");
    let shown = ca.issue(GATEWAY);
    let shown = SecretCertificate::new(inline(&shown.chain), inline(&shown.key));
    let own = TlsIdentity::Certificate(Arc::new(shown));
    let world = World::new(ca, vec![mutual(|tls| tls.identity = own)]).await;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let says = tower::service_fn(|request: Request<RequestBody<Incoming>>| async move {
        let connection = request.extensions().get::<Arc<Connection>>().unwrap();
        let own = connection.own_uris.as_ref().map(|own| own.join(" "));
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(own.unwrap_or_default())))
    });
    let server = world.mesh.server("web");
    tokio::spawn(async move { server.serve(socket, says).await });
    let config = world.client(Some(&world.ca.issue(FRIEND)));
    let io = secured(TcpStream::connect(address).await.unwrap(), config).await.unwrap();
    assert_eq!(get(io, false).await.as_deref(), Ok(GATEWAY));
}

/// gRFC A69: by the lists of an identity, who is on none is good.
#[tokio::test]
async fn who_is_on_a_list_of_the_identity_does_not_get_in() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let ours = world.ca.issue(OURS);
    let (chain, key) = ours.der();
    let roots = vec![CertificateDer::from_pem_slice(world.ca.pem().as_bytes()).unwrap()];
    let lists = [world.ca.revoke(66, -60), Ca::new("ours").revoke(67, 3600)];
    let lists = lists.iter().flat_map(|list| revocation_lists(list.as_bytes()).unwrap());
    let material = Material::from_der(chain, key, Roots::Any(roots.into()));
    world.identity.publish(material.with_revoked(lists.collect())).await.unwrap();
    check(&world, Some(&world.ca.issue_for(FRIEND, (-60, 60), 65)), Ok(FRIEND)).await;
    // Time takes no revocation back, and a list that another key signed revokes nobody.
    check(&world, Some(&world.ca.issue_for(FRIEND, (-60, 60), 66)), Err("revoked")).await;
    check(&world, Some(&world.ca.issue_for(FRIEND, (-60, 60), 67)), Ok(FRIEND)).await;
}

/// Istio's permissive mode: two chains.
fn permissive(change: impl FnOnce(&mut FilterChain)) -> Vec<FilterChain> {
    let mut tls = mutual(|_| {});
    tls.matcher.transport_protocol = Some(TransportProtocol::Tls);
    let mut plain = chain("plain", |chain| {
        chain.matcher.transport_protocol = Some(TransportProtocol::RawBuffer);
    });
    change(&mut plain);
    vec![tls, plain]
}

#[tokio::test]
async fn a_permissive_port_takes_both_and_a_strict_one_does_not() {
    let world = World::new(Ca::new("ours"), permissive(|_| {})).await;
    let friend = world.ca.issue(FRIEND);
    assert_eq!(world.call(Some(world.client(Some(&friend)))).await.as_deref(), Ok(FRIEND));
    assert_eq!(world.call(None).await.as_deref(), Ok("plaintext"));
    let both = ["{security=\"mutual_tls\"} 1", "{security=\"plaintext\"} 1"];
    assert_eq!(world.counts(ACCEPTED), both);

    let strict = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    assert!(strict.call(None).await.is_err());
    assert_eq!(strict.counts(FAILED), ["{reason=\"not_tls\"} 1"]);
}

#[tokio::test]
async fn without_a_common_protocol_it_goes_on_without_one() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let friend = world.ca.issue(FRIEND);
    for (offered, agreed) in [(&[][..], None), (&["odd"], None), (&["odd", "h2"], Some("h2"))] {
        let mut config = world.client(Some(&friend));
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let io = bounded(TcpStream::connect(world.address)).await.unwrap();
        let io = secured(io, config).await.unwrap();
        assert_eq!(io.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
        assert_eq!(get(io, agreed.is_some()).await.as_deref(), Ok(FRIEND));
    }
}

#[tokio::test]
async fn who_says_nothing_is_closed_in_time() {
    let chains = permissive(|chain| chain.handshake_timeout = Duration::from_millis(200));
    let mut chains = chains;
    chains[0].handshake_timeout = Duration::from_millis(300);
    let world = World::new(Ca::new("ours"), chains).await;
    let begun = Instant::now();
    let mut io = bounded(TcpStream::connect(world.address)).await.unwrap();
    let mut said = Vec::new();
    let _closed_or_reset = bounded(io.read_to_end(&mut said)).await;
    assert!(said.is_empty(), "{said:?}");
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(world.counts(FAILED), ["{reason=\"timeout\"} 1"]);
}

#[tokio::test]
async fn a_renewed_identity_serves_the_next_handshake() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let friend = world.ca.issue(FRIEND);
    let shown = async || {
        let io = bounded(TcpStream::connect(world.address)).await.unwrap();
        let io = secured(io, world.client(Some(&friend))).await.unwrap();
        io.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let first = shown().await;
    assert_eq!(shown().await, first);
    let next = world.ca.issue(OURS);
    world.identity.publish(world.ca.material(&next)).await.unwrap();
    assert_eq!(shown().await, next.der().0[0]);
}

fn allow(principal: &str) -> Arc<RbacFilter> {
    let principal = Principal::Authenticated(Some(StringMatcher::exact(principal)));
    let (permissions, principals) = (vec![Permission::Any], vec![principal]);
    let policy = Policy { permissions, principals, condition: None };
    let mut rules = Rbac::default();
    rules.action = RbacAction::Allow;
    rules.policies.insert("friends".into(), policy);
    let mut filter = RbacFilter::default();
    filter.rules = Some(Arc::new(rules));
    Arc::new(filter)
}

#[tokio::test]
async fn network_policies_see_who_came() {
    let mut strict = mutual(|_| {});
    strict.network_rbac = vec![allow(FRIEND)];
    let world = World::new(Ca::new("ours"), vec![strict]).await;
    check(&world, Some(&world.ca.issue(FRIEND)), Ok(FRIEND)).await;
    let stranger = world.ca.issue("spiffe://mesh.example/stranger");
    assert!(world.call(Some(world.client(Some(&stranger)))).await.is_err());
    assert_eq!(world.counts(REFUSED), ["{reason=\"rbac\"} 1"]);
    let denied = "{chain=\"mutual\",outcome=\"denied\",policy=\"none\"} 1";
    assert_eq!(world.counts(NETWORK_RBAC), [denied]);
}

/// Who is denied gets no byte, whatever it sends, and none of what it sends is looked at: HTTP comes after.
#[tokio::test]
async fn who_is_denied_gets_no_byte() {
    let mut plain = chain("plain", |_| {});
    plain.network_rbac = vec![allow(FRIEND)];
    let world = World::new(Ca::new("ours"), vec![plain]).await;
    for sent in ["", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut io = bounded(TcpStream::connect(world.address)).await.unwrap();
        let _closed_already = io.write_all(sent.as_bytes()).await;
        let mut said = Vec::new();
        let _closed_or_reset = bounded(io.read_to_end(&mut said)).await;
        assert!(said.is_empty(), "{sent:?}: {said:?}");
    }
    let denied = "{chain=\"plain\",outcome=\"denied\",policy=\"none\"} 3";
    assert_eq!(world.counts(NETWORK_RBAC), [denied]);
    assert!(world.counts("mesh_server_requests_total").is_empty());
}

/// Shadow rules deny nobody and are counted; a denial names its policy, and the next filter is not asked.
#[tokio::test]
async fn shadow_rules_are_counted_and_denials_name_their_policy() {
    let mut would = RbacFilter::default();
    would.shadow_rules = allow("spiffe://mesh.example/nobody").rules.clone();
    let mut strict = mutual(|_| {});
    strict.network_rbac =
        vec![Arc::new(would), deny("spiffe://mesh.example/banned"), allow(FRIEND)];
    let world = World::new(Ca::new("ours"), vec![strict]).await;
    check(&world, Some(&world.ca.issue(FRIEND)), Ok(FRIEND)).await;
    let banned = world.ca.issue("spiffe://mesh.example/banned");
    assert!(world.call(Some(world.client(Some(&banned)))).await.is_err());
    let expected = [
        "{chain=\"mutual\",outcome=\"denied\",policy=\"friends\"} 1",
        "{chain=\"mutual\",outcome=\"would_deny\",policy=\"none\"} 3",
    ];
    assert_eq!(world.counts(NETWORK_RBAC), expected);
}

#[derive(Default)]
struct Audited(parking_lot::Mutex<Vec<String>>);

impl AuditSink for Audited {
    fn audit(&self, record: &AuditRecord<'_>) {
        let AuditRecord { rpc_method, principal, policy_name, matched_rule, .. } = record;
        self.0.lock().push(format!(
            "{rpc_method:?} {principal} {policy_name} {matched_rule:?} {}",
            record.authorized
        ));
    }
}

/// gRFC A59, of connections: they have no method.
#[tokio::test]
async fn audited_decisions_about_connections_are_told_to_the_sink() {
    let stranger = "spiffe://mesh.example/stranger";
    for (condition, loggers, expected) in [
        (AuditCondition::OnDenyAndAllow, vec![AuditLogger::Stdout], [true, true]),
        (AuditCondition::OnDeny, vec![AuditLogger::Stdout], [false, true]),
        (AuditCondition::OnDenyAndAllow, vec![], [false, false]),
    ] {
        let mut filter = RbacFilter::clone(&allow(FRIEND));
        filter.rules_stat_prefix = "network".into();
        filter.rules = filter.rules.map(|rules| {
            let mut rules = Rbac::clone(&rules);
            (rules.audit, rules.audit_loggers) = (condition, loggers);
            Arc::new(rules)
        });
        let mut strict = mutual(|_| {});
        strict.network_rbac = vec![Arc::new(filter)];
        let world = World::new(Ca::new("ours"), vec![strict]).await;
        let audited = Arc::new(Audited::default());
        let _the_same = world.server.clone().audit(Arc::clone(&audited) as Arc<dyn AuditSink>);
        for who in [FRIEND, stranger] {
            let _refused_or_not = world.call(Some(world.client(Some(&world.ca.issue(who))))).await;
        }
        let told = [
            format!("\"\" {FRIEND} network \"friends\" true"),
            format!("\"\" {stranger} network \"\" false"),
        ];
        let told = told.into_iter().zip(expected).filter_map(|(told, is)| is.then_some(told));
        assert_eq!(*audited.0.lock(), told.collect::<Vec<_>>(), "{condition:?}");
    }
}

fn deny(principal: &str) -> Arc<RbacFilter> {
    let mut filter = RbacFilter::clone(&allow(principal));
    filter.rules = filter.rules.map(|rules| {
        let mut rules = Rbac::clone(&rules);
        rules.action = RbacAction::Deny;
        Arc::new(rules)
    });
    Arc::new(filter)
}

/// A condition may look at the time that a connection came at. A DENY policy whose condition has no time would let
/// everybody in.
#[tokio::test]
async fn network_policies_know_the_time() {
    for (year, is_denied) in [("2020", true), ("9000", false)] {
        let day = CelExpr::text(format!("{year}-01-01T00:00:00Z"));
        let since = CelExpr::call("timestamp", vec![day]);
        let now = CelExpr::ident("request").select("time");
        let after = Condition::new(CelExpr::call("_>_", vec![now, since]));
        let mut filter = RbacFilter::clone(&deny(FRIEND));
        filter.rules = filter.rules.map(|rules| {
            let mut rules = Rbac::clone(&rules);
            rules.policies.values_mut().for_each(|policy| policy.condition = Some(after.clone()));
            Arc::new(rules)
        });
        let mut strict = mutual(|_| {});
        strict.network_rbac = vec![Arc::new(filter)];
        let world = World::new(Ca::new("ours"), vec![strict]).await;
        let client = world.client(Some(&world.ca.issue(FRIEND)));
        assert_eq!(world.call(Some(client)).await.is_err(), is_denied, "{year}");
        assert_eq!(world.counts(REFUSED).len(), usize::from(is_denied), "{year}");
    }
}

#[tokio::test]
async fn a_listener_that_is_not_there_sends_no_byte() {
    let world = World::new(Ca::new("ours"), vec![chain("plain", |_| {})]).await;
    let modes = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&modes);
    let told = move |mode: &ServingMode| seen.lock().push(mode == &ServingMode::Serving);
    let server = world.server.clone().on_mode_change(told);
    assert_eq!(world.call(None).await.as_deref(), Ok("plaintext"));
    let mut update = serving(Vec::new());
    update.listeners.clear();
    world.updates.apply(update);
    eventually("it does not serve", || !server.is_serving()).await;
    let mut io = bounded(TcpStream::connect(world.address)).await.unwrap();
    let mut said = Vec::new();
    let _closed_or_reset = bounded(io.read_to_end(&mut said)).await;
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(world.counts(REFUSED), ["{reason=\"not_serving\"} 1"]);
    world.updates.apply(serving(vec![chain("plain", |_| {})]));
    eventually("it serves again", || server.is_serving()).await;
    assert_eq!(world.call(None).await.as_deref(), Ok("plaintext"));
    assert_eq!(*modes.lock(), [true, false, true]);
}
