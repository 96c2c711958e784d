//! What tests of ports share: a proxy by a `mesh.yaml`, whose ports are any that are free, and clients that say what
//! they say byte by byte.

use crate::fixture::bounded;
use mesh_core::config::{Bounds, Document, load};
use mesh_core::model::Address;
use mesh_core::update::{ConfigUpdate, Origin};
use mesh_tower::Mesh;
use mesh_tower::proxy::{PortState, Proxy};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A mesh, and the ports of its configuration.
pub(super) struct Ports {
    pub(super) mesh: Mesh,
    pub(super) proxy: Proxy,
}

/// The configuration of a `mesh.yaml` without its first line, whose ports are any that are free.
#[track_caller]
pub(super) fn update(text: &str) -> ConfigUpdate {
    let text = format!("version: 1\n{text}");
    let loaded = load(&[Document { name: "mesh.yaml", text: &text }], &(), &Bounds::default());
    let mut update = loaded.update.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    // Code has no version to go by: tests change what they read.
    update.origin = Origin::new("code", "");
    for listener in update.listeners.values_mut() {
        let listener = Arc::make_mut(listener);
        if let Some(Address::Socket(address)) = &mut listener.address {
            address.set_port(0);
        }
    }
    update
}

impl Ports {
    #[track_caller]
    pub(super) fn open(text: &str) -> Self {
        Self::of(Mesh::builder().config(update(text)).build().unwrap())
    }

    #[track_caller]
    pub(super) fn of(mesh: Mesh) -> Self {
        let proxy = Proxy::open(&mesh).unwrap();
        Self { mesh, proxy }
    }

    /// Where a port listens.
    #[track_caller]
    pub(super) fn port(&self, name: &str) -> SocketAddr {
        let ports = self.proxy.ports();
        let port = ports.iter().find(|port| &*port.name == name);
        match port.map(|port| (&port.address, &port.state)) {
            Some((Address::Socket(address), PortState::Open)) => *address,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Asks the port `name`; what comes back until the end.
    pub(super) async fn ask(&self, name: &str, request: &str) -> String {
        say(self.port(name), request, false).await
    }

    /// Says `text` to the port `name`, and ends its half; what comes back until the end.
    pub(super) async fn say(&self, name: &str, text: &str) -> String {
        say(self.port(name), text, true).await
    }
}

/// Says `text`; what comes back until the end.
pub(super) async fn say(to: SocketAddr, text: &str, and_ends: bool) -> String {
    let said = async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        if and_ends {
            stream.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        // A reset ends it as well.
        let _reset = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    bounded(said).await
}

/// Reads until `end` has come.
pub(super) async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut came = Vec::new();
    let read = async {
        while !came.ends_with(end.as_bytes()) {
            match stream.read_u8().await {
                Ok(byte) => came.push(byte),
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&came)),
            }
        }
    };
    bounded(read).await;
    String::from_utf8(came).unwrap()
}

/// The status line, the headers in the order of their names, and the body.
pub(super) fn parts(answer: &str) -> (&str, Vec<String>, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap();
    let mut headers: Vec<_> = lines.map(str::to_ascii_lowercase).collect();
    headers.sort();
    (status, headers, body)
}
