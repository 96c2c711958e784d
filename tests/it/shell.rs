//! What shells and manuals are told.

use std::process::{Command, Output};

fn mesh(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_mesh")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

#[test]
fn each_shell_has_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = String::from_utf8(mesh(&["completions", shell]).stdout).unwrap();
        for part in ["explain", "drain-timeout"] {
            assert!(text.contains(part), "{shell}: {part}");
        }
    }
    // And one of them is read by its shell, which then knows a command.
    let script = r#"source <("$0" completions bash) && COMP_WORDS=(mesh pro) COMP_CWORD=1 && _mesh mesh pro mesh; echo "${COMPREPLY[@]}""#;
    let completed =
        Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_mesh")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "proxy", "{completed:?}");
}

#[test]
fn each_command_has_its_page() {
    let page = String::from_utf8(mesh(&["man"]).stdout).unwrap();
    assert!(page.contains(".TH mesh 1"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    mesh(&["man", "--out", directory.path().to_str().unwrap()]);
    for name in ["mesh", "mesh-ads", "mesh-check", "mesh-explain", "mesh-proxy"] {
        let page = std::fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
    let proxy = std::fs::read_to_string(directory.path().join("mesh-proxy.1")).unwrap();
    assert!(proxy.contains("drain\\-timeout"), "{proxy}");
    let refused =
        Command::new(env!("CARGO_BIN_EXE_mesh")).args(["man", "--out", "/no/such"]).output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("[unwritable_file]"), "{refused:?}");
}
