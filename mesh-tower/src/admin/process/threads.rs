//! [`Threads`]: how busy each thread was, from one scrape to the next.
//!
//! A runtime whose workers are full is late before anything fails, and no count of calls shows it. So at each scrape
//! the time is taken that each thread has spent on a CPU since the last one, over the time that has passed.
//!
//! - The first scrape has nothing to compare with, and shows none. A thread that is new is not shown either.
//! - Scrapes less than [`LEAST`] apart, of two scrapers, show the same.
//! - At most [`MAX_THREADS`] are shown, the busiest; all others are left out.

use super::stat::Stat;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::time::{Duration, Instant};

/// The shortest time that is measured: the kernel counts in hundredths of a second.
const LEAST: Duration = Duration::from_secs(1);

/// The most threads that are shown.
const MAX_THREADS: usize = 64;

/// By the thread's number.
type Sample = BTreeMap<u32, Stat>;

/// What was taken last.
#[derive(Debug, Default)]
pub(in crate::admin) struct Threads(Mutex<Option<Taken>>);

#[derive(Debug)]
struct Taken {
    at: Instant,
    sample: Sample,
    shares: Vec<Share>,
}

/// How busy a thread was.
#[derive(Clone, Debug, PartialEq)]
struct Share {
    thread: u32,
    name: String,
    /// From 0 to 1.
    busy: f64,
}

impl Threads {
    /// Appends the series to `out`.
    pub(super) fn write(&self, out: &mut String) -> fmt::Result {
        let shares = self.shares(Instant::now(), sample);
        if shares.is_empty() {
            return Ok(());
        }
        const NAME: &str = "mesh_thread_busy_ratio";
        writeln!(out, "# HELP {NAME} Share of the time since the last scrape that a thread ran.")?;
        writeln!(out, "# TYPE {NAME} gauge")?;
        for Share { thread, name, busy } in shares {
            let name = label(&name);
            writeln!(out, "{NAME}{{thread=\"{name}\",tid=\"{thread}\"}} {busy:.3}")?;
        }
        Ok(())
    }

    fn shares(&self, now: Instant, sample: impl FnOnce() -> Sample) -> Vec<Share> {
        let mut taken = self.0.lock();
        if let Some(taken) = &*taken
            && now.saturating_duration_since(taken.at) < LEAST
        {
            return taken.shares.clone();
        }
        let sample = sample();
        let shares = taken.as_ref().map(|before| between(before, &sample, now)).unwrap_or_default();
        *taken = Some(Taken { at: now, sample, shares: shares.clone() });
        shares
    }
}

/// The number of a thread may be another's later, which began later.
fn between(before: &Taken, after: &Sample, now: Instant) -> Vec<Share> {
    let passed = now.saturating_duration_since(before.at).as_secs_f64();
    let same = after.iter().filter_map(|(thread, after)| {
        let before = before.sample.get(thread)?;
        (before.start.total_cmp(&after.start).is_eq()).then_some((thread, before, after))
    });
    let shares = same.map(|(thread, before, after)| Share {
        thread: *thread,
        name: after.name.clone(),
        busy: ((after.cpu - before.cpu) / passed).clamp(0.0, 1.0),
    });
    let mut shares: Vec<_> = shares.collect();
    shares.sort_by(|one, other| other.busy.total_cmp(&one.busy));
    shares.truncate(MAX_THREADS);
    shares.sort_by_key(|share| share.thread);
    shares
}

fn sample() -> Sample {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| {
        let thread = task.file_name().to_str()?.parse().ok()?;
        // One that has ended meanwhile is not there any more.
        let text = fs::read_to_string(task.path().join("stat")).ok()?;
        Some((thread, Stat::parse(&text)?))
    });
    stats.collect()
}

/// A program may give its threads any names.
fn label(name: &str) -> String {
    name.chars()
        .map(|letter| match letter {
            '"' | '\\' => '_',
            letter if letter.is_control() => '_',
            letter => letter,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads with their CPU time so far and when they began.
    fn sample_of(threads: &[(u32, f64, f64)]) -> Sample {
        let stat = |&(thread, cpu, start): &(u32, f64, f64)| {
            (thread, Stat { name: format!("t{thread}"), cpu, start })
        };
        threads.iter().map(stat).collect()
    }

    fn shown(shares: &[Share]) -> String {
        let texts: Vec<_> =
            shares.iter().map(|share| format!("{}:{:.2}", share.thread, share.busy)).collect();
        texts.join(" ")
    }

    #[test]
    fn shares_are_of_the_time_between_two_scrapes() {
        let (threads, start) = (Threads::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let scrape = |seconds, sample: &[(u32, f64, f64)]| {
            shown(&threads.shares(at(seconds), || sample_of(sample)))
        };
        assert_eq!(scrape(0, &[(1, 5.0, 0.0), (2, 0.0, 0.0)]), "");
        assert_eq!(scrape(10, &[(1, 10.0, 0.0), (2, 0.0, 0.0), (3, 9.0, 5.0)]), "1:0.50 2:0.00");
        // Another scraper, in the same second.
        assert_eq!(scrape(10, &[]), "1:0.50 2:0.00");
        // Thread 2 is another now; the counting of the kernel is coarse.
        assert_eq!(scrape(12, &[(1, 12.1, 0.0), (2, 1.0, 11.0), (3, 9.0, 5.0)]), "1:1.00 3:0.00");
    }

    #[test]
    fn the_busiest_are_shown() {
        let (threads, start) = (Threads::default(), Instant::now());
        let many = |busy: f64| (0..200).map(|n| (n, f64::from(n) * busy, 0.0)).collect::<Vec<_>>();
        threads.shares(start, || sample_of(&many(0.0)));
        let shares = threads.shares(start + Duration::from_secs(1000), || sample_of(&many(1.0)));
        assert_eq!(shares.len(), MAX_THREADS);
        assert_eq!((shares[0].thread, shares[63].thread), (136, 199));
    }

    /// For how long this thread has run, as the scheduler itself counts it.
    fn ran() -> Duration {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }

    /// How much it gets of a processor is for the others on the machine to say.
    #[test]
    fn a_thread_is_as_busy_as_it_ran() {
        let own = fs::read_link("/proc/thread-self").unwrap();
        let own: u32 = own.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let (threads, begun, before) = (Threads::default(), Instant::now(), ran());
        assert_eq!(threads.shares(begun, sample), []);
        while begun.elapsed() < LEAST + Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let now = Instant::now();
        let got = (ran() - before).as_secs_f64() / (now - begun).as_secs_f64();
        let shares = threads.shares(now, sample);
        let share = shares.iter().find(|share| share.thread == own).unwrap();
        assert!(share.busy > 0.0 && (share.busy - got).abs() < 0.05, "{got}: {shares:?}");
    }

    #[test]
    fn names_end_no_label() {
        assert_eq!(label("a\"b\\c\nd"), "a_b_c_d");
    }
}
