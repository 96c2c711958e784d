//! Secrets over a socket: our client learns them from our control plane, in both variants.

use mesh_core::ConfigUpdate;
use mesh_core::model::secret::{
    SecretCertificate, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use mesh_core::model::tls::{
    ResolvedIdentity, TlsIdentity, TlsRoots, UpstreamTls, ValidationSecret,
};
use mesh_core::model::{Cluster, ForwardAction, Route, Secret, TlsPolicy, VirtualHost};
use mesh_core::update::SecretAnswer;
use mesh_xds::bootstrap::{Bootstrap, ChannelCreds, Server};
use mesh_xds::client::{Client, ClientEvent};
use mesh_xds::last_good::{Origin, write};
use mesh_xds::protocol::Variant;
use mesh_xds::server::{AdsServer, Snapshot};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const KEY: &str = "TOPSECRET";
const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

fn identity(serial: &str) -> Secret {
    let chain = format!("{serial}\n{CHAIN}");
    let key = format!("-----BEGIN PRIVATE KEY-----\nMAoA{KEY}AAA\n-----END PRIVATE KEY-----\n");
    let certificate = SecretCertificate::new(inline(&chain), inline(&key));
    Secret::new("id", SecretContent::Certificate(certificate))
}

/// One authority, whose cluster shows the secret `id` and wants what the secret `roots` says; `others` are
/// clusters that nobody calls.
fn configuration(serial: &str) -> ConfigUpdate {
    let mut tls = UpstreamTls::default();
    tls.identity = TlsIdentity::Secret("id".into());
    tls.roots = TlsRoots::Secret(ValidationSecret::new("roots"));
    let mut cluster = Cluster::new("a");
    cluster.tls = TlsPolicy::On(Arc::new(tls));
    let host = VirtualHost::of("shop").unwrap().route(Route::forward(ForwardAction::to("a")));
    let mut update = ConfigUpdate::in_code()
        .virtual_host(host)
        .cluster(cluster, [SocketAddr::from(([10, 0, 0, 1], 80))]);
    let roots = SecretRoots::Pem(inline(&format!("roots\n{CHAIN}")));
    let roots = Secret::new("roots", SecretContent::Validation(SecretValidation::new(roots)));
    let secrets = [identity(serial), roots];
    let secrets = secrets.map(|one| (Arc::clone(&one.name), SecretAnswer::Known(Arc::new(one))));
    update.secrets = Arc::new(secrets.into());
    update
}

async fn serve() -> (AdsServer, Bootstrap) {
    let server = AdsServer::new(Snapshot::of(&configuration("1"), []));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = listener.local_addr().unwrap().to_string();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    (server, Bootstrap::new(Server::new(&uri, ChannelCreds::Insecure).unwrap()))
}

/// The next thing that is told of the configuration.
async fn told(client: &mut Client) -> ClientEvent {
    let told = timeout(PATIENCE, async {
        loop {
            let event = client.next().await;
            if matches!(event, ClientEvent::Update(_) | ClientEvent::Endpoints(_)) {
                return event;
            }
        }
    });
    told.await.expect("something is told in time")
}

async fn served(client: &mut Client) -> ConfigUpdate {
    loop {
        if let ClientEvent::Update(update) = told(client).await
            && update.clusters.contains_key("a")
        {
            return update;
        }
    }
}

fn tls(update: &ConfigUpdate) -> &UpstreamTls {
    match &update.clusters["a"].cluster.tls {
        TlsPolicy::On(tls) => tls,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn secrets_come_with_their_clusters_and_rotate_alone() {
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        let (server, bootstrap) = serve().await;
        let mut client = Client::new(&bootstrap, variant);
        client.want(&"shop".into(), 80);
        let update = served(&mut client).await;
        assert_eq!(update.secrets, configuration("1").secrets, "whole, with the cluster");
        let resolved = tls(&update).resolve(&update.secrets).unwrap();
        assert!(matches!(resolved.identity, ResolvedIdentity::Certificate(_)));

        server.publish(Snapshot::of(&configuration("2"), []));
        let ClientEvent::Endpoints(rotated) = told(&mut client).await else {
            panic!("{variant:?}: more than a secret was told")
        };
        assert!(rotated.clusters.is_empty());
        assert_eq!(rotated.secrets["id"], configuration("2").secrets["id"]);
        assert_eq!(rotated.secrets.len(), 1);
    }
}

#[tokio::test]
async fn after_a_start_from_a_copy_the_identity_is_missing_until_it_is_sent() {
    let (_server, bootstrap) = serve().await;
    let mut client = Client::new(&bootstrap, Variant::StateOfTheWorld);
    client.want(&"shop".into(), 80);
    served(&mut client).await;
    let now = mesh_core::WallTime::from_unix_seconds(1_800_000_000);
    let (copy, left_out) = client.in_use().into_last_good(Origin::of(&bootstrap), now);
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    let bytes = write(&copy, 1 << 20).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!has(KEY) && !has("PRIVATE KEY"), "no key is written");
    assert!(has("roots\n"), "roots are");

    // Nobody is there.
    let alone = Bootstrap::new(Server::new("127.0.0.1:9", ChannelCreds::Insecure).unwrap());
    let mut client = Client::new(&alone, Variant::StateOfTheWorld);
    client.restore(&copy);
    let update = served(&mut client).await;
    let error = tls(&update).resolve(&update.secrets).unwrap_err().to_string();
    assert!(error.contains("`id`") && error.contains("private keys"), "{error}");
    assert!(matches!(update.secrets["roots"], SecretAnswer::Known(_)));

    // The control plane is there again.
    let mut client = Client::new(&bootstrap, Variant::StateOfTheWorld);
    client.restore(&copy);
    let mut update = served(&mut client).await;
    while tls(&update).resolve(&update.secrets).is_err() {
        match told(&mut client).await {
            ClientEvent::Update(next) => update = next,
            ClientEvent::Endpoints(next) => update.merge(next),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(update.secrets, configuration("1").secrets);
}
