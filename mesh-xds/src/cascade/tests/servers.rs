//! Listeners of servers (gRFC A36): what is watched for them, and when they are in force.

use super::{Cascade, step};
use crate::cascade::{Change, Watches};
use crate::{Resource, XdsListener, XdsServer};
use mesh_core::inbound::CompiledListener;
use mesh_core::model::http_filter::{AuthzService, ExtAuthz, ExtAuthzPerRoute, GrpcService};
use mesh_core::model::tls::{DownstreamTls, TlsIdentity};
use mesh_core::model::{
    FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig, HttpFilterOverride,
    HttpFilterOverrides, Listener, RouteConfiguration, VirtualHost,
};
use mesh_core::update::{ConfigUpdate, SecretAnswer};
use std::sync::Arc;
use std::time::Duration;

/// A listener of a chain for each word: `rds=routes` or `inline`, behind a comma `id=secret` or `ask=cluster`, in
/// which its authorizer is; `bad`: no server can serve by it; `client`: it is not for servers.
pub(in crate::cascade) fn listener(name: &str, words: &[&str]) -> Resource {
    let mut found = XdsListener::new(name);
    if words != ["client"] {
        found.server = Some(match words {
            ["bad"] => Err(vec![crate::decode::FieldError {
                path: "filter_chains".into(),
                message: "is wrong".into(),
            }]),
            _ => Ok(Arc::new(server(name, words))),
        });
    }
    Resource::Listener(Arc::new(found))
}

/// What routes say of filters: `off=filter`: it is off; `edits=filter`: it is one that edits headers.
pub(in crate::cascade) fn said(words: &[&str]) -> HttpFilterOverrides {
    let said = words.iter().filter_map(|word| {
        let (what, filter) = word.split_once('=')?;
        let edits = HttpFilterConfig::HeaderMutation(Arc::default());
        let said = match what {
            "off" => HttpFilterOverride::Disabled,
            "edits" => HttpFilterOverride::Config(edits),
            other => panic!("{other}"),
        };
        Some((filter.into(), said))
    });
    said.collect()
}

/// Whatever is told can be: of what can't, all that is beside it would be refused with it.
pub(in crate::cascade) fn check_compiles(update: &ConfigUpdate) {
    for (name, listener) in &update.listeners {
        let compiled = CompiledListener::compile(listener, None);
        assert!(compiled.is_ok(), "{name}: {compiled:?}");
    }
}

fn server(name: &str, words: &[&str]) -> XdsServer {
    let mut listener = Listener::new(name);
    let mut routes = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let (word, secret) = word.split_once(",id=").unwrap_or((word, ""));
        let (word, asked) = word.split_once(",ask=").unwrap_or((word, ""));
        let filters = if asked.is_empty() { Vec::new() } else { vec![authorizer(asked)] };
        let manager = HttpConnectionManager::new(Arc::default(), filters);
        let mut chain = FilterChain::new(format!("c{at}"), Some(Arc::new(manager)));
        chain.matcher.destination_port = u16::try_from(at).ok();
        if !secret.is_empty() {
            let mut tls = DownstreamTls::mutual();
            tls.identity = TlsIdentity::Secret(secret.into());
            chain.tls = Some(Arc::new(tls));
        }
        listener.filter_chains.push(Arc::new(chain));
        routes.push(word.strip_prefix("rds=").map(Arc::from));
    }
    XdsServer::new(Arc::new(listener), routes)
}

fn authorizer(cluster: &str) -> HttpFilter {
    let service = GrpcService::new(cluster, Duration::from_secs(1));
    let authz = ExtAuthz::new(AuthzService::Grpc(service));
    HttpFilter::new("authz", HttpFilterConfig::ExtAuthz(Arc::new(authz)))
}

/// Runs steps `EVENT -> WATCHES | SERVED`: watches as `+KIND name`, and what a configuration that is told has:
/// `name=c0:hosts,c1:hosts`, the number of virtual hosts of each chain, or `name!why`, then the clusters as
/// `[name name]` and `{secret=…}`. `.` where nothing is told.
#[track_caller]
fn check(script: &str) {
    let mut cascade = Cascade::new("test");
    cascade.poll_watches();
    cascade.poll_change();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (event, expected) = line.split_once(" ->").unwrap_or_else(|| panic!("{line}"));
        step(&mut cascade, event.trim());
        let watches = cascade.poll_watches();
        let told = match cascade.poll_change() {
            Some(Change::Whole(update)) => {
                check_compiles(&update);
                let kept = cascade.kept_listeners();
                let kept = kept.iter().map(|(name, why)| format!(" {name} stays: {why}"));
                format!("{}{}", whole(&update), kept.collect::<String>())
            }
            Some(Change::Endpoints(update)) => {
                let secrets = update.secrets.iter().map(|(name, answer)| secret(name, answer));
                let clusters = update.clusters.keys().map(|name| format!("[{name}]"));
                let secrets = secrets.collect::<Vec<_>>().join(" ");
                let secrets = Some(format!("{{{secrets}}}")).filter(|text| text != "{}");
                let told: Vec<_> = clusters.chain(secrets).collect();
                format!("alone {}", told.join(" "))
            }
            None => ".".to_owned(),
        };
        let found = format!("{} | {told}", watched(&watches));
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&found), words(expected), "{event}");
    }
}

fn watched(watches: &Watches) -> String {
    let all = |sign: char, keys: &[crate::cascade::Key]| -> Vec<String> {
        keys.iter().map(|(kind, name)| format!("{sign}{kind} {name}")).collect()
    };
    let words = [all('+', &watches.added), all('-', &watches.removed)].concat();
    words.join(" ")
}

fn whole(update: &ConfigUpdate) -> String {
    let served = update.listeners.iter().map(|(name, listener)| {
        let chains = listener.chains().map(|chain| {
            let routes = &chain.http.as_ref().unwrap().route_configuration;
            format!("{}:{}", chain.name, routes.virtual_hosts.len())
        });
        format!("{name}={}", chains.collect::<Vec<_>>().join(","))
    });
    let absent = update.absent_listeners.iter().map(|(name, why)| format!("{name}!{why}"));
    let mut words: Vec<_> = served.chain(absent).collect();
    if !update.clusters.is_empty() {
        let clusters = update.clusters.keys().map(ToString::to_string);
        words.push(format!("[{}]", clusters.collect::<Vec<_>>().join(" ")));
    }
    if !update.secrets.is_empty() {
        let secrets = update.secrets.iter().map(|(name, answer)| secret(name, answer));
        words.push(format!("{{{}}}", secrets.collect::<Vec<_>>().join(" ")));
    }
    words.join(" ")
}

fn secret(name: &str, answer: &SecretAnswer) -> String {
    match answer {
        SecretAnswer::Known(_) => name.to_owned(),
        SecretAnswer::Missing(why) => format!("{name}!{why}"),
    }
}

#[test]
fn a_listener_waits_for_its_routes() {
    check(
        "serve in                -> +LDS in            | .
         server in rds=r inline  -> +RDS r             | .
         RDS r a:x               ->                    | in=c0:1,c1:0
         RDS r a:x b:x           ->                    | in=c0:2,c1:0
         unserve in              -> -LDS in -RDS r     |",
    );
}

/// gRFC A36: what serves stays until its successor is complete; routes that do not exist are none.
#[test]
fn make_before_break() {
    check(
        "serve in                -> +LDS in            | .
         server in rds=r         -> +RDS r             | .
         RDS r a:x               ->                    | in=c0:1
         server in rds=s rds=r   -> +RDS s             | .
         RDS r a:x b:x           ->                    | .
         RDS s a:x               -> | in=c0:1,c1:2
         server in rds=t         -> +RDS t | .
         fail RDS t gone         -> -RDS r -RDS s | in=c0:0
         RDS t a:x               -> | in=c0:1",
    );
}

/// gRFC A36: deleted is not serving, and so is what can't serve; an unreachable control plane changes nothing.
#[test]
fn gone_is_not_serving() {
    check(
        "serve in                -> +LDS in            | .
         fail LDS in gone        ->                    | in!listener in: no such
         server in inline        ->                    | in=c0:0
         fail LDS in             ->                    | .
         fail LDS in gone        ->                    | in!listener in: no such
         server in bad           ->                    | in!listener in: filter_chains: is wrong
         server in client        ->                    | in!listener in is for clients: a server's is a socket listener, inbound
         nameless 1.2.3.4:5      ->                    | 1.2.3.4:5!no template in!listener in is for clients: a server's is a socket listener, inbound
         unserve in              -> -LDS in            | 1.2.3.4:5!no template",
    );
}

#[test]
fn a_listener_waits_for_its_secrets_and_they_rotate_alone() {
    check(
        "serve in                -> +LDS in            | .
         server in inline,id=s   -> +SDS s             | .
         SDS s one               ->                    | in=c0:0 {s}
         SDS s two               ->                    | alone {s}
         server in inline,id=t   -> +SDS t             | .
         fail SDS t gone         -> -SDS s             | in=c0:0 {t!no such}
         unserve in              -> -LDS in -SDS t     |",
    );
}

/// Whoever a filter asks is there when the listener is, and is the listener's as long as it serves.
#[test]
fn a_listener_waits_for_whom_its_filters_ask() {
    check(
        "serve in                  -> +LDS in                     | .
         server in inline,ask=a    -> +CDS a                      | .
         CDS a eds id=s            -> +EDS a +SDS s               | .
         EDS a 1                   ->                             | .
         SDS s one                 ->                             | in=c0:0 [a] {s}
         EDS a 1 2                 ->                             | alone [a]
         server in inline,ask=b    -> +CDS b                      | .
         CDS b dns                 -> -CDS a -EDS a -SDS s        | in=c0:0 [b]
         fail CDS b gone           ->                             | in=c0:0
         server in inline,ask=g    -> +CDS g                      | .
         CDS g of=x,y              -> +CDS x +CDS y               | .
         CDS x static=1            ->                             | .
         fail CDS y gone           -> -CDS b                      | in=c0:0 [g x]
         CDS y static=2            ->                             | in=c0:0 [g x y]
         unserve in                -> -LDS in -CDS g -CDS x -CDS y |",
    );
}

/// An authority and a server may need the same cluster, each for itself.
#[test]
fn a_cluster_stays_as_long_as_one_of_both_needs_it() {
    check(
        "ask a                     -> +LDS a                      | .
         LDS a inline=a:c          -> +CDS c                      | .
         CDS c static=1            ->                             | [c]
         serve in                  -> +LDS in                     | .
         server in inline,ask=c    ->                             | in=c0:0 [c]
         drop a                    -> -LDS a                      | in=c0:0 [c]
         unserve in                -> -LDS in -CDS c              |",
    );
}

/// What routes say of a filter may send it somewhere else.
#[test]
fn whom_routes_let_a_filter_ask_is_watched() {
    let mut said = ExtAuthzPerRoute::default();
    said.service = Some(AuthzService::Grpc(GrpcService::new("other", Duration::from_secs(1))));
    let mut host = VirtualHost::of("*").unwrap();
    let said = HttpFilterOverride::ExtAuthz(Arc::new(said));
    host.filters.insert("authz".into(), said);
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts = vec![Arc::new(host)];
    let manager = HttpConnectionManager::new(Arc::new(routes), vec![authorizer("one")]);
    let mut listener = Listener::new("in");
    let chain = FilterChain::new("c", Some(Arc::new(manager)));
    listener.default_filter_chain = Some(Arc::new(chain));
    let mut found = XdsListener::new("in");
    found.server = Some(Ok(Arc::new(XdsServer::new(Arc::new(listener), vec![None]))));

    let mut cascade = Cascade::new("test");
    step(&mut cascade, "serve in");
    let version: Arc<str> = "1".into();
    let (name, resource) = ("in".into(), Resource::Listener(Arc::new(found)));
    cascade.handle_changed(crate::ResourceType::Listener, &name, resource, (version, 1));
    assert_eq!(watched(&cascade.poll_watches()), "+LDS in +CDS one +CDS other");
}

/// Other routes of one chain leave the others as they are, by pointer: their connections stay.
#[test]
fn what_did_not_change_is_the_same_pointer() {
    let mut cascade = Cascade::new("test");
    let events = ["serve in", "server in rds=r rds=s", "RDS r a:x", "RDS s a:x", "RDS s a:x b:x"];
    let mut seen = Vec::new();
    for event in events {
        step(&mut cascade, event);
        cascade.poll_watches();
        cascade.poll_change();
        seen.extend(cascade.configuration().listeners.get("in").cloned());
    }
    let [before, after] = &seen[..] else { panic!("{seen:#?}") };
    assert!(Arc::ptr_eq(&before.filter_chains[0], &after.filter_chains[0]));
    assert!(!Arc::ptr_eq(&before.filter_chains[1], &after.filter_chains[1]));
}

/// An authority and a server may need the same listener, each for itself.
#[test]
fn servers_and_authorities_share_what_they_need() {
    check(
        "ask in                  -> +LDS in            | .
         serve in                ->                    | .
         server in inline        ->                    | in=c0:0
         drop in                 ->                    | in=c0:0
         unserve in              -> -LDS in            |",
    );
}

/// gRFC A39: what routes say of a filter that the chain has not is no error: they may be for other chains, too.
#[test]
fn what_routes_say_of_filters_that_are_not_there_does_not_count() {
    check(
        "serve in                    -> +LDS in | .
         server in rds=r             -> +RDS r  | .
         RDS r off=x edits=y a:x     ->         | in=c0:1",
    );
}

/// gRFC A88: a listener that no server can serve by is as good as refused; the one before it stays, and follows its
/// routes. Once it was gone, there is none.
#[test]
fn the_last_good_one_serves() {
    let why = "listener in: filter_chains: is wrong";
    check(&format!(
        "serve in                -> +LDS in | .
         server in bad           ->         | in!{why}
         server in rds=r         -> +RDS r  | .
         server in bad           ->         | .
         RDS r a:x               ->         | in=c0:1 in stays: {why}
         RDS r a:x b:x           ->         | in=c0:2 in stays: {why}
         server in inline inline -> -RDS r  | in=c0:0,c1:0
         server in bad           ->         | in=c0:0,c1:0 in stays: {why}
         fail LDS in gone        ->         | in!listener in: no such
         server in bad           ->         | in!{why}",
    ));
}

/// What routes say of a filter of another kind is known where both are there: it is the trouble of that listener, and of
/// nothing that comes later. gRFC A88: what was good stays.
#[test]
fn a_listener_that_can_not_be_with_its_routes_holds_up_nothing() {
    let why = "filter chain `c0`: filter `authz`: in its chain it is another kind of filter: say of it what that kind \
               may be told, or leave it out";
    check(&format!(
        "ask b                       -> +LDS b                   | .
         LDS b inline=b:c            -> +CDS c                   | .
         CDS c eds                   -> +EDS c                   | .
         EDS c 1                     ->                          | [c]
         serve in                    -> +LDS in                  | .
         CDS a static=1              ->                          | .
         server in rds=r,ask=a       -> +RDS r +CDS a            | .
         RDS r edits=authz a:x       ->                          | in!listener in: {why} [c]
         RDS r a:x                   ->                          | in=c0:1 [a c]
         RDS r edits=authz a:x b:x   ->                          | in=c0:1 [a c] in stays: listener in: {why}
         EDS c 1 2                   ->                          | alone [c]
         server in rds=s             -> +RDS s                   | .
         RDS s a:x                   -> -RDS r -CDS a            | in=c0:1 [c]",
    ));
}
