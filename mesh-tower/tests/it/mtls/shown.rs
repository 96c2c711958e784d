//! Servers that ask who we are and take what comes: what they were shown, and what their end means.

use super::*;
use rustls::SignatureScheme;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// RFC 8446 section 4.3.2: by which signatures a certificate may be shown.
#[tokio::test]
async fn a_certificate_that_does_not_fit_is_not_shown_nor_counted() {
    let ca = Ca::new("ours");
    for (_, protocol, http) in KINDS {
        let mut setup = Setup::mutual(ca.issue(SHOP, 1), &ca);
        (setup.optional, setup.only) = (true, Some(SignatureScheme::ED25519));
        let server = Server::start(&setup).await;
        let update = update(mesh_tls(&[SHOP]), server.address, None, |cluster| {
            cluster.protocol = protocol;
        });
        let client = material(&ca.issue(CLIENT, 0x77), &ca.pem());
        let (mesh, _updates) = identified(client, update).await;
        check(&says(&mesh, get("/")).await, Ok(&format!("{http} - -")), "optional");
        for (security, count) in [("tls", 1), ("mutual_tls", 0)] {
            let labels = [("security", security), ("peer", SHOP)];
            assert_eq!(metric(&mesh, "mesh_connections_secured_total", &labels), count);
        }
        setup.optional = false;
        let server = Server::start(&setup).await;
        let update = super::update(mesh_tls(&[SHOP]), server.address, None, |cluster| {
            cluster.protocol = protocol;
        });
        let client = material(&ca.issue(CLIENT, 0x78), &ca.pem());
        let (mesh, _updates) = identified(client, update).await;
        let words: &[&str] = &["connect_tls_refused", "showed none", "signatures", "serial 78"];
        check(&says(&mesh, get("/")).await, Err(words), "wanted");
    }
}

/// What becomes of a call to a server that asks who we are, which is nobody, and then says this, or just goes.
async fn answered_by(said: Option<&[u8]>) -> Result<String, String> {
    let ca = Ca::new("ours");
    let mut setup = Setup::mutual(ca.issue(SHOP, 1), &ca);
    setup.optional = true;
    let acceptor = TlsAcceptor::from(Arc::new(setup.config()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            // The preface of HTTP/2, so that closing resets nothing.
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            let Some(said) = said else { continue };
            stream.write_all(said).await.unwrap();
            stream.shutdown().await.unwrap();
            while stream.read(&mut preface).await.is_ok_and(|read| read > 0) {}
        }
    };
    let mut tls = plain_tls(&ca);
    tls.san = vec![SanMatcher::uri(SHOP)];
    let update = update(tls, address, None, |cluster| cluster.protocol = Protocol::Http2);
    let mesh = Mesh::builder().config(update).build().unwrap();
    tokio::select! {
        () = server => unreachable!(),
        said = says(&mesh, get("/")) => said,
    }
}

#[tokio::test]
async fn a_server_that_closes_without_a_word_refuses_us_and_one_that_speaks_does_not() {
    let refused: &[&str] = &["connect_tls_refused", "closed right after", "have none"];
    check(&answered_by(Some(b"")).await, Err(refused), "it closes");
    // What broke is told.
    let broke: &[&str] = &["connect_tls_refused", "closed right after the TLS handshake ("];
    check(&answered_by(None).await, Err(broke), "it goes");
    let bad = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    check(&answered_by(Some(bad)).await, Err(&["connect_handshake"]), "it speaks HTTP/1.1");
}
