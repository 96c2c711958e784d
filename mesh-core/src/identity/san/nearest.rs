//! Of all names of a certificate, the one that comes nearest to what was asked for, and how it differs.

use crate::identity::peer::PeerCertificate;
use crate::identity::spiffe::SpiffeId;
use crate::model::matcher::StringPattern;
use crate::model::san::{SanKind, SanMatcher};
use std::fmt;
use std::sync::Arc;

/// How many bytes of a name an error shows.
const SHOWN: usize = 256;

/// A name that came near, and how it differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nearest {
    /// What was asked for.
    pub asked: SanMatcher,
    /// The name in the certificate.
    pub found: Arc<str>,
    /// How the name differs.
    pub difference: Difference,
}

/// How a name differs from what was asked for. The earlier, the nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: what two names can have in common")]
pub enum Difference {
    /// It would match if it were of the type that was asked for.
    Type,
    /// In case only.
    Case,
    /// In the trust domain only.
    TrustDomain,
    /// In the path, in the same trust domain.
    Path,
    /// In some of its text.
    Text,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = pattern_text(&self.asked);
        let (found, asked) = (shorten(&self.found).escape_debug(), shorten(pattern));
        write!(f, "the peer is `{found}`, and `{asked}`")?;
        f.write_str(match self.asked.matcher.pattern {
            StringPattern::Exact(_) => " was asked for: ",
            StringPattern::Prefix(_) => " as its beginning was asked for: ",
            StringPattern::Suffix(_) => " as its end was asked for: ",
            StringPattern::Contains(_) => " as a part was asked for: ",
            StringPattern::Regex(_) => " as its pattern was asked for: ",
        })?;
        f.write_str(match self.difference {
            Difference::Type => "the name is there, as one of another type",
            Difference::Case => "they differ in upper and lower case only",
            Difference::TrustDomain => "they differ in the trust domain only",
            Difference::Path => "they differ in the path, in the same trust domain",
            Difference::Text => "it does not match",
        })
    }
}

/// The name that comes nearest; `None` when there is no name to compare.
pub(super) fn nearest<'m>(
    asked: impl Iterator<Item = &'m SanMatcher>,
    certificate: &PeerCertificate,
) -> Option<Nearest> {
    let names = names(certificate);
    let pairs = asked.flat_map(|asked| names.iter().map(move |(kind, name)| (asked, kind, name)));
    let ranked = pairs.filter_map(|(asked, kind, name)| {
        let difference = difference(asked, kind, name)?;
        let common = common_prefix(pattern_text(asked), name);
        Some((difference, usize::MAX - common, asked, name))
    });
    let (difference, _, asked, found) = ranked.min_by_key(|(d, common, ..)| (*d, *common))?;
    Some(Nearest { asked: asked.clone(), found: found.clone(), difference })
}

fn names(certificate: &PeerCertificate) -> Vec<(SanKind, Arc<str>)> {
    let texts = |kind: SanKind, names: &[Arc<str>]| -> Vec<_> {
        names.iter().map(|name| (kind.clone(), name.clone())).collect()
    };
    let mut all = texts(SanKind::Uri, &certificate.uris);
    all.extend(texts(SanKind::Dns, &certificate.dns_names));
    all.extend(texts(SanKind::Email, &certificate.emails));
    let ips = certificate.ips.iter().map(|ip| (SanKind::Ip, Arc::from(ip.to_string())));
    all.extend(ips);
    let others = certificate.other_names.iter();
    all.extend(others.map(|name| (SanKind::OtherName(name.oid.clone()), name.value.clone())));
    all
}

/// How `name` differs; `None`: it is of another type, and would not match either if it were not.
fn difference(asked: &SanMatcher, kind: &SanKind, name: &str) -> Option<Difference> {
    let wanted = pattern_text(asked);
    let right_type = match (&asked.kind, kind) {
        (SanKind::Any, SanKind::OtherName(_)) => false,
        (SanKind::Any, _) => true,
        (asked, kind) => asked == kind,
    };
    if !right_type {
        return (name == wanted).then_some(Difference::Type);
    }
    if name.eq_ignore_ascii_case(wanted) {
        return Some(Difference::Case);
    }
    let ids = SpiffeId::parse(wanted).ok().zip(SpiffeId::parse(name).ok());
    Some(match ids {
        Some((a, b)) if a.trust_domain() == b.trust_domain() => Difference::Path,
        Some((a, b)) if a.path() == b.path() => Difference::TrustDomain,
        _ => Difference::Text,
    })
}

fn pattern_text(matcher: &SanMatcher) -> &str {
    match &matcher.matcher.pattern {
        StringPattern::Exact(text)
        | StringPattern::Prefix(text)
        | StringPattern::Suffix(text)
        | StringPattern::Contains(text) => text,
        StringPattern::Regex(pattern) => &pattern.0,
    }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

fn shorten(text: &str) -> &str {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
