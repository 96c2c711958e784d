use super::*;
use crate::source::{SinkReceiver, SourceEvent};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// No wait of a test is longer.
const LIMIT: Duration = Duration::from_secs(5);

/// A source over files in a directory of its own.
struct Bench {
    directory: TempDir,
    receiver: SinkReceiver,
    parsed: Arc<AtomicUsize>,
}

/// What the driver would see, as text: the "configuration" is the files' texts joined by `+`.
fn show(event: &SourceEvent) -> String {
    match event {
        SourceEvent::Update(update) => {
            let name = &update.route_configuration.name;
            format!("update {name}")
        }
        SourceEvent::Rejected(rejected) => format!("rejected, {}", rejected.cause),
        SourceEvent::Restored(_) => "restored".to_owned(),
        SourceEvent::Connected(_) | SourceEvent::Stale(_) => format!("{event:?}"),
        SourceEvent::Endpoints(_) => "endpoints".to_owned(),
    }
}

/// What was thrown, and panics when it is thrown away: nobody catches that.
struct Falls;

impl Drop for Falls {
    fn drop(&mut self) {
        // Not while it is thrown.
        assert!(std::thread::panicking(), "as the test wants");
    }
}

/// Texts that contain `bad` are not a configuration.
fn parse(texts: &[(PathBuf, String)]) -> Result<ConfigUpdate, Rejected> {
    let text = texts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("+");
    assert!(!text.contains("panic"), "as the test wants");
    if text.contains("fall") {
        std::panic::panic_any(Falls);
    }
    if text.contains("bad") {
        return Err(Rejected::invalid(["it is bad".to_owned()]));
    }
    let mut routes = mesh_core::model::RouteConfiguration::default();
    routes.name = text.into();
    let mut update = ConfigUpdate::default();
    update.route_configuration = Arc::new(routes);
    Ok(update)
}

impl Bench {
    /// Follows `files`; the system's events are all there is.
    fn start(files: &[(&str, &str)]) -> Self {
        Self::start_with(files, |source| source.poll_interval(Duration::from_secs(3600)))
    }

    fn start_with(files: &[(&str, &str)], with: fn(FileSource) -> FileSource) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            if !text.is_empty() {
                fs::write(directory.path().join(name), text).unwrap();
            }
        }
        let names = files.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        Self::follow(directory, &names, with)
    }

    fn follow(directory: TempDir, names: &[&str], with: fn(FileSource) -> FileSource) -> Self {
        let parsed = Arc::new(AtomicUsize::new(0));
        let count = parsed.clone();
        let paths = names.iter().map(|name| directory.path().join(name)).collect::<Vec<_>>();
        let source = with(FileSource::with_parser(paths, move |texts| {
            count.fetch_add(1, Ordering::Relaxed);
            parse(texts)
        }));
        let (sink, receiver) = Sink::channel();
        tokio::spawn(Box::new(source).start(sink));
        Self { directory, receiver, parsed }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes to the side and renames over `name`.
    fn replace(&self, name: &str, text: &str) {
        self.write("aside", text);
        fs::rename(self.path("aside"), self.path(name)).unwrap();
    }

    async fn next(&mut self) -> SourceEvent {
        tokio::time::timeout(LIMIT, self.receiver.next()).await.expect("an event in time")
    }

    #[track_caller]
    fn expect(&mut self, expected: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move { assert_eq!(show(&self.next().await), expected, "at {caller}") }
    }
}

#[tokio::test]
async fn an_edit_in_place_is_seen() {
    let mut bench = Bench::start(&[("mesh.yaml", "one")]);
    let SourceEvent::Update(update) = bench.next().await else { panic!("no update") };
    assert_eq!(
        &*update.origin.version,
        format!("{:016x}", super::super::content_hash::xxh64(b"one"))
    );
    assert_eq!(&*update.origin.source, bench.path("mesh.yaml").to_str().unwrap());
    bench.write("mesh.yaml", "two");
    bench.expect("update two").await;
    bench.write("mesh.yaml", "one");
    bench.expect("update one").await;
}

#[tokio::test]
async fn a_rename_over_the_file_is_seen() {
    let mut bench = Bench::start(&[("mesh.yaml", "one")]);
    bench.expect("update one").await;
    for text in ["two", "three"] {
        bench.replace("mesh.yaml", text);
        bench.expect(&format!("update {text}")).await;
    }
}

/// What a kubelet does to a mounted ConfigMap.
fn swap_data(directory: &Path, version: &str, text: &str) {
    let data = directory.join(version);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("mesh.yaml"), text).unwrap();
    symlink(version, directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
}

#[tokio::test]
async fn a_swap_of_the_link_on_the_way_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    swap_data(directory.path(), "..1", "one");
    symlink("..data/mesh.yaml", directory.path().join("mesh.yaml")).unwrap();
    let events_only = |source: FileSource| source.poll_interval(Duration::from_secs(3600));
    let mut bench = Bench::follow(directory, &["mesh.yaml"], events_only);
    bench.expect("update one").await;
    for (version, text) in [("..2", "two"), ("..3", "three")] {
        swap_data(bench.directory.path(), version, text);
        bench.expect(&format!("update {text}")).await;
    }
    // The old directories are of no interest any more; the new one is.
    fs::write(bench.path("..3/mesh.yaml"), "four").unwrap();
    bench.expect("update four").await;
}

#[tokio::test]
async fn a_deleted_file_is_reported_and_may_come_back() {
    let mut bench = Bench::start(&[("mesh.yaml", "one")]);
    bench.expect("update one").await;
    fs::remove_file(bench.path("mesh.yaml")).unwrap();
    let SourceEvent::Rejected(rejected) = bench.next().await else { panic!("no report") };
    assert_eq!(rejected.cause, RejectCause::Missing);
    assert_eq!(&*rejected.origin.version, "");
    assert_eq!(rejected.kept.unwrap().version.len(), 16);
    bench.write("mesh.yaml", "one");
    bench.expect("restored").await;
    fs::remove_file(bench.path("mesh.yaml")).unwrap();
    bench.expect("rejected, missing").await;
    bench.write("mesh.yaml", "two");
    bench.expect("update two").await;
}

/// A parser does not know all that the mesh needs.
#[tokio::test]
async fn what_the_mesh_refused_is_not_called_good_when_it_comes_back() {
    let mut bench = Bench::start(&[("mesh.yaml", "one")]);
    let SourceEvent::Update(one) = bench.next().await else { panic!("no update") };
    bench.receiver.in_force(one.origin.clone());
    bench.write("mesh.yaml", "two");
    let SourceEvent::Update(two) = bench.next().await else { panic!("no update") };
    bench.receiver.refused(two.origin.clone());
    bench.write("mesh.yaml", "bad");
    let SourceEvent::Rejected(rejected) = bench.next().await else { panic!("no report") };
    assert_eq!(rejected.kept.as_ref(), Some(&one.origin), "{rejected}");
    bench.write("mesh.yaml", "two");
    let SourceEvent::Rejected(rejected) = bench.next().await else { panic!("no report") };
    assert_eq!((&rejected.origin, rejected.kept.as_ref()), (&two.origin, Some(&one.origin)));
    assert!(rejected.to_string().contains("what the mesh refused before"), "{rejected}");
    bench.write("mesh.yaml", "one");
    bench.expect("update one").await;
}

#[tokio::test]
async fn a_directory_that_comes_later_or_is_replaced_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let events_only = |source: FileSource| source.poll_interval(Duration::from_secs(3600));
    let mut bench = Bench::follow(directory, &["etc/mesh.yaml"], events_only);
    bench.expect("rejected, missing").await;
    fs::create_dir(bench.path("etc")).unwrap();
    bench.write("etc/mesh.yaml", "one");
    bench.expect("update one").await;
    fs::remove_dir_all(bench.path("etc")).unwrap();
    bench.expect("rejected, missing").await;
    fs::create_dir(bench.path("etc")).unwrap();
    bench.write("etc/mesh.yaml", "two");
    bench.expect("update two").await;
}

/// Follows the directory `conf`, in which these files are; the system's events are all there is.
async fn follow_directory(files: &[(&str, &str)], expected: &str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("conf")).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join("conf").join(name), text).unwrap();
    }
    let events_only = |source: FileSource| source.poll_interval(Duration::from_secs(3600));
    let mut bench = Bench::follow(directory, &["conf"], events_only);
    bench.expect(expected).await;
    bench
}

#[tokio::test]
async fn files_of_a_directory_come_and_go() {
    let mut bench = follow_directory(&[("b.yaml", "b")], "update b").await;
    bench.write("conf/a.yaml", "a");
    bench.expect("update a+b").await;
    bench.write("conf/b.yaml", "new");
    bench.expect("update a+new").await;
    fs::rename(bench.path("conf/a.yaml"), bench.path("conf/c.yaml")).unwrap();
    bench.expect("update new+a").await;
    fs::remove_file(bench.path("conf/b.yaml")).unwrap();
    bench.expect("update a").await;
    bench.write("conf/d.yaml", "bad");
    bench.expect("rejected, invalid").await;
    fs::remove_file(bench.path("conf/d.yaml")).unwrap();
    bench.expect("restored").await;
    fs::remove_file(bench.path("conf/c.yaml")).unwrap();
    bench.expect("rejected, missing").await;
    bench.write("conf/c.yaml", "a");
    bench.expect("restored").await;
}

#[tokio::test]
async fn what_editors_leave_in_a_directory_changes_nothing() {
    let mut bench = follow_directory(&[("a.yaml", "a"), ("b.yaml", "b")], "update a+b").await;
    let parsed = bench.parsed.load(Ordering::Relaxed);
    for name in [".a.yaml.swp", ".#a.yaml", "#a.yaml#", "a.yaml~", "4913", "..data"] {
        bench.write(&format!("conf/{name}"), "bad");
    }
    sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.parsed.load(Ordering::Relaxed), parsed, "none of them was read");
    // Vim's way: the old one goes away, and the new one comes a moment later.
    fs::rename(bench.path("conf/a.yaml"), bench.path("conf/a.yaml~")).unwrap();
    sleep(Duration::from_millis(100)).await;
    bench.write("conf/a.yaml", "new");
    bench.expect("update new+b").await;
}

#[tokio::test]
async fn a_directory_may_vanish_and_come_back() {
    let mut bench = follow_directory(&[("a.yaml", "a")], "update a").await;
    for text in ["two", "three"] {
        fs::rename(bench.path("conf"), bench.path("aside")).unwrap();
        let SourceEvent::Rejected(rejected) = bench.next().await else { panic!("no report") };
        assert_eq!(rejected.cause, RejectCause::Missing);
        assert!(rejected.to_string().contains("stays in force"), "{rejected}");
        fs::remove_dir_all(bench.path("aside")).unwrap();
        fs::create_dir(bench.path("conf")).unwrap();
        bench.write("conf/b.yaml", text);
        bench.expect(&format!("update {text}")).await;
    }
}

/// What a kubelet does to a mounted ConfigMap: the new data, the links to new names, the end of old ones.
fn swap_volume(volume: &Path, version: &str, files: &[(&str, &str)]) {
    fs::create_dir(volume.join(version)).unwrap();
    for (name, text) in files {
        fs::write(volume.join(version).join(name), text).unwrap();
    }
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for (name, _) in files {
        // An error: it is there already.
        let _there = symlink(Path::new("..data").join(name), volume.join(name)).is_err();
    }
    for entry in volume.read_dir().unwrap().flatten() {
        if !entry.path().exists() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_mounted_volume_is_followed_as_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("volume")).unwrap();
    symlink("volume", directory.path().join("conf")).unwrap();
    let volume = directory.path().join("volume");
    swap_volume(&volume, "..1", &[("a.yaml", "one")]);
    let events_only = |source: FileSource| source.poll_interval(Duration::from_secs(3600));
    let mut bench = Bench::follow(directory, &["conf"], events_only);
    bench.expect("update one").await;
    swap_volume(&volume, "..2", &[("a.yaml", "two")]);
    bench.expect("update two").await;
    swap_volume(&volume, "..3", &[("a.yaml", "three"), ("b.yaml", "more")]);
    bench.expect("update three+more").await;
    swap_volume(&volume, "..4", &[("b.yaml", "more")]);
    bench.expect("update more").await;
}

#[tokio::test]
async fn without_events_a_directory_is_listed_now_and_then() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("conf")).unwrap();
    fs::write(directory.path().join("conf/a.yaml"), "a").unwrap();
    let mut bench = Bench::follow(directory, &["conf"], |mut source| {
        source.watch = Watch::blind;
        source.poll_interval(Duration::from_millis(20))
    });
    bench.expect("update a").await;
    bench.write("conf/b.yaml", "b");
    bench.expect("update a+b").await;
    fs::remove_file(bench.path("conf/a.yaml")).unwrap();
    bench.expect("update b").await;
}

#[tokio::test]
async fn what_is_bad_is_reported_once_and_the_last_good_kept() {
    let mut bench = Bench::start(&[("mesh.yaml", "bad")]);
    let SourceEvent::Rejected(rejected) = bench.next().await else { panic!("no report") };
    assert_eq!((rejected.cause, rejected.kept), (RejectCause::Invalid, None));
    assert_eq!(rejected.diagnostics, ["it is bad"]);
    bench.write("mesh.yaml", "one");
    bench.expect("update one").await;
    for (text, event) in [
        ("bad again", "rejected, invalid"),
        ("panic", "rejected, invalid"),
        ("\n", "rejected, invalid"),
        ("one", "restored"),
        ("two", "update two"),
    ] {
        bench.write("mesh.yaml", text);
        bench.expect(event).await;
    }
}

#[tokio::test]
async fn files_are_followed_on_when_a_reading_panics() {
    let mut bench = Bench::start(&[("mesh.yaml", "one")]);
    bench.expect("update one").await;
    bench.write("mesh.yaml", "fall");
    let SourceEvent::Rejected(rejected) = bench.next().await else { panic!("no report") };
    assert!(rejected.to_string().contains("panicked"), "{rejected}");
    assert!(rejected.kept.is_some());
    // It is read again, and told once.
    sleep(AGAIN + AGAIN / 2).await;
    assert!(bench.parsed.load(Ordering::Relaxed) > 2);
    bench.write("mesh.yaml", "one");
    bench.expect("restored").await;
    // And what happens to them is seen by the new watch.
    bench.write("mesh.yaml", "two");
    bench.expect("update two").await;
    bench.write("mesh.yaml", "fall");
    bench.expect("rejected, unreadable").await;
    bench.write("mesh.yaml", "bad");
    bench.expect("rejected, invalid").await;
}

#[tokio::test]
async fn two_files_are_one_configuration() {
    let mut bench = Bench::start(&[("a.yaml", "one"), ("b.yaml", "two")]);
    bench.expect("update one+two").await;
    bench.write("b.yaml", "three");
    bench.expect("update one+three").await;
    bench.replace("a.yaml", "zero");
    bench.expect("update zero+three").await;
    fs::remove_file(bench.path("b.yaml")).unwrap();
    bench.expect("rejected, missing").await;
}

#[tokio::test]
async fn a_burst_of_writes_is_a_few_readings_and_the_last_content_wins() {
    let mut bench = Bench::start(&[("mesh.yaml", "one")]);
    bench.expect("update one").await;
    let start = Instant::now();
    for i in 0..100 {
        bench.replace("mesh.yaml", &format!("version {i}"));
        sleep(Duration::from_millis(1)).await;
    }
    while show(&bench.next().await) != "update version 99" {}
    // A reading follows 20 ms of quiet or 200 ms of noise: far fewer than one for each write.
    let most = 2 + start.elapsed().as_millis() / 20;
    let parsed = bench.parsed.load(Ordering::Relaxed) as u128;
    assert!(parsed <= most, "parsed {parsed} times, expected {most} at most");
}

#[tokio::test]
async fn a_neighbour_and_a_touch_change_nothing() {
    let mut bench = Bench::start(&[("mesh.yaml", "one")]);
    bench.expect("update one").await;
    bench.write("app.log", "noise");
    bench.write("mesh.yaml", "one");
    bench.replace("mesh.yaml", "one");
    // The next event that there is, is that of the next content.
    bench.write("mesh.yaml", "two");
    bench.expect("update two").await;
}

#[tokio::test]
async fn without_events_changes_are_found_by_reading() {
    let mut bench = Bench::start_with(&[("mesh.yaml", "one")], |mut source| {
        source.watch = Watch::blind;
        source.poll_interval(Duration::from_millis(20))
    });
    bench.expect("update one").await;
    bench.write("mesh.yaml", "two");
    bench.expect("update two").await;
    fs::remove_file(bench.path("mesh.yaml")).unwrap();
    bench.expect("rejected, missing").await;
    bench.write("mesh.yaml", "two");
    bench.expect("restored").await;
    let parsed = bench.parsed.load(Ordering::Relaxed);
    assert_eq!(parsed, 2, "what was judged is not parsed again");
}

#[tokio::test]
async fn the_source_ends_with_its_sink() {
    let directory = tempfile::tempdir().unwrap();
    let source = FileSource::with_parser([directory.path().join("mesh.yaml")], parse);
    let (sink, receiver) = Sink::channel();
    let running = tokio::spawn(Box::new(source).start(sink));
    drop(receiver);
    tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
}
