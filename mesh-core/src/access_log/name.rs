//! [`Name`] and [`MeshField`]: every operator there is, in two tables.
//!
//! Spelling, type and meaning stand here and nowhere else: the parser reads the names, and the table in the module
//! documentation is a file that a test compares with `markdown`.

/// What an operator gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text, which may be cut.
    Text,
    /// A number, which stays one in JSON.
    Number,
    /// In JSON a list or an object.
    Nested,
}

/// Whether an operator has a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    /// It takes none.
    None,
    /// It may have one.
    Optional,
    /// It must have one, such as this.
    Required(&'static str),
}

macro_rules! names {
    ($($variant:ident = $name:literal, $kind:ident, $parameter:expr, $help:literal;)*) => {
        /// The name of an operator.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Name { $(#[doc = $help] $variant,)* }

        impl Name {
            /// Every name, in the order of the documentation.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As it is written.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it gives.
            pub(super) const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// Whether it has a parameter.
            pub(super) const fn parameter(self) -> Parameter {
                use Parameter::{None, Optional, Required};
                match self { $(Self::$variant => $parameter,)* }
            }

            /// What it means.
            #[cfg(test)]
            pub(super) const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

names! {
    StartTime = "START_TIME", Text, Optional,
        "when it began, as ISO 8601 with milliseconds, or by `strftime`: `%Y %y %m %B %b %h %d %e %H %I %M %S %p %j %A %a %F %T %D %R %s %Z %z %%`, and `%f` for the fraction of the second, with `%3f` for three digits";
    Req = "REQ", Text, Required("X-REQUEST-ID"),
        "the header of the request, or the second one where the first (`X?Y`) is not there; `:METHOD`, `:PATH`, `:AUTHORITY` and `:SCHEME`, too";
    RequestHeader = "REQUEST_HEADER", Text, Required("X-REQUEST-ID"), "the same";
    Resp = "RESP", Text, Required("SERVER"), "the header of the response; `:STATUS`, too";
    ResponseHeader = "RESPONSE_HEADER", Text, Required("SERVER"), "the same";
    Trailer = "TRAILER", Text, Required("GRPC-MESSAGE"), "the trailer of the response";
    ResponseTrailer = "RESPONSE_TRAILER", Text, Required("GRPC-MESSAGE"), "the same";
    UnredactedReq = "MESH_UNREDACTED_REQ", Text, Required("AUTHORIZATION"),
        "as `REQ`, whole and whatever it is: secrets, and queries";
    UnredactedResp = "MESH_UNREDACTED_RESP", Text, Required("SET-COOKIE"), "as `RESP`, in the same way";
    UnredactedTrailer = "MESH_UNREDACTED_TRAILER", Text, Required("X-TOKEN"),
        "as `TRAILER`, in the same way";
    Path = "PATH", Text, Optional,
        "the path: `NQ`, the default, without its query, `WQ` with it; of `x-envoy-original-path` (`:ORIG`), of `:path` (`:PATH`), or, the default, of the first that is there (`:ORIG_OR_PATH`)";
    Protocol = "PROTOCOL", Text, None, "the protocol of the request: `HTTP/1.1`, `HTTP/2`";
    ResponseCode = "RESPONSE_CODE", Number, None, "the status of the response; 0: there was none";
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS", Text, Optional,
        "why, in words, or where the answer comes from; with `_` for each space unless `ALLOW_WHITESPACES`";
    ResponseFlags = "RESPONSE_FLAGS", Text, None, "Envoy's flags, with commas: `UF,URX`";
    ResponseFlagsLong = "RESPONSE_FLAGS_LONG", Text, None, "their long names";
    GrpcStatus = "GRPC_STATUS", Text, Optional,
        "the status of gRPC by its name: `CAMEL_STRING`, the default, `SNAKE_STRING` or `NUMBER`";
    GrpcStatusNumber = "GRPC_STATUS_NUMBER", Number, None, "the status of gRPC";
    BytesReceived = "BYTES_RECEIVED", Number, None, "bytes of the request's body that were read";
    BytesSent = "BYTES_SENT", Number, None, "bytes of the response's body";
    Duration = "DURATION", Number, None, "milliseconds to the end of the response's body";
    ResponseDuration = "RESPONSE_DURATION", Number, None, "milliseconds to the response's head";
    ResponseTxDuration = "RESPONSE_TX_DURATION", Number, None,
        "milliseconds from there to the end of its body";
    UpstreamHost = "UPSTREAM_HOST", Text, None, "the endpoint of the last attempt";
    UpstreamCluster = "UPSTREAM_CLUSTER", Text, None, "the cluster of the last attempt";
    UpstreamClusterRaw = "UPSTREAM_CLUSTER_RAW", Text, None, "the same";
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS", Text, None, "not known here";
    UpstreamAttempts = "UPSTREAM_REQUEST_ATTEMPT_COUNT", Number, None,
        "how many attempts a call made; 0: none, or it is a served request";
    UpstreamFailure = "UPSTREAM_TRANSPORT_FAILURE_REASON", Text, None,
        "why the last attempt had no connection";
    Route = "ROUTE_NAME", Text, None, "the route";
    VirtualHost = "VIRTUAL_HOST_NAME", Text, None, "the virtual host";
    VirtualCluster = "VIRTUAL_CLUSTER_NAME", Text, None, "there are none here";
    Remote = "DOWNSTREAM_REMOTE_ADDRESS", Text, None,
        "who sent a served request: the other end of its connection, or whom a proxy names that is believed (then without a port)";
    RemoteIp = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Text, None, "the same without its port";
    Local = "DOWNSTREAM_LOCAL_ADDRESS", Text, None, "our end of its connection";
    LocalIp = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Text, None, "the same without its port";
    LocalPort = "DOWNSTREAM_LOCAL_PORT", Number, None, "the port of it";
    PeerUris = "DOWNSTREAM_PEER_URI_SAN", Text, None,
        "the URI names of the caller's certificate, with commas";
    PeerSubject = "DOWNSTREAM_PEER_SUBJECT", Text, None, "the subject of it";
    OwnUris = "DOWNSTREAM_LOCAL_URI_SAN", Text, None, "the URI names of our own certificate";
    TlsVersion = "DOWNSTREAM_TLS_VERSION", Text, None, "not known here";
    Sni = "REQUESTED_SERVER_NAME", Text, None, "the server name of the TLS handshake";
    Termination = "CONNECTION_TERMINATION_DETAILS", Text, None, "not known here";
    TraceId = "TRACE_ID", Text, None, "the trace, as W3C Trace Context writes it";
    Hostname = "HOSTNAME", Text, None, "the machine";
    Mesh = "MESH", Text, Required("reason"), "one of the fields below";
}

impl Name {
    /// The operator that is written so.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.as_str() == text)
    }
}

macro_rules! mesh_fields {
    ($($variant:ident = $name:literal, $kind:ident, $help:literal;)*) => {
        /// What `%MESH(…)%` tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum MeshField { $(#[doc = $help] $variant,)* }

        impl MeshField {
            /// Every field.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As it is written.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it gives.
            pub(super) const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// What it means.
            #[cfg(test)]
            pub(super) const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

mesh_fields! {
    Side = "side", Text, "`client` or `server`: who writes the line";
    Reason = "reason", Text,
        "the stable name of why the mesh answered or gave up by itself: what `mesh explain` takes";
    Details = "details", Text, "the same in words, with spaces";
    Attempt = "attempt", Number,
        "of a call, the number of its last attempt; of a served request, which attempt of its caller it is";
    Attempts = "attempts", Nested,
        "each attempt of a call: `10.0.0.1:80=UF/connect_refused/0.070,10.0.0.2:80=200/4.000`; in JSON a list of objects with the phases of each";
    Phases = "phases", Nested,
        "milliseconds by phase, those of all attempts together: `routing=0.001,connect=2.000`; in JSON an object";
    Duration = "duration", Nested, "milliseconds to the end of the response's body, with fractions";
    Policy = "policy", Text, "the policy that let a request through, or did not; `none`: none did";
    PeerIdentity = "peer_identity", Text, "who the other side proved to be";
    OwnIdentity = "own_identity", Text, "who we are";
    Listener = "listener", Text, "the listener of a served request";
}

impl MeshField {
    /// The field that is written so.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.as_str() == text)
    }
}

/// The tables, as the documentation shows them.
#[cfg(test)]
pub(super) fn markdown() -> String {
    let mut out = String::from("| operator | gives | what |\n|---|---|---|\n");
    for name in Name::ALL {
        let parameter = match name.parameter() {
            Parameter::None => "",
            Parameter::Optional => "(…)",
            Parameter::Required(_) if *name == Name::Mesh => "(…)",
            Parameter::Required(_) => "(X?Y)",
        };
        let (kind, length) = match name.kind() {
            Kind::Number => ("number", ""),
            Kind::Text | Kind::Nested if *name == Name::Mesh => ("", ""),
            Kind::Text | Kind::Nested if *name == Name::StartTime => ("text", ""),
            Kind::Text | Kind::Nested => ("text", ":Z"),
        };
        let (name, help) = (name.as_str(), name.help());
        out += &format!("| `%{name}{parameter}{length}%` | {kind} | {help} |\n");
    }
    for field in MeshField::ALL {
        let kind = match field.kind() {
            Kind::Text => "text",
            Kind::Number => "number",
            Kind::Nested if *field == MeshField::Duration => "number",
            Kind::Nested => "text, or JSON",
        };
        out += &format!("| `%MESH({})%` | {kind} | {} |\n", field.as_str(), field.help());
    }
    out
}
