//! The texts of `/proc` (proc(5)), read.

/// What `stat` of a process or a thread says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stat {
    pub(super) name: String,
    /// User and system time, in seconds.
    pub(super) cpu: f64,
    /// When it began, in seconds since the system did.
    pub(super) start: f64,
}

/// Linux: `USER_HZ`, in which `/proc` counts: 100 on every architecture that Rust has for Linux.
const TICKS: f64 = 100.0;

impl Stat {
    /// `1 (name) S …`: fields from the third on stand after the last parenthesis, for a name may have any.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (head, fields) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let seconds = |number: usize| Some(fields.get(number - 3)?.parse::<f64>().ok()? / TICKS);
        // utime (14), stime (15), starttime (22).
        Some(Self { name, cpu: seconds(14)? + seconds(15)?, start: seconds(22)? })
    }
}

/// When the system began, in seconds since 1970: `btime` of `/proc/stat`.
pub(super) fn boot(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// `VmRSS` of `status`, in bytes. A kernel thread has none.
pub(super) fn resident(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The soft limit of open files in `limits`; `None`: there is none.
pub(super) fn most_files(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_anything() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 5 0 12345 1000 200";
        for name in ["mesh", "tokio-rt-worker", "a) S 1 (b", "x y", ""] {
            let stat = Stat::parse(&format!("42 ({name}) {rest}")).unwrap();
            assert_eq!(stat, Stat { name: name.to_owned(), cpu: 3.0, start: 123.45 });
        }
        for text in ["", "42", "42 (a", "42 (a) S", "42 (a) S 1 2 x"] {
            assert_eq!(Stat::parse(text), None, "{text}");
        }
    }

    #[test]
    fn lines_are_found_by_their_names() {
        assert_eq!(boot("cpu 1 2\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000.0));
        assert_eq!(boot("cpu 1 2\n"), None);
        assert_eq!(resident("Name:\tmesh\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(resident("Name:\tkthreadd\n"), None);
        let limits = "Limit   Soft Limit   Hard Limit   Units\nMax open files  1024  4096  files\n";
        assert_eq!(most_files(limits), Some(1024));
        assert_eq!(most_files("Max open files  unlimited  unlimited  files\n"), None);
    }
}
