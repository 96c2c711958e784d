//! Tokens: signatures by the keys of their algorithm, and keys that are fetched.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use mesh_core::model::RouteMatch;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};
use rcgen::{PublicKeyData, SigningKey};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A key of the algorithm, and the key set that has it as `k`.
fn key(algorithm: &str) -> (KeyPair, String) {
    let kind = match algorithm {
        "ES256" => &PKCS_ECDSA_P256_SHA256,
        "ES384" => &PKCS_ECDSA_P384_SHA384,
        "EdDSA" => &PKCS_ED25519,
        _ => &PKCS_RSA_SHA256,
    };
    let pair = KeyPair::generate_for(kind).unwrap();
    let public = pair.der_bytes();
    let jwk = match algorithm {
        "ES256" | "ES384" => {
            let (x, y) = public[1..].split_at(public.len() / 2);
            let curve = if algorithm == "ES256" { "P-256" } else { "P-384" };
            let (x, y) = (BASE64.encode(x), BASE64.encode(y));
            format!(r#""kty":"EC","crv":"{curve}","x":"{x}","y":"{y}""#)
        }
        "EdDSA" => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, BASE64.encode(public)),
        _ => {
            let [n, e] = numbers(public);
            let (n, e) = (BASE64.encode(n), BASE64.encode(e));
            format!(r#""kty":"RSA","n":"{n}","e":"{e}""#)
        }
    };
    (pair, format!(r#"{{"keys":[{{{jwk},"kid":"k"}}]}}"#))
}

/// The two numbers of a sequence in DER.
fn numbers(der: &[u8]) -> [Vec<u8>; 2] {
    fn take<'d>(der: &mut &'d [u8]) -> &'d [u8] {
        let (length, from) = match der[1] {
            short @ 0..=0x7f => (usize::from(short), 2),
            0x81 => (usize::from(der[2]), 3),
            _ => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
        };
        let (value, rest) = der[from..].split_at(length);
        *der = rest;
        value
    }
    let mut der = der;
    let mut content = take(&mut der);
    let mut number = || {
        let bytes = take(&mut content);
        bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>()
    };
    [number(), number()]
}

fn sign(pair: &KeyPair, algorithm: &str, kid: &str) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","kid":"{kid}"}}"#);
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(r#"{"iss":"me"}"#));
    let signature = SigningKey::sign(pair, signed.as_bytes()).unwrap();
    let signature = match algorithm {
        "ES256" | "ES384" => {
            let half = if algorithm == "ES256" { 32 } else { 48 };
            let numbers = numbers(&signature);
            let padded = numbers.iter().flat_map(|number| {
                std::iter::repeat_n(0, half - number.len()).chain(number.iter().copied())
            });
            padded.collect()
        }
        _ => signature,
    };
    format!("{signed}.{}", BASE64.encode(signature))
}

fn tokens(jwks: JwksSource) -> Chain {
    tokens_of(jwks, 10)
}

fn tokens_of(jwks: JwksSource, cache_size: u32) -> Chain {
    let mut filter = JwtAuthn::default();
    let mut provider = JwtProvider::new(jwks);
    provider.issuer = Some("me".into());
    provider.cache_size = cache_size;
    filter.providers = [(Arc::from("p"), provider)].into();
    let requires = Some(JwtRequirement::provider("p"));
    filter.rules = vec![JwtRule { matcher: RouteMatch::any(), requires }];
    chain(HttpFilterConfig::JwtAuthn(Arc::new(filter)))
}

fn bearer(token: &str) -> Request<()> {
    let request =
        Request::get("http://reviews/").header("authorization", format!("Bearer {token}"));
    request.body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn signatures_are_checked_by_the_keys_of_their_algorithm() {
    let (asker, _server, _mesh) = mesh(|_| async { Response::new(MeshBody::empty()) });
    const WRONG: &str = "401 Jwt verification fails";
    const NO_KEY: &str = "401 Jwks doesn't have key to match kid or alg from Jwt";
    const UNSUPPORTED: &str = "401 Jwt header [alg] is not supported";
    for algorithm in ["ES256", "ES384", "EdDSA", "RS256"] {
        let (pair, keys) = key(algorithm);
        let chain = tokens(JwksSource::Inline(keys.as_str().into()));
        let good = sign(&pair, algorithm, "k");
        // The second time it is remembered.
        for _ in 0..2 {
            assert_eq!(pass(&asker, &chain, bearer(&good)).await, "on", "{algorithm}");
        }
        let (stranger, _) = key(algorithm);
        let forged = sign(&stranger, algorithm, "k");
        assert_eq!(pass(&asker, &chain, bearer(&forged)).await, WRONG, "{algorithm}");
        let mut changed: Vec<&str> = good.split('.').collect();
        let claims = BASE64.encode(r#"{"iss":"me","sub":"root"}"#);
        changed[1] = &claims;
        assert_eq!(pass(&asker, &chain, bearer(&changed.join("."))).await, WRONG, "{algorithm}");
        let other = sign(&pair, algorithm, "other");
        assert_eq!(pass(&asker, &chain, bearer(&other)).await, NO_KEY, "{algorithm}");
        // The key is public, so anybody could make these.
        for (name, expected) in [("none", UNSUPPORTED), ("HS256", UNSUPPORTED)] {
            let header = BASE64.encode(format!(r#"{{"alg":"{name}","kid":"k"}}"#));
            let confused = good.replacen(good.split('.').next().unwrap(), &header, 1);
            assert_eq!(pass(&asker, &chain, bearer(&confused)).await, expected, "{algorithm}");
        }
    }
    let (_, keys) = key("RS256");
    let (pair, _) = key("ES256");
    let chain = tokens(JwksSource::Inline(keys.as_str().into()));
    assert_eq!(pass(&asker, &chain, bearer(&sign(&pair, "ES256", "k"))).await, NO_KEY);
}

fn remote() -> Chain {
    let uri = HttpUri::new("http://issuer/keys", "other", Duration::from_secs(1));
    let mut remote = RemoteJwks::new(uri);
    remote.cache_duration = Duration::from_secs(60);
    tokens(JwksSource::Remote(remote))
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_and_kept_until_their_own_end() {
    let (pair, keys) = key("ES256");
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    let (asker, server, mesh) = mesh(move |request| {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let keys = if before == 1 { "garbage".to_owned() } else { keys.clone() };
        async move {
            assert_eq!(request.uri().path(), "/keys");
            // So that the first requests find the fetch on its way.
            tokio::time::sleep(Duration::from_millis(100)).await;
            Response::new(MeshBody::full(keys))
        }
    });
    mesh.ready().await.unwrap();
    let chain = remote();
    let good = sign(&pair, "ES256", "k");
    let [a, b, c] = [0, 1, 2].map(|_| pass(&asker, &chain, bearer(&good)));
    assert_eq!(tokio::join!(a, b, c), ("on".into(), "on".into(), "on".into()));
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
    // Stale: they are good, and fetched anew, which brings garbage.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(pass(&asker, &chain, bearer(&good)).await, "on");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(fetched.load(Ordering::Relaxed), 2);
    // The server hangs: nobody waits for it while there are good keys.
    server.hang();
    server.close();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = tokio::time::Instant::now();
    assert_eq!(pass(&asker, &chain, bearer(&good)).await, "on");
    assert_eq!(before.elapsed(), Duration::ZERO);
    // Their own end: a request waits for one fetch, and who comes after it for none.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let refused = "401 Jwks remote fetch is failed";
    assert_eq!(pass(&asker, &chain, bearer(&good)).await, refused);
    let before = tokio::time::Instant::now();
    assert_eq!(pass(&asker, &chain, bearer(&good)).await, refused);
    assert_eq!(before.elapsed(), Duration::ZERO);
    server.accept();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pass(&asker, &chain, bearer(&good)).await, "on");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_new_is_looked_for() {
    let (first, first_keys) = key("ES256");
    let (second, second_keys) = key("EdDSA");
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    let (asker, _server, mesh) = mesh(move |_| {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let keys = if before == 0 { first_keys.clone() } else { second_keys.clone() };
        async move { Response::new(MeshBody::full(keys)) }
    });
    mesh.ready().await.unwrap();
    let chain = remote();
    let (old, new) = (sign(&first, "ES256", "k"), sign(&second, "EdDSA", "k"));
    assert_eq!(pass(&asker, &chain, bearer(&old)).await, "on");
    let refused = "401 Jwks doesn't have key to match kid or alg from Jwt";
    assert_eq!(pass(&asker, &chain, bearer(&new)).await, refused);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(pass(&asker, &chain, bearer(&new)).await, "on");
    // A token of no key can't make it ask again and again.
    for _ in 0..5 {
        assert_eq!(pass(&asker, &chain, bearer(&old)).await, refused);
    }
    assert_eq!(fetched.load(Ordering::Relaxed), 2);
}

/// Tokens of an unknown key make it ask every 5 s, and no more often while nobody answers.
#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_looked_for_rarely_while_that_fails() {
    let (pair, keys) = key("ES256");
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    let (asker, _server, mesh) = mesh(move |_| {
        let status = if count.fetch_add(1, Ordering::Relaxed) == 0 { 200 } else { 503 };
        let keys = keys.clone();
        async move { Response::builder().status(status).body(MeshBody::full(keys)).unwrap() }
    });
    mesh.ready().await.unwrap();
    let chain = remote();
    assert_eq!(pass(&asker, &chain, bearer(&sign(&pair, "ES256", "k"))).await, "on");
    let begun = tokio::time::Instant::now();
    let unknown = sign(&pair, "ES256", "x");
    for (at, fetches) in [(5000, 2), (6100, 2), (7200, 2), (10_100, 3)] {
        tokio::time::sleep_until(begun + Duration::from_millis(at)).await;
        let refused = "401 Jwks doesn't have key to match kid or alg from Jwt";
        assert_eq!(pass(&asker, &chain, bearer(&unknown)).await, refused);
        assert_eq!(fetched.load(Ordering::Relaxed), fetches, "at {at} ms");
    }
}

/// Of these parts one is enough.
fn any_of(providers: [(&str, JwksSource); 2]) -> Chain {
    let mut filter = JwtAuthn::default();
    let parts = providers.each_ref().map(|(name, _)| JwtRequirement::provider(*name));
    filter.providers = providers
        .map(|(name, jwks)| {
            let mut provider = JwtProvider::new(jwks);
            provider.issuer = Some("me".into());
            let header_name = format!("x-{name}").parse().unwrap();
            provider.from_headers = vec![JwtHeader { name: header_name, value_prefix: "".into() }];
            (Arc::from(name), provider)
        })
        .into();
    let requires = Some(JwtRequirement::Any(parts.into()));
    filter.rules = vec![JwtRule { matcher: RouteMatch::any(), requires }];
    chain(HttpFilterConfig::JwtAuthn(Arc::new(filter)))
}

#[tokio::test(start_paused = true)]
async fn who_has_a_good_token_does_not_wait_for_keys_of_another() {
    let (asker, _server, mesh) = mesh(|_| std::future::pending());
    mesh.ready().await.unwrap();
    let (pair, keys) = key("ES256");
    let uri = HttpUri::new("http://issuer/keys", "other", Duration::from_secs(30));
    let far = || JwksSource::Remote(RemoteJwks::new(uri.clone()));
    let chain = any_of([("far", far()), ("near", JwksSource::Inline(keys.as_str().into()))]);
    let ask = async |near: &str| {
        let (far, begun) = (sign(&pair, "ES256", "k"), tokio::time::Instant::now());
        let request = Request::get("http://reviews/").header("x-far", far).header("x-near", near);
        let passed = pass(&asker, &chain, request.body(()).unwrap()).await;
        (passed.starts_with("on "), begun.elapsed())
    };
    assert_eq!(ask(&sign(&pair, "ES256", "k")).await, (true, Duration::ZERO));
    // A bad one is not enough, and the other is waited for.
    assert_eq!(ask(&sign(&pair, "ES256", "other")).await, (false, Duration::from_secs(30)));
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn a_provider_that_wants_few_tokens_remembered_costs_others_none() {
    let (asker, _server, _mesh) = mesh(|_| async { Response::new(MeshBody::empty()) });
    let good = async |cache_size: u32, count: usize| {
        let (pair, keys) = key("ES256");
        let chain = tokens_of(JwksSource::Inline(keys.as_str().into()), cache_size);
        let mut all = Vec::new();
        for _ in 0..count {
            // Each has a signature of its own.
            all.push(sign(&pair, "ES256", "k"));
            assert_eq!(pass(&asker, &chain, bearer(all.last().unwrap())).await, "on");
        }
        all
    };
    let (many, few) = (good(10, 3).await, good(1, 2).await);
    let known = |tokens: &[String]| {
        let remembered = asker.signatures.remembered();
        let known = tokens.iter().map(|token| remembered.iter().any(|known| **known == **token));
        known.collect::<Vec<_>>()
    };
    assert_eq!(known(&many), [true; 3]);
    assert_eq!(known(&few), [false, true]);
}

/// Of those who check a token at the same time, each remembers it: it is there once.
#[cfg(feature = "tls")]
#[test]
fn a_token_is_remembered_once() {
    let (pair, keys) = key("ES256");
    let keys = Arc::new(mesh_core::filter::jwt::KeySet::parse(keys.as_bytes()).unwrap());
    // Keys that are elsewhere make a question of a token.
    let chain = remote();
    let checks = || {
        let (mut parts, ()) = bearer(&sign(&pair, "ES256", "k")).into_parts();
        let address = "10.1.2.3:1".parse().unwrap();
        let connection = rbac::Connection::new(&Peer::Plaintext, address, address);
        let mut cx = FilterContext {
            request: &mut parts,
            connection: &connection,
            narrowed: None,
            remote: None,
            now: mesh_core::Timestamp::ZERO,
            wall: crate::clock::wall(),
        };
        let observer = &mut |_: &Arc<str>, _: Told<'_>| {};
        let step = Pass::new(1).start(&chain, &Overrides::default(), &mut cx, observer);
        let Step::Ask(question) = step else { panic!("{step:?}") };
        let mesh_core::filter::ask::QuestionKind::Tokens(checks) = question.kind else {
            panic!("it asks about tokens")
        };
        checks
    };
    let verifier = super::super::signature::Verifier::new();
    let (one, other) = (checks(), checks());
    for check in [&one[0], &other[0], &one[0]] {
        verifier.remember(check, &keys, 100);
    }
    assert_eq!(verifier.remembered().len(), 2);
    assert!(verifier.check(&one[0], &keys).is_ok());
    // Beyond what its provider wants, the newest stay.
    let third = checks();
    verifier.remember(&third[0], &keys, 2);
    let remembered = verifier.remembered();
    assert_eq!(remembered.len(), 2);
    assert!(!remembered.iter().any(|known| known == one[0].token.text()));
}

/// A key that was taken out of a file is gone, without a restart; a file that can't be read changes nothing.
#[tokio::test(start_paused = true)]
async fn a_file_is_read_anew_while_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let ((first, first_keys), (second, second_keys)) = (key("ES256"), key("EdDSA"));
    std::fs::write(&path, first_keys).unwrap();
    let (asker, _server, _mesh) = mesh(|_| async { Response::new(MeshBody::empty()) });
    let chain = tokens(JwksSource::File(path.as_path().into()));
    let (old, new) = (sign(&first, "ES256", "k"), sign(&second, "EdDSA", "k"));
    // Who finds that it is time does not wait for it.
    let again = async |token: &str| {
        tokio::time::sleep(Duration::from_secs(11)).await;
        let first = pass(&asker, &chain, bearer(token)).await;
        // Files are read by threads.
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(2));
            tokio::task::yield_now().await;
        }
        (first, pass(&asker, &chain, bearer(token)).await)
    };
    assert_eq!(pass(&asker, &chain, bearer(&old)).await, "on");
    let on = || "on".to_owned();
    assert_eq!(again(&old).await, (on(), on()));
    std::fs::write(&path, "garbage").unwrap();
    assert_eq!(again(&old).await, (on(), on()));
    std::fs::write(&path, second_keys).unwrap();
    let refused = "401 Jwks doesn't have key to match kid or alg from Jwt";
    assert_eq!(again(&old).await, (on(), refused.into()));
    assert_eq!(pass(&asker, &chain, bearer(&new)).await, "on");
}

/// Whoever looks at answers for the program panics over the first one: that fetch has failed, and no other.
#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_has_failed() {
    let (pair, keys) = key("ES256");
    let network = MemoryNetwork::new();
    let _server = network.serve_fn(OTHER, move |_| {
        let keys = keys.clone();
        async move { Response::new(MeshBody::full(keys)) }
    });
    let panicked = AtomicUsize::new(0);
    let builder = Mesh::builder().config(one_cluster("other", [OTHER])).connector(network);
    let builder = builder.classify(move |_| {
        assert_ne!(panicked.fetch_add(1, Ordering::Relaxed), 0, "the first one");
        None
    });
    let mesh = builder.build().unwrap();
    mesh.ready().await.unwrap();
    let asker = Asker::new(&mesh);
    let (chain, good) = (remote(), sign(&pair, "ES256", "k"));
    let asked = async || {
        let asked = pass(&asker, &chain, bearer(&good));
        tokio::time::timeout(Duration::from_secs(10), asked).await.unwrap()
    };
    let refused = "401 Jwks remote fetch is failed";
    assert_eq!(asked().await, refused);
    assert_eq!(asked().await, refused, "nobody is asked so soon");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked().await, "on");
}

/// What is no regular file may never be read to its end, nor even be opened.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn keys_are_read_from_regular_files_alone() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("keys.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let (pair, _) = key("ES256");
    let (asker, _server, _mesh) = mesh(|_| async { Response::new(MeshBody::empty()) });
    for path in [pipe.as_path(), directory.path()] {
        let chain = tokens(JwksSource::File(path.into()));
        let good = sign(&pair, "ES256", "k");
        let asked = pass(&asker, &chain, bearer(&good));
        let asked = tokio::time::timeout(Duration::from_secs(120), asked).await;
        assert_eq!(asked.unwrap(), "401 Jwks remote fetch is failed");
    }
}

/// A configuration that comes anew has its own copy of each source: the set goes on, and is found by where the copy is.
#[tokio::test(start_paused = true)]
async fn a_source_of_a_new_configuration_is_known_at_once() {
    let (asker, _server, _mesh) = mesh(|_| std::future::pending());
    let uri = HttpUri::new("http://issuer/keys", "other", Duration::from_secs(1));
    let source = || Arc::new(JwksSource::Remote(RemoteJwks::new(uri.clone())));
    let now = crate::clock::now();
    let known = |expected: &[&Arc<JwksSource>]| {
        let known = asker.keys.sources();
        assert_eq!(known.len(), expected.len());
        assert!(known.iter().zip(expected).all(|(known, expected)| Arc::ptr_eq(known, expected)));
    };
    let (first, second) = (source(), source());
    for _ in 0..2 {
        asker.keys.want(&first, now);
        asker.keys.want(&second, now);
        known(&[&first, &second]);
    }
    // One configuration after the other, none of which is left.
    drop((first, second));
    for _ in 0..3 {
        let next = source();
        asker.keys.want(&next, now);
        known(&[&next]);
    }
}

/// Envoy: `async_fetch` has a timer, for failures as for keys that get old. It ends with the configuration.
#[tokio::test(start_paused = true)]
async fn keys_that_are_wanted_early_are_kept_fresh_without_requests() {
    let (_, keys) = key("ES256");
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    let (asker, _server, mesh) = mesh(move |_| {
        let status = if count.fetch_add(1, Ordering::Relaxed) == 0 { 503 } else { 200 };
        let keys = keys.clone();
        async move { Response::builder().status(status).body(MeshBody::full(keys)).unwrap() }
    });
    mesh.ready().await.unwrap();
    let uri = HttpUri::new("http://issuer/keys", "other", Duration::from_secs(1));
    let mut remote = RemoteJwks::new(uri);
    remote.cache_duration = Duration::from_secs(60);
    let source = || Arc::new(JwksSource::Remote(remote.clone()));
    let (first, second) = (source(), source());
    // One more configuration is no reason for one more timer.
    asker.want_keys([&first, &second].into_iter());
    let begun = tokio::time::Instant::now();
    let at = async |millis: u64, expected: usize| {
        tokio::time::sleep_until(begun + Duration::from_millis(millis)).await;
        assert_eq!(fetched.load(Ordering::Relaxed), expected, "at {millis} ms");
    };
    at(500, 1).await;
    at(1500, 2).await;
    at(60_500, 2).await;
    at(62_500, 3).await;
    drop(first);
    at(123_500, 4).await;
    drop(second);
    at(1_000_000, 4).await;
    // What comes back later is kept again.
    let third = source();
    asker.want_keys([&third].into_iter());
    at(1_001_500, 5).await;
}
