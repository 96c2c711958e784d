//! A CA and certificates that are issued anew while calls run.
//!
//! Each workload's certificate, key and roots lie in a directory of their own, and `current` leads to the
//! newest: a link that is renamed changes all three at once, as Kubernetes mounts secrets. Whoever reads in
//! between gets two files of different ages, holds that for a moment, and looks again.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

type BoxError = Box<dyn Error + Send + Sync>;

/// The trust domain of all.
const TRUST_DOMAIN: &str = "quickstart.example";
/// How long a certificate lasts. Its successor comes long before; connections that were made with it end with
/// it, and some do so while calls run.
pub(crate) const LIFE: Duration = Duration::from_secs(6);
/// Clocks are not all the same.
const SKEW: Duration = Duration::from_secs(1);

/// Certificates of some workloads.
#[derive(Debug)]
pub(crate) struct Certificates {
    ca: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
    names: Vec<String>,
    /// In PEM: whom the workloads believe beside their own CA.
    also_believed: String,
    generation: u32,
}

impl Certificates {
    /// The first certificates of `names`, below `directory`.
    pub(crate) fn new(
        directory: &Path,
        names: &[&str],
        also_believed: &str,
    ) -> Result<Self, BoxError> {
        let mut params = CertificateParams::default();
        let name = format!("CA of {}", directory.display());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let mut made = Self {
            ca,
            directory: directory.to_owned(),
            names,
            also_believed: also_believed.to_owned(),
            generation: 0,
        };
        made.rotate()?;
        Ok(made)
    }

    /// The CA's own certificate, in PEM.
    pub(crate) fn ca(&self) -> String {
        self.ca.pem()
    }

    /// Issues all of them anew.
    pub(crate) fn rotate(&mut self) -> Result<(), BoxError> {
        self.generation += 1;
        for name in &self.names {
            let workload = self.directory.join(name);
            let newest = workload.join(format!("{}", self.generation));
            fs::create_dir_all(&newest)?;
            let (certificate, key) = self.issue(name)?;
            fs::write(newest.join("key.pem"), key)?;
            fs::write(newest.join("cert.pem"), certificate)?;
            fs::write(newest.join("ca.pem"), self.ca() + &self.also_believed)?;
            let link = workload.join("next");
            std::os::unix::fs::symlink(&newest, &link)?;
            fs::rename(&link, workload.join("current"))?;
            // The one before may be read still; older ones are not.
            if let Some(old) = self.generation.checked_sub(2).filter(|old| *old > 0) {
                fs::remove_dir_all(workload.join(format!("{old}")))?;
            }
        }
        Ok(())
    }

    /// Issues them anew every so often until `end`; how often that was.
    pub(crate) async fn keep_rotating(
        mut self,
        every: Duration,
        end: impl Future<Output = ()>,
    ) -> Result<u32, BoxError> {
        let mut turns = tokio::time::interval(every);
        turns.tick().await;
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return Ok(self.generation - 1),
                _ = turns.tick() => self.rotate()?,
            }
        }
    }

    fn issue(&self, name: &str) -> Result<(String, String), BoxError> {
        let mut params = CertificateParams::default();
        let id = format!("spiffe://{TRUST_DOMAIN}/{name}");
        params.subject_alt_names = vec![SanType::URI(id.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        (params.not_before, params.not_after) = ((now - SKEW).into(), (now + LIFE).into());
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.ca)?.pem(), key.serialize_pem()))
    }
}
