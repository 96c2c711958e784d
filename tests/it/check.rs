//! `mesh check` and `mesh schema` over the corpus of `tests/broken` and `tests/good`.

use mesh_core::config::code_explanations;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Codes that no small file can show (mesh-core's own tests lower the bounds for them), codes of test
/// files, and one that needs two files. A certificate ends soon only for a while (`certs.rs`), whoever evades a
/// rule comes through a port that is warned about as well, and that a port can't be compiled is a net below all
/// other checks.
const NOT_IN_THE_CORPUS: [&str; 9] = [
    "identity_ends_soon",
    "deny_evaded",
    "invalid_inbound",
    "document_too_large",
    "too_many_resources",
    "too_many_diagnostics",
    "invalid_url",
    "unexpected",
    "mixed_formats",
];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn mesh(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mesh"))
        .args(arguments)
        .current_dir(root("tests"))
        .env_remove("MESH_TEST_UNDEFINED")
        .output()
        .unwrap()
}

fn files(directory: &str) -> Vec<String> {
    let listed = root("tests").join(directory).read_dir().unwrap();
    let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> =
        names.filter(|name| name.ends_with(".yaml")).map(|n| format!("{directory}/{n}")).collect();
    files.sort();
    files
}

fn found(file: &str) -> (Vec<Value>, Output) {
    let output = mesh(&["check", "--format", "json", file]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let found = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{file}: {error}\n{text}{:?}", output.stderr));
    (found, output)
}

#[track_caller]
fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

#[test]
fn each_broken_file_has_its_one_mistake() {
    let mut codes = BTreeSet::new();
    for file in files("broken").into_iter().chain(files("broken/envoy")) {
        let bytes = std::fs::read(root("tests").join(&file)).unwrap();
        let content = String::from_utf8_lossy(&bytes);
        let first = content.lines().next().unwrap();
        let expected = first.strip_prefix("# expect: ").unwrap();
        let (mut found, output) = found(&file);
        // Hardly a file of Envoy's says nothing that is for a proxy only.
        if !expected.starts_with("ignored_field") {
            found.retain(|d| d["code"] != "ignored_field");
        }
        let shown: Vec<_> = found
            .iter()
            .map(|d| format!("{} {}:{}", d["code"].as_str().unwrap(), d["line"], d["column"]))
            .collect();
        assert_eq!(shown, [expected], "{file}: {found:#?}");
        let is_error = found[0]["severity"] == "error";
        assert_eq!(output.status.code(), Some(i32::from(is_error)), "{file}");
        assert_eq!(found[0]["file"], file.as_str());
        codes.insert(found[0]["code"].as_str().unwrap().to_owned());
    }
    for known in code_explanations() {
        let expected = !NOT_IN_THE_CORPUS.contains(&known.code);
        assert_eq!(codes.contains(known.code), expected, "{} in tests/broken", known.code);
    }
    assert!(files("broken").len() >= 100);
    assert!(files("broken/envoy").len() >= 60);
}

/// The first line says how many fields do nothing, and how many listeners can be no ports.
#[test]
fn good_files_of_envoys_have_nothing_to_say_but_what_does_nothing() {
    for file in files("good/envoy") {
        let (found, output) = found(&file);
        let content = std::fs::read_to_string(root("tests").join(&file)).unwrap();
        let expected = content.lines().next().unwrap().strip_prefix("# ignored: ").unwrap();
        let (no_port, ignored): (Vec<_>, Vec<_>) = found
            .iter()
            .partition(|d| d["message"].as_str().unwrap().contains("no port is opened for it"));
        assert!(ignored.iter().all(|d| d["code"] == "ignored_field"), "{file}: {found:#?}");
        assert!(no_port.iter().all(|d| d["code"] == "unused_resource"), "{file}: {found:#?}");
        let told = match (ignored.len(), no_port.len()) {
            (ignored, 0) => ignored.to_string(),
            (ignored, no_port) => format!("{ignored}, no port: {no_port}"),
        };
        assert_eq!(told, expected, "{file}: {found:#?}");
        assert_eq!(output.status.code(), Some(0), "{file}");
    }
}

#[test]
fn good_files_have_nothing_to_say() {
    let everything = "../mesh-core/src/config/tests/everything.yaml".to_owned();
    for file in files("good").into_iter().chain([everything]) {
        let (found, output) = found(&file);
        assert!(found.is_empty(), "{file}: {found:#?}");
        assert_eq!(output.status.code(), Some(0), "{file}");
    }
}

#[test]
fn people_see_the_line_and_a_mark() {
    let output = mesh(&["check", "broken/unknown_route_key.yaml"]);
    let expected = "\
error: unknown key `timeot` [unknown_key]
 --> broken/unknown_route_key.yaml:7:9
  |
7 |         timeot: 2s
  |         ^^^^^^
  |
  = help: did you mean `timeout`?

1 error in 1 file
";
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn both_places_of_a_contradiction_are_marked() {
    let output = mesh(&["check", "broken/duplicate_key.yaml"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("the first one"), "{shown}");
    assert!(shown.contains("protocol: http1") && shown.contains("protocol: http2"), "{shown}");
}

#[test]
fn every_broken_file_can_be_shown_to_people() {
    for file in files("broken").into_iter().chain(files("broken/envoy")) {
        let output = mesh(&["check", &file]);
        let shown = text(&output.stdout);
        assert!(shown.contains(&format!("--> {file}:")), "{file}: {shown}{:?}", output.stderr);
        assert!(shown.ends_with(" in 1 file\n"), "{shown}");
    }
}

#[test]
fn files_of_one_call_are_one_configuration() {
    let output = mesh(&["check", "good/part.yaml", "good/least.yaml"]);
    assert_eq!(text(&output.stdout), "ok: 2 files\n");
    let output = mesh(&["check", "good/part.yaml", "good/json.yaml"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(shown.contains("`shop` is defined twice [defined_twice]"), "{shown}");
    assert!(shown.contains("good/part.yaml:4:3") && shown.contains("good/json.yaml:4"), "{shown}");
    let output = mesh(&["check", "good/envoy/one.yaml", "good/envoy/grpc.yaml"]);
    assert!(text(&output.stdout).ends_with(" in 2 files\n") || output.stdout == b"ok: 2 files\n");
    let output = mesh(&["check", "good/envoy/one.yaml", "good/least.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("[mixed_formats]"));
}

#[test]
fn a_directory_is_all_its_yaml_files() {
    let directory = std::env::temp_dir().join(format!("mesh-check-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.to_str().unwrap();
    let nothing = mesh(&["check", path]);
    std::fs::write(directory.join("b.yaml"), "version: 1\nclusters: { c: { dns: \"c:80\" } }\n")
        .unwrap();
    let routes = "version: 1\nvirtual_hosts: { c: { routes: [{ cluster: c }] } }\n";
    std::fs::write(directory.join("a.yaml"), routes).unwrap();
    std::fs::write(directory.join("notes.txt"), "not looked at").unwrap();
    let both = mesh(&["check", path]);
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).trim_end().ends_with("[no_files]"));
    assert_eq!(text(&both.stdout), "ok: 2 files\n");
}

#[test]
fn warnings_can_be_denied() {
    let file = "broken/lint_no_endpoints.yaml";
    let allowed = mesh(&["check", file]);
    assert_eq!(allowed.status.code(), Some(0));
    assert!(text(&allowed.stdout).ends_with("\n1 warning in 1 file\n"));
    assert_eq!(mesh(&["check", "--deny", "warnings", file]).status.code(), Some(1));
    let good = mesh(&["check", "--deny", "warnings", "good/least.yaml"]);
    assert_eq!(good.status.code(), Some(0));
}

#[test]
fn wrong_usage_is_not_a_wrong_configuration() {
    for arguments in [&["check"][..], &["chekc", "x"], &["check", "--format", "xml", "x"], &[]] {
        assert_eq!(mesh(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = mesh(&["check", "no/such/file.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).trim_end().ends_with("[unreadable_file]"));
}

#[test]
fn a_file_that_is_too_large_is_not_read_whole() {
    let path = std::env::temp_dir().join(format!("mesh-large-{}.yaml", std::process::id()));
    std::fs::write(&path, "# é\n".repeat(1 << 20)).unwrap();
    let (found, output) = found(path.to_str().unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(found[0]["code"], "document_too_large");
}

#[test]
fn the_schema_is_one_json_object() {
    let output = mesh(&["schema"]);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["$defs"]["route"]["properties"]["timeout"].is_object());
    let compact = mesh(&["schema", "--compact"]);
    assert_eq!(serde_json::from_slice::<Value>(&compact.stdout).unwrap(), schema);
    assert_eq!(text(&compact.stdout).lines().count(), 1);
}

/// With `MESH_BLESS=1` the reference is written anew: read the difference.
#[test]
fn the_reference_of_every_key_is_the_one_in_the_docs() {
    let printed = text(&mesh(&["schema", "--format", "markdown"]).stdout);
    let path = root("docs/mesh-yaml.md");
    if std::env::var_os("MESH_BLESS").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == printed,
        "docs/mesh-yaml.md is not what `mesh schema --format markdown` prints"
    );
}
