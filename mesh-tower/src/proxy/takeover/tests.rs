use super::*;
use crate::Mesh;
use std::os::unix::net::UnixListener as StdListener;

fn proxy() -> Proxy {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
    let text = format!(
        "version: 1\nvirtual_hosts: {{ a: {{ routes: [{{ cluster: a }}] }} }}\n\
         clusters: {{ a: {{ endpoints: [\"127.0.0.1:1\"] }} }}\n\
         outbound: {{ web: {{ listen: \"{address}\" }} }}\n"
    );
    let documents = [mesh_core::config::Document { name: "mesh.yaml", text: &text }];
    let loaded = mesh_core::config::load(&documents, &(), &mesh_core::config::Bounds::default());
    let update = loaded.update.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    Proxy::open(&Mesh::builder().config(update).build().unwrap()).unwrap()
}

#[tokio::test]
async fn who_goes_away_changes_nothing_and_the_last_one_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    assert!(Takeover::ask(&path).await.unwrap().is_none());
    let proxy = proxy();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let handover = Handover::listen(&path).unwrap();
    let others = [("admin", &admin)];
    let taken = handover.taken(&proxy, &others);
    let taking = async {
        let first = Takeover::ask(&path).await.unwrap().unwrap();
        drop(first);
        let second = Takeover::ask(&path).await.unwrap().unwrap();
        let mut third = Takeover::ask(&path).await.unwrap().unwrap();
        let error = second.done().await.unwrap_err();
        assert!(error.to_string().contains("closed the connection"), "{error}");
        assert!(third.listener("web").is_none());
        let listener = third.listener("admin").unwrap();
        assert_eq!(listener.local_addr().unwrap(), admin.local_addr().unwrap());
        assert!(third.listener("admin").is_none());
        let sockets = third.sockets().unwrap();
        let Some(port) = proxy.ports().pop() else { panic!("no port") };
        assert_eq!(sockets.0[0].socket.address(), Some(port.address));
        third.done().await.unwrap();
    };
    tokio::join!(taken, taking);
}

#[tokio::test]
async fn another_version_and_strange_words_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    let proxy = proxy();
    let handover = Handover::listen(&path).unwrap();
    let asking = async {
        let stream = UnixStream::connect(&path).await.unwrap();
        wire::send(&stream, &Frame::Takeover(2), None).await.unwrap();
        let answer = Reader::default().next(&stream).await.unwrap();
        assert_eq!(answer, Some(Frame::Refused("it speaks version 1, and not 2".into())));
        let stream = UnixStream::connect(&path).await.unwrap();
        wire::send(&stream, &Frame::All, None).await.unwrap();
        assert_eq!(Reader::default().next(&stream).await.unwrap(), None, "it is closed");
    };
    tokio::select! {
        () = handover.taken(&proxy, &[]) => panic!("nobody took over"),
        () = asking => {}
    }
}

#[tokio::test]
async fn what_is_wrong_there_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    fs::write(&path, "mine").unwrap();
    let error = Handover::listen(&path).unwrap_err();
    assert!(error.to_string().contains("is no socket"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    let nowhere = directory.path().join("no/such/t");
    assert!(matches!(Handover::listen(nowhere), Err(TakeoverError::Io { .. })));
    // One that hands over what is no socket.
    let other = directory.path().join("o");
    let listener = StdListener::bind(&other).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(listener).unwrap();
    let giving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut reader = Reader::default();
        reader.next(&stream).await.unwrap();
        let place = wire::Place::other("admin", "127.0.0.1:1".parse().unwrap());
        let file = fs::File::open(&path).unwrap();
        wire::send(&stream, &Frame::Socket(place), Some(file.as_fd())).await.unwrap();
        // It is there until it is read.
        drop(reader.next(&stream).await);
    };
    let (asked, ()) = tokio::join!(Takeover::ask(&other), giving);
    let error = asked.unwrap_err().to_string();
    assert!(error.contains("gives `admin`, which is no socket"), "{error}");
}
