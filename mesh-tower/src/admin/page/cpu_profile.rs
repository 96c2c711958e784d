//! `/cpu_profile`: where the process spends its time, in the format of pprof.
//!
//! A hundred times a second of CPU the kernel interrupts a thread that runs (SIGPROF), and its stack is written down
//! ([pprof](https://docs.rs/pprof)). A handler of signals may take no lock that the thread holds which it interrupts: so
//! nothing is written down while that is in the C library or in the unwinder ([`LEFT_OUT`]). In a static program they
//! can't be told from the rest, so it takes no profile.

use crate::admin::answer::Answer;
use crate::admin::asked::Asked;
use http::{Method, StatusCode, request};
use std::time::Duration;

/// Where it is.
pub(in crate::admin) const PATH: &str = "/cpu_profile";

/// The longest.
pub(in crate::admin) const LONGEST: Duration = Duration::from_secs(60);

/// Without `seconds=`.
const DEFAULT: Duration = Duration::from_secs(10);

/// Whether a profile is asked for.
pub(in crate::admin) fn is_asked(head: &request::Parts) -> bool {
    head.method == Method::POST && head.uri.path() == PATH
}

/// How long it is to be.
fn length(asked: &Asked) -> Result<Duration, String> {
    let Some(text) = asked.query.first("seconds") else { return Ok(DEFAULT) };
    let seconds = text.parse().ok().map(Duration::from_secs);
    let seconds = seconds.filter(|seconds| (Duration::from_secs(1)..=LONGEST).contains(seconds));
    seconds.ok_or_else(|| {
        format!("`seconds` is a whole number from 1 to {}, and not `{text}`", LONGEST.as_secs())
    })
}

/// Takes a profile.
pub(in crate::admin) async fn take(asked: &Asked) -> Answer {
    match length(asked) {
        Ok(length) => imp::take(length).await,
        Err(why) => Answer::refused(StatusCode::BAD_REQUEST, why),
    }
}

#[cfg(all(feature = "profile", unix, not(target_env = "musl")))]
mod imp {
    use super::{Answer, Duration, StatusCode};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use pprof::protos::Message;
    use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder, Symbol};
    use std::io::Write;

    /// How often a thread is interrupted in a second of its CPU. A prime, so as not to beat with what happens each 10 ms.
    const FREQUENCY: i32 = 99;

    /// Parts of the names of libraries in which nothing is written down.
    const LEFT_OUT: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

    pub(super) async fn take(length: Duration) -> Answer {
        let profiler =
            ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&LEFT_OUT).build();
        let profiler = match profiler {
            Ok(profiler) => profiler,
            Err(pprof::Error::Running) => {
                let why = "a profile is being taken: ask again when that one has ended";
                return Answer::refused(StatusCode::CONFLICT, why);
            }
            Err(error) => return failed(&error.to_string()),
        };
        tracing::info!(target: "mesh::admin", ?length, "a profile of the CPU is taken");
        tokio::time::sleep(length).await;
        // Functions are looked up by name, which takes a while.
        match tokio::task::spawn_blocking(move || written(&profiler)).await {
            Ok(Ok(bytes)) => Answer::bytes(bytes),
            Ok(Err(error)) => failed(&error),
            Err(error) => failed(&error.to_string()),
        }
    }

    /// Compressed, as `go tool pprof` has it.
    fn written(profiler: &ProfilerGuard<'_>) -> Result<Vec<u8>, String> {
        let report = profiler.report().frames_post_processor(without_own).build();
        let report = report.map_err(|error| error.to_string())?;
        let profile = report.pprof().map_err(|error| error.to_string())?.encode_to_vec();
        let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
        compressed.write_all(&profile).map_err(|error| error.to_string())?;
        compressed.finish().map_err(|error| error.to_string())
    }

    /// Takes off what writes a stack down, so that what it has interrupted is on top of it.
    fn without_own(frames: &mut Frames) {
        let is_own = |name: &str| name.contains("pprof::") || name.starts_with("backtrace::");
        let own = |symbols: &&Vec<Symbol>| symbols.iter().all(|symbol| is_own(&symbol.name()));
        let own = frames.frames.iter().take_while(own).count();
        drop(frames.frames.drain(..own));
    }

    fn failed(why: &str) -> Answer {
        let why = format!("no profile of the CPU could be taken: {why}");
        Answer::refused(StatusCode::INTERNAL_SERVER_ERROR, why)
    }
}

#[cfg(not(all(feature = "profile", unix, not(target_env = "musl"))))]
mod imp {
    use super::{Answer, Duration, StatusCode};
    use std::future::{Ready, ready};

    pub(super) fn take(_: Duration) -> Ready<Answer> {
        let why = "this program takes no profiles: it was built without the feature `profile` of mesh-tower, or is static \
                   (musl), or is not for Unix; use `perf record`";
        ready(Answer::refused(StatusCode::NOT_IMPLEMENTED, why))
    }
}
