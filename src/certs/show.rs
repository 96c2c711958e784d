//! `mesh certs show`: what is in a file, in plain words.

use crate::cli::Failure;
use crate::output::{self, Format};
use mesh_tower::identity::{Fitting, Inspected, beside, inspect};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// Arguments of `mesh certs show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A file: certificates, keys or lists of revoked certificates in PEM, or one certificate in DER; `-`
    /// is standard input. A key is never shown.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How the answer is printed: lines of plain words, or one object.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Reads, and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = &arguments.file;
    let is_input = path == Path::new("-");
    let shown = if is_input { "standard input".to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = if is_input {
        std::io::stdin().lock().take(LARGEST).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        Failure::new("unreadable_file", format!("can't read `{shown}`: {error}"))
    })?;
    let found = inspect(&bytes, super::now())
        .map_err(|error| Failure::new("no_certificate", format!("`{shown}`: {error}")))?;
    let neighbours = if is_input { Vec::new() } else { beside(path) };
    output::print(&match arguments.format {
        Format::Human => human(&shown, &found, &neighbours),
        Format::Json => format!("{:#}\n", as_json(&found, &neighbours)),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn human(name: &str, found: &[Inspected], neighbours: &[Fitting]) -> String {
    let mut text = String::new();
    for (index, one) in found.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        let place = match found.len() {
            1 => String::new(),
            all => format!(", {} of {all}", index + 1),
        };
        text.push_str(&format!("{gap}{name}{place}: {}\n", one.what));
        for (word, fact) in &one.facts {
            text.push_str(&format!("  {word:<11} {}\n", in_one_line(fact)));
        }
    }
    for (index, fitting) in neighbours.iter().enumerate() {
        let title = if index == 0 { "\nbeside it\n" } else { "" };
        text.push_str(&format!("{title}  {}: {}\n", fitting.path.display(), fitting.how));
    }
    text
}

/// A certificate may say anything of itself.
fn in_one_line(fact: &str) -> String {
    let escaped = fact.chars().map(|letter| match letter {
        '"' | '\'' | '\\' => letter.to_string(),
        letter => letter.escape_debug().to_string(),
    });
    escaped.collect()
}

fn as_json(found: &[Inspected], neighbours: &[Fitting]) -> Value {
    let one = |one: &Inspected| {
        let facts: Vec<_> =
            one.facts.iter().map(|(word, fact)| json!({ "word": word, "fact": fact })).collect();
        json!({ "what": one.what, "facts": facts })
    };
    let fitting = |fitting: &Fitting| json!({ "path": fitting.path.display().to_string(), "how": fitting.how });
    json!({
        "found": found.iter().map(one).collect::<Vec<_>>(),
        "beside": neighbours.iter().map(fitting).collect::<Vec<_>>(),
    })
}
