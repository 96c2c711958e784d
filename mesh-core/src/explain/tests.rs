//! What is explained is what is decided; the words are tested by the command line tool.
#![cfg(feature = "config")]

use super::*;
use crate::config::{Bounds, Document, load};
use crate::random::SplitMix64;
use proptest::prelude::*;

const TEXT: &str = "version: 1
headers: { response: { set: { x-mesh: '1' } } }
virtual_hosts:
  shop:
    domains: [shop, '*.shop']
    routes:
      - { name: old, match: { prefix: /old }, redirect: { prefix: /new, code: 308 } }
      - { name: ping, match: { path: /ping }, direct_response: { status: 204 } }
      - { name: named, match: { prefix: /named }, cluster_header: x-cluster }
      - { name: beta, match: { prefix: /, headers: { x-beta: { present: true } } }, cluster: v2 }
      - { name: some, match: { prefix: /, fraction: 50% }, cluster: v2 }
      - name: split
        match: { prefix: /api/ }
        split:
          - { cluster: v1, weight: 1 }
          - { cluster: v2, weight: 2, headers: { request: { set: { x-v: '2' }, remove: x-old } } }
        rewrite: { prefix: /, host: inside.shop }
      - { name: user, match: { prefix: /user }, cluster: ring, hash: { header: x-user } }
clusters:
  v1: { endpoints: ['10.0.0.1:80', { address: '10.0.0.2:80', weight: 3 }] }
  v2: { dns: 'v2.shop:80' }
  ring: { endpoints: ['10.0.1.1:80', '10.0.1.2:80', '10.0.1.3:80'], lb: ring_hash }
";

fn snapshot_of(text: &str) -> Arc<Snapshot<()>> {
    let loaded = load(&[Document { name: "x", text }], &(), &Bounds::default());
    let update = loaded.update.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    snapshot(update).unwrap()
}

fn request(url: &str, headers: &[(&'static str, &'static str)]) -> Request {
    let mut request = Request::new(url).unwrap();
    for (name, value) in headers {
        request.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    request
}

fn ask(url: &str, headers: &[(&'static str, &'static str)]) -> Explained {
    explain(&snapshot_of(TEXT), &request(url, headers))
}

#[track_caller]
fn forwarded(url: &str, headers: &[(&'static str, &'static str)]) -> Forward {
    match ask(url, headers).conclusion {
        Conclusion::Forward(forward) => forward,
        other => panic!("{url}: {other:?}"),
    }
}

#[test]
fn a_split_is_told_by_odds_with_what_each_part_changes() {
    let forward = forwarded("http://shop/api/items?x=1", &[("x-old", "1"), ("x-kept", "1")]);
    assert_eq!(forward.path, "/items?x=1");
    assert_eq!(forward.parts[0].host, RewrittenHost::To("inside.shop".parse().unwrap()));
    let [v1, v2] = &*forward.parts else { panic!("{forward:?}") };
    assert_eq!((&*v1.share.cluster, &*v2.share.cluster), ("v1", "v2"));
    assert!((v1.share.odds - 1.0 / 3.0).abs() < 1e-9 && (v2.share.odds - 2.0 / 3.0).abs() < 1e-9);
    assert!(v1.request_edits.is_empty(), "{v1:?}");
    let edits: Vec<_> = v2.request_edits.iter().map(ToString::to_string).collect();
    assert_eq!(edits, ["- x-old", "+ x-v: 2"]);
    assert_eq!(v2.headers.len(), 2);
    assert_eq!(v1.response_edits[0].to_string(), "+ x-mesh: 1");
}

#[test]
fn endpoints_have_their_share_and_names_wait_for_run_time() {
    let forward = forwarded("shop/api/", &[]);
    let known = forward.parts[0].cluster.as_ref().unwrap();
    let odds: Vec<_> = known.endpoints.as_ref().unwrap().iter().map(|e| e.odds).collect();
    assert_eq!(odds, [Some(0.25), Some(0.75)]);
    let unknown = forward.parts[1].cluster.as_ref().unwrap();
    assert!(unknown.endpoints.is_none());
    assert!(
        explain(&snapshot_of(TEXT), &request("shop/api/", &[]))
            .to_string()
            .contains("  endpoints   v2.shop:80, resolved at run time (every address)\n")
    );
}

#[test]
fn what_is_dropped_is_told() {
    let text = TEXT.replace(
        "  ring: {",
        "  ring: { drop_overloads: [{ category: lb, drop_percentage: 0.5% }],",
    );
    let explained = explain(&snapshot_of(&text), &request("http://shop/user", &[]));
    assert!(
        explained.to_string().contains("  drops       0.5 % for `lb`, flag DO\n"),
        "{explained}"
    );
    let Conclusion::Forward(forward) = explained.conclusion else { panic!("forwarded") };
    assert_eq!(forward.parts[0].cluster.as_ref().unwrap().drop_overloads.len(), 1);
}

#[test]
fn a_hash_names_its_endpoint() {
    let pick = |headers: &[(&'static str, &'static str)]| {
        let forward = forwarded("shop/user", headers);
        forward.parts[0].cluster.as_ref().unwrap().hash.clone().unwrap()
    };
    assert_eq!(pick(&[]), HashPick { hash: None, endpoint: None });
    let first = pick(&[("x-user", "a")]);
    assert!(first.endpoint.is_some());
    assert_eq!(first, pick(&[("x-user", "a")]));
}

#[test]
fn replies_refusals_and_what_passes() {
    let Conclusion::Reply(reply) = ask("http://shop/old/1", &[]).conclusion else { panic!() };
    assert_eq!(reply.status(), 308);
    assert_eq!(reply.headers()["location"], "http://shop/new/1");
    assert_eq!(reply.headers()["x-mesh"], "1");
    let Conclusion::Reply(reply) = ask("shop/ping", &[]).conclusion else { panic!() };
    assert_eq!(reply.status(), 204);

    assert_eq!(ask("shop/named", &[]).error(), Some("cluster_header_missing"));
    assert_eq!(ask("shop/named", &[("x-cluster", "v9")]).error(), Some("unknown_cluster"));
    let forward = forwarded("shop/named", &[("x-cluster", "v1")]);
    assert_eq!(&*forward.parts[0].share.cluster, "v1");
    assert!(forward.parts[0].cluster.is_some());
    assert_eq!(ask("shop/nothing", &[]).error(), Some("no_route"));
    assert_eq!(ask("store/", &[]).error(), Some("no_virtual_host"));
    assert_eq!(ask("/ping", &[("host", "shop")]).error(), None);

    let passing = |setting: &str| {
        let snapshot = snapshot_of(&format!("{TEXT}{setting}\n"));
        explain(&snapshot, &request("elsewhere/", &[])).conclusion
    };
    let Conclusion::Passthrough(why) = passing("unknown_hosts: passthrough") else { panic!() };
    assert_eq!(why, Passthrough::UnknownHost);
    let Conclusion::Passthrough(why) = passing("mode: observe") else { panic!() };
    assert_eq!(why, Passthrough::Observing);
}

#[test]
fn what_only_a_program_knows_has_no_odds() {
    let text = "version: 1
virtual_hosts: { a: { routes: [{ cluster: a }] } }
clusters: { a: { endpoints: ['10.0.0.1:80'], lb: { custom: mine } } }
";
    let explained = explain(&snapshot_of(text), &request("a", &[]));
    let report = explained.forward().unwrap().parts[0].cluster.clone().unwrap();
    assert_eq!(report.endpoints.unwrap()[0].odds, None);
    assert!(explained.to_string().contains("custom policy `mine`"));
}

#[test]
fn urls() {
    let parts = |url: &str| {
        let request = Request::new(url).unwrap();
        (request.authority().to_owned(), request.path_and_query().to_owned())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(parts("http://a:1/b?c"), pair("a:1", "/b?c"));
    assert_eq!(parts("a:1/b"), pair("a:1", "/b"));
    assert_eq!(parts("a"), pair("a", "/"));
    assert_eq!(parts("/b"), pair("", "/b"));
    for wrong in ["", "http://", "a b", "http://a:x:y/"] {
        assert!(Request::new(wrong).is_err(), "{wrong}");
    }
    assert!(Request::new("a b").unwrap_err().to_string().starts_with("`a b` is no URL: "));
}

#[test]
fn json_says_the_same() {
    let explained = ask("http://shop/api/1", &[("x-old", "1")]);
    let json = explained.to_json().0;
    assert_eq!(json["virtual_host"]["domain"], "shop");
    assert_eq!((&json["route"]["name"], &json["conclusion"]), (&"split".into(), &"forward".into()));
    assert_eq!(json["near_misses"][0]["route"], "beta");
    let clusters = &json["forward"]["clusters"];
    assert_eq!(clusters[0]["endpoints"][1]["odds"], 0.75);
    assert_eq!(clusters[1]["resolves"][0], "v2.shop:80");
    assert_eq!(clusters[1]["request_edits"][0]["name"], "x-old");
    assert_eq!(ask("store/", &[]).to_json().0["refused"]["flag"], "NR");
}

proptest! {
    /// Whatever is asked, a call could go where the explanation says, and nowhere else.
    #[test]
    fn calls_go_where_it_says(
        path in "/(old|ping|named|api|user|x)?/?[a-z]{0,3}",
        beta in any::<bool>(),
        named in prop::option::of("v[129]"),
        seed in any::<u64>(),
    ) {
        let snapshot = snapshot_of(TEXT);
        let mut asked = Request::new(&format!("shop{path}")).unwrap();
        if beta {
            asked.headers.insert("x-beta", HeaderValue::from_static("1"));
        }
        if let Some(named) = named {
            asked.headers.insert("x-cluster", HeaderValue::try_from(named).unwrap());
        }
        let explained = explain(&snapshot, &asked);
        let some = explained.routing.near_misses.iter().any(|miss| &*miss.route == "some");
        match (snapshot.route(&asked.head(), &mut SplitMix64::new(seed)), &explained.conclusion) {
            (Ok(Routing::Forward(target, _)), _) if &**target.route().name() == "some" => {
                prop_assert!(some);
            }
            (Ok(Routing::Forward(target, _)), Conclusion::Forward(forward)) => {
                let name = target.cluster().name();
                prop_assert!(forward.parts.iter().any(|part| part.share.cluster == *name));
                prop_assert!(Arc::ptr_eq(&forward.policies, target.forward()));
            }
            (Ok(Routing::Reply(_, Ok(reply))), Conclusion::Reply(told)) => {
                prop_assert_eq!(reply.status(), told.status());
            }
            (Err(reason) | Ok(Routing::Reply(_, Err(reason))), Conclusion::Refused(told)) => {
                prop_assert_eq!(&reason, told);
            }
            (routing, told) => prop_assert!(false, "{:?} but {:?}", routing, told),
        }
    }
}

#[test]
fn a_split_that_the_request_decides_is_told_by_the_side_taken() {
    let text = TEXT.replace(
        "rewrite: { prefix: /, host",
        "split_by: { header: x-user }\n        rewrite: { prefix: /, host",
    );
    let snapshot = snapshot_of(&text);
    let odds = |headers: &[(&'static str, &'static str)]| {
        let explained = explain(&snapshot, &request("http://shop/api/x", headers));
        let settled = explained.routing.route.as_ref().is_some_and(|choice| choice.settled);
        let parts = &explained.forward().unwrap().parts;
        (settled, parts.iter().map(|part| part.share.odds).collect::<Vec<_>>())
    };
    assert!(!odds(&[]).0);
    for user in ["a", "b", "c", "d"] {
        let (settled, odds) = odds(&[("x-user", user)]);
        assert!(settled);
        let head = request("http://shop/api/x", &[("x-user", user)]);
        let Ok(Routing::Forward(target, _)) = snapshot.route(&head.head(), &mut SplitMix64::new(0))
        else {
            panic!("it is forwarded")
        };
        let taken = target.split().unwrap();
        assert_eq!(odds, [(taken == 0) as u8 as f64, (taken == 1) as u8 as f64], "{user}");
    }
}

#[test]
fn a_host_from_a_header_is_what_the_edits_leave_of_it() {
    let text = TEXT.replace("host: inside.shop", "host_header: x-v");
    let explained = explain(&snapshot_of(&text), &request("http://shop/api/x", &[("x-v", "1")]));
    let hosts: Vec<_> = explained.forward().unwrap().parts.iter().map(|part| &part.host).collect();
    let to = |text: &str| RewrittenHost::To(text.parse().unwrap());
    assert_eq!(hosts, [&to("1"), &to("2")]);
    let mut expected = Expectation::default();
    expected.host = Some("1".to_owned());
    let differences = expected.differences(&explained);
    assert_eq!(differences.len(), 1);
    assert_eq!((&*differences[0].what, &*differences[0].actual), ("host", "`2`"));
}

#[test]
fn userinfo_names_no_service() {
    assert!(ask("http://user:secret@shop/ping", &[]).routing.host.is_some());
}

#[test]
fn what_is_redacted_is_the_configurations_and_not_the_askers() {
    let text = "version: 1
virtual_hosts:
  shop:
    routes:
      - { match: { headers: { authorization: secret1, x-api-key: { present: true } } }, cluster: v1 }
      - { match: { headers: { x-version: v2 } }, cluster: v1 }
      - match: { path: /answer }
        headers: { response: { set: { x-answer: secret2 } } }
        direct_response: { status: 204 }
      - match: { path: /moved }
        redirect: { path: /there }
      - headers: { request: { set: { x-token: secret3, x-mine: mine } }, response: { set: { x-out: secret4 } } }
        retry: { retry_on: 5xx, retriable_request_headers: { cookie: secret5 } }
        cluster: v1
clusters: { v1: { endpoints: ['10.0.0.1:80'] } }
";
    let snapshot = snapshot_of(text);
    let ask = |url: &str, redact: bool| {
        let mut explained = explain(&snapshot, &request(url, &[("x-mine", "mine")]));
        if redact {
            explained.redact();
        }
        format!("{explained}{}", explained.to_json())
    };
    for (url, secrets) in [
        ("shop/", &["secret1", "secret3", "secret4", "secret5"][..]),
        ("shop/answer", &["secret1", "secret2"]),
    ] {
        let (open, redacted) = (ask(url, false), ask(url, true));
        for secret in secrets {
            assert!(open.contains(secret), "{secret}: {open}");
        }
        assert!(!redacted.contains("secret"), "{redacted}");
        assert!(redacted.contains("[redacted]") && redacted.contains("v2"), "{redacted}");
    }
    assert!(ask("shop/", true).contains("\"mine\""));
    assert!(ask("shop/moved", true).contains("http://shop/there"));
}

#[test]
fn credentials_of_the_request_are_redacted_where_others_may_read() {
    let text = "version: 1
virtual_hosts:
  shop:
    routes:
      - { match: { headers: { authorization: secret1 } }, cluster: v1 }
      - { headers: { request: { append: { cookie: theirs } } }, cluster: v1 }
clusters: { v1: { endpoints: ['10.0.0.1:80'] } }
";
    let headers = [("authorization", "secret2"), ("cookie", "secret3"), ("x-mine", "mine")];
    let mut explained = explain(&snapshot_of(text), &request("shop/", &headers));
    assert!(explained.to_string().contains("secret2"));
    explained.redact_credentials();
    let told = format!("{explained}{}", explained.to_json());
    assert!(!told.contains("secret") && !told.contains("theirs"), "{told}");
    assert!(told.contains("`[redacted]`, wanted: `[redacted]`"), "{told}");
}
