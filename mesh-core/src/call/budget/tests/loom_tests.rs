use super::super::*;
use loom::sync::Arc;
use loom::thread;

fn policy(ratio: f64, min_per_second: u32) -> RetryBudgetPolicy {
    RetryBudgetPolicy { ratio, min_per_second, ..RetryBudgetPolicy::default() }
}

/// Two threads withdraw at the same instant; how many tokens they got.
fn race(budget: RetryBudget, now: Timestamp) -> u32 {
    let budget = Arc::new(budget);
    let other = Arc::clone(&budget);
    let other = thread::spawn(move || u32::from(other.withdraw(now)));
    let own = u32::from(budget.withdraw(now));
    own + other.join().unwrap()
}

#[test]
fn one_token_of_calls_is_taken_exactly_once() {
    loom::model(|| {
        let budget = RetryBudget::new(&policy(1.0, 0));
        budget.deposit();
        assert_eq!(race(budget, Timestamp::ZERO), 1);
    });
}

#[test]
fn one_token_of_the_reserve_is_taken_exactly_once() {
    loom::model(|| {
        assert_eq!(race(RetryBudget::new(&policy(0.0, 1)), Timestamp::ZERO), 1);
    });
}

#[test]
fn no_deposit_is_lost_beside_another_or_a_withdrawal() {
    loom::model(|| {
        let budget = Arc::new(RetryBudget::new(&policy(1.0, 0)));
        budget.deposit();
        let other = Arc::clone(&budget);
        let other = thread::spawn(move || other.deposit());
        budget.deposit();
        assert!(budget.withdraw(Timestamp::ZERO));
        other.join().unwrap();
        let left = (0..9).take_while(|_| budget.withdraw(Timestamp::ZERO)).count();
        assert_eq!(left, 2);
    });
}
