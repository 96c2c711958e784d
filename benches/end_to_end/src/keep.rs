//! Keeps a foreign program until stdin ends, so that it can't outlive the benchmark, however that ends.

use crate::BoxError;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, stdin};
use tokio::process::Command;

/// Runs `program`, prints its process id, and ends it when stdin ends.
pub async fn keep(program: &[String]) -> Result<(), BoxError> {
    let [name, arguments @ ..] = program else { return Err("no program".into()) };
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    println!("{}", child.id().ok_or("it ended at once")?);
    let mut ignored = Vec::new();
    let mut stdin = stdin();
    tokio::select! {
        end = stdin.read_to_end(&mut ignored) => {
            end?;
            child.kill().await?;
        }
        status = child.wait() => return Err(format!("{name} ended: {}", status?).into()),
    }
    Ok(())
}
