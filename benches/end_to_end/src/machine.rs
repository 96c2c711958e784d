//! Where and with what was measured: numbers without it mean nothing.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine, the day, the versions.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// `2026-11-21`, UTC.
    pub date: String,
    /// The CPU's name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The client's runtime.
    pub runtime: String,
    /// Whether this is a release build.
    pub release: bool,
    /// By name, from `Cargo.lock`; the compiler and Envoy too.
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// Looks around.
    pub fn look(workers: usize, envoy: Option<&str>) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let model =
            model.and_then(|line| line.split_once(':')).map_or("?", |(_, name)| name.trim());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut versions: BTreeMap<_, _> =
            SHOWN.iter().filter_map(|name| locked(LOCK, name)).collect();
        versions.insert("rustc".to_owned(), env!("RUSTC_VERSION").replace("rustc ", ""));
        versions.extend(envoy.map(|version| ("envoy".to_owned(), version.to_owned())));
        Self {
            date: date(seconds / 86_400),
            cpu: model.to_owned(),
            cores: available_parallelism().map_or(0, usize::from),
            kernel: kernel.trim().to_owned(),
            runtime: match workers {
                0 => "current thread".to_owned(),
                workers => format!("{workers} workers"),
            },
            release: !cfg!(debug_assertions),
            versions,
        }
    }
}

/// A package's version in a `Cargo.lock`.
fn locked(lock: &str, name: &str) -> Option<(String, String)> {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = lock.split_once(&entry)?;
    Some((name.to_owned(), rest.split('"').next()?.to_owned()))
}

/// The day that begins `days` days after 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

const LOCK: &str = include_str!("../Cargo.lock");
const SHOWN: [&str; 7] = ["h2", "hyper", "mesh-core", "mesh-tower", "tokio", "tonic", "tonic-xds"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_778, "2026-11-21"),
            (20_818, "2026-12-31"),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn every_shown_version_is_locked() {
        for name in SHOWN {
            assert!(locked(LOCK, name).is_some(), "{name}");
        }
    }
}
