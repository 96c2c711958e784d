//! [`SystemResolver`]: the operating system's own lookup (`getaddrinfo`).

use super::resolve::{Answer, Resolve, ResolveError};
use futures_core::future::BoxFuture;
use std::io;
use std::sync::Arc;

/// Looks names up as every other program on this machine does: `nsswitch.conf`, mDNS and all.
///
/// It gives no TTL, and cannot tell "no such name" from a failing server: both are
/// [`ResolveError::ServerFailure`] with the system's words. Each lookup occupies a thread of
/// tokio's blocking pool until the system gives up, also after its caller did.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemResolver {}

impl SystemResolver {
    /// The system's lookup.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
        let name = Arc::<str>::from(name);
        Box::pin(async move {
            let found = tokio::net::lookup_host((&*name, 0))
                .await
                .map(|found| Answer::new(found.map(|address| address.ip()).collect(), None));
            found.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => ResolveError::Timeout { name },
                _ => ResolveError::ServerFailure { name, detail: error.to_string().into() },
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_found_and_what_no_system_looks_up_is_not() {
        let resolver = SystemResolver::new();
        let answer = resolver.resolve("localhost").await.unwrap();
        assert!(answer.addresses.iter().all(std::net::IpAddr::is_loopback));
        assert!(!answer.addresses.is_empty() && answer.ttl.is_none());
        let error = resolver.resolve("a\0b").await.unwrap_err();
        assert!(matches!(error, ResolveError::ServerFailure { .. }), "{error:?}");
        assert_eq!(&**error.name(), "a\0b");
    }
}
