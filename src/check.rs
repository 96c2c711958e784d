//! `mesh check`: is this configuration right?
//!
//! All files are read as one configuration, as the mesh would: they unite by name, and a route in one
//! may name a cluster in another.

use crate::cli::Failure;
use crate::diagnostics::{self, Source};
use mesh_core::config::{Bounds, Diagnostic, Document, Environment, FileError, Severity};
use mesh_core::config::{decode, load};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The largest file that a document may name, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// Arguments of `mesh check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files, or directories of which every *.yaml is taken. They are one configuration.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How diagnostics are printed.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Makes warnings count as errors for the exit code.
    #[arg(long, value_enum, value_name = "WHAT")]
    deny: Option<Deny>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// The lines in question, with marks under them.
    Human,
    /// One array of objects.
    Json,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Deny {
    Warnings,
}

/// Checks, and prints what was found.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (sources, found) = check(&arguments.files)?;
    let text = match arguments.format {
        Format::Human => diagnostics::human(&sources, &found, colour()),
        Format::Json => diagnostics::json(&sources, &found),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has seen enough (`mesh check … | head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    let refused =
        found.iter().any(|found| found.severity == Severity::Error || arguments.deny.is_some());
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Colours where someone looks, unless <https://no-color.org> is followed.
fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn check(files: &[PathBuf]) -> Result<(Vec<Source>, Vec<Diagnostic>), Failure> {
    let bounds = Bounds::default();
    let mut sources = Vec::new();
    let mut found = Vec::new();
    for path in paths(files)? {
        let name = path.display().to_string();
        let bytes = read(&path, bounds.document_bytes as u64 + 1).map_err(|error| {
            Failure::new("unreadable_file", format!("can't read `{name}`: {error}"))
        })?;
        let cut = bytes.len() > bounds.document_bytes;
        match decode(sources.len(), &bytes) {
            // What is too large is cut anywhere, and reported for its size.
            Err(diagnostic) if !cut => found.push(*diagnostic),
            _ => {}
        }
        sources.push(Source { name, text: String::from_utf8_lossy(&bytes).into_owned() });
    }
    if found.is_empty() {
        let documents: Vec<_> = sources
            .iter()
            .map(|source| Document { name: &source.name, text: &source.text })
            .collect();
        found = load(&documents, &Surroundings, &bounds).diagnostics;
    }
    Ok((sources, found))
}

/// The files themselves, and the `*.yaml` of directories in the order of their names.
fn paths(files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = Vec::new();
    for file in files {
        if !file.is_dir() {
            paths.push(file.clone());
            continue;
        }
        let name = file.display();
        let listed =
            file.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(|error| {
                Failure::new("unreadable_file", format!("can't list `{name}`: {error}"))
            })?;
        let mut inside: Vec<_> = listed
            .iter()
            .map(std::fs::DirEntry::path)
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .collect();
        if inside.is_empty() {
            return Err(Failure::new("no_files", format!("`{name}` holds no *.yaml")));
        }
        inside.sort();
        paths.append(&mut inside);
    }
    Ok(paths)
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// This process's environment, and the files beside the documents.
struct Surroundings;

impl Environment for Surroundings {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, document: &str, path: &str) -> Result<String, FileError> {
        let beside = Path::new(document).parent().unwrap_or_else(|| Path::new("")).join(path);
        let bytes =
            read(&beside, LARGEST_FILE + 1).map_err(|error| FileError::new(error.to_string()))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(FileError::new(format!("it has more than {LARGEST_FILE} bytes")));
        }
        String::from_utf8(bytes).map_err(|_not_text| FileError::new("it is not UTF-8"))
    }
}
