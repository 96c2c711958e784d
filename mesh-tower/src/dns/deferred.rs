//! [`Deferred`]: a resolver that is made at the first lookup.
//!
//! Reading `/etc/resolv.conf` can fail, and then only those who look a name up should hear of it.

use super::resolve::{Answer, Resolve, ResolveError};
use arc_swap::ArcSwapOption;
use futures_core::future::BoxFuture;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Makes its resolver at the first lookup, and again at the next when that failed.
pub(super) struct Deferred<R> {
    made: ArcSwapOption<R>,
    make: fn() -> io::Result<R>,
}

impl<R: Resolve> Deferred<R> {
    pub(super) fn new(make: fn() -> io::Result<R>) -> Self {
        Self { made: ArcSwapOption::empty(), make }
    }
}

impl<R: Resolve + 'static> Resolve for Deferred<R> {
    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
        if let Some(made) = self.made.load_full() {
            return made.resolve(name);
        }
        match (self.make)() {
            Ok(made) => {
                let looking_up = made.resolve(name);
                // Two at once make two, and one of them stays.
                self.made.store(Some(Arc::new(made)));
                looking_up
            }
            Err(error) => {
                let detail = format!("the system's resolver configuration can't be read: {error}");
                let (name, detail) = (name.into(), detail.into());
                let failure = Err(ResolveError::ServerFailure { name, detail });
                Box::pin(std::future::ready(failure))
            }
        }
    }
}

impl<R> fmt::Debug for Deferred<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("is_made", &self.made.load().is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Debug)]
    struct Loopback;

    impl Resolve for Loopback {
        fn resolve(&self, _: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
            let answer = Answer::new(vec![std::net::Ipv4Addr::LOCALHOST.into()], None);
            Box::pin(std::future::ready(Ok(answer)))
        }
    }

    static MADE: AtomicU32 = AtomicU32::new(0);

    fn make() -> io::Result<Loopback> {
        match MADE.fetch_add(1, Ordering::Relaxed) {
            0 => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Ok(Loopback),
        }
    }

    #[tokio::test]
    async fn a_lookup_says_what_is_wrong_and_the_next_one_tries_again() {
        let deferred = Deferred::new(make);
        assert_eq!(MADE.load(Ordering::Relaxed), 0, "nothing is read before");
        let error = deferred.resolve("a").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the name server failed for `a`: the system's resolver configuration can't be read: \
             permission denied"
        );
        for _ in 0..2 {
            assert_eq!(deferred.resolve("a").await.unwrap().addresses.len(), 1);
        }
        assert_eq!(MADE.load(Ordering::Relaxed), 2, "made once");
    }
}
