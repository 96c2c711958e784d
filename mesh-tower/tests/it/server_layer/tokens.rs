//! Tokens: whose is good gets through, at once where the keys are here.

use super::kit::{behind, connection, decided, echo, listener, refused, request, send, told};
use crate::fixture::{Count, at, cluster, config, mesh};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::{HeaderValue, Response};
use mesh_core::identity::Peer;
use mesh_core::model::http_filter::{
    HttpUri, JwksSource, JwtAuthn, JwtProvider, JwtRequirement, JwtRule, RemoteJwks,
};
use mesh_core::model::{HttpFilter, HttpFilterConfig, RouteMatch};
use mesh_core::update::ConfigUpdate;
use mesh_tower::MeshBody;
use mesh_tower::server::{Connection, ServerLayer};
use mesh_tower::testing::MemoryNetwork;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tower::ServiceExt;

/// A key, and the key set that has it.
fn key() -> (KeyPair, String) {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let x = BASE64.encode(pair.der_bytes());
    let keys = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"k"}}]}}"#);
    (pair, keys)
}

fn sign(pair: &KeyPair, claims: &str) -> String {
    let header = BASE64.encode(r#"{"alg":"EdDSA","kid":"k"}"#);
    let signed = format!("{header}.{}", BASE64.encode(claims));
    let signature = SigningKey::sign(pair, signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64.encode(signature))
}

fn with_tokens(jwks: JwksSource) -> ConfigUpdate {
    let mut provider = JwtProvider::new(jwks);
    provider.issuer = Some("me".into());
    let mut filter = JwtAuthn::default();
    filter.providers = [(Arc::from("p"), provider)].into();
    let requires = Some(JwtRequirement::provider("p"));
    filter.rules = vec![JwtRule { matcher: RouteMatch::any(), requires }];
    let filter = HttpFilter::new("jwt", HttpFilterConfig::JwtAuthn(Arc::new(filter)));
    listener(|http| http.http_filters = vec![filter])
}

fn bearer(token: &str, connection: &Arc<Connection>) -> http::Request<MeshBody> {
    let mut request = request("GET /\nhost: a");
    if !token.is_empty() {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        request.headers_mut().insert("authorization", value);
    }
    request.extensions_mut().insert(Arc::clone(connection));
    request
}

#[tokio::test]
async fn a_good_token_gets_through_without_waiting_and_no_other_does() {
    let (pair, keys) = key();
    let (stranger, _) = key();
    let mesh = super::kit::mesh(with_tokens(JwksSource::Inline(keys.as_str().into())));
    let connection = connection(&mesh, Peer::Plaintext);
    let service = echo(&mesh);
    let good = sign(&pair, r#"{"iss":"me"}"#);
    for (token, expected, by) in [
        (&*good, "200", ""),
        (&sign(&stranger, r#"{"iss":"me"}"#), "401 Jwt verification fails", "jwt_signature/jwt/"),
        (&sign(&pair, r#"{"iss":"me","exp":1}"#), "401 Jwt is expired", "jwt_expired/jwt/"),
        ("", "401 Jwt is missing", "jwt_missing/jwt/"),
    ] {
        let response = send(&service, &connection, bearer(token, &connection)).await;
        assert_eq!(refused(&response), by);
        let found = told(response).await;
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!(decided(&mesh, "jwt"), "allowed:1 denied:3");
    // One poll is enough: nothing was waited for.
    let mut answer = service.oneshot(bearer(&good, &connection));
    let polled = poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut answer).poll(cx))).await;
    assert!(polled.is_ready());
}

/// With `async_fetch` the keys are there before the first request wants them.
#[tokio::test(start_paused = true)]
async fn keys_that_are_wanted_early_are_fetched_before_the_first_request() {
    for early in [true, false] {
        let (pair, keys) = key();
        let fetched = Count::default();
        let count = fetched.clone();
        let network = MemoryNetwork::new();
        network.serve_fn(at(1), move |_| {
            count.add();
            let keys = keys.clone();
            async move { Response::new(MeshBody::full(keys)) }
        });
        let uri = HttpUri::new("http://issuer/keys", "a", Duration::from_secs(1));
        let mut remote = RemoteJwks::new(uri);
        remote.async_fetch = early;
        let mut update = config(cluster(|_| {}), &[at(1)], |_| {});
        update.listeners = with_tokens(JwksSource::Remote(remote)).listeners;
        let mesh = mesh(&network, update);
        let layer = ServerLayer::new(&mesh, "web");
        let service = behind(&layer, |_| async { Response::new(MeshBody::empty()) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(fetched.get(), usize::from(early));
        let connection = connection(&mesh, Peer::Plaintext);
        let good = sign(&pair, r#"{"iss":"me"}"#);
        for _ in 0..2 {
            let response = send(&service, &connection, bearer(&good, &connection)).await;
            assert_eq!(told(response).await.trim_end(), "200");
        }
        assert_eq!(fetched.get(), 1);
    }
}
