//! Directories in the place of files: which files a path stands for.
//!
//! A directory stands for its `*.yaml`, in the order of their names, without those whose name begins with a
//! dot: `..data` of a Kubernetes volume, `.mesh.yaml.swp` and `.#mesh.yaml` of editors. Directories in it are
//! not looked into.
//!
//! Blocking; called from a blocking thread. Bounds: [`MAX_FILES`] files of a directory, [`MAX_ENTRIES`] names.

use super::sink::{RejectCause, Rejected};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// The most files of one directory.
pub(crate) const MAX_FILES: usize = 1024;

/// The most names that are looked at in one directory, of whatever kind.
const MAX_ENTRIES: usize = 65_536;

/// The files that `paths` stand for: files themselves, and the `*.yaml` of directories in the order of their
/// names, without those that begin with a dot. What is no directory is passed on as it is, be it there or not.
///
/// # Errors
/// [`Rejected`]: a directory can't be listed, holds no such file, or more than 1024 of them. Which, and what
/// helps, is in its diagnostics.
pub fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Rejected> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        match path.is_dir() {
            true => files.append(&mut listed(path)?),
            false => files.push(path.clone()),
        }
    }
    Ok(files)
}

/// Whether a directory stands for a file of this name, among others.
pub(crate) fn is_listed(name: &OsStr) -> bool {
    let hidden = name.as_encoded_bytes().starts_with(b".");
    !hidden && Path::new(name).extension().is_some_and(|extension| extension == "yaml")
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>, Rejected> {
    let name = directory.display();
    let many = |most, what| {
        let message =
            format!("{name}: more than {most} {what}; choose another directory, or unite some");
        Rejected::new(RejectCause::Unreadable, [message])
    };
    let unreadable = |error: io::Error| {
        // It was there a moment ago.
        let cause = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => RejectCause::Missing,
            _ => RejectCause::Unreadable,
        };
        Rejected::new(cause, [format!("{name}: can't be listed: {error}")])
    };
    let mut files = Vec::new();
    for (count, entry) in directory.read_dir().map_err(unreadable)?.enumerate() {
        let entry = entry.map_err(unreadable)?;
        if count == MAX_ENTRIES {
            return Err(many(MAX_ENTRIES, "names"));
        }
        if !is_listed(&entry.file_name()) {
            continue;
        }
        if files.len() == MAX_FILES {
            return Err(many(MAX_FILES, "files *.yaml"));
        }
        files.push(entry.path());
    }
    if files.is_empty() {
        let message =
            format!("{name}: no *.yaml is in it; names that begin with a dot don't count");
        return Err(Rejected::new(RejectCause::Missing, [message]));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_stands_for_its_yaml() {
        for (names, expected) in [
            (&["b.yaml", "a.yaml", "c.yml", "d.json", "yaml"][..], &["a.yaml", "b.yaml"][..]),
            (&["m.yaml", ".m.yaml.swp", ".#m.yaml", "#m.yaml#", "m.yaml~", "4913"], &["m.yaml"]),
            (&["m.yaml", "..data", ".yaml", ".hidden.yaml"], &["m.yaml"]),
        ] {
            let directory = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(directory.path().join(name), "x").unwrap();
            }
            let files = files_of(&[directory.path().to_owned()]).unwrap();
            let expected = expected.iter().map(|name| directory.path().join(name));
            assert_eq!(files, expected.collect::<Vec<_>>(), "{names:?}");
        }
    }

    #[test]
    fn what_is_no_directory_is_passed_on() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), "x").unwrap();
        let [gone, config] = ["gone", "mesh.conf"].map(|name| directory.path().join(name));
        fs::write(&config, "x").unwrap();
        let files = files_of(&[config.clone(), directory.path().to_owned(), gone.clone()]).unwrap();
        assert_eq!(files, [config, directory.path().join("a.yaml"), gone]);
    }

    #[track_caller]
    fn check_fault(directory: &Path, cause: RejectCause, text: &str) {
        let rejected = files_of(&[directory.to_owned()]).unwrap_err();
        assert_eq!(rejected.cause, cause);
        assert!(rejected.diagnostics[0].contains(text), "{rejected}");
    }

    #[test]
    fn what_can_not_be_listed_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        check_fault(directory, RejectCause::Missing, "no *.yaml");
        for number in 0..MAX_FILES {
            fs::write(directory.join(format!("{number}.yaml")), "x").unwrap();
        }
        assert_eq!(files_of(&[directory.to_owned()]).unwrap().len(), MAX_FILES);
        fs::write(directory.join("more.yaml"), "x").unwrap();
        check_fault(directory, RejectCause::Unreadable, "more than 1024 files");
    }
}
