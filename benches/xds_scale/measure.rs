//! Time, CPU time and memory of this process, from procfs.

use std::time::{Duration, SystemTime};

/// The system's clock, which two processes of one machine share.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

/// What all threads of this process have used so far. They must rest: a thread's number is brought up to
/// date when it leaves its CPU.
pub(crate) fn cpu() -> Duration {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("Linux") {
        let path = task.expect("a thread").path().join("schedstat");
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let first = text.split(' ').next().expect("a field");
        nanos += first.parse::<u64>().expect("a number");
    }
    Duration::from_nanos(nanos)
}

/// Resident memory now and at its highest, in MiB.
pub(crate) fn memory() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    ["VmRSS:", "VmHWM:"].map(|key| {
        let line = text.lines().find(|line| line.starts_with(key)).expect("a field of status");
        let kib = line.split_whitespace().nth(1).expect("a value");
        kib.parse::<u64>().expect("a number") / 1024
    })
}

/// Median, 90th percentile and highest, in milliseconds.
pub(crate) fn percentiles(mut nanos: Vec<u64>) -> String {
    nanos.sort_unstable();
    let at = |share: usize| {
        let index = (nanos.len() * share / 100).min(nanos.len() - 1);
        Duration::from_nanos(nanos[index]).as_secs_f64() * 1e3
    };
    format!("median {:.2} ms, p90 {:.2} ms, max {:.2} ms", at(50), at(90), at(100))
}
