//! The names of gRPC's statuses, as Envoy writes them.

/// How a status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcForm {
    /// `PermissionDenied`.
    Camel,
    /// `PERMISSION_DENIED`.
    Snake,
    /// `7`.
    Number,
}

impl GrpcForm {
    /// The parameters of `%GRPC_STATUS(…)%`.
    pub(super) const NAMES: [&'static str; 3] = ["CAMEL_STRING", "SNAKE_STRING", "NUMBER"];

    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "CAMEL_STRING" => Some(Self::Camel),
            "SNAKE_STRING" => Some(Self::Snake),
            "NUMBER" => Some(Self::Number),
            _ => None,
        }
    }
}

/// The name of `status`; `None`: it is no status of gRPC's, or wanted as a number.
pub(super) fn name(status: u32, form: GrpcForm) -> Option<&'static str> {
    let (camel, snake) = NAMES.get(usize::try_from(status).ok()?)?;
    match form {
        GrpcForm::Camel => Some(camel),
        GrpcForm::Snake => Some(snake),
        GrpcForm::Number => None,
    }
}

/// By number (grpc/grpc `doc/statuscodes.md`). Envoy writes the first of the two names with one `l` in `Canceled`.
const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];
