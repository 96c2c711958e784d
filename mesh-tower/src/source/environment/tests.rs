use super::*;
use std::error::Error as _;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// `NAME=value` each, as an environment has them.
fn variables(set: &[&str]) -> Variables {
    let set: Vec<_> = set.iter().map(|set| set.split_once('=').unwrap()).collect();
    Variables::read(|asked| {
        let found = set.iter().find(|(name, _)| *name == asked);
        found.map(|(_, value)| OsString::from(value))
    })
}

#[track_caller]
fn check(set: &[&str], expected: &Choice) {
    assert_eq!(variables(set).choose().unwrap(), *expected, "{set:?}");
}

#[track_caller]
fn check_error(set: &[&str], expected: &str) {
    let error = variables(set).open(&Default::default()).unwrap_err();
    assert!(error.to_string().starts_with(expected), "{set:?}: {error}");
}

fn files(paths: &[&str]) -> Choice {
    Choice::Files(paths.iter().map(PathBuf::from).collect())
}

#[test]
fn files_are_separated_as_path_is_and_empty_ones_are_none() {
    check(&["MESH_CONFIG=/etc/mesh.yaml"], &files(&["/etc/mesh.yaml"]));
    check(&["MESH_CONFIG=a.yaml:/b c.yaml"], &files(&["a.yaml", "/b c.yaml"]));
    check(&["MESH_CONFIG=:a.yaml::"], &files(&["a.yaml"]));
    check(&["MESH_CONFIG=::"], &Choice::Nothing);
    check(&["MESH_CONFIG="], &Choice::Nothing);
    check(&["MESH_CONFIGS=a.yaml", "mesh_config=b.yaml"], &Choice::Nothing);
    let odd = Some(OsStr::from_bytes(b"/etc/\xff.yaml").to_owned());
    let odd = Variables { files: odd, ..Variables::default() };
    let path = PathBuf::from(OsStr::from_bytes(b"/etc/\xff.yaml"));
    assert_eq!(odd.choose().unwrap(), Choice::Files(vec![path]), "paths are no texts");
}

#[cfg(feature = "xds")]
#[test]
fn the_path_counts_before_the_text_and_both_before_files() {
    let (path, text) = ("GRPC_XDS_BOOTSTRAP=/boot.json", "GRPC_XDS_BOOTSTRAP_CONFIG={}");
    let file = "MESH_CONFIG=mesh.yaml";
    check(&[file, text, path], &Choice::Bootstrap("/boot.json".to_owned()));
    check(&[file, text], &Choice::BootstrapText("{}".to_owned()));
    check(&[file, text, "GRPC_XDS_BOOTSTRAP="], &Choice::BootstrapText("{}".to_owned()));
    let empty = ["GRPC_XDS_BOOTSTRAP=", "GRPC_XDS_BOOTSTRAP_CONFIG=", file];
    check(&empty, &files(&["mesh.yaml"]));
}

#[test]
fn the_names_are_those_of_grpc() {
    assert_eq!((BOOTSTRAP, BOOTSTRAP_TEXT), ("GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG"));
    #[cfg(feature = "xds")]
    {
        use mesh_xds::bootstrap::{INLINE_VARIABLE, PATH_VARIABLE};
        assert_eq!((BOOTSTRAP, BOOTSTRAP_TEXT), (PATH_VARIABLE, INLINE_VARIABLE));
    }
}

#[cfg(feature = "xds")]
#[test]
fn what_is_set_and_broken_is_the_error_whatever_else_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("mesh.yaml");
    std::fs::write(&good, "version: 1\n").unwrap();
    let good = format!("MESH_CONFIG={}", good.display());
    assert!(variables(&[&good]).open(&Default::default()).unwrap().is_some());

    let inline = r#"GRPC_XDS_BOOTSTRAP_CONFIG={ "xds_servers": 7 }"#;
    let expected = "the bootstrap in `GRPC_XDS_BOOTSTRAP_CONFIG`: xds_servers (line 1, column 18)";
    check_error(&[&good, inline], expected);

    let file = directory.path().join("boot.json");
    let path = format!("GRPC_XDS_BOOTSTRAP={}", file.display());
    let sound = r#"GRPC_XDS_BOOTSTRAP_CONFIG={ "xds_servers": [{ "server_uri": "127.0.0.1:1",
        "channel_creds": [{ "type": "insecure" }] }] }"#;
    assert!(variables(&[sound]).open(&Default::default()).unwrap().is_some());
    let names = format!("`GRPC_XDS_BOOTSTRAP` names the bootstrap file `{}`: ", file.display());
    check_error(&[&good, sound, &path], &format!("{names}No such file"));
    std::fs::write(&file, "{\n \"xds_servers\": [],\n \"node\": 1 }").unwrap();
    let place = format!("the bootstrap file `{}` of `GRPC_XDS_BOOTSTRAP`: ", file.display());
    check_error(&[&good, sound, &path], &place);
    let text = variables(&[&path]).open(&Default::default()).unwrap_err().to_string();
    assert!(text.contains("(line 2, column 17)") && text.contains("(line 3, column 10)"), "{text}");
    std::fs::write(&file, b"{\xff}").unwrap();
    check_error(&[&path], &format!("{names}invalid utf-8"));
    std::fs::write(&file, "é".repeat(1024 * 1024)).unwrap();
    check_error(&[&path], &format!("{names}more than 1048576 bytes"));
    check_error(&[&format!("GRPC_XDS_BOOTSTRAP={}", directory.path().display())], "`GRPC_XDS_");
}

#[cfg(feature = "xds")]
#[test]
fn a_value_that_is_no_text_is_told_where_it_counts() {
    let odd = || Some(OsStr::from_bytes(b"\xff").to_owned());
    let mut set = Variables { bootstrap: odd(), ..Variables::default() };
    let told = |set: &Variables| set.choose().map_err(|error| error.to_string());
    let expected = |name| format!("the value of `{name}` is not UTF-8: correct it or unset it");
    assert_eq!(told(&set), Err(expected("GRPC_XDS_BOOTSTRAP")));
    set.bootstrap_text = set.bootstrap.replace("/boot.json".into());
    assert_eq!(told(&set), Ok(Choice::Bootstrap("/boot.json".to_owned())));
    set.bootstrap = None;
    assert_eq!(told(&set), Err(expected("GRPC_XDS_BOOTSTRAP_CONFIG")));
}

#[cfg(not(feature = "xds"))]
#[test]
fn a_control_plane_without_the_feature_is_an_error() {
    let told = "` names a control plane, and this program was built without the feature `xds`";
    let file = "MESH_CONFIG=mesh.yaml";
    check_error(&[file, "GRPC_XDS_BOOTSTRAP=/b"], &format!("`GRPC_XDS_BOOTSTRAP{told}"));
    check_error(
        &[file, "GRPC_XDS_BOOTSTRAP_CONFIG={}"],
        &format!("`GRPC_XDS_BOOTSTRAP_CONFIG{told}"),
    );
}

#[test]
fn files_that_are_wrong_are_told_with_the_variable_the_path_and_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let (good, bad) = (directory.path().join("good.yaml"), directory.path().join("bad.yaml"));
    std::fs::write(&good, "version: 1\n").unwrap();
    std::fs::write(&bad, "version: 1\nnonsense: 1\n").unwrap();
    let both = std::env::join_paths([&good, &bad]).unwrap();
    let both = Variables { files: Some(both), ..Variables::default() };
    let error = both.open(&Default::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("`MESH_CONFIG`: "), "{text}");
    assert!(text.contains(&format!("{}:2:1: ", bad.display())), "{text}");
    assert!(error.source().unwrap().downcast_ref::<Rejected>().is_some());
    let missing = Path::new("/nowhere/mesh.yaml").into();
    let missing = Variables { files: Some(missing), ..Variables::default() };
    let text = missing.open(&Default::default()).unwrap_err().to_string();
    assert!(text.contains("/nowhere/mesh.yaml is missing: "), "{text}");
}
