//! `mesh completions` and `mesh man`: what shells and manuals say of the tool, made from its arguments.

use crate::cli::Failure;
use crate::output;
use clap::Command;
use clap_complete::Shell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `mesh completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArguments {
    /// For this shell.
    shell: Shell,
}

/// Arguments of `mesh man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArguments {
    /// Writes a page for the tool and for each of its commands into this directory, in place of the tool's own page to
    /// standard output.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints what completes a command line.
pub(crate) fn completions(
    arguments: &CompletionsArguments,
    mut tool: Command,
) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut tool, "mesh", &mut text);
    output::print(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints or writes manual pages.
pub(crate) fn man(arguments: &ManArguments, tool: Command) -> Result<ExitCode, Failure> {
    match &arguments.out {
        None => output::print(&page(tool)?)?,
        Some(directory) => {
            let commands: Vec<_> = tool.get_subcommands().cloned().collect();
            write(directory, "mesh", page(tool)?)?;
            for command in commands {
                let name = format!("mesh-{}", command.get_name());
                let called = format!("mesh {}", command.get_name());
                let command = command.display_name(name.clone()).bin_name(called);
                write(directory, &name, page(command)?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn page(command: Command) -> Result<String, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn write(directory: &Path, name: &str, page: String) -> Result<(), Failure> {
    let path = directory.join(format!("{name}.1"));
    fs::write(&path, page).map_err(|error| {
        Failure::new("unwritable_file", format!("can't write `{}`: {error}", path.display()))
    })
}
