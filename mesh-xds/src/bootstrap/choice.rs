//! [`choose`]: which of the two environment variables counts.

/// The environment variable that holds the path of a bootstrap file (gRFC A27).
pub const PATH_VARIABLE: &str = "GRPC_XDS_BOOTSTRAP";

/// The environment variable that holds a bootstrap itself (gRFC A27).
pub const INLINE_VARIABLE: &str = "GRPC_XDS_BOOTSTRAP_CONFIG";

/// Where a bootstrap is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by gRFC A27: two variables, or none of them")]
pub enum Choice<'a> {
    /// From the file at this path. When it can't be read or parsed, that is the error: the other
    /// variable is no second chance.
    File(&'a str),
    /// From this text.
    Inline(&'a str),
    /// There is none.
    Nothing,
}

/// Which of the values of [`PATH_VARIABLE`] and [`INLINE_VARIABLE`] counts.
///
/// The path, whenever it is set (gRFC A27: the inline text "is only used if" the path is unset). A value
/// that is empty is as good as none (grpc-go), so that a variable can be switched off where it can't be
/// removed.
///
/// # Examples
///
/// ```
/// use mesh_xds::bootstrap::{Choice, choose};
///
/// assert_eq!(choose(Some("/etc/boot.json"), Some("{}")), Choice::File("/etc/boot.json"));
/// assert_eq!(choose(None, Some("{}")), Choice::Inline("{}"));
/// assert_eq!(choose(None, None), Choice::Nothing);
/// ```
#[must_use]
pub fn choose<'a>(path: Option<&'a str>, inline: Option<&'a str>) -> Choice<'a> {
    let is_set = |value: &&str| !value.is_empty();
    match (path.filter(is_set), inline.filter(is_set)) {
        (Some(path), _) => Choice::File(path),
        (None, Some(text)) => Choice::Inline(text),
        (None, None) => Choice::Nothing,
    }
}
