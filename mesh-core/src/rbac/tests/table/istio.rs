//! Policies in the shape that Istio writes them: each condition an `and` of `or`s.

use super::{Group, group};

pub(super) const GROUPS: &[Group] = &[
    group(
        "Istio: ALLOW by principal, method and path (istiod's fixture)",
        "ALLOW ns[default]-policy[callers]-rule[0]: and(or(header(:method =POST)), or(path(^=/mesh.interop.Peer/))) / and(or(authn(=spiffe://cluster.local/ns/default/sa/caller)))",
        &[
            "uri:spiffe://cluster.local/ns/default/sa/caller | POST h /mesh.interop.Peer/Call | allow ns[default]-policy[callers]-rule[0]",
            "uri:spiffe://cluster.local/ns/default/sa/caller | GET h /mesh.interop.Peer/Call | deny",
            "uri:spiffe://cluster.local/ns/default/sa/caller | POST h /mesh.interop.Other/Call | deny",
            "uri:spiffe://cluster.local/ns/default/sa/other | POST h /mesh.interop.Peer/Call | deny",
            "tls | POST h /mesh.interop.Peer/Call | deny",
            "plain | POST h /mesh.interop.Peer/Call | deny",
        ],
    ),
    group(
        "Istio: DENY with notIpBlocks (istiod's fixture)",
        "DENY never: and(or(path(=/mesh.interop.Peer/Secret))) / and(not(or(direct(10.0.0.0/8))))",
        &[
            "plain | POST h /mesh.interop.Peer/Secret from=10.0.0.1:1 | allow",
            "plain | POST h /mesh.interop.Peer/Secret from=11.0.0.1:1 | deny never",
            "plain | POST h /mesh.interop.Peer/Secret from=none | deny never",
            "plain | POST h /mesh.interop.Peer/Secret?x from=11.0.0.1:1 | deny never",
            "plain | POST h /mesh.interop.Peer/Call from=11.0.0.1:1 | allow",
        ],
    ),
    group(
        "Istio: deny all is ALLOW with a rule that nothing fits",
        "ALLOW ns[a]-policy[deny-all]-rule[0]: not(any) / not(any)",
        &["uri:u | GET h / | deny", "plain | GET h / | deny"],
    ),
    group(
        "Istio: allow all",
        "ALLOW ns[a]-policy[allow-all]-rule[0]: and(any) / and(any)",
        &["plain | GET h / | allow ns[a]-policy[allow-all]-rule[0]"],
    ),
    group(
        "Istio: namespaces as a regex of principals",
        "ALLOW a: and(any) / and(or(authn(~=.*/ns/prod/.*), authn(~=.*/ns/test/.*)))",
        &[
            "uri:spiffe://cluster.local/ns/prod/sa/x | GET h / | allow a",
            "uri:spiffe://cluster.local/ns/test/sa/x | GET h / | allow a",
            "uri:spiffe://cluster.local/ns/production/sa/x | GET h / | deny",
            "plain | GET h / | deny",
        ],
    ),
    group(
        "Istio: principals `*` is any that is not empty",
        "ALLOW a: and(any) / and(or(authn(~=.+)))",
        &["uri:spiffe://m/x | GET h / | allow a", "tls | GET h / | deny", "plain | GET h / | deny"],
    ),
    group(
        "Istio: hosts, ports, notMethods, notPaths",
        "ALLOW a: and(or(header(:authority i=web.m), header(:authority i^=web.m:)), or(port(8080)), not(or(header(:method =DELETE))), not(or(path(^=/admin)))) / and(any)",
        &[
            "plain | GET web.m / | allow a",
            "plain | GET WEB.m:8080 / | allow a",
            "plain | GET web.n / | deny",
            "plain | GET web.m / to=10.2.0.1:9 | deny",
            "plain | DELETE web.m / | deny",
            "plain | GET web.m /admin/x | deny",
        ],
    ),
    group(
        "Istio: `when` request.auth.claims by metadata",
        "ALLOW a: and(any) / and(or(meta(istio_authn request.auth.claims.groups has:=admins)))",
        &[
            "plain | GET h / meta.istio_authn.request.auth.claims.groups=[users,admins] | allow a",
            "plain | GET h / meta.istio_authn.request.auth.claims.groups=[users] | deny",
            "plain | GET h / | deny",
        ],
    ),
];
