//! CPU time of processes, from procfs.

use std::fs;
use std::io;
use std::time::Duration;

/// What all threads of this process have used so far.
///
/// The kernel brings a running thread's number up to date when it leaves its CPU (and at ticks): let
/// it sleep before.
pub fn of_this_process() -> io::Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let text = match fs::read_to_string(task?.path().join("schedstat")) {
            // It ended meanwhile; nothing here ends threads while it measures.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        total += field(&text, 0)?;
    }
    Ok(Duration::from_nanos(total))
}

/// What process `id` has used so far, in steps of 10 ms.
pub fn of_process(id: u32) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // proc(5): the second field is in parentheses and may hold anything; utime and stime are the
    // 14th and 15th.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = field(rest, 11)? + field(rest, 12)?;
    Ok(Duration::from_millis(ticks * 1000 / USER_HZ))
}

fn field(text: &str, index: usize) -> io::Result<u64> {
    text.split_ascii_whitespace()
        .nth(index)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "procfs has an unknown format"))
}

/// Ticks per second as procfs counts them, whatever the kernel's own rate.
const USER_HZ: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;
    use std::thread;
    use std::time::Instant;

    #[test]
    fn work_is_counted_and_sleep_is_not() {
        let spent = |work: fn()| {
            let before = (of_this_process().unwrap(), of_process(process::id()).unwrap());
            work();
            thread::sleep(Duration::from_millis(5));
            let after = (of_this_process().unwrap(), of_process(process::id()).unwrap());
            (after.0 - before.0, after.1 - before.1)
        };
        let busy = spent(|| {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(300) {}
        });
        assert!(busy.0 > Duration::from_millis(20), "{busy:?}");
        assert!(busy.1 > Duration::ZERO, "{busy:?}");
        let idle = spent(|| thread::sleep(Duration::from_millis(100)));
        assert!(idle.0 < Duration::from_millis(50), "{idle:?}");
    }
}
