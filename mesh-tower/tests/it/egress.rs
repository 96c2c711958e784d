//! Egress control: calls to hosts that no virtual host serves are let out, told, or refused.

use crate::fixture::{Server, bounded, call, metric};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request};
use mesh_core::ConfigUpdate;
use mesh_core::egress::EgressRefusal;
use mesh_core::local_reply::Reason;
use mesh_core::model::{Cidr, Egress, EgressHost, EgressRule};
use mesh_core::update::UnknownHosts;
use mesh_tower::dns::{Answer, Resolve, ResolveError};
use mesh_tower::observe::allow_list;
use mesh_tower::{Mesh, MeshBody};
use std::sync::Arc;

async fn server() -> Server {
    Server::text("here").await
}

fn rule(host: EgressHost, port: Option<u16>) -> EgressRule {
    EgressRule { host, port }
}

fn block(text: &str, prefix: u32) -> EgressHost {
    EgressHost::Addresses(Cidr::new(text.parse().unwrap(), prefix).unwrap())
}

fn name(text: &str) -> EgressHost {
    EgressHost::Exact(text.into())
}

/// A mesh without any virtual host.
fn mesh(unknown_hosts: UnknownHosts, allow: Vec<EgressRule>) -> Mesh {
    let mut update = ConfigUpdate::in_code();
    update.unknown_hosts = unknown_hosts;
    let mut egress = Egress::default();
    egress.allow = allow;
    update.egress = Arc::new(egress);
    Mesh::builder().config(update).resolver(Everywhere).build().unwrap()
}

/// Whoever answers for names leads all of them here.
#[derive(Debug)]
struct Everywhere;

impl Resolve for Everywhere {
    fn resolve(&self, _: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
        Box::pin(async { Ok(Answer::new(vec![[127, 0, 0, 1].into()], None)) })
    }
}

/// `here`, or why not.
async fn ask(mesh: &Mesh, to: &str, host: Option<&str>) -> String {
    let mut request = Request::get(to).body(MeshBody::empty()).unwrap();
    if let Some(host) = host {
        request.headers_mut().insert("host", HeaderValue::from_str(host).unwrap());
    }
    match bounded(call(mesh, request)).await {
        Ok(response) if response.status() == 200 => "here".to_owned(),
        Ok(response) => response.status().to_string(),
        Err(error) => match error.reason() {
            Reason::EgressRefused(why) => why.code().to_owned(),
            other => format!("{}: {}", other.code(), sources(&error)),
        },
    }
}

fn sources(error: &dyn std::error::Error) -> String {
    let next = std::iter::successors(error.source(), |error| error.source());
    next.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn who_is_not_listed_does_not_leave() {
    let server = server().await;
    let port = server.address.port();
    let allow = vec![
        rule(name("listed.example"), Some(port)),
        rule(EgressHost::Suffix(".inside.example".into()), None),
        rule(block("10.9.0.0", 16), None),
    ];
    let mesh = mesh(UnknownHosts::Refuse, allow.clone());
    let at = |host: &str| format!("http://{host}:{port}/");
    // Not listed, another port, an address in place of a name, also where a redirect would lead.
    assert_eq!(ask(&mesh, &at("other.example"), None).await, "not_listed");
    assert_eq!(ask(&mesh, "http://listed.example:1/", None).await, "not_listed");
    assert_eq!(ask(&mesh, &at("127.0.0.1"), None).await, "address_not_listed");
    assert_eq!(ask(&mesh, &at("2130706433"), None).await, "address_not_listed");
    assert_eq!(
        ask(&mesh, "http://169.254.169.254/latest/meta-data", None).await,
        "address_not_listed"
    );
    assert_eq!(
        ask(&mesh, &at("listed.example"), Some("other.example")).await,
        "authority_mismatch"
    );
    // What some read as an address, and others as a name that is listed.
    assert_eq!(ask(&mesh, &at("[127.0.0.1].inside.example"), None).await, "not_listed");
    // DNS rebinding: the name is listed, and leads inward.
    let rebound = ask(&mesh, &at("listed.example"), None).await;
    assert!(rebound.contains("leads to a private address"), "{rebound}");
    let rebound = ask(&mesh, &at("db.inside.example"), None).await;
    assert!(rebound.contains("leads to a private address"), "{rebound}");
    let refused = |rule: &str| {
        metric(&mesh, "mesh_egress_calls_total", &[("outcome", "refused"), ("rule", rule)])
    };
    let counts = EgressRefusal::ALL.map(|why| refused(why.code()));
    // Where a name leads is no second verdict on a call.
    assert_eq!(counts, [3, 3, 0, 1]);
    assert_eq!(metric(&mesh, "mesh_egress_calls_total", &[("outcome", "allowed")]), 2);
    let inward = [("outcome", "refused"), ("rule", "private_address")];
    assert_eq!(metric(&mesh, "mesh_egress_connections_total", &inward), 2);
    let rebound: Vec<_> = mesh.egress_destinations();
    let rebound = rebound.iter().filter(|one| one.refusal == Some(EgressRefusal::PrivateAddress));
    // By name: one of the two was also called with another `Host`.
    assert_eq!(rebound.map(|one| one.calls).collect::<Vec<_>>(), [1, 2]);

    // A block that holds it makes it meant.
    let allow = [allow, vec![rule(block("127.0.0.0", 8), Some(port))]].concat();
    let mesh = self::mesh(UnknownHosts::Refuse, allow);
    assert_eq!(ask(&mesh, &at("listed.example"), None).await, "here");
    assert_eq!(ask(&mesh, &at("127.0.0.1"), None).await, "here");
    assert_eq!(ask(&mesh, &at("other.example"), None).await, "not_listed");
}

/// Who makes the first list begins with none.
#[tokio::test]
async fn what_is_refused_is_learnt_though_nothing_is_listed() {
    let mut update = ConfigUpdate::in_code();
    let mut egress = Egress::default();
    egress.learn = Some(std::path::Path::new("/nowhere/learnt.yaml").into());
    (update.unknown_hosts, update.egress) = (UnknownHosts::Refuse, Arc::new(egress));
    let mesh = Mesh::builder().config(update).resolver(Everywhere).build().unwrap();
    assert_eq!(ask(&mesh, "https://a.example/", None).await, "not_listed");
    assert_eq!(ask(&mesh, "http://a.example/", None).await, "not_listed");
    let list = allow_list(&mesh.egress_destinations());
    for listed in ["- \"a.example:443\"  #", "- \"a.example:80\"  #"] {
        assert!(list.contains(listed), "{list}");
    }
}

#[tokio::test]
async fn what_would_be_refused_is_told_and_learnt() {
    let server = server().await;
    let port = server.address.port();
    let mesh = mesh(UnknownHosts::Log, Vec::new());
    for _ in 0..3 {
        assert_eq!(ask(&mesh, &format!("http://a.example:{port}/"), None).await, "here");
    }
    assert_eq!(ask(&mesh, &format!("http://127.0.0.1:{port}/"), None).await, "here");
    let list = allow_list(&mesh.egress_destinations());
    assert!(list.contains(&format!("- \"a.example:{port}\"  #")), "{list}");
    assert!(list.contains(&format!("# - \"127.0.0.1:{port}\"  #")), "{list}");
    let logged = [("outcome", "logged"), ("rule", "not_listed")];
    assert!(metric(&mesh, "mesh_egress_calls_total", &logged) >= 3);
}

#[tokio::test]
async fn the_list_that_would_be_needed_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("learnt.yaml");
    let server = server().await;
    let port = server.address.port();
    let file = directory.path().join("mesh.yaml");
    let yaml = format!("version: 1\nunknown_hosts: log\negress: {{ learn: {} }}\n", path.display());
    std::fs::write(&file, yaml).unwrap();
    let mesh = Mesh::builder().file(&file).resolver(Everywhere).build().unwrap();
    assert_eq!(ask(&mesh, &format!("http://a.example:{port}/"), None).await, "here");
    let written = bounded(async {
        loop {
            match std::fs::read_to_string(&path) {
                Ok(text) => return text,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    });
    let written = written.await;
    assert!(written.starts_with("egress:\n  allow:\n"), "{written}");
    assert!(written.contains(&format!("a.example:{port}")), "{written}");
}
