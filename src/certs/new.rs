//! `mesh certs new`: a CA for tests, and certificates with SPIFFE ids.
//!
//! All files are looked at before one is written: what would be overwritten is an error, and then nothing is
//! changed. Private keys can be read by their owner only.

use super::authority::{Authority, Issued};
use crate::cli::Failure;
use crate::output;
use mesh_core::identity::{SpiffeId, TrustDomain};
use mesh_tower::identity::{Certificate, Material, Verified, certificates};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    /// The trust domain.
    #[arg(long, value_name = "DOMAIN", default_value = "example.org", value_parser = trust_domain)]
    trust_domain: TrustDomain,
    /// How many days the certificates last, 1 to 3650. The CA lasts 3650.
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// A directory with the ca.pem and ca-key.pem of a CA that was made before. Without it, one is made.
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

/// Makes what is asked for, and says what.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let workloads = workloads(arguments)?;
    let out = &arguments.out;
    let file = |name: &str, text: String, is_key| Pending { path: out.join(name), text, is_key };
    let mut pending = Vec::new();
    let authority = match &arguments.ca {
        Some(directory) => known(directory)?,
        None => {
            let (authority, key) =
                Authority::new(arguments.trust_domain.as_str()).map_err(|error| failed(&error))?;
            pending.push(file("ca-key.pem", key, true));
            authority
        }
    };
    let is_here = arguments.ca.as_deref().is_some_and(|directory| is_same(directory, out));
    if !is_here {
        pending.push(file("ca.pem", authority.certificate.clone(), false));
    }
    for (name, id) in &workloads {
        let issued =
            authority.issue(id.as_str(), name, arguments.days).map_err(|error| failed(&error))?;
        if let Some(directory) = &arguments.ca {
            is_good(&issued, (id, &authority), directory)?;
        }
        pending.push(file(&format!("{name}.pem"), issued.certificate, false));
        pending.push(file(&format!("{name}-key.pem"), issued.key, true));
    }
    write_all(out, &pending, arguments.force)?;
    output::print(&summary(arguments, &workloads, &pending))?;
    Ok(ExitCode::SUCCESS)
}

/// Who gets a certificate, and the id.
fn workloads(arguments: &Arguments) -> Result<Vec<(String, SpiffeId)>, Failure> {
    let domain = &arguments.trust_domain;
    let mut workloads: Vec<(String, SpiffeId)> = Vec::new();
    for argument in &arguments.names {
        let (name, id) = match argument.split_once('=') {
            Some((name, id)) => (name, id.to_owned()),
            None => (argument.as_str(), format!("spiffe://{}/{argument}", domain.as_str())),
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
        let parsed = parsed.and_then(|id| match (id.path().is_empty(), id.is_member_of(domain)) {
            (true, _) => Err("it names a trust domain, and no workload in it".to_owned()),
            (_, false) => Err(foreign(&id, domain)),
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

/// It is not of the CA's trust domain.
fn foreign(id: &SpiffeId, domain: &TrustDomain) -> String {
    let (domain, own) = (domain.as_str(), id.trust_domain());
    let own = own.as_str();
    format!(
        "it is of another trust domain than `{domain}`: give `--trust-domain {own}`, or another id"
    )
}

fn known(directory: &Path) -> Result<Authority, Failure> {
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).map_err(|error| {
            let message = format!("can't read `{}`: {error}", path.display());
            Failure::new("unreadable_file", message)
        })
    };
    Authority::of(read("ca.pem")?, &read("ca-key.pem")?).map_err(|error| {
        let message = format!("`{}` has no CA that can be used: {error}", directory.display());
        Failure::new("invalid_ca", message)
    })
}

/// What a CA that was made before has signed is what it should be: its key may be another's, or its certificate no CA's.
fn is_good(
    issued: &Issued,
    (id, authority): (&SpiffeId, &Authority),
    directory: &Path,
) -> Result<(), Failure> {
    let (chain, key) = (issued.certificate.as_bytes(), issued.key.as_bytes());
    let roots = authority.certificate.as_bytes();
    let verified = Material::from_pem(chain, key, roots)
        .and_then(|material| Verified::verify(material, Some(id), super::now()));
    let why = match verified {
        Err(error) => format!("what `ca-key.pem` signs does not lead to `ca.pem`: {error}"),
        // Clients do not ask that of a root.
        Ok(_) if !is_authority(roots) => {
            "`ca.pem` is no certificate of a CA, and may not sign (RFC 5280 section 4.2.1.9)"
                .to_owned()
        }
        Ok(_) => return Ok(()),
    };
    let message = format!("`{}` has no CA that can be used: {why}", directory.display());
    Err(Failure::new("invalid_ca", message))
}

/// Whether the first certificate of a PEM text is a CA's.
fn is_authority(pem: &[u8]) -> bool {
    let first = certificates(pem).ok().and_then(|all| all.into_iter().next());
    first.and_then(|der| Certificate::parse(&der).ok()).is_some_and(|read| read.is_ca)
}

fn failed(error: &rcgen::Error) -> Failure {
    Failure::new("not_issued", format!("can't issue a certificate: {error}"))
}

/// Writes all files, or none if one is there already.
fn write_all(directory: &Path, files: &[Pending], force: bool) -> Result<(), Failure> {
    let there: Vec<_> = files.iter().filter(|file| file.path.exists()).collect();
    if let (Some(first), false) = (there.first(), force) {
        let message = format!(
            "`{}` is there already: give another `--out`, or `--force` to overwrite it",
            first.path.display()
        );
        return Err(Failure::new("file_exists", message));
    }
    let unwritable = |path: &Path, error: std::io::Error| {
        Failure::new("unwritable_file", format!("can't write `{}`: {error}", path.display()))
    };
    fs::create_dir_all(directory).map_err(|error| unwritable(directory, error))?;
    for file in files {
        write(file).map_err(|error| unwritable(&file.path, error))?;
    }
    Ok(())
}

/// Writes beside the file and renames, so that nobody reads a half.
fn write(file: &Pending) -> std::io::Result<()> {
    let mut beside = file.path.clone().into_os_string();
    beside.push(".new");
    // What is there already has its own mode, or leads elsewhere.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if file.is_key { 0o600 } else { 0o644 });
    }
    options.open(&beside)?.write_all(file.text.as_bytes())?;
    fs::rename(&beside, &file.path)
}

fn summary(arguments: &Arguments, workloads: &[(String, SpiffeId)], files: &[Pending]) -> String {
    let mut text = String::new();
    for file in files {
        let note = if file.is_key { "  (private)" } else { "" };
        text.push_str(&format!("{}{note}\n", file.path.display()));
    }
    let out = arguments.out.display();
    for (name, id) in workloads {
        text.push_str(&format!(
            "\n# {}, for {} days\nidentity: {{ cert: {out}/{name}.pem, key: {out}/{name}-key.pem, roots: {out}/ca.pem }}\n",
            id.as_str(),
            arguments.days
        ));
    }
    text
}
