//! The codes of diagnostics, each with what `mesh explain CODE` says about it.
//!
//! A diagnostic can only be made with an entry of this table, so none is without explanation.

use super::Severity;

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodeExplanation {
    /// The code, for example `unknown_cluster`.
    pub code: &'static str,
    /// Whether it refuses the configuration.
    pub severity: Severity,
    /// What is wrong.
    pub meaning: &'static str,
    /// How it usually comes about.
    pub causes: &'static str,
    /// What to look at, and what to do.
    pub look_at: &'static str,
}

/// What a code of [`Diagnostic::code`](super::Diagnostic::code) means; `None` for an unknown one.
#[must_use]
pub fn code_explanation(code: &str) -> Option<&'static CodeExplanation> {
    code_explanations().iter().find(|known| known.code == code).copied()
}

/// Every code that [`load`](super::load) and [`decode`](super::decode) can report.
#[must_use]
pub const fn code_explanations() -> &'static [&'static CodeExplanation] {
    ALL
}

macro_rules! codes {
    ($($constant:ident $severity:ident $code:literal: $meaning:literal, $causes:literal, $look_at:literal;)*) => {
        $(pub(super) const $constant: &CodeExplanation = &CodeExplanation {
            code: $code,
            severity: Severity::$severity,
            meaning: $meaning,
            causes: $causes,
            look_at: $look_at,
        };)*
        const ALL: &[&CodeExplanation] = &[$($constant),*];
    };
}

codes! {
    NOT_UTF8 Error "not_utf8":
        "The file holds bytes that are no UTF-8 text.",
        "It was saved in another encoding, or is not a text file.",
        "The byte at the place shown; save the file as UTF-8.";
    DOCUMENT_TOO_LARGE Error "document_too_large":
        "The file is larger than what is read (4 MiB by default).",
        "Endpoints listed by a script that should come from DNS or a control plane.",
        "Split the file by name: several files unite.";
    EMPTY_DOCUMENT Error "empty_document":
        "The file holds no configuration at all.",
        "A template that rendered to nothing, or everything commented out.",
        "What wrote the file. The least that is accepted is `version: 1`.";
    YAML_SYNTAX Error "yaml_syntax":
        "The text is not YAML; nothing of the file could be read.",
        "A tab in the indentation, a missing space after `:`, an unclosed bracket or quote.",
        "The place shown and the line before it.";
    YAML_FEATURE Error "yaml_feature":
        "The text is YAML, but uses a part of it that mesh.yaml leaves out.",
        "Tags (`!x`), keys that are not text, a second document after `---`.",
        "Write the value plainly; put a second document into a file of its own.";
    UNKNOWN_ANCHOR Error "unknown_anchor":
        "An alias `*name` has no anchor `&name` before it in the same file.",
        "A misspelt name, an anchor defined further down, or in another file.",
        "Anchors live in one file and must come first, for example under `x-…` keys.";
    DUPLICATE_KEY Error "duplicate_key":
        "A mapping holds the same key twice.",
        "Two edits met, or a block was copied.",
        "Both places shown; one of them must go.";
    TOO_DEEP Error "too_deep":
        "Values are nested deeper than 64 levels, aliases counted where they are used.",
        "A generated file, or anchors that hold each other.",
        "The place shown; nothing in mesh.yaml needs more than a dozen levels.";
    TOO_MANY_VALUES Error "too_many_values":
        "With every alias expanded the file holds more values than are read.",
        "Aliases of aliases, which multiply.",
        "The anchors at the place shown.";
    TEXT_TOO_LONG Error "text_too_long":
        "A single value is longer than what is read (64 KiB by default).",
        "A whole file pasted into a value, or a generator that repeats itself.",
        "The value shown; certificates can be named by their files.";
    TOO_MANY_RESOURCES Error "too_many_resources":
        "There are more than 100,000 endpoints and routes together.",
        "Endpoints listed by a script that should come from DNS or a control plane.",
        "What wrote the file.";
    TOO_MANY_DIAGNOSTICS Warning "too_many_diagnostics":
        "There are more diagnostics than are shown.",
        "A file of another format, or one mistake repeated by a generator.",
        "The first ones.";
    UNREADABLE_FILE Error "unreadable_file":
        "A file that the configuration names can't be read.",
        "The path is relative to the file that names it; or permissions.",
        "The path shown, from the directory of the configuration file.";
    UNSUPPORTED_VERSION Error "unsupported_version":
        "The format's version is not 1.",
        "A file written for a later release.",
        "`version: 1` at the top of the file.";
    UNKNOWN_KEY Error "unknown_key":
        "A mapping holds a key that means nothing there.",
        "A misspelling, wrong indentation, or an option of another level.",
        "The keys that exist there: the message names the closest, `mesh schema` all.";
    MISSING_KEY Error "missing_key":
        "A mapping lacks a key that it needs.",
        "The key was never written, or is indented under another one.",
        "The mapping shown.";
    CONFLICTING_KEYS Error "conflicting_keys":
        "Two keys of a mapping exclude each other.",
        "Two ways of saying one thing, both left in.",
        "Both places shown; one of them must go.";
    MISPLACED_KEY Error "misplaced_key":
        "A key has no effect beside the others that are there.",
        "An option of forwarding on a redirect, or of one kind of value on another.",
        "What the key belongs to, named in the message.";
    WRONG_TYPE Error "wrong_type":
        "A value has another type than its key takes.",
        "A number in quotes, `yes` for `true`, a list where one value stands, nothing after `:`.",
        "The value shown.";
    UNKNOWN_WORD Error "unknown_word":
        "A value is none of the words that its key takes.",
        "A misspelling, or the word of another proxy's configuration.",
        "The words listed in the message.";
    OUT_OF_RANGE Error "out_of_range":
        "A number, duration or text is outside of what its key takes.",
        "A percentage above 100, a weight above 4294967295, a zero where none is allowed.",
        "The bounds in the message.";
    INVALID_DURATION Error "invalid_duration":
        "A value is no duration.",
        "A number without unit, or a unit other than ms, s, m, h.",
        "Write `500ms`, `1.5s`, `2m` or `1h`.";
    INVALID_SHARE Error "invalid_share":
        "A value is no share of requests.",
        "A number without `%`: `0.5` could mean a half or half a percent.",
        "Write `10%` or `0.5%`; four digits after the point count.";
    UNDEFINED_VARIABLE Error "undefined_variable":
        "A `${NAME}` names an environment variable that is not set.",
        "The process is started without it, or the name is misspelt.",
        "The environment; `${NAME:-default}` gives a default, `$${` stands for a literal `${`.";
    INVALID_VARIABLE Error "invalid_variable":
        "A `${…}` is not `${NAME}` or `${NAME:-default}`, or became too long.",
        "A missing brace, a character that names don't have, or shell syntax beyond defaults.",
        "Names are letters, digits and `_`; `$${` stands for a literal `${`.";
    INVALID_NAME Error "invalid_name":
        "The name of a virtual host or cluster is empty, too long or has control characters.",
        "An empty key, or text pasted as a name.",
        "Names have 1 to 512 bytes.";
    DEFINED_TWICE Error "defined_twice":
        "A name is defined in two files that are loaded together.",
        "A file was copied, or two teams chose one name.",
        "Both places shown. Nothing is merged across files.";
    UNKNOWN_CLUSTER Error "unknown_cluster":
        "A route sends to a cluster that is not defined.",
        "A misspelling, or the file that defines it is not loaded.",
        "`clusters` of all the files given.";
    MISSING_ACTION Error "missing_action":
        "A route does not say what becomes of its requests.",
        "Only a `match` was written.",
        "Add one of cluster, split, cluster_header, redirect, direct_response.";
    SEVERAL_ACTIONS Error "several_actions":
        "A route says more than one thing to do with its requests.",
        "A `cluster` left beside a new `split`.",
        "Keep exactly one action.";
    INVALID_PATH Error "invalid_path":
        "A path or prefix can never match, or has a form that is not allowed.",
        "A missing `/` in front, a query in an exact path, a `/` at the end of a path-separated prefix.",
        "Paths start with `/`; the query is matched by `query`.";
    INVALID_HEADER_NAME Error "invalid_header_name":
        "A header name has characters that HTTP does not allow.",
        "A space or a colon; pseudo-headers such as `:path`.",
        "`method`, `path` and `domains` match what pseudo-headers carry.";
    INVALID_HEADER_VALUE Error "invalid_header_value":
        "A header value has characters that HTTP does not allow.",
        "A line break or a letter outside ASCII.",
        "The value shown, after variables are put in.";
    INVALID_METHOD Error "invalid_method":
        "A text is no HTTP method.",
        "Lower case: methods are case-sensitive.",
        "Write `GET`, `POST`, ….";
    INVALID_REGEX Error "invalid_regex":
        "A regular expression does not compile under RE2's rules, or is too large.",
        "Look-around, back-references, possessive repetition, repetition of repetitions.",
        "RE2's syntax. Patterns match the whole string, so `^` and `$` are not needed.";
    INVALID_DOMAIN Error "invalid_domain":
        "A text is no domain pattern.",
        "A `*` in the middle, a scheme or a path.",
        "`shop`, `shop:80`, `*.shop`, `shop.*` or `*`.";
    DUPLICATE_DOMAIN Error "duplicate_domain":
        "Two virtual hosts claim the same domain.",
        "A virtual host was copied; or its name, which is its domain by default, is used elsewhere.",
        "Both places shown. Letter case does not count.";
    INVALID_AUTHORITY Error "invalid_authority":
        "A text that stands for a host, with or without a port, is none.",
        "A scheme or path was written with it, or it holds a space.",
        "Write `host` or `host:port`; the scheme has a key of its own.";
    INVALID_SCHEME Error "invalid_scheme":
        "A text that stands for a scheme is none.",
        "`https://` was written for `https`.",
        "Write `http` or `https`.";
    INVALID_ADDRESS Error "invalid_address":
        "A text is no address, or no host name with port.",
        "A missing port, port 0, an IPv6 address without brackets, a host name as endpoint.",
        "`127.0.0.1:80`, `[::1]:80`, `unix:/path`; host names belong under `dns`.";
    INVALID_WEIGHTS Error "invalid_weights":
        "The weights of a split or of endpoints add up to zero, or to more than 4294967295.",
        "All weights are 0, or large numbers are used for precision.",
        "Only the ratio of weights counts.";
    INCONSISTENT_VALUES Error "inconsistent_values":
        "Two values contradict each other.",
        "A minimum above its maximum.",
        "Both places shown.";
    NOT_PRIME Error "not_prime":
        "The size of a Maglev table is not a prime number.",
        "A power of two was written.",
        "The next prime, which the message names.";
    PRIORITY_GAP Error "priority_gap":
        "The priorities of a cluster's endpoints leave a number out.",
        "Priorities used as a scale; they are levels: 0, 1, 2, ….",
        "The endpoints with the priority named in the message.";
    TLS_WITHOUT_IDENTITY Error "tls_without_identity":
        "Something needs an identity of our own, and there is none.",
        "No `identity` was written, or the file that has it is not loaded.",
        "`identity: { cert, key, roots }` or `identity: { spire }`; or else `tls: off`, `tls: system`, `tls: { roots: … }`, `mtls: off`.";
    INVALID_SPIFFE_ID Error "invalid_spiffe_id":
        "A text that stands for a SPIFFE id, or for several, is none.",
        "Capital letters or a port in the trust domain, an empty segment, a `*` that is not at the end.",
        "`spiffe://example.org/reviews`; where several are meant, `spiffe://example.org/*`.";
    INVALID_DATE Error "invalid_date":
        "A value is no date.",
        "A day that the month does not have, a time of day without its zone, another order.",
        "Write `2030-12-31`, which begins in UTC, or `2030-12-31T08:00:00Z`.";
    DUPLICATE_NAME Error "duplicate_name":
        "Two rules of one list have the same name.",
        "A rule was copied. Logs and metrics would not tell them apart.",
        "The `name` of both; without one, it is made from the place.";
    DUPLICATE_LISTEN Error "duplicate_listen":
        "Two ports of `inbound` or `outbound` listen at the same address.",
        "A port was copied.",
        "Both places shown. One port has one list of rules.";
    IDENTITY_NEVER_PROVEN Error "identity_never_proven":
        "A rule names who may come, or may not, on a port where nobody proves who they are.",
        "`mtls: off` was written for a port whose rules go by identity.",
        "`mtls` of the port. Without it only addresses and headers are left, which prove nothing.";
    WRITTEN_OVER Error "written_over":
        "`egress.learn` names a file that is read as configuration.",
        "The list of destinations was meant to go straight into the configuration.",
        "Name another file: the list is written whenever it grows, and you choose what of it to allow.";
    LEARNS_NOTHING Warning "learns_nothing":
        "`egress.learn` names a file, and under `mode: observe` nothing is written to it.",
        "Who only observes lets every call pass before it is asked whether a virtual host serves it.",
        "`mode: enforce` with `unknown_hosts: log`: calls to unknown hosts pass as well, and are told and learnt.";
    OUTBOUND_OPENED Error "outbound_opened":
        "A port of `outbound` can be reached by others than this machine, who would call with its identity.",
        "`0.0.0.0` was written where the application is on the same machine.",
        "Listen on 127.0.0.1 or a Unix socket; `open: true` says that it is meant, in a network that is closed.";
    FORWARD_LOOP Error "forward_loop":
        "`forward` leads to a port of this configuration, so that what comes would come again.",
        "The address of the port was written in place of the application's.",
        "Where the application itself listens.";
    INVALID_INBOUND Error "invalid_inbound":
        "A port of `inbound` can't be put into force.",
        "A rule that is too large or too deep.",
        "The filter and policy named in the message.";
    INVALID_IDENTITY Error "invalid_identity":
        "The certificate, key or roots that `identity` names would not be put into force.",
        "The certificate has ended, the key is of another one, or the roots did not sign it.",
        "`mesh certs show FILE` tells what is in a file; what was in force stays meanwhile.";
    IDENTITY_ENDS_SOON Warning "identity_ends_soon":
        "A certificate that `identity` names, or a root of a cluster, has less than a tenth of its life left, or a root has ended.",
        "Whoever renews it does not run, or writes to another place.",
        "What renews the file; `mesh certs show FILE` tells when it ends.";
    INVALID_ROOTS Error "invalid_roots":
        "The file of root certificates holds none by which a peer can be verified now.",
        "A key or a DER file was named, the PEM is broken, or every root in it has ended.",
        "The file must hold `-----BEGIN CERTIFICATE-----`; `mesh certs show FILE` tells what is in it.";
    INVALID_JWKS Error "invalid_jwks":
        "The file of keys that tokens are checked by has none that can be used.",
        "A certificate or a private key was named, a key of a kind that is not supported, or no JSON.",
        "The file must hold a JSON Web Key Set: `{\"keys\": […]}`, as an issuer's `jwks_uri` answers.";
    INVALID_URL Error "invalid_url":
        "A text that stands for a URL is none.",
        "A space, or a port that is no number.",
        "Write `http://host/path`; `host/path` is read as http.";
    UNKNOWN_FORMAT Error "unknown_format":
        "A file is neither a mesh.yaml nor one of Envoy's.",
        "Another program's file was named, or the key that tells formats apart is misspelt.",
        "The top of the file: `version: 1` for a mesh.yaml; `static_resources`, `resources` or `@type` for Envoy's.";
    MIXED_FORMATS Error "mixed_formats":
        "A mesh.yaml and a file of Envoy's were given together.",
        "A directory that holds both.",
        "The files given: those of one format unite, the two formats do not.";
    UNKNOWN_TYPE Error "unknown_type":
        "A resource in a file of Envoy's has no `@type`, or one that is no resource.",
        "A misspelling, a type of Envoy's second API, or a configuration where a resource belongs.",
        "Write `\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster`, or Listener, RouteConfiguration, ClusterLoadAssignment, Secret.";
    INVALID_RESOURCE Error "invalid_resource":
        "A resource of Envoy's says something that can't be done, or that Envoy or gRPC refuse.",
        "A field that is not supported here, or a rule that is broken.",
        "The field named in the message; docs/xds-support.md lists every field.";
    UNKNOWN_RESOURCE Error "unknown_resource":
        "A resource of Envoy's names routes, endpoints or a cluster that no file has.",
        "A misspelling, or it is meant to come from a control plane.",
        "The name shown, and the names of all resources of the files given.";
    UNEXPECTED Error "unexpected":
        "A request does not become what a test expects of it.",
        "The configuration changed, or the test was written for another one.",
        "The reasons shown; `mesh explain --config FILE URL` tells all of it.";
    INBOUND_REFUSES_ALL Warning "inbound_refuses_all":
        "A port of `inbound` has no `allow`, or took only plaintext and that has ended: everything is refused.",
        "Nobody has said who may come, or `allow` is indented under another key; `mtls: { mode: off, until: … }` whose date has passed.",
        "Add `allow`; `allow: []` says that it is meant. Or write `mtls: strict`, or another `until`.";
    INBOUND_OPENED Warning "inbound_opened":
        "A port of `inbound` is open to more than those who prove who they are and are named.",
        "`mtls: permissive` or `off`, or a rule of `allow` for anyone and everything.",
        "`mtls` and `allow` of the port. What is open for a while can say so: `until`.";
    DENY_EVADED Warning "deny_evaded":
        "A rule of `deny` names an identity on a port that takes plaintext: without TLS it is not met.",
        "`mtls: permissive`, while clients move to TLS.",
        "`allow` of the port: what it does not name is refused, with TLS or without.";
    UNREACHABLE_ROUTE Warning "unreachable_route":
        "An earlier route takes every request that this one would.",
        "A catch-all prefix stands first.",
        "The order: the first route that matches decides.";
    UNUSED_CLUSTER Warning "unused_cluster":
        "No route sends to this cluster, and no port of `inbound` asks anybody in it.",
        "A route was removed, or names another cluster.",
        "Routes and splits; remove the cluster if it is done with.";
    RETRIES_EXCEED_TIMEOUT Warning "retries_exceed_timeout":
        "All attempts together may take longer than the call's timeout, so the last ones are cut off.",
        "The timeout (15s by default) was not raised with the retries.",
        "timeout ≥ per_try_timeout × (num_retries + 1).";
    PER_TRY_TIMEOUT_TOO_LONG Warning "per_try_timeout_too_long":
        "An attempt may take as long as the whole call: a slow attempt is never retried.",
        "The two timeouts were swapped or set alike.",
        "per_try_timeout < timeout.";
    EJECTION_CANNOT_FIRE Warning "ejection_cannot_fire":
        "Outlier detection can never eject an endpoint of a cluster of this size.",
        "max_ejection_percent is 10 by default and Envoy counts the endpoint about to go: fewer than ten endpoints are safe from it. Or minimum_hosts is above the number of endpoints.",
        "Raise max_ejection_percent, set always_eject_one_endpoint, use `cap_rule: grpc`, or lower minimum_hosts.";
    DECIDED_SPLIT Warning "decided_split":
        "All weights of a split but one are zero.",
        "A roll-out that ended, or did not begin.",
        "Use `cluster` if this is to stay.";
    RETRIES_REFUSED Warning "retries_refused":
        "A route retries, but its cluster's circuit breaker allows no retry.",
        "`max_retries: 0` in the thresholds of the route's priority.",
        "Both places shown.";
    TABLE_TOO_SMALL Warning "table_too_small":
        "A hash ring or Maglev table has fewer entries than the cluster has endpoints: some get nothing.",
        "A small maximum_ring_size or table_size.",
        "At least a hundred entries per endpoint spread load within a few percent.";
    DUPLICATE_ENDPOINT Warning "duplicate_endpoint":
        "A cluster lists the same address twice.",
        "A list was copied. The address is an endpoint's key: the second is the same endpoint.",
        "Use `weight` to give an endpoint a larger share.";
    UNBOUNDED_CALL Warning "unbounded_call":
        "A route has no timeout of any kind: a call to a hung endpoint never ends.",
        "`timeout: 0s` for streams, without another limit.",
        "max_stream_duration, idle_timeout or per_try_timeout.";
    SHADOWED_DOMAIN Warning "shadowed_domain":
        "A domain decides nothing: its virtual host would get these requests without it.",
        "A wildcard was added beside the names that it covers.",
        "Both places shown; drop one.";
    NO_ENDPOINTS Warning "no_endpoints":
        "A cluster has no endpoint: every call to it fails with UH.",
        "The list was emptied.",
        "`endpoints`, or `dns`.";
    NO_ROUTES Warning "no_routes":
        "A virtual host has no routes: every request to it is refused with NR.",
        "The routes are indented under another key.",
        "Add `routes: [{ cluster: … }]`.";
    UNUSED_HASH Warning "unused_hash":
        "A route says what to hash by, but its cluster does not balance by hash.",
        "The cluster's `lb` is not ring_hash or maglev.",
        "The cluster's `lb`.";
    ROUTE_TO_TCP Warning "route_to_tcp":
        "A route sends requests to a cluster of `protocol: tcp`, which takes none.",
        "The cluster was meant for a listener, or its `protocol` was copied.",
        "Both places shown.";
    CONTRADICTING_MATCH Warning "contradicting_match":
        "The conditions of a route exclude each other: it never matches.",
        "A list under a header's name, read as any of its values. All conditions must hold.",
        "The conditions shown; `regex: \"a|b\"` takes either of two values.";
    HASH_INPUT_MISSING Warning "hash_input_missing":
        "What a request is hashed by is there only in calls that are made for somebody.",
        "`source_ip` and `peer_identity` are those of the `Peer` in a request's extensions; without one the pick is random.",
        "Whether the program puts a `Peer` there; else hash by a header, a cookie or a query parameter.";
    INEFFECTIVE_KEY Warning "ineffective_key":
        "A key changes nothing while another is not set.",
        "Rules for local failures without split_external_local_origin_errors; enforcement of a rule that is off; a rate limit `by: peer` under `mtls: off`; an `until` that has passed.",
        "The other key, named in the message.";
    INCOMPLETE_RETRY_ON Warning "incomplete_retry_on":
        "A retry condition and the list that it needs are not both there.",
        "`retriable-status-codes` without retriable_status_codes, or the list without the condition.",
        "retry_on and the list named in the message.";
    IGNORED_FIELD Warning "ignored_field":
        "A field of Envoy's is set and does nothing here.",
        "It is for a proxy's sockets, for callers, or for a feature that is not here.",
        "Whether you rely on it; docs/xds-support.md lists every field.";
    UNCHECKED_CONTENT Warning "unchecked_content":
        "A configuration of a type that is not known here: what is in it is not checked, nor used.",
        "An extension of Envoy's that does nothing in a client, or a misspelt `@type`.",
        "The type's name.";
    SHARED_DOMAIN Warning "shared_domain":
        "Listeners of Envoy's serve the same domain in different ways, which only their ports tell apart.",
        "Envoy chooses a listener by the address that was connected to; a call by name has the port in its authority.",
        "Call `domain:port`, or give the domain to one listener only.";
    UNUSED_RESOURCE Warning "unused_resource":
        "A resource of Envoy's that nothing leads to.",
        "A listener was removed, or names other routes or endpoints.",
        "The names that listeners and clusters give.";
    HEDGE_WITHOUT_TIMEOUT Warning "hedge_without_timeout":
        "Hedging starts on a per-try timeout, and there is none.",
        "`hedge` was set without retries.",
        "retry.per_try_timeout, and num_retries ≥ 1.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once() {
        for (index, known) in ALL.iter().enumerate() {
            assert!(!ALL[..index].iter().any(|other| other.code == known.code), "{}", known.code);
            assert_eq!(code_explanation(known.code), Some(*known));
            for text in [known.meaning, known.causes, known.look_at] {
                assert!(text.ends_with('.'), "{}: {text}", known.code);
            }
        }
        assert_eq!(code_explanation("no_such_code"), None);
    }
}
