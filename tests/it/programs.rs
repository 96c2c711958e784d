//! What programs read: `--format json` of `mesh explain` and `mesh test`.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

fn json(arguments: &[&str], exit: i32) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_mesh"))
        .args(arguments)
        .args(["--format", "json"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_explanation_is_one_object() {
    let explained = json(&["explain", "--config", "mesh.yaml", "http://reviews/api/1"], 0);
    assert_eq!(explained["route"]["name"], "all");
    assert_eq!(explained["forward"]["clusters"][1]["resolves"][0], "reviews-v2.internal:8080");
    assert_eq!(explained["forward"]["retry"]["per_try_timeout_ms"], 500.0);
    let refused = json(&["explain", "--config", "mesh.yaml", "http://reviews/"], 1);
    assert_eq!(
        (&refused["conclusion"], &refused["refused"]["flag"]),
        (&"refused".into(), &"NR".into())
    );
    assert_eq!(refused["near_misses"], serde_json::json!([]));
}

#[test]
fn results_are_one_array() {
    let results = json(&["test", "pass.yaml"], 0);
    assert!(results.as_array().unwrap().iter().all(|result| result["passed"] == true));
    let results = json(&["test", "differ.yaml"], 1);
    let difference = &results[0]["differences"][0];
    assert_eq!((&difference["file"], &difference["line"]), (&"differ.yaml".into(), &6.into()));
    assert_eq!(difference["code"], "unexpected");
    assert_eq!(results[2]["passed"], true);
    assert_eq!(results[2]["explained"]["reply"]["status"], 308);
}

/// Nobody hears why, and the status says so all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_stream_that_can_not_be_written_is_no_panic() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mesh = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.args(arguments).current_dir(&directory).stdin(Stdio::null());
        command
    };
    for arguments in [
        &["check", "nowhere.yaml"][..],
        &["explain", "nothing_like_that"],
        &["explain", "--config", "wrong.yaml", "http://a/"],
        &["test", "wrong.yaml"],
        &["call", "http://127.0.0.1:1/", "--timeout", "1s"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let heard = mesh(arguments).stderr(Stdio::null()).stdout(Stdio::null()).status().unwrap();
        let unheard = mesh(arguments).stderr(full).stdout(Stdio::null()).status().unwrap();
        assert!(matches!(heard.code(), Some(1 | 2)), "{arguments:?}: {heard}");
        assert_eq!(unheard, heard, "{arguments:?}");
    }
    for arguments in [&["schema"][..], &["schema", "--compact"], &["schema", "--format=markdown"]] {
        let mut child = mesh(arguments).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert!(child.wait().unwrap().success(), "{arguments:?}");
    }
}
