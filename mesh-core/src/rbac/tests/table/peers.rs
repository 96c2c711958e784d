//! Who asks: identities, addresses, what filters know.

use super::{Group, group};

pub(super) const GROUPS: &[Group] = &[
    group(
        "gRFC A41: authenticated without a name is any connection of TLS",
        "ALLOW a: any / authn",
        &[
            "plain | GET h / | deny",
            "tls | GET h / | allow a",
            "uri:u | GET h / | allow a",
            "subject:CN=x | GET h / | allow a",
        ],
    ),
    group(
        "gRFC A41: principal_name is any URI name, else any DNS name, else the subject",
        "ALLOW a: any / authn(=n)",
        &[
            "uri:n | GET h / | allow a",
            "uri:m uri:n | GET h / | allow a",
            "uri:m dns:n | GET h / | deny",
            "uri:m subject:n | GET h / | deny",
            "dns:n | GET h / | allow a",
            "dns:m dns:n subject:x | GET h / | allow a",
            "dns:m subject:n | GET h / | deny",
            "subject:n | GET h / | allow a",
            "email:n | GET h / | deny",
            "plain | GET h / | deny",
            "tls | GET h / | deny",
        ],
    ),
    group(
        "gRFC A41: without a certificate the empty text is compared",
        "ALLOW a: any / authn(=)",
        &[
            "tls | GET h / | allow a",
            "plain | GET h / | deny",
            "email:x | GET h / | allow a",
            "uri:u | GET h / | deny",
        ],
    ),
    group(
        "Envoy: principal_name of every kind",
        "ALLOW a: any / authn(^=spiffe://m/ns/a/); b: any / authn($=/sa/b); c: any / authn(*=/c/); d: any / authn(~=spiffe://[nm]/d); e: any / authn(i=SPIFFE://M/E)",
        &[
            "uri:spiffe://m/ns/a/sa/x | GET h / | allow a",
            "uri:spiffe://m/ns/ab/sa/x | GET h / | deny",
            "uri:spiffe://m/ns/z/sa/b | GET h / | allow b",
            "uri:spiffe://m/c/x | GET h / | allow c",
            "uri:spiffe://n/d | GET h / | allow d",
            "uri:spiffe://n/dd | GET h / | deny",
            "uri:spiffe://m/e | GET h / | allow e",
        ],
    ),
    group(
        "Envoy: authenticated does not follow the wildcards of DNS",
        "ALLOW a: any / authn(=a.m)",
        &["dns:a.m | GET h / | allow a", "dns:*.m | GET h / | deny", "dns:A.m | GET h / | deny"],
    ),
    group(
        "SPIFFE: an exact id",
        "ALLOW a: any / mtls(uri =spiffe://m/ns/a/sa/x)",
        &[
            "uri:spiffe://m/ns/a/sa/x | GET h / | allow a",
            "uri:spiffe://m/ns/a/sa/xy | GET h / | deny",
            "uri:spiffe://m/ns/a/sa/X | GET h / | deny",
            "uri:spiffe://n/ns/a/sa/x | GET h / | deny",
            "uri:spiffe://m/ns/a/sa/x/ | GET h / | deny",
            "dns:spiffe://m/ns/a/sa/x | GET h / | deny",
            "subject:spiffe://m/ns/a/sa/x | GET h / | deny",
            "tls | GET h / | deny",
            "plain | GET h / | deny",
        ],
    ),
    group(
        "Envoy: mtls_authenticated any_validated_client_certificate",
        "ALLOW a: any / mtls",
        &[
            "plain | GET h / | deny",
            "tls | GET h / | deny",
            "uri:u | GET h / | allow a",
            "subject:x | GET h / | allow a",
        ],
    ),
    group(
        "Envoy: mtls_authenticated san_matcher of each type",
        "ALLOW a: any / mtls(dns =a.m); b: any / mtls(email $=@m); c: any / mtls(ip =10.0.0.1); d: any / mtls(uri ^=spiffe://m/)",
        &[
            "dns:a.m | GET h / | allow a",
            "dns:*.m | GET h / | allow a",
            "uri:u dns:A.M | GET h / | allow a",
            "email:x@m | GET h / | allow b",
            "ip:10.0.0.1 | GET h / | allow c",
            "uri:spiffe://m/x | GET h / | allow d",
            "uri:a.m subject:a.m | GET h / | deny",
        ],
    ),
    group(
        "Envoy: under not_id, who shows nothing is somebody else",
        "DENY a: any / not(authn(=spiffe://m/a))",
        &[
            "uri:spiffe://m/a | GET h / | allow",
            "uri:spiffe://m/b | GET h / | deny a",
            "tls | GET h / | deny a",
            "plain | GET h / | deny a",
        ],
    ),
    group(
        "Envoy: source_ip, direct_remote_ip, remote_ip are three addresses",
        "ALLOW a: any / source(10.1.0.0/16); b: any / direct(10.2.0.0/16); c: any / remote(10.3.0.0/16)",
        &[
            "plain | GET h / from=9.9.9.9:1 source=10.1.0.1:1 | allow a",
            "plain | GET h / from=10.2.0.1:1 | allow b",
            "plain | GET h / from=9.9.9.9:1 remote=10.3.0.1:1 | allow c",
            "plain | GET h / from=10.3.0.1:1 remote=9.9.9.9:1 | deny",
            "plain | GET h / from=10.2.0.1:1 source=9.9.9.9:1 remote=9.9.9.9:1 | allow b",
            "plain | GET h / from=10.1.0.1:1 | allow a",
            "plain | GET h / from=none | deny",
        ],
    ),
    group(
        "Envoy: CidrRange",
        "ALLOW a: any / direct(10.0.0.0/8), direct(192.168.1.0/24), direct(192.168.2.7/32), direct(2001:db8::/32)",
        &[
            "plain | GET h / from=10.255.255.255:1 | allow a",
            "plain | GET h / from=11.0.0.0:1 | deny",
            "plain | GET h / from=192.168.1.77:1 | allow a",
            "plain | GET h / from=192.168.2.7:1 | allow a",
            "plain | GET h / from=192.168.2.8:1 | deny",
            "plain | GET h / from=[2001:db8:ff::1]:1 | allow a",
            "plain | GET h / from=[2001:db9::1]:1 | deny",
            "plain | GET h / from=[::ffff:10.0.0.1]:1 | allow a",
        ],
    ),
    group(
        "Envoy: all of IPv4 is nothing of IPv6",
        "ALLOW a: any / direct(0.0.0.0/0)",
        &["plain | GET h / from=1.2.3.4:1 | allow a", "plain | GET h / from=[::1]:1 | deny"],
    ),
    group(
        "Envoy: header and url_path as principals",
        "ALLOW a: any / header(x-user =me); b: any / path(^=/public/)",
        &[
            "plain | GET h / x-user:me | allow a",
            "plain | GET h /public/x | allow b",
            "plain | GET h / | deny",
        ],
    ),
    group(
        "Envoy: metadata and filter_state as principals",
        "ALLOW a: any / meta(jwt sub =me); b: any / state(io.istio.peer_principal =spiffe://m/a); c: any / state(client in:10.0.0.0/8)",
        &[
            "plain | GET h / meta.jwt.sub=me | allow a",
            "plain | GET h / state.io.istio.peer_principal=spiffe://m/a | allow b",
            "plain | GET h / state.client=10.0.0.7 | allow c",
            "plain | GET h / state.client=10.0.0.7:80 | allow c",
            "plain | GET h / state.client=11.0.0.7 | deny",
            "plain | GET h / state.client=nothing | deny",
            "plain | GET h / state.other=10.0.0.7 | deny",
        ],
    ),
];
