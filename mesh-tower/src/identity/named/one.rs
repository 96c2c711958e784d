//! [`One`]: a certificate or roots that the configuration names, as an identity.
//!
//! Files are replaced one after the other, so what is bad for a moment is told only when it is so a moment later
//! ([`HOLD`]); nothing of it is in force meanwhile. Where there is nothing else to show it is told at once.

use crate::identity::file::Hook;
use crate::identity::material::{authorities, in_part};
use crate::identity::spiffe::SpiffeTexts;
use crate::identity::{
    Identities, Identity, IdentitySink, IdentitySource, InvalidIdentity, Material, NoIdentity,
    Part, Roots, certificates, private_key,
};
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

/// What is there, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Texts {
    /// A chain and its key, in PEM.
    Pair { chain: Arc<[u8]>, key: Arc<[u8]> },
    /// Roots in PEM, and lists beside them.
    Roots(Arc<[u8]>),
    /// Those of trust domains.
    Bundles(SpiffeTexts),
}

/// A certificate or roots that the configuration names.
pub(crate) struct One {
    identities: Identities,
    judged: Mutex<Judged>,
    watch: Option<AbortHandle>,
    pub(super) hook: Hook,
}

/// What became of what was read.
#[derive(Default)]
struct Judged {
    in_force: Option<Texts>,
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
    why: String,
    since: Instant,
    is_told: bool,
}

impl One {
    /// Nobody yet, who is watched over as long as there is one.
    #[expect(clippy::disallowed_methods, reason = "who watches over a certificate is a task")]
    pub(super) fn new(name: &Arc<str>, runtime: Option<&Handle>) -> Self {
        let identities = Identities::called(Arc::clone(name), None);
        let watch = runtime.map(|runtime| {
            let running = identities.clone();
            runtime.spawn(async move { running.run(Box::new(Nobody)).await }).abort_handle()
        });
        Self { identities, judged: Mutex::default(), watch, hook: Hook::NONE }
    }

    pub(super) const fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Who is in force, if that is valid now.
    ///
    /// # Errors
    /// [`NoIdentity`]: there was none that is good, it is over, or it has not begun.
    pub(crate) fn current(&self) -> Result<Arc<Identity>, NoIdentity> {
        self.identities.current()
    }

    /// Takes in what was read just now, or why it could not be: into force, if it is good; else what was in force stays,
    /// and that is told and counted once.
    pub(crate) fn take(&self, read: Result<Texts, String>) {
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
            let why = refused.why.to_string();
            judged.refused = before;
            return judged.faulty(why, &sink);
        }
        self.hook.reads();
        match texts.material().and_then(|material| sink.verify(material)) {
            Ok(verified) => {
                *judged = Judged { in_force: Some(texts), ..Judged::default() };
                sink.publish_verified(verified);
            }
            Err(error) => {
                // Of the same it says another time, which is no other fault.
                let said = before.map(|before| before.why);
                let is_same = |said: &InvalidIdentity| discriminant(said) == discriminant(&error);
                let why = said.filter(is_same).unwrap_or(error);
                judged.faulty(why.to_string(), &sink);
                judged.refused = Some(Refused { texts, why });
            }
        }
    }
}

impl Judged {
    /// This is wrong: tells and counts it once, when its time has come.
    fn faulty(&mut self, why: String, sink: &IdentitySink) {
        let now = Instant::now();
        if self.fault.as_ref().is_none_or(|fault| fault.why != why) {
            self.fault = Some(Fault { why, since: now, is_told: false });
        }
        let has_another = self.in_force.is_some();
        if let Some(fault) = self.fault.as_mut().filter(|fault| !fault.is_told)
            && (!has_another || fault.since + HOLD <= now)
        {
            fault.is_told = true;
            sink.failed(&fault.why);
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

impl Texts {
    fn material(&self) -> Result<Material, InvalidIdentity> {
        match self {
            Self::Pair { chain, key } => {
                let chain = in_part(Part::Certificates, certificates(chain))?;
                let key = in_part(Part::PrivateKey, private_key(key))?;
                Ok(Material::of_pair(chain, key).of_anybody())
            }
            Self::Roots(pem) => {
                let (roots, lists) = in_part(Part::Roots, authorities(pem))?;
                Ok(Material::of_roots(Roots::Any(roots.into())).with_revoked(lists))
            }
            Self::Bundles(texts) => {
                let (roots, listed) = in_part(Part::Roots, texts.roots())?;
                let lists = listed.into_values().flatten().collect();
                Ok(Material::of_roots(roots).with_revoked(lists))
            }
        }
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
