//! Figures of the process, as Linux tells them, in Prometheus' own names.
//!
//! Read from `/proc/self` at each scrape; what can't be read is left out.
//!
//! | metric | from |
//! |---|---|
//! | `process_cpu_seconds_total`, `process_start_time_seconds` | `stat`, and the start of the system from `/proc/stat` |
//! | `process_resident_memory_bytes` | `status`, `VmRSS` |
//! | `process_open_fds`, `process_max_fds` | `fd/`, `limits` |
//! | `mesh_thread_busy_ratio` | `task/*/stat`, from one scrape to the next (`threads.rs`) |

mod stat;
mod threads;

pub(super) use threads::Threads;

use stat::Stat;
use std::fmt::{self, Write};
use std::fs;

/// Appends all of it to `out`.
pub(super) fn write(threads: &Threads, out: &mut String) {
    // Writing to a string can't fail.
    figures(out).and_then(|()| threads.write(out)).unwrap_or_default();
}

fn figures(out: &mut String) -> fmt::Result {
    let stat = read("/proc/self/stat").and_then(|text| Stat::parse(&text));
    if let Some(stat) = &stat {
        let help = "User and system time of the process.";
        metric(out, "process_cpu_seconds_total", "counter", help, stat.cpu)?;
    }
    if let Some((stat, boot)) = stat.zip(read("/proc/stat").and_then(|text| stat::boot(&text))) {
        let (help, start) = ("When the process began, since 1970.", boot + stat.start);
        metric(out, "process_start_time_seconds", "gauge", help, start)?;
    }
    if let Some(bytes) = read("/proc/self/status").and_then(|text| stat::resident(&text)) {
        let help = "Memory of the process that is in RAM.";
        metric(out, "process_resident_memory_bytes", "gauge", help, bytes)?;
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is that of reading the directory.
        let count = open.count().saturating_sub(1);
        metric(out, "process_open_fds", "gauge", "Open file descriptors.", count)?;
    }
    if let Some(most) = read("/proc/self/limits").and_then(|text| stat::most_files(&text)) {
        metric(out, "process_max_fds", "gauge", "The most file descriptors there may be.", most)?;
    }
    Ok(())
}

fn metric(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    value: impl fmt::Display,
) -> fmt::Result {
    write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_figures() {
        let mut text = String::new();
        write(&Threads::default(), &mut text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-5.0..3600.0).contains(&age), "it began {age} s ago");
        assert!(value("process_resident_memory_bytes") > 1_000_000.0);
        let open = value("process_open_fds");
        assert!(open >= 3.0 && open <= value("process_max_fds"), "{text}");
    }
}
