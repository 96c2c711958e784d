//! The file itself.

use super::super::file::{FileError, load, save};
use std::fs;
use std::path::Path;

#[test]
fn what_is_saved_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    assert!(load(&path, 100).unwrap().is_none());
    for content in [&b"one"[..], b"another", b""] {
        save(&path, content).unwrap();
        assert_eq!(load(&path, 7).unwrap().unwrap(), content);
    }
    let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["last-good"], "nothing is left beside it");
}

#[test]
fn what_a_crash_left_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    fs::write(directory.path().join(".last-good.tmp"), "half of").unwrap();
    save(&path, b"whole").unwrap();
    assert_eq!(load(&path, 100).unwrap().unwrap(), &b"whole"[..]);
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("inside"), "").unwrap();
    assert!(matches!(save(&path, b"new"), Err(FileError::Io { action: "could not replace", .. })));
    assert!(path.join("inside").exists());
    assert!(!directory.path().join(".last-good.tmp").exists());
}

#[test]
fn what_is_no_plain_small_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    assert!(matches!(load(directory.path(), 100), Err(FileError::NotAFile { .. })));
    assert!(matches!(save(Path::new("/"), b""), Err(FileError::NoName { .. })));
    assert!(matches!(
        save(&directory.path().join("missing/last-good"), b""),
        Err(FileError::Io { action: "could not create", .. })
    ));
    save(&path, b"12345").unwrap();
    let error = load(&path, 4).unwrap_err();
    assert!(matches!(error, FileError::TooLarge { bytes: 5, max: 4, .. }));
    assert!(error.to_string().ends_with("has 5 bytes, more than 4: raise the bound, or remove it"));
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_and_writes_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    save(&path, b"x").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for (mode, is_refused) in [(0o640, false), (0o644, false), (0o660, true), (0o602, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match load(&path, 100) {
            Err(FileError::Writable { mode: told, .. }) => assert!(is_refused && told == mode),
            other => assert!(!is_refused && other.is_ok(), "{mode:o}"),
        }
    }
    // Writing mends it.
    save(&path, b"y").unwrap();
    assert!(load(&path, 100).is_ok());
}
