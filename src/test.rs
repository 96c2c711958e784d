//! `mesh test`: does a configuration do what it is expected to?

use crate::cli::Failure;
use crate::diagnostics::{self, Source};
use crate::files::{self, Surroundings};
use crate::output::{self, Format};
use mesh_core::Json;
use mesh_core::config::{Bounds, Suite, TestResult};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `mesh test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files of tests. Each names the configuration that it tests.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How results are printed: the differences with their places, or one array of objects.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// The tests of one file, run.
struct Outcome {
    source: Source,
    results: Vec<TestResult>,
}

/// Tests, and prints what differs.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let outcomes: Vec<_> = arguments.files.iter().map(test).collect::<Result<_, _>>()?;
    output::print(&match arguments.format {
        Format::Human => human(&outcomes),
        Format::Json => json(&outcomes),
    })?;
    let failed = failures(&outcomes) > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs the tests of one file. What is wrong with the file itself goes to standard error.
fn test(file: &PathBuf) -> Result<Outcome, Failure> {
    let (mut sources, mut found) = files::sources(std::slice::from_ref(file))?;
    let read = match sources.first() {
        Some(source) if found.is_empty() => {
            Suite::read(&files::document(source), &Surroundings, &Bounds::default())
        }
        _ => Err(std::mem::take(&mut found)),
    };
    let suite = read.map_err(|found| wrong(&sources, &found))?;
    let source = sources.remove(0);
    let config = suite.config().iter().map(|path| files::beside(&source.name, path));
    let configuration = files::configuration(&config.collect::<Vec<_>>())?;
    let snapshot = output::in_force(configuration)?;
    let results = suite.run(&files::document(&source), &snapshot);
    Ok(Outcome { source, results })
}

fn wrong(sources: &[Source], found: &[mesh_core::config::Diagnostic]) -> Failure {
    let text = diagnostics::human(sources, found, output::colour(&std::io::stderr()));
    output::complain(&text);
    Failure::new("wrong_tests", "the file of tests has errors")
}

fn failures(outcomes: &[Outcome]) -> usize {
    let results = outcomes.iter().flat_map(|outcome| &outcome.results);
    results.filter(|result| !result.differences.is_empty()).count()
}

fn human(outcomes: &[Outcome]) -> String {
    let colour = output::colour(&std::io::stdout());
    let mut text = String::new();
    for Outcome { source, results } in outcomes {
        for result in results {
            let verdict = if result.differences.is_empty() { "ok    " } else { "FAILED" };
            text.push_str(&format!("{verdict}  {}\n", result.name));
            if !result.differences.is_empty() {
                let sources = std::slice::from_ref(source);
                text.push_str(&diagnostics::list(sources, &result.differences, colour));
            }
        }
    }
    let total: usize = outcomes.iter().map(|outcome| outcome.results.len()).sum();
    let failed = failures(outcomes);
    let tests = diagnostics::plural(total, "test");
    let summary = match failed {
        0 => format!("ok: {tests}\n"),
        failed => format!("{failed} of {tests} failed\n"),
    };
    text.push_str(&summary);
    text
}

fn json(outcomes: &[Outcome]) -> String {
    let results = outcomes.iter().flat_map(|Outcome { source, results }| {
        results.iter().map(move |result| {
            json!({
                "file": source.name,
                "name": result.name,
                "passed": result.differences.is_empty(),
                "differences": diagnostics::values(
                    std::slice::from_ref(source),
                    &result.differences,
                ),
                "explained": embedded(&result.explained.to_json()),
            })
        })
    });
    let all: Value = results.collect();
    format!("{all:#}\n")
}

/// Text that is JSON, as a part of other JSON.
fn embedded(json: &Json) -> Value {
    serde_json::from_str(&json.to_string()).unwrap_or(Value::Null)
}
