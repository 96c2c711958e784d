//! Configuration files, `mesh.yaml` or Envoy's: found, read, and united as the mesh would.

use crate::certs;
use crate::cli::Failure;
use crate::diagnostics::Source;
use mesh_core::WallTime;
use mesh_core::config::{
    Bounds, Diagnostic, Document, Environment, FileError, IdentityTrouble, decode,
};
use mesh_core::model::IdentityConfig;
use mesh_core::update::ConfigUpdate;
use mesh_tower::identity::{examine, examine_roots};
use mesh_tower::source::{Beside, RejectCause, files_of, load, read_beside};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Files that were read as one configuration.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// Their texts.
    pub(crate) sources: Vec<Source>,
    /// What they say; `None` when there is an error.
    pub(crate) update: Option<ConfigUpdate>,
    /// What is wrong or suspicious.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Reads files, and the `*.yaml` of directories, as one configuration.
pub(crate) fn configuration(files: &[PathBuf]) -> Result<Configuration, Failure> {
    read_as(files, &Surroundings)
}

/// As [`configuration`], with the certificates that it names looked at.
pub(crate) fn examined(files: &[PathBuf]) -> Result<Configuration, Failure> {
    read_as(files, &Examining)
}

fn read_as(files: &[PathBuf], around: &dyn Environment) -> Result<Configuration, Failure> {
    let (sources, diagnostics) = sources(&paths(files)?)?;
    if !diagnostics.is_empty() {
        return Ok(Configuration { sources, update: None, diagnostics });
    }
    let documents: Vec<_> = sources.iter().map(document).collect();
    let loaded = load(&documents, around, &Bounds::default());
    Ok(Configuration { sources, update: loaded.update, diagnostics: loaded.diagnostics })
}

/// A source as mesh-core takes it.
pub(crate) fn document(source: &Source) -> Document<'_> {
    Document { name: &source.name, text: &source.text }
}

/// Reads files as they are; what is no text is reported.
pub(crate) fn sources(paths: &[PathBuf]) -> Result<(Vec<Source>, Vec<Diagnostic>), Failure> {
    let most = Bounds::default().document_bytes;
    let mut sources = Vec::new();
    let mut found = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let bytes = read(path, most as u64 + 1).map_err(|error| {
            Failure::new("unreadable_file", format!("can't read `{name}`: {error}"))
        })?;
        let cut = bytes.len() > most;
        match decode(sources.len(), &bytes) {
            // What is too large is cut anywhere, and reported for its size.
            Err(diagnostic) if !cut => found.push(*diagnostic),
            _ => {}
        }
        sources.push(Source { name, text: String::from_utf8_lossy(&bytes).into_owned() });
    }
    Ok((sources, found))
}

/// The files that paths stand for.
fn paths(files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    files_of(files).map_err(|rejected| {
        let code = match rejected.cause {
            RejectCause::Missing => "no_files",
            _ => "unreadable_file",
        };
        Failure::new(code, rejected.diagnostics.join("; "))
    })
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What `path` means in `document`: relative to its directory.
pub(crate) fn beside(document: &str, path: &str) -> PathBuf {
    Path::new(document).parent().unwrap_or_else(|| Path::new("")).join(path)
}

/// This process's environment, and the files beside the documents.
#[derive(Debug)]
pub(crate) struct Surroundings;

impl Environment for Surroundings {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, document: &str, path: &str) -> Result<String, FileError> {
        read_beside(document, path)
    }
}

/// The same, of which the files are followed.
#[derive(Debug)]
pub(crate) struct Followed<'b>(pub(crate) &'b Beside);

impl Environment for Followed<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        Surroundings.variable(name)
    }

    fn file(&self, document: &str, path: &str) -> Result<String, FileError> {
        self.0.read(document, path)
    }
}

/// This process's environment, and what is in the files of an identity and of roots.
#[derive(Debug)]
struct Examining;

impl Environment for Examining {
    fn variable(&self, name: &str) -> Option<String> {
        Surroundings.variable(name)
    }

    fn file(&self, document: &str, path: &str) -> Result<String, FileError> {
        Surroundings.file(document, path)
    }

    fn examine_identity(&self, identity: &IdentityConfig) -> Vec<IdentityTrouble> {
        examine(identity, certs::now())
    }

    fn examine_roots(&self, path: &Path, pem: &str) -> Vec<IdentityTrouble> {
        examine_roots(path, pem, certs::now())
    }

    fn now(&self) -> Option<WallTime> {
        Some(certs::now())
    }
}
