//! Builds the descriptors that `mesh_xds::files` reads Envoy's YAML and JSON with.
//!
//! Compiled are the `.proto` files of the `envoy-types` package and those in `proto/`, which it lacks. Kept is
//! what the messages of `ROOTS` are made of: messages, fields, enumerations; no services, comments, or
//! options of others (validation rules).
//!
//! ```sh
//! cargo run --manifest-path mesh-xds/descriptors/Cargo.toml              # writes mesh-xds/src/files/descriptors.binpb
//! cargo run --manifest-path mesh-xds/descriptors/Cargo.toml -- --check   # compares only
//! ```

mod prune;
mod roots;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("../src/files/descriptors.binpb");
    let bytes = build(here)?;
    if std::env::args().any(|argument| argument == "--check") {
        let same = std::fs::read(&target)? == bytes;
        println!("{}: {}", target.display(), if same { "up to date" } else { "differs" });
        return Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    std::fs::write(&target, &bytes)?;
    println!("{}: {} bytes", target.display(), bytes.len());
    Ok(ExitCode::SUCCESS)
}

fn build(here: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let package = envoy_types(here)?.join("proto");
    let includes = [
        "data-plane-api",
        "xds",
        "googleapis",
        "protoc-gen-validate",
        "cel-spec/proto",
        "client_model",
        "opentelemetry-proto",
        "ratelimit",
    ];
    let mut folders = vec![here.join("proto")];
    folders.extend(includes.iter().map(|folder| package.join(folder)));
    let mut compiler = protox::Compiler::new(folders)?;
    compiler.include_imports(true);
    for file in roots::FILES {
        compiler.open_file(file)?;
    }
    let all = FileDescriptorSet::decode(compiler.encode_file_descriptor_set().as_slice())?;
    Ok(prune::prune(all, roots::ROOTS)?.encode_to_vec())
}

/// Where cargo has put the package.
fn envoy_types(here: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(here.join("Cargo.toml"))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    // The one path of a manifest that ends like this; no JSON parser is needed for it.
    let end = "/Cargo.toml\"";
    let path = text
        .split("\"manifest_path\":\"")
        .skip(1)
        .filter_map(|rest| rest.split_once(end))
        .map(|(path, _)| path)
        .find(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("envoy-types-")));
    Ok(path.ok_or("cargo metadata does not name envoy-types")?.into())
}
