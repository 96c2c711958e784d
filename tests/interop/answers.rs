//! The same `mesh.yaml` gives the same answers through Envoy, which `mesh ads` configures, and through a
//! mesh of ours: request by request, for everything that a route can look at and do.
//!
//! Every question goes both ways. What is drawn (splits, fractions) is asked often, and the shares are
//! compared. Which headers either adds of its own is left out: `docs/headers.md`.

mod echo;
mod requests;
mod sides;
mod values;

use crate::process::{Peer, Scratch, free_ports, installed};
use echo::Echo;
use futures_util::stream::{self, StreamExt};
use mesh_core::ConfigUpdate;
use mesh_core::config::{Bounds, Document, load};
use mesh_tower::Mesh;
use mesh_tower::source::{Bootstrap, Variant, XdsSource};
use requests::{Question, questions};
use serde_json::json;
use sides::{Outcome, through_envoy, through_mesh};
use std::collections::BTreeMap;
use std::process::Command;

/// How many questions are asked at a time.
const ASKERS: usize = 16;
/// How often what is drawn is asked: the first question to each route, and those near it.
const DRAWS: [u32; 2] = [300, 60];

/// Everything that answers: echoes, `mesh ads`, Envoy, and two meshes.
struct Sides {
    update: ConfigUpdate,
    /// Of the file.
    mesh: Mesh,
    /// Of what `mesh ads` serves.
    of_ads: Mesh,
    envoy: u16,
    _processes: [Peer; 2],
    _echoes: Vec<Echo>,
    _scratch: Scratch,
}

fn read(text: &str) -> ConfigUpdate {
    let loaded = load(&[Document { name: "mesh.yaml", text }], &(), &Bounds::default());
    loaded.update.unwrap_or_else(|| panic!("{text}\n{:?}", loaded.diagnostics))
}

/// The text of a file whose clusters are echoes, in the clear: what is compared is where requests go. Without
/// its egress list, which decides in the caller's process alone: Envoy is not told of it.
async fn with_echoes(text: &str) -> (String, Vec<Echo>) {
    let (routes, clusters) = text.split_once("\nclusters:\n").unwrap();
    let routes = routes.replace("unknown_hosts: passthrough", "unknown_hosts: refuse");
    let routes: Vec<_> = routes.lines().filter(|line| !line.starts_with("egress:")).collect();
    let mut text = format!("{}\nclusters:\n", routes.join("\n"));
    let mut echoes = Vec::new();
    let names = clusters.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(':'));
    for (name, _) in names.filter(|(name, _)| !name.starts_with([' ', '#'])) {
        let echo = Echo::start(name).await;
        text.push_str(&format!("  {name}: {{ endpoints: [\"127.0.0.1:{}\"] }}\n", echo.port));
        echoes.push(echo);
    }
    (text, echoes)
}

impl Sides {
    async fn of(name: &str, text: &str) -> Self {
        let (text, echoes) = with_echoes(text).await;
        let update = read(&text);
        let scratch = Scratch::new(name);
        let file = scratch.path().join("mesh.yaml");
        std::fs::write(&file, &text).unwrap();
        let [port, ads_admin, admin, outbound] = free_ports();
        let mut ads = Command::new(env!("CARGO_BIN_EXE_mesh"));
        ads.env("RUST_LOG", "warn").args(["ads", "--listen", &format!("127.0.0.1:{port}")]);
        ads.args(["--admin", &format!("127.0.0.1:{ads_admin}")]);
        ads.args(["--envoy-listener", &format!("outbound=127.0.0.1:{outbound}")]).arg(file);
        let ads = Peer::on_ports(&mut ads, vec![port, ads_admin]);
        let words = [
            ("ADMIN", &*admin.to_string()),
            ("CONTROL", &*port.to_string()),
            ("NODE", "answers"),
            ("VARIANT", "DELTA_GRPC"),
        ];
        let mut envoy = Command::new(installed("venv/bin/envoy"));
        envoy.arg("-c").arg(scratch.fill("envoy/ads.yaml", &words));
        envoy.args(["--log-level", "error", "--use-dynamic-base-id", "--concurrency", "1"]);
        // The listener opens once its routes and their clusters are there.
        let envoy = Peer::on_ports(&mut envoy, vec![admin, outbound]);
        Self {
            mesh: Mesh::builder().config(update.clone()).build().unwrap(),
            of_ads: Mesh::builder().source(client_of(port)).build().unwrap(),
            update,
            envoy: outbound,
            _processes: [ads, envoy],
            _echoes: echoes,
            _scratch: scratch,
        }
    }

    /// Asks everything, and says every difference.
    async fn compare(&self) {
        let all = questions(&self.update);
        let told = async |question: &Question| match question.is_drawn {
            true => self.shares(question, DRAWS[0]).await,
            false => self.once(question).await,
        };
        // Several at a time: an authority that nobody serves is waited for.
        let told = stream::iter(&all).map(told).buffer_unordered(ASKERS);
        let differences: Vec<_> = told.filter_map(std::future::ready).collect().await;
        assert!(
            differences.is_empty(),
            "{} of {} differ:\n{}",
            differences.len(),
            all.len(),
            differences.join("\n")
        );
        self.every_route_was_asked_for();
    }

    /// What differs in one answer, unless it is one that was drawn.
    async fn once(&self, question: &Question) -> Option<String> {
        let envoy = through_envoy(self.envoy, question).await;
        let file = through_mesh(&self.mesh, question).await;
        let ads = through_mesh(self.of_ads(question), question).await;
        match file == envoy && ads == envoy {
            true => None,
            false => self.shares(question, DRAWS[1]).await,
        }
    }

    /// The mesh of `mesh ads`. It asks for clusters by the names in routes, and no route has the name that a
    /// `cluster_header` has: there, the other one stands in.
    fn of_ads(&self, question: &Question) -> &Mesh {
        if question.names_its_cluster { &self.mesh } else { &self.of_ads }
    }

    /// What differs in the shares of each answer.
    async fn shares(&self, question: &Question, draws: u32) -> Option<String> {
        let (mut envoy, mut file, mut ads) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let count =
            |counts: &mut BTreeMap<Outcome, u32>, outcome| *counts.entry(outcome).or_default() += 1;
        for _ in 0..draws {
            count(&mut envoy, through_envoy(self.envoy, question).await);
            count(&mut file, through_mesh(&self.mesh, question).await);
            count(&mut ads, through_mesh(self.of_ads(question), question).await);
        }
        match are_alike(draws, &envoy, &file) && are_alike(draws, &envoy, &ads) {
            true => None,
            false => Some(format!(
                "{question:?}\n  Envoy    {envoy:?}\n  the file {file:?}\n  mesh ads {ads:?}"
            )),
        }
    }

    /// No route is in the file that no question was for.
    fn every_route_was_asked_for(&self) {
        let metrics = self.mesh.metrics().prometheus_text();
        for host in &self.update.route_configuration.virtual_hosts {
            for route in &host.routes {
                let labels = format!("virtual_host=\"{}\",route=\"{}\"", host.name, route.name);
                assert!(metrics.contains(&labels), "no question was for {labels}:\n{metrics}");
            }
        }
    }
}

/// A client of `mesh ads`. Delta: what does not exist is told, and not found out by waiting.
fn client_of(port: u16) -> XdsSource {
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": format!("127.0.0.1:{port}"),
            "channel_creds": [{ "type": "insecure" }],
        }],
        "node": { "id": "ours" },
    });
    XdsSource::new(Bootstrap::parse(&bootstrap.to_string()).unwrap()).variant(Variant::Delta)
}

/// Whether two samples of so many draws are of one distribution: each share is as far from the other as
/// five standard deviations of their difference allow.
fn are_alike(draws: u32, one: &BTreeMap<Outcome, u32>, other: &BTreeMap<Outcome, u32>) -> bool {
    one.keys().chain(other.keys()).all(|outcome| {
        let [one, other] =
            [one, other].map(|counts| counts.get(outcome).copied().unwrap_or_default());
        let share = f64::from(one + other) / f64::from(2 * draws);
        let deviation = (f64::from(2 * draws) * share * (1.0 - share)).sqrt();
        f64::from(one.abs_diff(other)) <= 5.0 * deviation
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: tests/interop/install"]
async fn quickstart_answers_as_through_envoy() {
    Sides::of("answers-quickstart", include_str!("../../examples/quickstart.yaml"))
        .await
        .compare()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: tests/interop/install"]
async fn the_example_of_the_documentation_answers_as_through_envoy() {
    Sides::of("answers-reviews", include_str!("../good/reviews.yaml")).await.compare().await;
    Sides::of("answers-variables", include_str!("../good/variables.yaml")).await.compare().await;
    Sides::of("answers-cli", include_str!("../cli/mesh.yaml")).await.compare().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: tests/interop/install"]
async fn every_key_answers_as_through_envoy() {
    let everything = include_str!("../../mesh-core/src/config/tests/everything.yaml");
    // Of twelve conditions one is a fraction: drawn, every near miss would have to be asked often.
    let everything = everything.replace("fraction: 12.5%", "fraction: 100%");
    Sides::of("answers-everything", &everything).await.compare().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: tests/interop/install"]
async fn every_condition_and_edit_alone_answers_as_through_envoy() {
    Sides::of("answers-alone", include_str!("peers/envoy/alone.yaml")).await.compare().await;
}
