//! `mesh.yaml` as a source: the parser of [`mesh_core::config`] behind a [`FileSource`]. With feature `json`
//! files of Envoy's are read in its place, by [`load`].

use super::beside::{Beside, place};
use super::read::{read, read_bytes};
use super::{FileSource, RejectCause, Rejected};
use crate::clock;
use mesh_core::config::{Bounds, Diagnostic, Document, Environment, FileError, Severity};
use mesh_core::update::Origin;
use mesh_core::{ConfigUpdate, WallTime};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(not(feature = "json"))]
pub use mesh_core::config::load;
#[cfg(feature = "json")]
pub use mesh_xds::files::load;

/// The most bytes of a file that a document names.
const MAX_NAMED_BYTES: u64 = 1024 * 1024;

/// The text of a regular file of at most 1 MiB that a document names: relative paths are relative to the document's
/// directory. It is what [`Environment::file`] is for programs.
///
/// # Errors
/// It is not there, cannot be read, is no regular file, is larger, or is not UTF-8.
pub fn read_beside(document: &str, path: &str) -> Result<String, FileError> {
    let bytes = read_bytes(&place(document, path), MAX_NAMED_BYTES)
        .map_err(|error| FileError::new(error.to_string()))?;
    if bytes.len() as u64 > MAX_NAMED_BYTES {
        return Err(FileError::new("it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_not_text| FileError::new("it is not UTF-8"))
}

/// What files may use of the program's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The load-balancing policies that it has registered, for files of Envoy's.
    pub(crate) lb_policies: Arc<BTreeSet<Arc<str>>>,
    /// It says who the mesh is, so files may say `tls: mesh` and need not.
    pub(crate) has_identity: bool,
}

/// Reads `paths` now, and gives the source that follows them.
///
/// # Errors
/// [`Rejected`], with every mistake and its place.
pub(crate) fn open(
    paths: &[PathBuf],
    known: &Known,
) -> Result<(ConfigUpdate, FileSource), Rejected> {
    let beside = Arc::<Beside>::default();
    let system = System { known: known.clone(), beside: Arc::clone(&beside) };
    let reading = read(paths);
    let parsed = reading.texts.and_then(|texts| parse(&texts, &system));
    let version = format!("{:016x}", beside.fingerprint(reading.fingerprint));
    let origin = Origin::new(describe_paths(paths), version);
    let parse = move |files: &[(PathBuf, String)]| parse(files, &system);
    let source = FileSource::with_parser(paths.iter().cloned(), parse).beside(beside);
    match parsed {
        Ok(mut update) => {
            update.origin = origin;
            Ok((update, source))
        }
        Err(rejected) => Err(Rejected { origin, ..rejected }),
    }
}

fn describe_paths(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

/// The process's environment, the files beside the documents, and what the program has registered.
struct System {
    known: Known,
    beside: Arc<Beside>,
}

impl Environment for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, document: &str, path: &str) -> Result<String, FileError> {
        self.beside.read(document, path)
    }

    fn lb_policies(&self) -> BTreeSet<Arc<str>> {
        BTreeSet::clone(&self.known.lb_policies)
    }

    fn has_identity(&self) -> bool {
        self.known.has_identity
    }

    fn now(&self) -> Option<WallTime> {
        Some(clock::wall())
    }
}

/// The parser: texts in, a configuration or what is wrong with them out. Warnings are logged.
fn parse(files: &[(PathBuf, String)], system: &System) -> Result<ConfigUpdate, Rejected> {
    let names: Vec<_> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    let documents = names.iter().zip(files).map(|(name, (_, text))| Document { name, text });
    let documents: Vec<_> = documents.collect();
    let loaded = load(&documents, system, &Bounds::default());
    let line = |diagnostic: &Diagnostic| describe(diagnostic, &names);
    match loaded.update {
        Some(update) => {
            for warning in &loaded.diagnostics {
                tracing::warn!(target: "mesh", "{}", line(warning));
            }
            Ok(update)
        }
        None => {
            let errors = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error);
            let wrong: BTreeSet<_> = errors.clone().map(|error| error.document).collect();
            let mut rejected = Rejected::new(RejectCause::Invalid, errors.map(line));
            rejected.count = u64::try_from(wrong.len()).unwrap_or(u64::MAX).max(1);
            Err(rejected)
        }
    }
}

/// One diagnostic in one line: place, what is wrong, what to do, code.
fn describe(diagnostic: &Diagnostic, names: &[String]) -> String {
    let Diagnostic { document, line, column, message, suggestion, code, .. } = diagnostic;
    let name = names.get(*document).map_or("", String::as_str);
    let suggestion = suggestion.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
    format!("{name}:{line}:{column}: {message}{suggestion} [{code}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_has_ended_is_not_told_as_open() {
        let text = "version: 1\ninbound: { web: { mtls: { mode: \"off\", until: 2020-01-01 } } }\n";
        let documents = [Document { name: "mesh.yaml", text }];
        let system = System { known: Known::default(), beside: Arc::default() };
        let loaded = load(&documents, &system, &Bounds::default());
        let codes: Vec<_> = loaded.diagnostics.iter().map(|found| found.code).collect();
        assert!(codes.contains(&"inbound_refuses_all"), "{codes:?}");
        assert!(!codes.contains(&"inbound_opened"), "{codes:?}");
    }

    #[test]
    fn files_beside_a_document_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let document = directory.path().join("mesh.yaml").display().to_string();
        let put = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
        fs::create_dir(directory.path().join("a")).unwrap();
        let most = vec![b'a'; MAX_NAMED_BYTES as usize];
        put("a/most", &most);
        put("larger", &[most, vec![b'a']].concat());
        put("latin1", b"caf\xe9");
        let check = |path: &str, expected: Result<usize, &str>| {
            let read = read_beside(&document, path).map(|text| text.len());
            match (read, expected) {
                (Ok(length), Ok(expected)) => assert_eq!(length, expected, "{path}"),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{error}")
                }
                (read, expected) => panic!("{path}: {read:?}, not {expected:?}"),
            }
        };
        check("a/most", Ok(MAX_NAMED_BYTES as usize));
        check("a/../a/most", Ok(MAX_NAMED_BYTES as usize));
        check("larger", Err("larger than 1 MiB"));
        check("latin1", Err("not UTF-8"));
        check("missing", Err("No such file"));
        check("a", Err("not a regular file"));
        // It has no end.
        check("/dev/zero", Err("not a regular file"));
    }
}
