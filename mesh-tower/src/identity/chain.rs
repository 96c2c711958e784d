//! [`Chain`]: whether a chain of certificates is good. The one place that says what was revoked: of peers on
//! both sides of a handshake, and of our own.
//!
//! The rules, in the order in which they are checked:
//!
//! 1. The chain leads to an anchor, and all of it is valid now and for its use (RFC 5280 section 6.1), the anchor, too.
//! 2. A list speaks for who signed it: an issuer in the chain has its name, and its key made the signature. An
//!    authority that has a new key has a list of each under one name. A list that no issuer in the chain
//!    signed says nothing, neither good nor bad.
//! 3. Who is on a list, of whichever set, was revoked, even if the list is over: time takes no revocation back.
//! 4. Whose issuer has no list that is not over is good or refused, as [`Unlisted`] says.
//!
//! webpki looks for an issuer's list by its name and takes the first, so each is tried alone.
//!
//! What it does not support: name constraints of URIs. RFC 5280 section 4.2.1.10 has them for hosts, which a SPIFFE
//! id has none of; webpki refuses every URI below an authority that has one.
//!
//! What it does not see: an authority between the peer and the root that was revoked by a list of one of two
//! issuers that have the same name in one chain. By [`Unlisted::Refused`] such a chain is refused.

use super::Certificate;
use super::error::CertificateError;
use mesh_core::WallTime;
use mesh_core::identity::rotation::{Standing, Validity};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm, TrustAnchor,
    UnixTime,
};
use std::time::Duration;
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// What becomes of a certificate whose issuer has no list that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unlisted {
    /// It is good (gRFC A69).
    Good,
    /// It is refused: each issuer in a chain needs a list (Envoy: `crl`, which checks whole chains).
    Refused,
}

/// Lists of revoked certificates, read.
#[derive(Debug)]
pub(crate) struct Lists {
    all: Vec<CertRevocationList<'static>>,
    unlisted: Unlisted,
}

/// A chain, and what it is to be verified by.
pub(crate) struct Chain<'a> {
    /// Its first certificate.
    pub(crate) entity: &'a EndEntityCert<'a>,
    /// The others that were shown, in any order.
    pub(crate) others: &'a [CertificateDer<'a>],
    /// Who may sign.
    pub(crate) anchors: &'a [TrustAnchor<'a>],
    /// When each of them is valid; who is not there always is.
    pub(crate) lives: &'a [Option<Validity>],
    pub(crate) usage: KeyUsage,
    pub(crate) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    pub(crate) now: UnixTime,
}

impl Lists {
    /// # Errors
    /// [`CertificateError::NotARevocationList`]: one can't be read.
    pub(crate) fn read(
        lists: &[CertificateRevocationListDer<'static>],
        unlisted: Unlisted,
    ) -> Result<Self, CertificateError> {
        let read = |list: &CertificateRevocationListDer<'static>| {
            let read = OwnedCertRevocationList::from_der(list);
            read.map(CertRevocationList::from)
                .map_err(|error| CertificateError::NotARevocationList { reason: error.to_string() })
        };
        let all: Result<Vec<_>, _> = lists.iter().map(read).collect();
        Ok(Self { all: all?, unlisted })
    }

    /// These, if all of them can be read; else none.
    pub(super) fn usable(
        lists: Vec<CertificateRevocationListDer<'static>>,
    ) -> Vec<CertificateRevocationListDer<'static>> {
        if Self::read(&lists, Unlisted::Good).is_ok() { lists } else { Vec::new() }
    }
}

impl Chain<'_> {
    /// Whether it is good by all of these lists.
    ///
    /// # Errors
    /// The first rule of the module's list that it breaks: of rule 3 [`Error::CertRevoked`], of rule 4
    /// [`Error::CrlExpired`] if there is a list that is over, else [`Error::UnknownRevocationStatus`].
    pub(crate) fn verify<'l>(
        &self,
        lists: impl IntoIterator<Item = &'l Lists>,
    ) -> Result<(), Error> {
        self.walk(None)?;
        // All of them, before one is missed: that says less.
        let signed = lists.into_iter().map(|lists| Ok((lists.unlisted, self.signed(lists)?)));
        let signed: Vec<_> = signed.collect::<Result<_, Error>>()?;
        let mut strict = signed.iter().filter(|(unlisted, _)| *unlisted == Unlisted::Refused);
        strict.try_for_each(|(_, lists)| self.is_vouched_for_by(lists))
    }

    /// When it ends: with the first certificate that ends between its own and the anchor, both included of what was shown.
    /// What was shown and is not needed ends nothing, nor does one in whose place another that was shown can stand.
    /// The anchor's end is not in it. `None`: it leads to no anchor now.
    pub(crate) fn end(&self) -> Option<WallTime> {
        let mut end = self.end_of_path(self.now)?;
        // Each time one of them is over, so that there are no more turns than certificates.
        for _ in 0..self.others.len() {
            let after = end.as_unix_seconds().saturating_add(1);
            let after = UnixTime::since_unix_epoch(Duration::from_secs(after));
            let Some(later) = self.end_of_path(after) else { break };
            end = later;
        }
        Some(end)
    }

    /// The first end of what the verifier goes by at this time.
    fn end_of_path(&self, now: UnixTime) -> Option<WallTime> {
        let path = self.entity.verify_for_usage(
            self.algorithms,
            self.anchors,
            self.others,
            now,
            self.usage,
            None,
            None,
        );
        let path = path.ok()?;
        let between = path.intermediate_certificates().map(|shown| shown.der());
        let all = std::iter::once(self.entity.der()).chain(between);
        // What was verified can be read.
        all.filter_map(|der| Some(Certificate::parse(&der).ok()?.validity.not_after)).min()
    }

    /// Those that an issuer in the chain signed.
    ///
    /// # Errors
    /// [`Error::CertRevoked`]: one of them has it.
    fn signed<'l>(&self, lists: &'l Lists) -> Result<Vec<&'l CertRevocationList<'static>>, Error> {
        let others = self.others.iter().filter_map(|der| EndEntityCert::try_from(der).ok());
        let others: Vec<_> = others.collect();
        let issuers = || std::iter::once(self.entity).chain(&others).map(|shown| shown.issuer());
        let mut signed = Vec::new();
        for list in &lists.all {
            if issuers().any(|issuer| issuer == list.issuer()) && self.is_signed(list)? {
                signed.push(list);
            }
        }
        Ok(signed)
    }

    /// Whether each issuer has one that is not over, of those that were signed in the chain.
    fn is_vouched_for_by(&self, signed: &[&CertRevocationList<'_>]) -> Result<(), Error> {
        let (mut vouching, mut over) = (Vec::new(), None);
        for &list in signed {
            let alone = [list];
            match self.walk(options(&alone).map(|o| o.with_expiration_policy(ENFORCED).build())) {
                Err(error @ Error::CrlExpired { .. }) => over = Some(error),
                Err(_) => {}
                Ok(()) => vouching.push(list),
            }
        }
        let strict = options(&vouching).map(|options| {
            let options = options.with_expiration_policy(ENFORCED);
            options.with_status_policy(UnknownStatusPolicy::Deny).build()
        });
        let vouched = match strict {
            Some(strict) => self.walk(Some(strict)),
            None => Err(Error::UnknownRevocationStatus),
        };
        vouched.map_err(|error| over.unwrap_or(error))
    }

    /// Whether an issuer in the chain signed the list, if one of its name is there.
    ///
    /// # Errors
    /// [`Error::CertRevoked`].
    fn is_signed(&self, list: &CertRevocationList<'_>) -> Result<bool, Error> {
        let alone = [list];
        match self.walk(options(&alone).map(RevocationOptionsBuilder::build)) {
            Ok(()) => return Ok(true),
            Err(error @ Error::CertRevoked) => return Err(error),
            Err(_) => {}
        }
        // Another issuer of the same name in the chain may have made that of it.
        let first = options(&alone).map(|o| o.with_depth(RevocationCheckDepth::EndEntity).build());
        match self.walk(first) {
            Err(error @ Error::CertRevoked) => Err(error),
            _ => Ok(false),
        }
    }

    fn walk(&self, revocation: Option<RevocationOptions<'_>>) -> Result<(), Error> {
        let path = self.entity.verify_for_usage(
            self.algorithms,
            self.anchors,
            self.others,
            self.now,
            self.usage,
            revocation,
            Some(&|path| self.is_in_time(path.anchor())),
        );
        path.map(|_path| ())
    }

    /// Whether an anchor with this name and key may sign now: of an authority that was renewed there are two.
    fn is_in_time(&self, anchor: &TrustAnchor<'_>) -> Result<(), Error> {
        let now = WallTime::from_unix_seconds(self.now.as_secs());
        let is_same = |known: &TrustAnchor<'_>| {
            known.subject == anchor.subject
                && known.subject_public_key_info == anchor.subject_public_key_info
        };
        let lives = self.lives.iter().copied().chain(std::iter::repeat(None));
        let mut same = self.anchors.iter().zip(lives).filter(|(known, _)| is_same(known));
        match same.any(|(_, life)| life.is_none_or(|life| life.standing(now) == Standing::Valid)) {
            true => Ok(()),
            false => Err(Error::UnknownIssuer),
        }
    }
}

/// An error of a chain, in words.
pub(crate) fn in_words(error: &Error) -> String {
    match error {
        Error::NameConstraintViolation => {
            "one that signs it may not give a name of it (name constraints, of which those of URIs, and so of \
             SPIFFE ids, are not supported and exclude all)"
                .to_owned()
        }
        error => error.to_string(),
    }
}

const ENFORCED: ExpirationPolicy = ExpirationPolicy::Enforce;

/// By these lists, also if they are over; who is on none is good. `None`: there is no list.
fn options<'l>(lists: &'l [&'l CertRevocationList<'l>]) -> Option<RevocationOptionsBuilder<'l>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    Some(options.with_status_policy(UnknownStatusPolicy::Allow))
}
