//! What is written reads back; what was not written so is refused.

mod disk;
mod properties;

use super::*;

fn origin() -> Origin {
    Origin::new("dns:///istiod:15010", "sidecar~10.0.0.1~app.ns~ns.svc.cluster.local")
}

fn resource(kind: ResourceType, name: &str) -> RawResource {
    RawResource::new(kind, name, "v1", Bytes::from(format!("body of {name}")))
}

/// What a server serves by, with routes of this body.
fn kept(routes: &'static [u8]) -> KeptListener {
    let routes = Bytes::from_static(routes);
    let routes = RawResource::new(ResourceType::RouteConfiguration, "reviews", "v0", routes);
    KeptListener::new(resource(ResourceType::Listener, "reviews"), vec![routes])
}

fn sample() -> LastGood {
    let mut last_good = LastGood::new(origin(), WallTime::from_unix_seconds(1_795_000_000));
    for kind in [ResourceType::Listener, ResourceType::Cluster, ResourceType::Endpoints] {
        last_good.push(resource(kind, "reviews")).unwrap();
    }
    last_good.push_kept(kept(b"body of reviews")).unwrap();
    last_good.with_roots(vec![Root::new("reviews:80", 443), Root::new("[::1]", 80)])
}

fn sample_bytes() -> Bytes {
    write(&sample(), DEFAULT_MAX_BYTES).unwrap().into()
}

/// A file around any content, its frame whole.
fn framed(format: u32, content: &[u8]) -> Bytes {
    let mut file = b"meshgood".to_vec();
    file.extend_from_slice(&format.to_le_bytes());
    file.extend_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
    file.extend_from_slice(content);
    let checksum = xxh64(&file, 0);
    file.extend_from_slice(&checksum.to_le_bytes());
    file.into()
}

#[track_caller]
fn refused(file: impl Into<Bytes>, says: &str) {
    let error = read(&file.into(), &origin(), DEFAULT_MAX_BYTES).unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn what_is_written_reads_back() {
    assert_eq!(read(&sample_bytes(), &origin(), DEFAULT_MAX_BYTES), Ok(sample()));
}

#[test]
fn the_format_stays() {
    // Files of this version are read by every later one.
    let mut last_good = LastGood::new(Origin::new("s", "n"), WallTime::from_unix_seconds(1));
    last_good.push(resource(ResourceType::Cluster, "c")).unwrap();
    let file = write(&last_good, DEFAULT_MAX_BYTES).unwrap();
    assert_eq!(&file[..16], b"meshgood\x01\0\0\0W\0\0\0");
    assert_eq!(file.len(), 16 + 87 + 8);
}

#[test]
fn files_that_are_not_whole_are_refused() {
    let whole = sample_bytes();
    refused(&b""[..], "cut off");
    refused(&b"mesh"[..], "cut off");
    refused(&b"xds_servers: []"[..], "does not begin with `meshgood`");
    refused(whole.slice(..15), "cut off");
    refused(whole.slice(..whole.len() - 1), "cut off");
    refused([&whole[..], b"\0"].concat(), "appended");
    let mut altered = whole.to_vec();
    altered[40] ^= 1;
    refused(altered, "checksum");
}

#[test]
fn other_formats_are_refused() {
    refused(framed(2, b""), "format 2, and this version reads format 1");
    refused(framed(0, b""), "format 0");
    refused(framed(1, b"\xff"), "can't be read, though its checksum fits");
    // A resource of a type that is not known: field 4, with field 1 in it.
    let content =
        [b"\x0a\x13dns:///istiod:15010\x11".as_slice(), &origin().node_hash.to_le_bytes()];
    let unknown = [&content.concat()[..], b"\x22\x06\x0a\x04type"].concat();
    refused(framed(1, &unknown), "the type `type` is not known");
}

#[test]
fn files_of_others_are_refused() {
    let file = sample_bytes();
    let read_by = |server: &str, node: &str| {
        let error = read(&file, &Origin::new(server, node), DEFAULT_MAX_BYTES).unwrap_err();
        error.to_string()
    };
    let error = read_by("dns:///other:15010", "sidecar~10.0.0.1~app.ns~ns.svc.cluster.local");
    assert!(error.contains("for the control plane `dns:///istiod:15010`"), "{error}");
    let error = read_by("dns:///istiod:15010", "sidecar~10.0.0.2~app.ns~ns.svc.cluster.local");
    assert!(error.contains("another node"), "{error}");
}

#[test]
fn bounds_hold_on_both_ways() {
    let file = sample_bytes();
    let exact = file.len();
    assert!(write(&sample(), exact).is_ok());
    assert!(read(&file, &origin(), exact).is_ok());
    let too_large = WriteError::TooLarge { bytes: exact, max: exact - 1 };
    assert_eq!(write(&sample(), exact - 1), Err(too_large));
    let too_large = ReadError::TooLarge { bytes: exact, max: exact - 1 };
    assert_eq!(read(&file, &origin(), exact - 1), Err(too_large));
}

#[test]
fn what_does_not_belong_on_disk_is_refused() {
    let mut last_good = sample();
    let mut refuse = |resource, says: &str| {
        let error = last_good.push(resource).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    };
    refuse(resource(ResourceType::Secret, "default"), "only roots are kept");
    refuse(resource(ResourceType::Cluster, "reviews"), "is there twice");
    for label in ["", "RSA ", "EC ", "ENCRYPTED "] {
        let body = format!("\x0a\x20-----BEGIN {label}PRIVATE KEY-----\nMII\n");
        let body = Bytes::from(body);
        refuse(RawResource::new(ResourceType::Cluster, "tls", "", body), "holds a private key");
    }
    let mut refuse = |routes, says: &str| {
        let error = last_good.push_kept(kept(routes)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    };
    refuse(b"-----BEGIN PRIVATE KEY-----", "RDS resource `reviews` holds a private key");
    refuse(b"", "the LDS resource `reviews` is there twice");
    assert_eq!(last_good, sample());
    let certificate = b"-----BEGIN CERTIFICATE-----\nMII";
    assert!(!holds_private_key(certificate) && !holds_private_key(b"") && !holds_private_key(b"P"));
}

#[test]
fn a_file_is_no_way_around_the_rules() {
    // A file that was made by hand, with a secret in it.
    let mut secret = b"\x22\x43\x0a\x41".to_vec();
    secret.extend_from_slice(ResourceType::Secret.type_url().as_bytes());
    let url = u8::try_from(ResourceType::Secret.type_url().len()).unwrap();
    (secret[1], secret[3]) = (url + 2, url);
    let header = [b"\x0a\x13dns:///istiod:15010\x11".as_slice(), &origin().node_hash.to_le_bytes()];
    let header = header.concat();
    refused(framed(1, &[&header[..], &secret].concat()), "only roots are kept");
    // What a server would serve by is none of these.
    let listener = [&[0x32, url + 4, 0x0a][..], &secret[1..]].concat();
    refused(framed(1, &[&header[..], &listener].concat()), "is of type SDS, and not LDS");
    refused(framed(1, &[&header[..], b"\x32\0"].concat()), "a kept listener is missing");
}

#[test]
fn the_origin_is_the_preferred_server_and_the_node() {
    let text = r#"{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "insecure"}]},
                                   {"server_uri": "b:1", "channel_creds": [{"type": "insecure"}]}],
                   "node": {"id": "me"}}"#;
    let bootstrap = Bootstrap::parse(text).unwrap();
    assert_eq!(Origin::of(&bootstrap), Origin::new("a:1", "me"));
}
