//! The command line.

use crate::BoxError;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// Rounds for each table.
    pub(crate) rounds: usize,
    /// Length of a turn.
    pub(crate) turn: Duration,
    /// Times that a table is measured until its control holds.
    pub(crate) attempts: usize,
    /// Envoy's binary; `None`: where `tests/interop/install` puts it.
    pub(crate) envoy: Option<PathBuf>,
    /// The row that runs alone.
    pub(crate) profile: Option<String>,
    /// Calls in flight of that row.
    pub(crate) in_flight: usize,
    only: Option<String>,
}

impl Arguments {
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, BoxError> {
        let (envoy, profile, only) = (None, None, None);
        let (rounds, attempts, in_flight) = (15, 3, 64);
        let turn = Duration::from_millis(250);
        let mut all = Self { rounds, turn, attempts, envoy, profile, in_flight, only };
        let mut words = words.into_iter();
        while let Some(option) = words.next() {
            // Cargo's own.
            if option == "--bench" {
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--rounds" => all.rounds = number(&option, &value)?,
                "--attempts" => all.attempts = number(&option, &value)?,
                "--in-flight" => all.in_flight = number(&option, &value)?,
                "--turn" => {
                    let seconds: f64 = number(&option, &value)?;
                    all.turn = Duration::from_secs_f64(seconds.clamp(0.001, 600.0));
                }
                "--envoy" => all.envoy = Some(value.into()),
                "--profile" => all.profile = Some(value),
                "--only" if ["calls", "handshakes"].contains(&&*value) => all.only = Some(value),
                "--only" => return Err("--only: `calls` or `handshakes`".into()),
                _ => {
                    return Err(format!("unknown option {option}: see benches/mtls/main.rs").into());
                }
            }
        }
        Ok(all)
    }

    /// Whether this part is asked for.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == part)
    }
}

fn number<T: FromStr<Err: std::fmt::Display> + Default + PartialOrd>(
    option: &str,
    value: &str,
) -> Result<T, BoxError> {
    let number: T = value.parse().map_err(|error| format!("{option} {value}: {error}"))?;
    if number <= T::default() {
        return Err(format!("{option} {value}: it must be more than 0").into());
    }
    Ok(number)
}
