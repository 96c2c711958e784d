//! `mesh certs new`: a CA for tests, and certificates with SPIFFE ids.
//!
//! All files are looked at before one is written: what would be overwritten is an error, and then nothing is
//! changed. Private keys can be read by their owner only.
//!
//! Of a CA that was made before the ids are of its own trust domain, and no certificate lasts longer than it.

use super::authority::Authority;
use super::known::Known;
use crate::cli::Failure;
use crate::output;
use mesh_core::WallTime;
use mesh_core::identity::{SpiffeId, TrustDomain};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

/// How many names are tried for a file that is written beside another.
const TRIES: u32 = 100;

/// Arguments of `mesh certs new`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Who gets a certificate: a name, which becomes spiffe://TRUST-DOMAIN/NAME, or NAME=SPIFFE-ID. It is
    /// in NAME.pem, its key in NAME-key.pem, and the DNS name NAME in it as well.
    #[arg(required = true, value_name = "NAME[=SPIFFE-ID]")]
    names: Vec<String>,
    /// The directory to write to. It is made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The trust domain: by default that of the CA of --ca, or example.org. Another one than that CA's is an error.
    #[arg(long, value_name = "DOMAIN", value_parser = trust_domain)]
    trust_domain: Option<TrustDomain>,
    /// How many days the certificates last, 1 to 3650; one whose CA ends before ends with it. A CA that is made
    /// lasts 3650.
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// A directory with the ca.pem and ca-key.pem of a CA that was made before, and is valid. Without it, one is
    /// made.
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,
    /// Overwrites files that are there.
    #[arg(long)]
    force: bool,
}

fn trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(text).map_err(|error| error.to_string())
}

/// A file to be written.
#[derive(Debug)]
struct Pending {
    path: PathBuf,
    text: String,
    is_key: bool,
}

/// Of which trust domain ids are.
#[derive(Debug)]
struct Domain {
    domain: TrustDomain,
    /// Because the CA is.
    is_of_ca: bool,
}

/// Makes what is asked for, and says what.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let now = super::now();
    let known = arguments.ca.as_deref().map(|directory| Known::read(directory, now)).transpose()?;
    let domain = Domain::of(arguments, known.as_ref())?;
    let workloads = workloads(arguments, &domain)?;
    let out = &arguments.out;
    let file = |name: &str, text: String, is_key| Pending { path: out.join(name), text, is_key };
    let mut pending = Vec::new();
    let made;
    let authority = match &known {
        Some(known) => &known.authority,
        None => {
            let (authority, key) =
                Authority::new(domain.domain.as_str(), now).map_err(|error| failed(&error))?;
            pending.push(file("ca-key.pem", key, true));
            made = authority;
            &made
        }
    };
    let is_here = arguments.ca.as_deref().is_some_and(|directory| is_same(directory, out));
    if !is_here {
        pending.push(file("ca.pem", authority.certificate.clone(), false));
    }
    let (until, with_ca) = authority.until(now, arguments.days);
    for (name, id) in &workloads {
        let issued =
            authority.issue(id.as_str(), name, (now, until)).map_err(|error| failed(&error))?;
        if let Some(known) = &known {
            known.vouch(&issued, id, now)?;
        }
        pending.push(file(&format!("{name}.pem"), issued.certificate, false));
        pending.push(file(&format!("{name}-key.pem"), issued.key, true));
    }
    write_all(out, &pending, arguments.force)?;
    output::print(&summary(arguments, &workloads, &pending, with_ca.then_some(until)))?;
    Ok(ExitCode::SUCCESS)
}

impl Domain {
    /// That of the CA, or the one that is given, or `example.org`.
    fn of(arguments: &Arguments, known: Option<&Known>) -> Result<Self, Failure> {
        let given = arguments.trust_domain.as_ref();
        match (known.and_then(Known::trust_domain), given) {
            (Some(own), Some(given)) if own != *given => {
                let (own, given) = (own.as_str(), given.as_str());
                let message = format!(
                    "`--trust-domain {given}`: the CA of `--ca` is that of `{own}`: leave it out, or give a CA of `{given}`"
                );
                Err(Failure::new("other_trust_domain", message))
            }
            (Some(domain), _) => Ok(Self { domain, is_of_ca: true }),
            (None, Some(given)) => Ok(Self { domain: given.clone(), is_of_ca: false }),
            (None, None) => {
                let domain = trust_domain("example.org")
                    .map_err(|error| Failure::new("invalid_spiffe_id", error))?;
                Ok(Self { domain, is_of_ca: false })
            }
        }
    }

    /// Why `id` is none of it.
    fn is_not_of(&self, id: &SpiffeId) -> String {
        let (domain, own) = (self.domain.as_str(), id.trust_domain());
        let own = own.as_str();
        match self.is_of_ca {
            true => format!(
                "it is of another trust domain than `{domain}`, whose CA `--ca` is: give a CA of `{own}`, or another id"
            ),
            false => format!(
                "it is of another trust domain than `{domain}`: give `--trust-domain {own}`, or another id"
            ),
        }
    }
}

/// Who gets a certificate, and the id.
fn workloads(arguments: &Arguments, domain: &Domain) -> Result<Vec<(String, SpiffeId)>, Failure> {
    let mut workloads: Vec<(String, SpiffeId)> = Vec::new();
    for argument in &arguments.names {
        let (name, id) = match argument.split_once('=') {
            Some((name, id)) => (name, id.to_owned()),
            None => (argument.as_str(), format!("spiffe://{}/{argument}", domain.domain.as_str())),
        };
        let is_label =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty()
            || name.len() > 63
            || !name.bytes().all(is_label)
            || name.starts_with('-')
        {
            let message = format!(
                "`{name}` is no name for a file and a DNS name: 1 to 63 of a-z, 0-9 and `-`; write NAME=SPIFFE-ID for another id"
            );
            return Err(Failure::new("invalid_name", message));
        }
        let is_taken = |(known, _): &(String, SpiffeId)| {
            let is_key = |key: &str, of: &str| key.strip_suffix("-key") == Some(of);
            known == name || is_key(known, name) || is_key(name, known)
        };
        if name == "ca" || name == "ca-key" || workloads.iter().any(is_taken) {
            let message = format!(
                "`{name}` is taken: give each certificate its own name, which is not that of the key of another (NAME-key)"
            );
            return Err(Failure::new("duplicate_name", message));
        }
        let parsed = SpiffeId::parse(&id).map_err(|error| error.to_string());
        let is_member = |id: &SpiffeId| id.is_member_of(&domain.domain);
        let parsed = parsed.and_then(|id| match (id.path().is_empty(), is_member(&id)) {
            (true, _) => Err("it names a trust domain, and no workload in it".to_owned()),
            (_, false) => Err(domain.is_not_of(&id)),
            (false, true) => Ok(id),
        });
        match parsed {
            Ok(id) => workloads.push((name.to_owned(), id)),
            Err(why) => return Err(Failure::new("invalid_spiffe_id", format!("`{id}`: {why}"))),
        }
    }
    Ok(workloads)
}

/// Whether two paths lead to one directory.
fn is_same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

fn failed(error: &rcgen::Error) -> Failure {
    Failure::new("not_issued", format!("can't issue a certificate: {error}"))
}

/// Writes all files, or none if one is there already.
fn write_all(directory: &Path, files: &[Pending], force: bool) -> Result<(), Failure> {
    // A link that leads nowhere is there, too.
    let is_there = |file: &&Pending| file.path.symlink_metadata().is_ok();
    let there: Vec<_> = files.iter().filter(is_there).collect();
    if let (Some(first), false) = (there.first(), force) {
        let message = format!(
            "`{}` is there already: give another `--out`, or `--force` to overwrite it",
            first.path.display()
        );
        return Err(Failure::new("file_exists", message));
    }
    let unwritable = |path: &Path, error: io::Error| {
        Failure::new("unwritable_file", format!("can't write `{}`: {error}", path.display()))
    };
    fs::create_dir_all(directory).map_err(|error| unwritable(directory, error))?;
    for file in files {
        write(file).map_err(|error| unwritable(&file.path, error))?;
    }
    Ok(())
}

/// Writes beside the file and renames, so that nobody reads a half. Where that fails, nothing is left.
fn write(file: &Pending) -> io::Result<()> {
    let (path, mut beside) = create_beside(file)?;
    let written = beside.write_all(file.text.as_bytes());
    let written = written.and_then(|()| fs::rename(&path, &file.path));
    if written.is_err() {
        // The error that is told is the first.
        let _left = fs::remove_file(&path);
    }
    written
}

/// A file beside it that was not there: what is has a mode of its own, leads elsewhere, or is somebody's.
fn create_beside(file: &Pending) -> io::Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if file.is_key { 0o600 } else { 0o644 });
    }
    let mut tried = 0;
    loop {
        let mut path = file.path.clone().into_os_string();
        path.push(format!(".{}-{tried}.new", process::id()));
        match options.open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && tried < TRIES => tried += 1,
            opened => return Ok((path.into(), opened?)),
        }
    }
}

/// What was made; `ends`: when the certificates end, if that is before what was asked for.
fn summary(
    arguments: &Arguments,
    workloads: &[(String, SpiffeId)],
    files: &[Pending],
    ends: Option<WallTime>,
) -> String {
    let mut text = String::new();
    for file in files {
        let note = if file.is_key { "  (private)" } else { "" };
        text.push_str(&format!("{}{note}\n", file.path.display()));
    }
    let (out, days) = (arguments.out.display(), arguments.days);
    let life = match ends {
        None => format!("for {days} days"),
        Some(ends) => format!("not for {days} days: until {ends}, when its CA ends"),
    };
    for (name, id) in workloads {
        text.push_str(&format!(
            "\n# {}, {life}\nidentity: {{ cert: {out}/{name}.pem, key: {out}/{name}-key.pem, roots: {out}/ca.pem }}\n",
            id.as_str(),
        ));
    }
    text
}
