//! [`TaskOdds`], [`StreamTurn`]: which requests of a connection of HTTP/2 get tasks of their own.
//!
//! A connection's task may run its requests itself, which is cheaper than a task for each, as long as they do not
//! wait for one another: not for long in one turn, and not for those of a service that is slow.

use crate::time::Timestamp;
use std::time::Duration;

/// One turn of a connection's task through the requests that are ready.
#[derive(Clone, Copy, Debug)]
pub struct StreamTurn {
    started: Timestamp,
    polled: u32,
    /// Without a task.
    done: u32,
    tasks: u32,
    /// The clock is read once so many were polled.
    look: u32,
    /// So many were between the last two readings.
    stride: u32,
}

/// Whether requests of a connection are likely to need tasks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TaskOdds {
    /// Who needed none counts for it, who did twice against it.
    score: i32,
    /// So many requests get tasks at once.
    tasks: u32,
    /// As many as did the last time; 0: since then one was not found to need one.
    before: u32,
}

impl StreamTurn {
    /// How long a connection's task takes requests in and runs them before the others get tasks.
    pub const MOST: Duration = Duration::from_micros(1000);

    /// How many requests are run before the clock is read; then twice as many, and so on, while most of the time is left.
    const FEWEST: u32 = 4;

    /// How many are run between two readings of the clock at most: so many wait for one another if all of a sudden
    /// each takes long.
    const STRIDE: u32 = 16;

    /// A turn that begins.
    #[must_use]
    pub const fn new(started: Timestamp) -> Self {
        let (look, stride) = (Self::FEWEST, Self::FEWEST);
        Self { started, polled: 0, done: 0, tasks: 0, look, stride }
    }

    /// A request was polled; it is done, or waits.
    pub const fn polled(&mut self, is_done: bool) {
        self.polled += 1;
        self.done += is_done as u32;
    }

    /// A request was given a task.
    pub const fn gave_task(&mut self) {
        self.tasks += 1;
    }

    /// Whether the rest of those that are ready get tasks: looked at after the fourth request, and then after 4 to 16
    /// more each time, with what the clock says then.
    #[must_use]
    pub fn is_over(&mut self, now: impl FnOnce() -> Timestamp) -> bool {
        if self.polled < self.look {
            return false;
        }
        let passed = now().saturating_duration_since(self.started);
        if passed > Self::MOST {
            return true;
        }
        if passed < Self::MOST / 4 {
            self.stride = (2 * self.stride).min(Self::STRIDE);
        }
        self.look = self.polled + self.stride;
        false
    }
}

impl TaskOdds {
    /// How long a request may take, on average, that needs no task: with what taking it in takes, some 5 µs.
    pub const SLOW: Duration = Duration::from_micros(30);

    /// How many requests of a service that needs them get tasks at least.
    pub const FEW: u32 = 256;

    /// How many at most.
    pub const MANY: u32 = 65_536;

    /// How far those who needed no task speak for those to come.
    const BEST: i32 = 16;

    /// Whether the next request gets a task at once.
    pub const fn take_task(&mut self) -> bool {
        let takes = self.tasks > 0;
        self.tasks = self.tasks.saturating_sub(1);
        takes
    }

    /// A turn is over.
    pub fn learn(&mut self, turn: StreamTurn, now: Timestamp) {
        let (done, tasks) = (turn.done.cast_signed(), turn.tasks.cast_signed());
        self.score = (self.score + done - 2 * tasks).min(Self::BEST);
        // Handing over to tasks alone says nothing of how long requests take.
        let time = now.saturating_duration_since(turn.started);
        let is_slow = turn.polled > 0 && time > Self::SLOW * turn.polled;
        if self.score < 0 || is_slow {
            self.tasks = self.before.saturating_mul(2).clamp(Self::FEW, Self::MANY);
            (self.score, self.before) = (0, self.tasks);
        } else if turn.done > 0 {
            self.before = 0;
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const FEW: u32 = TaskOdds::FEW;

    /// So many were polled, done, and given tasks, in so many microseconds.
    fn learn(odds: &mut TaskOdds, polled: u32, done: u32, tasks: u32, micros: u64) {
        let started = Timestamp::from_millis(1);
        let turn = StreamTurn { polled, done, tasks, ..StreamTurn::new(started) };
        odds.learn(turn, started + Duration::from_micros(micros));
    }

    #[test]
    fn who_needs_tasks_is_found_out() {
        let mut odds = TaskOdds::default();
        learn(&mut odds, 64, 64, 0, 100);
        assert_eq!(odds, TaskOdds { score: TaskOdds::BEST, tasks: 0, before: 0 });
        // One that waits among many that do not is no reason.
        learn(&mut odds, 4, 3, 1, 4);
        learn(&mut odds, 0, 0, 1, 4);
        assert_eq!(odds.tasks, 0);
        // Nor is one that was woken after its end.
        learn(&mut odds, 0, 0, 0, 4);
        assert_eq!(odds.tasks, 0);
        // All that wait are.
        learn(&mut odds, 0, 0, 9, 9);
        assert_eq!((odds.tasks, odds.before), (FEW, FEW));
        for _ in 0..FEW {
            assert!(odds.take_task());
        }
        assert!(!odds.take_task());
        learn(&mut odds, 0, 0, 1, 1);
        assert_eq!(odds.tasks, 2 * FEW);
        // What works again is forgiven.
        odds.tasks = 0;
        learn(&mut odds, 4, 4, 0, 4);
        assert_eq!(odds.before, 0);
        // Slow ones need tasks, though they wait for nothing.
        learn(&mut odds, 4, 4, 0, 4 * 31);
        assert_eq!(odds.tasks, FEW);
        for _ in 0..20 {
            learn(&mut odds, 0, 0, 9, 9);
        }
        assert_eq!(odds.tasks, TaskOdds::MANY);
    }

    /// After which of 60 requests the clock is read, if so many microseconds have passed by each.
    fn looks(passed: impl Fn(u32) -> u64) -> Vec<u32> {
        let started = Timestamp::from_millis(1);
        let mut turn = StreamTurn::new(started);
        let mut looks = Vec::new();
        for polled in 1..=60 {
            turn.polled(true);
            let is_over = turn.is_over(|| {
                looks.push(polled);
                started + Duration::from_micros(passed(polled))
            });
            assert!(!is_over, "after {polled}");
        }
        looks
    }

    #[test]
    fn a_turn_looks_at_the_clock_ever_more_seldom_while_it_has_time() {
        assert_eq!(looks(|_| 249), [4, 12, 28, 44, 60]);
        assert_eq!(
            looks(|polled| if polled < 12 { 249 } else { 1000 }),
            [4, 12, 20, 28, 36, 44, 52, 60]
        );
    }

    #[test]
    fn a_turn_ends() {
        let late = || Timestamp::from_millis(2) + Duration::from_micros(1);
        let mut turn = StreamTurn::new(Timestamp::from_millis(1));
        for _ in 0..4 {
            assert!(!turn.is_over(late), "too few were polled");
            turn.polled(true);
        }
        for _ in 0..2 {
            assert!(turn.is_over(late), "once it is over it stays so");
        }
    }
}
