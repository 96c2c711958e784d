//! [`One`]: a certificate or roots that the configuration names, as an identity.
//!
//! It reads what it has itself ([`One::look`]), for whoever needs it: handshakes, and who watches over all of them. One
//! reading runs at a time, and what was read last is judged last, so that nothing older takes the place of something
//! newer, whoever has asked.
//!
//! Files are replaced one after the other, so what is bad for a moment is told only when it is so a moment later
//! ([`HOLD`]); nothing of it is in force meanwhile. Where there is nothing else to show it is told at once.

use super::config;
use super::held::{Held, Texts, Unread};
use crate::identity::anchors::Listed;
use crate::identity::file::Hook;
use crate::identity::material::{authorities, in_part};
use crate::identity::{
    Identities, Identity, IdentitySink, IdentitySource, InvalidIdentity, Material, NoIdentity,
    Part, Roots, Trust, certificates, private_key, revocation_lists,
};
use crate::source::read::finished;
use futures_core::future::BoxFuture;
use mesh_core::identity::RotationOptions;
use parking_lot::Mutex;
use std::fmt;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long something must be bad before it is told, while something else is in force.
pub(super) const HOLD: Duration = Duration::from_millis(250);

/// A certificate or roots that the configuration names.
pub(crate) struct One {
    identities: Identities,
    /// Held by whoever looks.
    turn: Arc<tokio::sync::Mutex<()>>,
    seen: Mutex<Seen>,
    judged: Mutex<Judged>,
    /// Watches over it while the configuration names it.
    watch: Mutex<Option<AbortHandle>>,
    pub(super) hook: Hook,
}

/// Who signs, and what they took back, by roots or lists that the configuration names.
pub(crate) struct Signers {
    /// The roots, and the lists beside them; of bundles those of all trust domains.
    pub(crate) trust: Arc<Trust>,
    /// The lists beside the roots of each trust domain.
    pub(crate) listed: Arc<Listed>,
    /// They are those of trust domains.
    pub(crate) of_domains: bool,
    /// Where they come from, in words.
    pub(crate) origin: Arc<str>,
}

/// What is looked at.
#[derive(Default)]
struct Seen {
    /// Where the bytes are by the configuration in force.
    followed: Option<Held>,
    /// What was looked at last, and when that began.
    last: Option<(Held, Instant)>,
    /// How often.
    #[cfg(test)]
    reads: usize,
}

/// What became of what was read.
#[derive(Default)]
struct Judged {
    /// From where it was read last.
    held: Option<Held>,
    in_force: Option<Texts>,
    signers: Option<Arc<Signers>>,
    refused: Option<Refused>,
    fault: Option<Fault>,
}

/// What was not good.
struct Refused {
    texts: Texts,
    why: InvalidIdentity,
}

/// What is wrong now.
struct Fault {
    why: Unread,
    since: Instant,
    is_told: bool,
}

impl One {
    /// Nobody yet.
    pub(super) fn new(name: &Arc<str>) -> Self {
        let identities = Identities::called(Arc::clone(name), None);
        let (turn, seen, judged) = (Arc::default(), Mutex::default(), Mutex::default());
        Self { identities, turn, seen, judged, watch: Mutex::default(), hook: Hook::NONE }
    }

    pub(super) const fn identities(&self) -> &Identities {
        &self.identities
    }

    pub(super) fn name(&self) -> &Arc<str> {
        self.identities.name()
    }

    /// Who is in force, if that is valid now.
    ///
    /// # Errors
    /// [`NoIdentity`]: there was none that is good, it is over, or it has not begun.
    pub(crate) fn current(&self) -> Result<Arc<Identity>, NoIdentity> {
        self.identities.current()
    }

    /// Who signs by what is in force, or which lists.
    ///
    /// # Errors
    /// There was nothing that is good: why, in words.
    pub(crate) fn signers(&self) -> Result<Arc<Signers>, String> {
        let judged = self.judged.lock();
        let origin = || judged.origin(self.name());
        judged.signers.clone().ok_or_else(|| match (&judged.refused, &judged.fault) {
            (Some(refused), _) => format!("{}: {}", origin(), refused.why),
            (None, Some(fault)) => fault.why.why.clone(),
            (None, None) => format!("{}: nobody has looked at it yet", origin()),
        })
    }

    /// Whether what is there is what is in force.
    pub(crate) fn is_newest(&self) -> bool {
        let judged = self.judged.lock();
        judged.in_force.is_some() && judged.refused.is_none() && judged.fault.is_none()
    }

    /// Whether what it was read from is gone, and not for a moment only: what it held may have been withdrawn.
    pub(crate) fn withdrawn(&self) -> Option<String> {
        let judged = self.judged.lock();
        let fault = judged.fault.as_ref().filter(|fault| fault.is_told && fault.why.is_gone);
        fault.map(|fault| fault.why.why.clone())
    }

    /// The configuration names it, and says where it is: from now on it is watched over.
    #[expect(clippy::disallowed_methods, reason = "who watches over a certificate is a task")]
    pub(super) fn follow(&self, held: Held, runtime: Option<&Handle>) {
        self.seen.lock().followed = Some(held);
        let mut watch = self.watch.lock();
        if let (None, Some(runtime)) = (&*watch, runtime) {
            // Not in the middle of what somebody takes in: that would be said by who is not asked any more.
            let _judged = self.judged.lock();
            let (running, turn) = (self.identities.clone(), self.identities.expect(None));
            let nobody = async move { running.run_in(turn, Box::new(Nobody)).await };
            *watch = Some(runtime.spawn(nobody).abort_handle());
        }
    }

    /// The configuration does not name it any more: its end is nobody's.
    pub(super) fn unfollow(&self) {
        self.seen.lock().followed = None;
        if let Some(watch) = self.watch.lock().take() {
            watch.abort();
        }
    }

    /// Takes in what is there, unless somebody has for less than `fresh`. `asked`: where it is by who asks. Of a secret his word
    /// counts while no configuration in force says it: he may have an older one. Elsewhere the name says where it is, but for
    /// keys in the configuration itself, by which nothing is called; there each asks for his own.
    ///
    /// # Cancel safety
    /// Cancel safe: it is read again.
    pub(crate) async fn look(self: &Arc<Self>, asked: Option<&Held>, fresh: Duration) {
        let came = Instant::now();
        if self.wanted(asked, came, fresh).is_none() {
            return;
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let Some(held) = self.wanted(asked, came, fresh) else { return };
        let now = Instant::now();
        let read = held.read().await;
        self.judged.lock().held = Some(held.clone());
        if !self.takes_long(&read) {
            self.take(read);
            return self.saw(held, now);
        }
        // Its turn ends with it, also where nobody waits for it any more.
        let one = Arc::clone(self);
        let job = move || {
            one.take(read);
            one.saw(held, now);
            drop(turn);
        };
        if finished(tokio::task::spawn_blocking(job)).await.is_none() {
            self.take(Err(Unread::because("looking at it panicked; it is looked at again")));
        }
    }

    fn saw(&self, held: Held, at: Instant) {
        let mut seen = self.seen.lock();
        seen.last = Some((held, at));
        #[cfg(test)]
        {
            seen.reads += 1;
        }
    }

    #[cfg(test)]
    pub(super) fn reads(&self) -> usize {
        self.seen.lock().reads
    }

    /// Whether these are roots that nobody has read before: there may be many.
    fn takes_long(&self, read: &Result<Texts, Unread>) -> bool {
        let judged = self.judged.lock();
        let refused = judged.refused.as_ref().map(|refused| &refused.texts);
        let is_known = |texts| judged.in_force.as_ref() == Some(texts) || refused == Some(texts);
        read.as_ref().is_ok_and(|texts| !matches!(texts, Texts::Pair { .. }) && !is_known(texts))
    }

    /// What has to be looked at; `None`: somebody has, since `came` or so little before that it is `fresh`.
    fn wanted(&self, asked: Option<&Held>, came: Instant, fresh: Duration) -> Option<Held> {
        let seen = self.seen.lock();
        let held = match (&seen.followed, asked) {
            (Some(_), Some(asked)) if !config::is_of_secret(self.name()) => asked,
            (followed, asked) => followed.as_ref().or(asked)?,
        };
        let is_seen = |(last, at): &(Held, Instant)| {
            !last.is_here() && last == held && (*at > came || came < *at + fresh)
        };
        (!seen.last.as_ref().is_some_and(is_seen)).then(|| held.clone())
    }

    /// Takes in what was read just now, or why it could not be: into force, if it is good; else what was in force stays,
    /// and that is told and counted once.
    pub(super) fn take(&self, read: Result<Texts, Unread>) {
        let (mut judged, sink) = (self.judged.lock(), self.identities.sink());
        let texts = match read {
            Ok(texts) => texts,
            Err(why) => return judged.faulty(why, &sink),
        };
        if judged.in_force.as_ref() == Some(&texts) {
            judged.refused = None;
            if judged.fault.take().is_some_and(|fault| fault.is_told) {
                sink.restored();
            }
            return;
        }
        let before = judged.refused.take().filter(|refused| refused.texts == texts);
        if let Some(refused) = before.as_ref().filter(|refused| refused.why.ripens().is_none()) {
            let why = Unread::because(refused.why.to_string());
            judged.refused = before;
            return judged.faulty(why, &sink);
        }
        self.hook.reads();
        let verified = texts
            .material()
            .and_then(|(material, listed)| Ok((sink.verify(material)?, Arc::new(listed))));
        match verified {
            Ok((verified, listed)) => {
                sink.publish_verified(verified);
                judged.signers = self.signers_of(&texts, listed, judged.origin(self.name()));
                (judged.in_force, judged.refused, judged.fault) = (Some(texts), None, None);
            }
            Err(error) => {
                // Of the same it says another time, which is no other fault.
                let said = before.map(|before| before.why);
                let is_same = |said: &InvalidIdentity| discriminant(said) == discriminant(&error);
                let why = said.filter(is_same).unwrap_or(error);
                judged.faulty(Unread::because(why.to_string()), &sink);
                judged.refused = Some(Refused { texts, why });
            }
        }
    }
}

impl One {
    fn signers_of(
        &self,
        texts: &Texts,
        listed: Arc<Listed>,
        origin: Arc<str>,
    ) -> Option<Arc<Signers>> {
        let of_domains = match texts {
            Texts::Pair { .. } => return None,
            Texts::Roots(_) | Texts::Lists(_) => false,
            Texts::Bundles(_) => true,
        };
        let trust = self.identities.trust().ok()?;
        Some(Arc::new(Signers { trust, listed, of_domains, origin }))
    }
}

impl Judged {
    /// Where it comes from, in words.
    fn origin(&self, name: &Arc<str>) -> Arc<str> {
        self.held.as_ref().map_or_else(|| Arc::clone(name), Held::origin)
    }

    /// This is wrong: tells and counts it once, when its time has come.
    fn faulty(&mut self, why: Unread, sink: &IdentitySink) {
        let now = Instant::now();
        if self.fault.as_ref().is_none_or(|fault| fault.why != why) {
            self.fault = Some(Fault { why, since: now, is_told: false });
        }
        let has_another = self.in_force.is_some();
        if let Some(fault) = self.fault.as_mut().filter(|fault| !fault.is_told)
            && (!has_another || fault.since + HOLD <= now)
        {
            fault.is_told = true;
            let Unread { why, is_gone } = &fault.why;
            match has_another && *is_gone {
                true => sink.failed(&format_args!(
                    "{why}; listeners that name it refuse handshakes until it is there again"
                )),
                false => sink.failed(why),
            }
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get_mut().take() {
            watch.abort();
        }
    }
}

impl Texts {
    /// With the lists beside the roots of each trust domain.
    fn material(&self) -> Result<(Material, Listed), InvalidIdentity> {
        match self {
            Self::Pair { chain, key } => {
                let chain = in_part(Part::Certificates, certificates(chain))?;
                let key = in_part(Part::PrivateKey, private_key(key))?;
                Ok((Material::of_pair(chain, key).of_anybody(), Listed::new()))
            }
            Self::Roots(pem) => {
                let (roots, lists) = in_part(Part::Roots, authorities(pem))?;
                let material = Material::of_roots(Roots::Any(roots.into()));
                Ok((material.with_revoked(lists), Listed::new()))
            }
            Self::Bundles(texts) => {
                let (roots, listed) = in_part(Part::Roots, texts.roots())?;
                let lists = listed.values().flatten().cloned().collect();
                Ok((Material::of_roots(roots).with_revoked(lists), listed))
            }
            Self::Lists(pem) => {
                let lists = in_part(Part::RevocationLists, revocation_lists(pem))?;
                Ok((Material::of(None, None).with_revoked(lists), Listed::new()))
            }
        }
    }
}

impl PartialEq for Signers {
    /// Whether they are the same, wherever they come from.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.trust, &other.trust)
            && self.of_domains == other.of_domains
            && self.listed == other.listed
    }
}

#[cfg(test)]
impl Signers {
    /// By what a test says.
    pub(crate) fn of(texts: Texts) -> Arc<Self> {
        let one = One::new(&"a test".into());
        one.take(Ok(texts));
        one.signers().unwrap()
    }
}

/// In the place of a source: who reads hands over what is there.
#[derive(Debug)]
struct Nobody;

impl IdentitySource for Nobody {
    fn start(self: Box<Self>, _: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    /// Never: somebody else renews it.
    fn rotation(&self) -> RotationOptions {
        let mut options = RotationOptions::default();
        options.renew_at = None;
        options
    }
}

impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("One").field("identities", &self.identities).finish_non_exhaustive()
    }
}
