//! What README says of files and commands is so, and the tests that tables in `docs/` name are there.
//!
//! README's Rust is compiled by mesh-tower's documentation tests, and its first client is built and run
//! by `.ci/steps/package`.

use crate::console;
use std::path::{Path, PathBuf};

const README: &str = include_str!("../../README.md");

/// The contents of all blocks of `language`.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("\n```{language}\n");
    let blocks = README.split(&begin).skip(1);
    blocks
        .map(|rest| rest.split_inclusive("\n```").next().unwrap().strip_suffix("```").unwrap())
        .collect()
}

/// `shown` is what is printed; a line `…` stands for any rest.
#[track_caller]
fn check(command: &str, shown: &str, directory: &Path) {
    // A nested shell's exit code is no line of README's.
    let printed = console::run(command, directory);
    let printed = printed.strip_suffix("? 1\n").unwrap_or(&printed);
    match shown.strip_suffix("…\n") {
        Some(beginning) => assert!(printed.starts_with(beginning), "{command}:\n{printed}"),
        None => assert_eq!(printed, shown, "{command}"),
    }
}

#[test]
fn every_file_in_it_is_good() {
    let files = blocks("yaml");
    assert_eq!(files.len(), 4);
    let directory = tempfile::tempdir().unwrap();
    // The command that makes the identities of the server's file stands before it.
    let made = "mesh certs new --out certs web shop";
    assert!(README.contains(&format!("`{made}`")));
    console::run(made, directory.path());
    for file in files {
        std::fs::write(directory.path().join("mesh.yaml"), file).unwrap();
        check("mesh check mesh.yaml", "ok: 1 file\n", directory.path());
    }
}

#[test]
fn every_command_in_it_prints_what_it_shows() {
    let directory = tempfile::tempdir().unwrap();
    let good = blocks("yaml")[1];
    let broken = good.replace("files-v2: 10", "flies-v2: 10");
    assert_ne!(good, broken);
    std::fs::write(directory.path().join("mesh.yaml"), good).unwrap();
    std::fs::write(directory.path().join("broken.yaml"), broken).unwrap();
    let sessions = blocks("console");
    assert_eq!(sessions.len(), 2);
    let commands = sessions.iter().flat_map(|session| session.split("$ ").skip(1));
    for command in commands {
        let (command, shown) = command.split_once('\n').unwrap();
        check(command, shown, directory.path());
    }
}

/// All tests are functions of these.
const SOURCES: [&str; 8] = [
    "mesh-core/src",
    "mesh-core/tests",
    "mesh-tower/src",
    "mesh-tower/tests",
    "mesh-xds/src",
    "mesh-xds/tests",
    "tests/interop",
    "tests/it",
];

fn sources(directory: PathBuf, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // The peers of the interop tests are none of ours.
        if path.ends_with(".peers") {
            continue;
        }
        if path.is_dir() {
            sources(path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// What stands between backquotes in the last column of a table.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let rows = text.lines().filter(|line| line.starts_with('|') && line.ends_with('|'));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2))
}

#[test]
fn every_test_that_a_table_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    SOURCES.iter().for_each(|directory| sources(root.join(directory), &mut tests));
    let files = [
        ("docs/headers.md", 9),
        ("docs/grpc-and-http.md", 18),
        ("docs/xds-mistakes.md", 50),
        ("docs/xds-rules.md", 90),
    ];
    for (file, at_least) in files {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let named: Vec<_> = names(&text).collect();
        assert!(named.len() >= at_least, "{file}: {named:?}");
        for name in named {
            assert!(tests.contains(&format!("fn {name}(")), "{file}: there is no {name}");
        }
    }
}
