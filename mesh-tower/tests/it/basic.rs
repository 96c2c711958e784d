//! A call goes through.

use crate::fixture::{Server, config, get, text};
use http::{StatusCode, Version};
use mesh_core::model::{Cluster, RetryOn, RetryPolicy};
use mesh_tower::Mesh;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tower::ServiceExt;

#[tokio::test]
async fn both_http_versions_reach_the_endpoint() {
    let server = Server::text("hello").await;
    let mesh = Mesh::builder()
        .seed(0)
        .config(config(Cluster::new("a"), &[server.address], |_| {}))
        .build()
        .unwrap();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut request = get("/x");
        *request.version_mut() = version;
        let response = mesh.client().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.version(), version);
        assert_eq!(text(response).await, "hello");
    }
    let metrics = mesh.metrics().prometheus_text();
    assert!(metrics.contains("mesh_calls_total{"), "{metrics}");
}

#[tokio::test]
async fn a_refusing_endpoint_costs_nothing_but_a_move() {
    let server = Server::text("hello").await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mesh = Mesh::builder()
        .seed(0)
        .config(config(Cluster::new("a"), &[dead, server.address], |_| {}))
        .build()
        .unwrap();
    for _ in 0..20 {
        let response = mesh.client().oneshot(get("/")).await.unwrap();
        assert_eq!(text(response).await, "hello");
    }
}

#[tokio::test]
async fn a_5xx_is_retried_by_policy() {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |_| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut response = http::Response::new(http_body_util::Full::from("done"));
            if number == 0 {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        }
    })
    .await;
    let update = config(Cluster::new("a"), &[server.address], |action| {
        action.retry_policy = Some(Arc::new(RetryPolicy::new(RetryOn::SERVER_ERROR)));
    });
    let mesh = Mesh::builder().seed(0).config(update).build().unwrap();
    let response = mesh.client().oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_timeout_ends_a_silent_call_with_a_typed_error() {
    let server = Server::start(|_| std::future::pending()).await;
    let update = config(Cluster::new("a"), &[server.address], |action| {
        action.timeout = Duration::from_millis(50);
    });
    let mesh = Mesh::builder().seed(0).config(update).build().unwrap();
    let error = mesh.client().oneshot(get("/")).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.response_flag().as_str(), "UT");
    assert_eq!(error.station().cluster.as_deref(), Some("a"));
}
