//! nginx over HTTP/1.1 and HTTP/2 without TLS.

use crate::client::{get, mesh, pattern, request, routed, send, traffic};
use crate::process::{Peer, Scratch, free_ports, installed};
use bytes::Bytes;
use http::{Method, StatusCode, Version};
use mesh_tower::MeshBody;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub(crate) struct Nginx {
    peer: Peer,
    scratch: Scratch,
    config: PathBuf,
}

impl Drop for Nginx {
    /// The master takes its workers along only when it is asked to stop.
    fn drop(&mut self) {
        let _stopped = self.signal("stop").status();
        let pid = self.scratch.path().join("nginx.pid");
        for _ in 0..100 {
            if !pid.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Nginx {
    pub(crate) fn start(name: &str) -> Self {
        let ports = free_ports::<2>();
        let scratch = Scratch::new(name);
        let directory = scratch.path().to_str().unwrap();
        let words =
            [("DIR", directory), ("H1", &ports[0].to_string()), ("H2", &ports[1].to_string())];
        let config = scratch.fill("nginx/nginx.conf", &words);
        let mut command = Self::command(&scratch, &config);
        Self { peer: Peer::on_ports(&mut command, ports.to_vec()), scratch, config }
    }

    fn command(scratch: &Scratch, config: &PathBuf) -> Command {
        let mut command = Command::new(installed("debian/usr/sbin/nginx"));
        command.arg("-p").arg(scratch.path()).arg("-c").arg(config);
        command.arg("-e").arg(scratch.path().join("error.log"));
        command
    }

    fn signal(&self, signal: &str) -> Command {
        let mut command = Self::command(&self.scratch, &self.config);
        command.args(["-s", signal]);
        command
    }

    /// Each version with a port that speaks it.
    pub(crate) fn versions(&self) -> [(Version, u16); 2] {
        [(Version::HTTP_11, self.peer.ports[0]), (Version::HTTP_2, self.peer.ports[1])]
    }
}

#[tokio::test]
#[ignore = "needs nginx: tests/interop/install"]
async fn nginx_sees_what_is_sent() {
    let nginx = Nginx::start("nginx-seen");
    for (version, port) in nginx.versions() {
        let mesh = mesh(port, "");
        let mut asked = get(version, "/seen?a=%20b");
        asked.headers_mut().insert("x-sent", "one, two".parse().unwrap());
        let answer = send(&mesh, asked).await;
        assert_eq!((answer.status, answer.version), (StatusCode::OK, version));
        assert_eq!(answer.body, "seen");
        let protocol = if version == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" };
        let saw: Vec<_> = answer.header("x-saw").split('|').collect();
        assert_eq!(saw[..5], [protocol, "GET", "peer", "/seen?a=%20b", "one, two"]);

        // Answers without a body, after which the connection goes on.
        let head = send(&mesh, request(version, Method::HEAD, "/seen")).await;
        assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, "4"));
        assert!(head.body.is_empty());
        let none = send(&mesh, get(version, "/none")).await;
        assert_eq!((none.status, none.body), (StatusCode::NO_CONTENT, Bytes::new()));
        assert_eq!(send(&mesh, get(version, "/no-such")).await.status, StatusCode::NOT_FOUND);

        // A header that needs CONTINUATION frames or several reads, there and back.
        let long = "x".repeat(6_000);
        let mut asked = get(version, "/long");
        asked.headers_mut().insert("x-long", long.parse().unwrap());
        assert_eq!(send(&mesh, asked).await.header("x-long"), long);

        let answer = send(&mesh, get(version, "/seen")).await;
        let again: Vec<_> = answer.header("x-saw").split('|').collect();
        assert_eq!(again[5], saw[5], "all calls went over one connection");
        assert_eq!(again[6], "6");
    }
}

#[tokio::test]
#[ignore = "needs nginx: tests/interop/install"]
async fn nginx_keeps_what_is_put() {
    let nginx = Nginx::start("nginx-put");
    for (version, port) in nginx.versions() {
        let mesh = mesh(port, "");
        // nginx answers 500 to a PUT without a body, so not 0.
        for size in [1, 70_000, 3 << 20] {
            let (path, bytes) = (format!("/files/{version:?}-{size}"), pattern(size));
            let mut put = request(version, Method::PUT, &path);
            *put.body_mut() = MeshBody::full(bytes.clone());
            let status = send(&mesh, put).await.status;
            assert_eq!(status, StatusCode::CREATED, "{version:?} {size}");
            let got = send(&mesh, get(version, &path)).await;
            assert!(got.body == bytes, "{version:?}: {} of {size} bytes", got.body.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: tests/interop/install"]
async fn no_call_is_lost_when_nginx_ends_connections_and_reloads() {
    let nginx = Nginx::start("nginx-reload");
    for (version, port) in nginx.versions() {
        // HTTP/2 says which requests were not processed. HTTP/1.1 can't: nginx may end a connection
        // on which a request is under way, and only a policy may send that request again.
        let retry = "retry: { retry_on: [reset, connect-failure] }";
        let mesh = routed(port, "", if version == Version::HTTP_2 { "" } else { retry });
        let calls = tokio::spawn(async move {
            traffic(
                &mesh,
                3_200,
                move || get(version, "/seen"),
                |answer| {
                    let saw = answer.header("x-saw").split('|');
                    saw.skip(5).take(1).collect()
                },
            )
            .await
        });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(nginx.signal("reload").status().unwrap().success());
        }
        let by_connection = calls.await.unwrap();
        assert_eq!(by_connection.values().sum::<usize>(), 3_200);
        let connections: BTreeSet<_> = by_connection.keys().collect();
        assert!(connections.len() >= 32, "100 requests each at most: {by_connection:?}");
    }
}
