//! Metrics and spans sent to a collector, which is a server of the protocol that OpenTelemetry publishes.

use crate::fixture::{at, bounded, eventually, get, idle, outcome, reply, simple};
use mesh_core::otlp::{OtlpEndpoint, OtlpSettings};
use mesh_tower::Mesh;
use mesh_tower::observe::{Otlp, OtlpCounts, OtlpExport};
use mesh_tower::testing::{MemoryNetwork, MemoryServer};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, number_data_point::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What a collector does with one request.
#[derive(Clone, Debug)]
enum Act {
    Fail(Status),
    Hang,
    Reject(i64),
}

/// A collector that keeps what it took.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// What it does first; then it takes all.
    acts: VecDeque<Act>,
    taken: Vec<ExportMetricsServiceRequest>,
    spans: Vec<Span>,
    headers: Vec<String>,
    asked: usize,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let act = {
            let mut kept = self.0.lock();
            kept.asked += 1;
            kept.acts.pop_front()
        };
        let mut response = ExportMetricsServiceResponse::default();
        match act {
            Some(Act::Fail(status)) => return Err(status),
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Reject(rejected_data_points)) => {
                let error_message = "too old".to_owned();
                response.partial_success =
                    Some(ExportMetricsPartialSuccess { rejected_data_points, error_message });
            }
            None => {}
        }
        let mut kept = self.0.lock();
        if let Some(key) = request.metadata().get("x-key") {
            kept.headers.push(key.to_str().unwrap().to_owned());
        }
        kept.taken.push(request.into_inner());
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().spans.extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start(acts: impl IntoIterator<Item = Act>) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Self::serve(listener, acts), address)
    }

    fn serve(listener: TcpListener, acts: impl IntoIterator<Item = Act>) -> Self {
        let collector = Self::default();
        collector.0.lock().acts.extend(acts);
        let server = MetricsServiceServer::new(collector.clone());
        let serve = tonic::transport::Server::builder()
            .add_service(server)
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serve);
        collector
    }

    /// How many points it took.
    fn points(&self) -> u64 {
        self.metrics(|_, data| match data {
            Data::Gauge(gauge) => gauge.data_points.len(),
            Data::Sum(sum) => sum.data_points.len(),
            Data::Histogram(histogram) => histogram.data_points.len(),
            other => panic!("{other:?}"),
        })
        .into_iter()
        .sum::<usize>() as u64
    }

    /// The values of a counter without its labels, oldest first.
    fn counter(&self, wanted: &str) -> Vec<i64> {
        let values = self.metrics(|name, data| match data {
            Data::Sum(sum) if name == wanted => {
                let value = |value: &Option<Value>| match value {
                    Some(Value::AsInt(value)) => *value,
                    other => panic!("{other:?}"),
                };
                Some(sum.data_points.iter().map(|point| value(&point.value)).sum())
            }
            _ => None,
        });
        values.into_iter().flatten().collect()
    }

    fn histogram(&self, wanted: &str) -> HistogramDataPoint {
        let found = self.metrics(|name, data| match data {
            Data::Histogram(histogram) if name == wanted => Some(histogram.data_points[0].clone()),
            _ => None,
        });
        found.into_iter().flatten().next_back().unwrap()
    }

    fn metrics<T>(&self, read: impl Fn(&str, &Data) -> T) -> Vec<T> {
        let kept = self.0.lock();
        let resources = kept.taken.iter().flat_map(|request| &request.resource_metrics);
        let metrics =
            resources.flat_map(|resource| &resource.scope_metrics).flat_map(|s| &s.metrics);
        metrics.map(|metric| read(&metric.name, metric.data.as_ref().unwrap())).collect()
    }

    fn attribute(&self, wanted: &str) -> Option<String> {
        let kept = self.0.lock();
        let resource = kept.taken[0].resource_metrics[0].resource.as_ref().unwrap();
        let found = resource.attributes.iter().find(|pair| pair.key == wanted)?;
        match found.value.as_ref().unwrap().value.as_ref() {
            Some(Any::StringValue(value)) => Some(value.clone()),
            other => panic!("{other:?}"),
        }
    }
}

fn settings(address: SocketAddr) -> OtlpSettings {
    let endpoint = OtlpEndpoint::parse(&format!("http://{address}")).unwrap();
    let mut settings = OtlpSettings::to(endpoint).attribute("service.name", "shop");
    settings.interval = Duration::from_millis(50);
    settings
}

/// A mesh with an endpoint that answers.
fn answered() -> (Mesh, MemoryServer) {
    let network = MemoryNetwork::new();
    let server = network.serve_fn(at(1), |_| async { reply(200, "hello") });
    (simple(&network, 1, |_| {}), server)
}

async fn call(mesh: &Mesh, calls: usize) {
    for _ in 0..calls {
        assert!(outcome(mesh, get("/")).await.is_ok());
    }
    idle(mesh).await;
}

fn dropped(mesh: &Mesh, reason: &str) -> u64 {
    let start = format!("mesh_telemetry_dropped_total{{signal=\"metrics\",reason=\"{reason}\"}} ");
    let text = mesh.metrics().prometheus_text();
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[tokio::test]
async fn a_collector_has_all_metrics_and_the_last_ones_at_the_end() {
    let (collector, address) = Collector::start([]).await;
    let (mesh, _server) = answered();
    let mut settings = settings(address);
    let target = settings.metrics.as_mut().unwrap();
    target.headers.insert("x-key", http::HeaderValue::from_static("k1"));
    let export = Otlp::new(settings).start(&mesh).unwrap();
    call(&mesh, 3).await;
    eventually("the calls are there", || collector.counter("mesh.calls").contains(&3)).await;
    // The next ones are in the last export, whenever that is due.
    call(&mesh, 2).await;
    export.stop().await;
    assert_eq!(collector.counter("mesh.calls").last(), Some(&5));
    let point = collector.histogram("mesh.call_duration");
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (5, 5));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert!(point.sum.unwrap() > 0.0 && point.start_time_unix_nano < point.time_unix_nano);
    assert_eq!(collector.attribute("service.name").as_deref(), Some("shop"));
    assert_eq!(collector.attribute("telemetry.sdk.language").as_deref(), Some("rust"));
    assert_eq!(collector.attribute("service.instance.id").unwrap().len(), 36);
    assert!(collector.0.lock().headers.iter().all(|key| key == "k1"));
    assert!(!collector.0.lock().headers.is_empty());
    let text = mesh.metrics().prometheus_text();
    let exported =
        format!("mesh_telemetry_exported_total{{signal=\"metrics\"}} {}\n", collector.points());
    assert!(text.contains(&exported), "{exported}: {text}");
    assert!(text.contains("mesh_telemetry_queued{signal=\"metrics\"} 0\n"), "{text}");
    // It ended.
    let asked = collector.0.lock().asked;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(collector.0.lock().asked, asked);
}

#[tokio::test]
async fn what_may_succeed_later_is_tried_again() {
    let unavailable = Act::Fail(Status::unavailable("restarting"));
    let (collector, address) = Collector::start([unavailable.clone(), unavailable]).await;
    let (mesh, _server) = answered();
    let mut settings = settings(address);
    settings.interval = Duration::from_millis(10);
    let export = Otlp::new(settings).start(&mesh).unwrap();
    eventually("it is taken in the end", || export.counts().exported > 0).await;
    let asked = collector.0.lock().asked;
    assert!(asked >= 3, "{asked}");
    assert_eq!(export.counts().dropped, 0);
}

/// A collector that is restarted ends connections on which requests are.
#[tokio::test]
async fn what_breaks_on_its_way_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mesh, _server) = answered();
    let export = Otlp::new(settings(address)).start(&mesh).unwrap();
    for _ in 0..2 {
        let (stream, _) = bounded(listener.accept()).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let asked = bounded(connection.accept()).await.unwrap().unwrap();
        drop((connection, asked));
    }
    let _collector = Collector::serve(listener, []);
    eventually("it is taken in the end", || export.counts().exported > 0).await;
    assert_eq!(export.counts().dropped, 0);
}

#[tokio::test]
async fn what_is_refused_is_dropped_and_counted() {
    let acts = [
        Act::Fail(Status::permission_denied("who are you?")),
        Act::Fail(Status::resource_exhausted("too much")),
        Act::Reject(2),
    ];
    let (collector, address) = Collector::start(acts).await;
    let (mesh, _server) = answered();
    let export = Otlp::new(settings(address)).start(&mesh).unwrap();
    eventually("something is taken", || collector.0.lock().asked > 4).await;
    export.stop().await;
    let rejected = dropped(&mesh, "rejected");
    assert!(rejected > 2, "{rejected}");
    assert_eq!((dropped(&mesh, "timeout"), dropped(&mesh, "export_failed")), (0, 0));
    let text = mesh.metrics().prometheus_text();
    let exported =
        format!("mesh_telemetry_exported_total{{signal=\"metrics\"}} {}\n", collector.points() - 2);
    assert!(text.contains(&exported), "{exported}: {text}");
}

/// Calls that are made while nothing can be exported, and the most that waited.
async fn undisturbed(mesh: &Mesh, export: &OtlpExport) -> u64 {
    let mut most = 0;
    for _ in 0..50 {
        call(mesh, 4).await;
        most = most.max(export.counts().queued);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    most
}

#[tokio::test]
async fn a_collector_that_never_answers_costs_one_batch_at_a_time() {
    let (collector, address) = Collector::start(vec![Act::Hang; 1_000]).await;
    let (mesh, _server) = answered();
    let mut settings = settings(address);
    settings.metrics.as_mut().unwrap().timeout = Duration::from_millis(100);
    let export = Otlp::new(settings).start(&mesh).unwrap();
    let most = undisturbed(&mesh, &export).await;
    eventually("batches are dropped", || dropped(&mesh, "timeout") > 0).await;
    let one_batch = mesh.metrics().prometheus_text().lines().count() as u64;
    assert!(most > 0 && most <= one_batch, "{most} waited, of {one_batch}");
    let OtlpCounts { exported, dropped, .. } = export.counts();
    assert!(exported == 0 && dropped > most, "{exported} {dropped}");
    // It answers again, and the first batch has all that was counted meanwhile.
    collector.0.lock().acts.clear();
    eventually("it is taken", || export.counts().exported > 0).await;
    assert_eq!(collector.counter("mesh.calls").first(), Some(&200));
    export.stop().await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_no_call() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (mesh, _server) = answered();
    let mut settings = settings(gone);
    settings.metrics.as_mut().unwrap().timeout = Duration::from_millis(50);
    let export = Otlp::new(settings).start(&mesh).unwrap();
    undisturbed(&mesh, &export).await;
    eventually("batches are dropped", || dropped(&mesh, "export_failed") > 0).await;
    assert_eq!((export.counts().exported, dropped(&mesh, "timeout")), (0, 0));
    // Its end does not wait for a collector.
    let begun = std::time::Instant::now();
    export.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn without_an_exporter_nothing_is_said_of_it() {
    let (mesh, _server) = answered();
    let export = Otlp::new(OtlpSettings::default()).start(&mesh).unwrap();
    assert_eq!(export.counts(), OtlpCounts::default());
    assert!(!mesh.metrics().prometheus_text().contains("mesh_telemetry_"));
}

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";

#[tokio::test]
async fn attempts_of_sampled_traces_are_spans_and_parents() {
    let (collector, address) = Collector::start([]).await;
    let network = MemoryNetwork::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let _server = network.serve_fn(at(1), move |request| {
        let traceparent = request.headers()["traceparent"].to_str().unwrap().to_owned();
        noted.lock().push(traceparent);
        async { reply(404, "nothing") }
    });
    let mesh = simple(&network, 1, |_| {});
    let export = Otlp::new(settings(address)).start(&mesh).unwrap();
    for flag in ["0", "1"] {
        let mut request = get("/a?secret=1");
        let value = format!("{CALLER}{flag}").parse().unwrap();
        request.headers_mut().insert("traceparent", value);
        assert!(outcome(&mesh, request).await.is_ok());
    }
    idle(&mesh).await;
    export.stop().await;
    let kept = collector.0.lock();
    let [span] = &*kept.spans else { panic!("{:?}", kept.spans) };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    let [unsampled, sampled] = <[String; 2]>::try_from(seen.lock().clone()).unwrap();
    assert_eq!(unsampled, format!("{CALLER}0"), "as it came");
    let own = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", hex(&span.span_id));
    assert_eq!(sampled, own);
    assert_eq!((&*span.name, span.kind, span.flags), ("GET", 3, 1));
    assert!(span.start_time_unix_nano < span.end_time_unix_nano);
    assert_eq!(span.status.as_ref().unwrap().code, 2, "of a client 404 is an error");
    let attributes: Vec<_> = span.attributes.iter().map(|pair| &*pair.key).collect();
    for key in ["url.path", "mesh.cluster", "network.peer.address", "http.response.status_code"] {
        assert!(attributes.contains(&key), "{attributes:?}");
    }
    assert!(!format!("{span:?}").contains("secret"), "{span:?}");
    let text = mesh.metrics().prometheus_text();
    assert!(text.contains("mesh_telemetry_exported_total{signal=\"spans\"} 1\n"), "{text}");
}

/// It is an attempt as others are, to nobody's cluster.
#[tokio::test]
async fn a_sampled_call_that_passes_by_every_policy_is_a_span() {
    let (collector, address) = Collector::start([]).await;
    let network = MemoryNetwork::new();
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&seen);
    let _server = network.serve_fn(at(1), move |request| {
        noted.lock().push_str(request.headers()["traceparent"].to_str().unwrap());
        async { reply(503, "nothing") }
    });
    let mesh = Mesh::builder().connector(network).build().unwrap();
    let export = Otlp::new(settings(address)).start(&mesh).unwrap();
    let mut request = get("/");
    *request.uri_mut() = format!("http://{}/", at(1)).parse().unwrap();
    request.headers_mut().insert("traceparent", format!("{CALLER}1").parse().unwrap());
    assert!(outcome(&mesh, request).await.is_ok());
    idle(&mesh).await;
    export.stop().await;
    let kept = collector.0.lock();
    let [span] = &*kept.spans else { panic!("{:?}", kept.spans) };
    let id: String = span.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(*seen.lock(), format!("00-0af7651916cd43dd8448eb211c80319c-{id}-01"));
    assert_eq!((span.kind, span.status.as_ref().unwrap().code), (3, 2));
}
