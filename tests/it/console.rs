//! The sessions of `tests/cli/*.console`: each command line is run, and all that it prints compared.
//!
//! `$ mesh …` starts a command; its output follows, and `? 1` when it exits with 1. Standard error
//! comes after standard output. With `MESH_BLESS=1` the files are written anew: read the difference.

use std::path::{Path, PathBuf};
use std::process::Command;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli")
}

/// Words of a command line; single quotes hold spaces.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// What `line`, a command line of `mesh`, prints in `directory`; and its exit code, if not 0.
pub(crate) fn run(line: &str, directory: &Path) -> String {
    let words = words(line);
    assert_eq!(words[0], "mesh", "{line}");
    let output = Command::new(env!("CARGO_BIN_EXE_mesh"))
        .args(&words[1..])
        .current_dir(directory)
        .output()
        .unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    let code = output.status.code().unwrap();
    if code != 0 {
        text.push_str(&format!("? {code}\n"));
    }
    text
}

#[track_caller]
fn check(name: &str) {
    let path = directory().join(name);
    let session = std::fs::read_to_string(&path).unwrap();
    let commands = session.lines().filter_map(|line| line.strip_prefix("$ "));
    let actual: String =
        commands.map(|command| format!("$ {command}\n{}", run(command, &directory()))).collect();
    if std::env::var_os("MESH_BLESS").is_some() {
        std::fs::write(&path, &actual).unwrap();
        return;
    }
    let differing = actual.lines().zip(session.lines()).find(|(actual, known)| actual != known);
    assert!(actual == session, "{name}: {differing:?}, in all:\n{actual}");
}

#[test]
fn explain_a_request() {
    check("explain.console");
}

#[test]
fn explain_a_code() {
    check("code.console");
}

#[test]
fn explain_a_port() {
    check("inbound.console");
}

#[test]
fn test_a_configuration() {
    check("test.console");
}

#[test]
fn files_of_envoys() {
    check("envoy.console");
}
