//! Every example runs, and shows what it says.
//!
//! The examples are compiled in as modules: a test that ran their binaries would run whatever an
//! earlier build left behind.

#[path = "../../examples/axum_server.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod axum_server;
#[path = "../../examples/byte_stream.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod byte_stream;
#[path = "../../examples/custom_lb.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod custom_lb;
#[path = "../../examples/greeter_client.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod greeter_client;
#[path = "../../examples/hyper_util_client.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod hyper_util_client;
#[path = "../../examples/one_layer_without_xds.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod one_layer_without_xds;
#[path = "../../examples/quickstart/main.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod quickstart;
#[path = "../../examples/reqwest.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod reqwest_client;
#[path = "../../examples/traffic_split.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod traffic_split;

use http::StatusCode;
use std::time::Duration;
use tokio::time::timeout;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs an example, within a bound that only a hang can reach.
async fn check<T>(example: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    timeout(Duration::from_secs(60), example).await?
}

#[tokio::test]
async fn axum_server_answers_who_may_call_and_knows_who_that_is() {
    let answers = check(axum_server::run()).await.unwrap();
    let of_shop = "200 OK hello, spiffe://quickstart.example/shop";
    assert_eq!(answers, [of_shop, "403 Forbidden RBAC: access denied"]);
}

#[tokio::test]
async fn byte_stream_passes_over_the_endpoint_that_is_down() {
    let answers = check(byte_stream::run()).await.unwrap();
    assert_eq!(answers, ["get a", "get b", "get c", "get d"]);
}

#[tokio::test]
async fn greeter_client_greets_once_and_in_a_stream() {
    let greetings = check(greeter_client::run()).await.unwrap();
    assert_eq!(greetings, ["Hello, mesh!", "Hello, mesh!", "Bonjour, mesh!", "Moin, mesh!"]);
}

#[tokio::test]
async fn one_layer_without_xds_moves_calls_off_the_broken_endpoint() {
    let answers = check(one_layer_without_xds::run()).await.unwrap();
    let expected = (StatusCode::OK, "10.0.0.2:80".to_owned());
    assert_eq!(answers, vec![expected; 4]);
}

#[tokio::test]
async fn custom_lb_fills_the_first_endpoint_before_the_second() {
    for (calls, first, second) in [(1, 1, None), (8, 8, None), (12, 8, Some(4)), (16, 8, Some(8))] {
        let answered = check(custom_lb::run(calls)).await.unwrap();
        assert_eq!(answered.get("first"), Some(&first), "{calls} calls");
        assert_eq!(answered.get("second").copied(), second, "{calls} calls");
    }
}

#[tokio::test]
async fn traffic_split_gives_the_canary_its_weight() {
    for (weight, calls) in check(traffic_split::run()).await.unwrap() {
        let share = f64::from(weight) / 100.0;
        let deviation = (1_000.0 * share * (1.0 - share)).sqrt();
        let off = (calls as f64 - 1_000.0 * share).abs();
        assert!(off <= 5.0 * deviation, "{calls} of 1000 at weight {weight}");
    }
}

#[tokio::test]
async fn transports_of_ones_own_reach_both_endpoints_and_keep_the_host() {
    let of_hyper_util = check(hyper_util_client::run()).await.unwrap();
    let of_reqwest = check(reqwest_client::run()).await.unwrap();
    for mut answers in [of_hyper_util, of_reqwest] {
        answers.sort();
        let expected = ["first for shop", "first for shop", "second for shop", "second for shop"];
        assert_eq!(answers, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart_loses_no_call_and_splits_as_configured() {
    complains(check_quickstart("file", &[]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart_does_the_same_through_mesh_ads() {
    let summary = check_quickstart("xds", &["--xds", "--mesh", env!("CARGO_BIN_EXE_mesh")]).await;
    assert!(summary.to_string().contains("while calls were running, through mesh ads"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart_does_the_same_with_mutual_tls_while_certificates_rotate() {
    let mut summary = check_quickstart("file", &["--mtls"]).await;
    let json = &summary.json()["mtls"];
    let count = |name: &str| json[name].as_u64().unwrap();
    // 5,000 calls take 8 s at least, and each 2 s there are other certificates, at all seven.
    assert!(count("rotations") >= 3, "{json}");
    for seen in ["rotations_at_client", "rotations_at_servers"] {
        assert!(count(seen) + 1 >= count("rotations"), "{json}");
    }
    assert!(count("client_certificates_seen") >= 2, "{json}");
    assert!(count("outlived") > 0, "{json}");
    for [all, mutual] in
        [["connections", "connections_mutual_tls"], ["accepted", "accepted_mutual_tls"]]
    {
        assert!(count(all) >= 6 && count(all) == count(mutual), "{json}");
    }
    let strangers = json["strangers"].as_array().unwrap();
    assert_eq!(strangers.len(), 3, "{json}");
    assert!(strangers.iter().all(|one| one["refused"].as_u64() > Some(0)), "{json}");
    assert_eq!(strangers[2]["got"], "403 Forbidden", "{json}");
    let secured = summary.secured.as_mut().unwrap();
    secured.strangers[1].got = Ok(StatusCode::OK);
    let told = summary.complaint().unwrap();
    assert!(told.starts_with("not refused: no certificate, no TLS: not_tls ×"), "{told}");
    summary.secured.as_mut().unwrap().accepted[1] -= 1;
    let told = summary.complaint().unwrap();
    assert!(told.starts_with("connections, and of them mutual TLS: "), "{told}");
    summary.secured.as_mut().unwrap().at_servers = 1;
    let told = summary.complaint().unwrap();
    assert!(told.ends_with("rotations, 1 came into force everywhere"), "{told}");
    summary.secured.as_mut().unwrap().rotations = 2;
    let told = summary.complaint().unwrap();
    assert!(told.starts_with("2 rotations in "), "{told}");
}

/// Each keeps a processor busy, and has deadlines that it counts on.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
async fn check_quickstart(source: &str, more: &[&str]) -> quickstart::Summary {
    let _alone = ONE_AT_A_TIME.lock().await;
    let arguments = ["--json", "--requests", "5000"].iter().chain(more);
    let options = quickstart::Options::parse(arguments.map(ToString::to_string)).unwrap();
    let summary = check(quickstart::run(options)).await.unwrap();
    let json = summary.json();
    assert_eq!(json["source"], source);
    assert_eq!(summary.complaint(), None, "{json}");
    assert_eq!((json["requests"].as_u64(), json["succeeded"].as_u64()), (Some(5_000), Some(5_000)));
    assert!(json["reloads"] == 1 || source == "xds", "{json}");
    assert_eq!(json["edits_refused"], 1, "{json}");
    assert!(json["ejections"].as_u64() > Some(0), "{json}");
    assert!(json["retries"].as_u64() > Some(0), "{json}");
    let splits = json["splits"].as_array().unwrap();
    let weights: Vec<_> = splits.iter().map(|split| split["weights"].as_str().unwrap()).collect();
    assert_eq!(weights, ["90/10", "50/50"]);
    let words = summary.to_string();
    assert!(words.contains("5000 succeeded, 0 failed"), "{words}");
    let refused = "refused: 16:34: there is no cluster `reviws-v2` (did you mean `reviews-v2`?)";
    assert!(words.contains(refused), "{words}");
    summary
}

/// Each promise that is broken is told, and makes the exit code.
fn complains(mut summary: quickstart::Summary) {
    let mut after = |change: &dyn Fn(&mut quickstart::Summary)| {
        change(&mut summary);
        summary.complaint().unwrap_or_default()
    };
    let told = after(&|summary| summary.counters.ejections = 0);
    assert_eq!(told, "the sick endpoint was never ejected");
    let told = after(&|summary| {
        let (_, clusters) = &mut summary.counts.splits[0];
        *clusters.entry("reviews-v1".to_owned()).or_default() /= 2;
    });
    assert!(told.starts_with("split 90/10 is ") && told.contains("; "), "{told}");
    let told = after(&|summary| summary.reloads = 0);
    assert!(told.starts_with("0 reloads"), "{told}");
    let told = after(&|summary| summary.edits.refusal = None);
    assert!(told.starts_with("the edit with a mistake was not refused; split"), "{told}");
    let told = after(&|summary| summary.counts.succeeded -= 1);
    assert!(told.starts_with("0 of 5000 calls failed"), "{told}");
}

#[test]
fn quickstart_says_what_is_wrong_with_its_arguments() {
    let parse = |arguments: &[&str]| {
        let options = quickstart::Options::parse(arguments.iter().map(ToString::to_string));
        options.map_err(|error| error.to_string())
    };
    let options = |requests, json, xds, mesh: Option<&str>| {
        let mesh = mesh.map(Into::into);
        Ok(quickstart::Options { requests, json, xds, mtls: false, mesh })
    };
    let mtls = quickstart::Options { mtls: true, ..quickstart::Options::default() };
    assert_eq!(parse(&["--mtls"]), Ok(mtls));
    assert_eq!(parse(&["--mtls", "--xds"]), Err("--mtls or --xds, not both".to_owned()));
    assert_eq!(parse(&[]), options(5_000, false, false, None));
    assert_eq!(parse(&["--requests", "7", "--json"]), options(7, true, false, None));
    assert_eq!(parse(&["--xds", "--mesh", "m"]), options(5_000, false, true, Some("m")));
    assert_eq!(parse(&["--mesh"]), Err("--mesh wants the path of the tool".to_owned()));
    assert_eq!(parse(&["--requests", "3"]), Err("--requests wants at least 4".to_owned()));
    assert_eq!(parse(&["--requests"]), Err("--requests wants a number".to_owned()));
    assert_eq!(parse(&["--requests", "x"]), Err("x: invalid digit found in string".to_owned()));
    assert_eq!(
        parse(&["-v"]),
        Err("-v? [--requests N] [--json] [--mtls | --xds [--mesh PATH]]".to_owned())
    );
}
