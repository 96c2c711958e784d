//! Where a server is (grpc/grpc doc/naming.md).

use super::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    let found = match Target::parse(text) {
        Ok(target) => {
            let shown = target.to_string();
            assert_eq!(Target::parse(&shown).as_ref(), Ok(&target), "{text}: reads back");
            shown
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.contains(&shorten(text)), "{shown}");
            format!("error: {:?}", error.reason)
        }
    };
    assert_eq!(found, expected, "{text}");
}

#[test]
fn names() {
    check("dns:///istiod.istio-system.svc:15010", "dns:///istiod.istio-system.svc:15010");
    check("dns:istiod:15010", "dns:///istiod:15010");
    check("dns:/istiod:15010", "dns:///istiod:15010");
    check("istiod:15010", "dns:///istiod:15010");
    check("istiod", "dns:///istiod:443");
    check("dns:///istiod", "dns:///istiod:443");
    check("a_b.c-d.:65535", "dns:///a_b.c-d.:65535");
    check("dnsserver:1", "dns:///dnsserver:1");
    check("https:443", "dns:///https:443");
    check("xds", "dns:///xds:443");
    check("dns:///xds:18000", "dns:///xds:18000");
    check("4chan.example:80", "dns:///4chan.example:80");
}

#[test]
fn addresses() {
    check("127.0.0.1:80", "ipv4:127.0.0.1:80");
    check("dns:///127.0.0.1:80", "ipv4:127.0.0.1:80");
    check("127.0.0.1", "ipv4:127.0.0.1:443");
    check("[::1]:80", "ipv6:[::1]:80");
    check("[::1]", "ipv6:[::1]:443");
    check("ipv4:10.0.0.1:1,10.0.0.2", "ipv4:10.0.0.1:1,10.0.0.2:443");
    check("ipv6:[2001:db8::1]:1,[::2]", "ipv6:[2001:db8::1]:1,[::2]:443");
}

#[test]
fn sockets() {
    check("unix:///etc/istio/proxy/XDS", "unix:/etc/istio/proxy/XDS");
    check("unix:/etc/istio/proxy/XDS", "unix:/etc/istio/proxy/XDS");
    check("unix:./etc/istio/proxy/XDS", "unix:./etc/istio/proxy/XDS");
    check("unix:XDS", "unix:XDS");
    // Two slashes are not taken for the start of an authority when they are read back.
    check("unix:////", "unix:////");
    check("unix:////run/xds", "unix:////run/xds");
    check("unix-abstract:xds", "unix-abstract:xds");
    let longest = format!("unix:/{}", "x".repeat(106));
    check(&longest, &longest);
    check(&format!("{longest}x"), "error: Path");
    check("unix:", "error: Path");
    check("unix:///a\0b", "error: Path");
    check("unix-abstract:", "error: Path");
    check("unix://host/path", "error: Authority");
    check("unix://path", "error: Authority");
}

#[test]
fn what_is_no_target() {
    check("", "error: Empty");
    check("xds:///control-plane", "error: Xds");
    check("xds:18000", "error: Xds");
    check("http://istiod:15010", "error: Url");
    check("https://istiod:15012", "error: Url");
    check("vsock://1:2", "error: Scheme");
    check("zookeeper:///a", "error: Scheme");
    check("dns://8.8.8.8/istiod:1", "error: Authority");
    check("dns:", "error: Host");
    check("dns:///", "error: Host");
    check(":80", "error: Host");
    check("a b:80", "error: Host");
    check("a..b:80", "error: Host");
    check("ünicode:80", "error: Host");
    check("a/b:80", "error: Host");
    check("1.2.3:80", "error: Host");
    check("[::1", "error: Host");
    check("[]:1", "error: Host");
    check("[1.2.3.4]:1", "error: Host");
    check(&format!("{}:80", "a".repeat(64)), "error: Host");
    check("a:0", "error: Port");
    check("a:65536", "error: Port");
    check("a:http", "error: Port");
    check("a:", "error: Port");
    check("a:+80", "error: Port");
    check("::1", "error: Brackets");
    check("::1:80:90", "error: Brackets");
    check("fe80::1%eth0:80", "error: Brackets");
    check("ipv4:istiod:1", "error: Family");
    check("ipv4:[::1]:1", "error: Family");
    check("ipv6:127.0.0.1:1", "error: Family");
    check("ipv4:1.2.3.4:1,", "error: Family");
    check(&format!("ipv4:{}1.2.3.4", "1.2.3.4,".repeat(64)), "error: TooMany");
}
