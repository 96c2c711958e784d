//! Names of a peer's certificate (Envoy: `SubjectAltNameMatcher`).

use super::matcher::string;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    self as tls, CertificateValidationContext, subject_alt_name_matcher::SanType,
};
use mesh_core::model::{SanKind, SanMatcher};

/// The names, in the older list when none of them has a type. Beside typed ones the older list does not
/// count (Envoy): there a name without a type is said once for each type.
#[expect(deprecated, reason = "a name of any type has no other field")]
pub(super) fn set_names(context: &mut CertificateValidationContext, names: &[SanMatcher]) {
    if names.iter().all(|name| name.kind == SanKind::Any) {
        context.match_subject_alt_names = names.iter().map(|name| string(&name.matcher)).collect();
    } else {
        context.match_typed_subject_alt_names = names.iter().flat_map(typed).collect();
    }
}

/// A name as Envoy has it: for each type that it stands for.
pub(super) fn typed(model: &SanMatcher) -> Vec<tls::SubjectAltNameMatcher> {
    const ANY: [SanType; 4] = [SanType::Uri, SanType::Dns, SanType::Email, SanType::IpAddress];
    let one = |kind: SanType, oid: &str| tls::SubjectAltNameMatcher {
        san_type: kind.into(),
        matcher: Some(string(&model.matcher)),
        oid: oid.to_owned(),
    };
    match &model.kind {
        SanKind::Any => ANY.into_iter().map(|kind| one(kind, "")).collect(),
        SanKind::Uri => vec![one(SanType::Uri, "")],
        SanKind::Dns => vec![one(SanType::Dns, "")],
        SanKind::Email => vec![one(SanType::Email, "")],
        SanKind::Ip => vec![one(SanType::IpAddress, "")],
        SanKind::OtherName(oid) => vec![one(SanType::OtherName, oid)],
    }
}
