//! `examples/polyglot`: services in Python, Node and Go that know nothing of the mesh, with `mesh proxy` around each.

use crate::process::installed;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
#[ignore = "needs Python, Node and Go: tests/interop/install"]
fn polyglot_loses_no_request_and_lets_no_stranger_in() {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/polyglot/run");
    let mut command = Command::new(run);
    command.args(["--json", "--logs"]).stdin(Stdio::null());
    command.env("MESH_BIN", env!("CARGO_BIN_EXE_mesh")).env("POLYGLOT", installed("polyglot"));
    // It ends by itself, and with it all that it started.
    let output = command.output().unwrap();
    let logs = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}: {logs}", output.status));
    assert!(output.status.success(), "{report}: {logs}");
    assert_eq!(report["complaints"], json!([]), "{report}");
    assert_eq!((&report["requests"], &report["failures"]), (&json!(400), &json!({})), "{report}");

    for version in ["v1", "v2"] {
        let deviations = report["deviations"][version].as_f64().unwrap();
        assert!(deviations.abs() <= 5.0, "{version}: {report}");
    }
    let count = |name: &str| report[name].as_u64().unwrap();
    assert!(count("answered_503") > 0 && count("retried") >= count("answered_503"), "{report}");
    // An endpoint that nobody can connect to is passed over at once; whether it is ejected, too, depends on how often it
    // is looked at again before the end.
    assert!(report["ejections"].is_object(), "{report}");

    let id = |name: &str| json!([format!("spiffe://polyglot.example/{name}")]);
    let callers = json!({
        "shop": id("customer"),
        "reviews": id("shop"),
        "ratings": id("reviews"),
        "shop, asked by ratings": id("ratings"),
    });
    assert_eq!(report["callers"], callers);
    let at_shop = &report["strangers"];
    for refused in ["no TLS", "TLS without a certificate", "a customer of another CA"] {
        let told = at_shop[refused].as_str().unwrap();
        assert!(told.starts_with("no connection"), "{refused}: {told}");
    }
    for (who, status) in
        [("a guest of ours", "403"), ("reviews, which may not", "403"), ("a customer", "200")]
    {
        assert_eq!(at_shop[who], status, "{who}");
    }
    let protocols = report["protocols"].as_object().unwrap();
    assert_eq!(protocols.len(), 6, "{report}");
    assert!(protocols.values().all(|went| went == true), "{report}");
}
