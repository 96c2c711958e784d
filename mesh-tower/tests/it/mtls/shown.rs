//! Servers that ask who we are and take what comes: what they were shown, and what their end means.

use super::*;
use rustls::SignatureScheme;

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
