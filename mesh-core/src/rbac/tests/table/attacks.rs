//! Ways around a policy. What is compared is what was sent, byte by byte: whoever wants paths to be
//! normalized does so before, and policies see the result.

use super::{Group, group};

pub(super) const GROUPS: &[Group] = &[
    group(
        "an allowed path is that path: no other spelling is allowed with it",
        "ALLOW a: path(=/open) / any",
        &[
            "plain | GET h //open | deny",
            "plain | GET h /./open | deny",
            "plain | GET h /x/../open | deny",
            "plain | GET h /%6fpen | deny",
            "plain | GET h /open; | deny",
            "plain | GET h /open%00 | deny",
            "plain | GET h /open%3fx | deny",
            "plain | GET h /open\\ | deny",
            "plain | GET h /secret?/open | deny",
            "plain | GET h /secret#/open | deny",
        ],
    ),
    group(
        "a forged header is nobody",
        "ALLOW a: any / authn(=spiffe://m/a)",
        &[
            "plain | GET h / x-forwarded-client-cert:URI=spiffe://m/a | deny",
            "plain | GET h / authenticated:spiffe://m/a | deny",
            "uri:spiffe://m/b | GET h / x-spiffe-id:spiffe://m/a | deny",
        ],
    ),
    group(
        "x-forwarded-for is not believed",
        "ALLOW a: any / remote(10.9.0.0/16)",
        &[
            "plain | GET h / x-forwarded-for:10.9.0.1 | deny",
            "plain | GET h / from=10.9.0.1:1 x-forwarded-for:1.1.1.1 | allow a",
        ],
    ),
    group(
        "a second host header is not the authority",
        "ALLOW a: header(:authority =inside) / any",
        &[
            "plain | GET outside / host:inside | deny",
            "plain | GET inside / host:outside | allow a",
            "plain | GET outside / host:inside host:inside | deny",
            "plain | GET inside:80 / | deny",
            "plain | GET inside. / | deny",
        ],
    ),
    group(
        "a second value does not hide the first",
        "DENY a: header(x-role *=admin) / any",
        &[
            "plain | GET h / x-role:user x-role:admin | deny a",
            "plain | GET h / x-role:admin x-role:user | deny a",
            "plain | GET h / x-role:user | allow",
        ],
    ),
    group(
        "a header named in `connection` is still seen",
        "DENY a: header(x-flag present) / any",
        &["plain | GET h / x-flag:1 connection:x-flag | deny a"],
    ),
    group(
        "methods are compared as they are",
        "DENY a: header(:method =DELETE) / any",
        &["plain | DELETE h / | deny a", "plain | POST h / x-http-method-override:DELETE | allow"],
    ),
    group(
        "a name of one type is none of another, and a part of a name is none",
        "ALLOW a: any / mtls(uri =spiffe://m/a)",
        &[
            "uri:spiffe://m/a%00 | GET h / | deny",
            "uri:spiffe://m/a/../b | GET h / | deny",
            "uri:spiffe://m//a | GET h / | deny",
            "uri:SPIFFE://m/a | GET h / | deny",
            "uri:spiffe://m.evil/a | GET h / | deny",
            "dns:m subject:URI=spiffe://m/a | GET h / | deny",
        ],
    ),
];
