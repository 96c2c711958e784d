//! The table of pages, and which of them answers.

use super::answer::Answer;
use super::asked::Asked;
use super::origin::Origin;
use super::page;
use super::page::clusters::Plain;
use super::service::Admin;
use http::{Method, StatusCode};

/// A page.
struct Page {
    path: &'static str,
    what: &'static str,
    /// Answers GET and HEAD.
    read: Option<Answers>,
    /// Answers POST.
    change: Option<Answers>,
}

/// An answer, or why the request is none that the page takes.
pub(super) type Answered = Result<Answer, String>;

type Answers = fn(&Admin, &Asked) -> Answered;

const PAGES: [Page; 15] = [
    reads("/", "an overview", page::overview::answer),
    reads("/ready", "whether calls can be made", page::ready::answer),
    reads("/live", "whether the process answers", page::ready::live),
    reads("/stats", "metrics, for Prometheus", page::stats::answer),
    reads("/stats/prometheus", "the same, where Envoy has it", page::stats::answer),
    reads("/metrics", "the same, where others have it", page::stats::answer),
    reads("/clusters", "clusters and endpoints (format=text, json, mesh)", page::clusters::answer),
    reads(
        "/config_dump",
        "the configuration in force (format=json, mesh; include_eds; resource=…)",
        page::config_dump::answer,
    ),
    reads(
        "/certs",
        "certificates, with the time that is left (format=json, text)",
        page::certs::answer,
    ),
    reads("/listeners", "ports that serve (format=text, json, mesh)", page::listeners::answer),
    reads(
        "/explain",
        "why a request goes where it goes (url=…, method=…, header=name:value)",
        page::explain::answer,
    ),
    reads("/configurations", "the last configurations", page::configurations::answer),
    Page {
        path: "/logging",
        what: "the log's filter; POST with level=… changes it",
        read: Some(page::logging::answer),
        change: Some(page::logging::change),
    },
    Page {
        path: page::cpu_profile::PATH,
        what: "POST: a profile of the CPU, for `go tool pprof` (seconds=1 to 60)",
        read: None,
        change: Some(takes_its_time),
    },
    Page {
        path: "/drain",
        what: "POST: the program ends",
        read: None,
        change: Some(page::drain::change),
    },
];

/// A page that can't be answered at once: [`Admin::respond`] has it.
fn takes_its_time(_: &Admin, _: &Asked) -> Answered {
    let why = "this page takes its time, and this server wants its answers at once: `Admin::respond` has it";
    Ok(Answer::refused(StatusCode::NOT_IMPLEMENTED, why))
}

const fn reads(path: &'static str, what: &'static str, read: Answers) -> Page {
    Page { path, what, read: Some(read), change: None }
}

impl Page {
    const fn methods(&self) -> &'static str {
        match (self.read, self.change) {
            (Some(_), Some(_)) => "GET, HEAD, POST",
            (None, Some(_)) => "POST",
            (_, None) => "GET, HEAD",
        }
    }
}

/// The answer of the page that is asked for.
pub(super) fn answer(admin: &Admin, asked: &Asked, origin: Origin) -> Answer {
    let Some(page) = PAGES.iter().find(|page| page.path == asked.path) else {
        let why = format!("there is no such page; there are:\n{}", list());
        return Answer::refused(StatusCode::NOT_FOUND, why.trim_end());
    };
    let answers = match asked.method {
        Method::GET | Method::HEAD => page.read,
        Method::POST => page.change,
        _ => None,
    };
    let Some(answers) = answers else { return Answer::only(page.methods()) };
    if asked.method == Method::POST
        && let Err(why) = origin.may_change()
    {
        return Answer::refused(StatusCode::FORBIDDEN, why);
    }
    answers(admin, asked).unwrap_or_else(|why| {
        // What was asked may be in it.
        Answer::refused(StatusCode::BAD_REQUEST, Plain(&why).to_string())
    })
}

/// The pages, a line each.
fn list() -> String {
    PAGES.iter().map(|page| format!("{:18} {}\n", page.path, page.what)).collect()
}

/// The pages that can be read: path, and what they are.
pub(super) fn readable() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGES.iter().filter(|page| page.read.is_some()).map(|page| (page.path, page.what))
}
