//! Who takes part, and how each of them makes a call.
//!
//! The application's part is the same for all: a gRPC codec and 100 bytes, or a plain request. What a
//! client does not write of the request headers by itself, the application adds, so that all send the
//! same ones.

mod direct;
#[cfg(feature = "mesh")]
mod mesh;
mod plain;
mod tonic_channel;
mod tonic_xds;
mod unary;

use crate::BoxError;
use crate::arguments::Arguments;
use crate::child::{Envoy, Server};
use crate::load::{Client, Load};
use serde::Serialize;
use std::time::Duration;
use unary::{OwnHeaders, Unary};

/// What is called; clients of one kind are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Unary gRPC, 100 bytes each way.
    #[serde(rename = "grpc")]
    Grpc,
    /// HTTP/1.1 POST, 100 bytes each way.
    #[serde(rename = "http1")]
    Http1,
    /// HTTP/2 POST in cleartext, 100 bytes each way.
    #[serde(rename = "http2")]
    Http2,
}

impl Kind {
    /// All, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Grpc, Self::Http1, Self::Http2];

    /// Who the others are compared with, and the same once more as control.
    pub const fn base(self) -> [&'static str; 2] {
        match self {
            Self::Grpc => ["tonic", "tonic-again"],
            Self::Http1 => ["http1-hyper", "http1-hyper-again"],
            Self::Http2 => ["http2-hyper", "http2-hyper-again"],
        }
    }

    /// The floor: nothing but the HTTP library.
    pub const fn floor(self) -> &'static str {
        match self {
            Self::Grpc => "hyper",
            Self::Http1 | Self::Http2 => self.base()[0],
        }
    }

    /// What the table is called.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Grpc => "gRPC unary",
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// One client that takes part.
pub struct Contestant {
    /// What the tables and `--only` call it.
    pub name: &'static str,
    /// What it calls.
    pub kind: Kind,
    /// The process whose CPU time comes on top: Envoy's.
    pub between: Option<u32>,
    /// The client, connected.
    pub client: Box<dyn Client>,
}

/// The contestants that were asked for, and what they need to live.
pub struct Contestants {
    /// In the order of the tables.
    pub all: Vec<Contestant>,
    /// Envoy, when it takes part.
    pub envoy: Option<Envoy>,
}

/// Connects every client that is asked for, and whom it is compared with.
pub async fn connect(arguments: &Arguments, server: &Server) -> Result<Contestants, BoxError> {
    let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = arguments.asked().find(|asked| !known.contains(asked)) {
        return Err(
            format!("no client is called `{unknown}`; there are {}", known.join(", ")).into()
        );
    }
    let mut contestants = Contestants { all: Vec::new(), envoy: None };
    for &(name, kind) in NAMES {
        if is_needed(arguments, name, kind) {
            let contestant = contestants.start(name, kind, server).await?;
            first_call(&contestant).await?;
            contestants.all.push(contestant);
        }
    }
    Ok(contestants)
}

/// Every client by its name, in the order of turns: the control is far from its base, so that it shows
/// what a round's length does to the others.
const NAMES: &[(&str, Kind)] = &[
    ("tonic", Kind::Grpc),
    ("hyper", Kind::Grpc),
    ("tonic-xds", Kind::Grpc),
    ("envoy", Kind::Grpc),
    ("tonic-again", Kind::Grpc),
    #[cfg(feature = "mesh")]
    ("mesh", Kind::Grpc),
    #[cfg(feature = "mesh")]
    ("mesh-transparent", Kind::Grpc),
    #[cfg(feature = "mesh")]
    ("mesh-retries", Kind::Grpc),
    ("tonic-3", Kind::Grpc),
    #[cfg(feature = "mesh")]
    ("mesh-3", Kind::Grpc),
    ("http1-hyper", Kind::Http1),
    #[cfg(feature = "mesh")]
    ("http1-mesh", Kind::Http1),
    ("http1-hyper-again", Kind::Http1),
    #[cfg(feature = "mesh")]
    ("http1-mesh-transparent", Kind::Http1),
    ("http2-hyper", Kind::Http2),
    #[cfg(feature = "mesh")]
    ("http2-mesh", Kind::Http2),
    ("http2-hyper-again", Kind::Http2),
    #[cfg(feature = "mesh")]
    ("http2-mesh-transparent", Kind::Http2),
];

/// Whether a client was asked for, or is what one of that kind is compared with.
fn is_needed(arguments: &Arguments, name: &str, kind: Kind) -> bool {
    let compared = kind.base().contains(&name) || name == kind.floor();
    let asked = |(other, its): &(&str, Kind)| *its == kind && arguments.wants(other);
    arguments.wants(name) || (compared && arguments.profile.is_none() && NAMES.iter().any(asked))
}

/// Calls until one call succeeds: discovery and connecting are not part of what is measured.
async fn first_call(contestant: &Contestant) -> Result<(), BoxError> {
    let one = Load { in_flight: 1, duration: Duration::from_millis(1) };
    let mut last: BoxError = "no answer".into();
    let calling = async {
        while let Err(error) = contestant.client.drive(one).await {
            last = error;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(FIRST_CALL, calling).await {
        Ok(()) => Ok(()),
        Err(_) => Err(format!("{}: no call succeeds: {last}", contestant.name).into()),
    }
}

impl Contestants {
    async fn start(
        &mut self,
        name: &'static str,
        kind: Kind,
        server: &Server,
    ) -> Result<Contestant, BoxError> {
        let mut between = None;
        let addresses = &server.addresses;
        let one = &addresses.http2[..1];
        let client: Box<dyn Client> = match name {
            "tonic" | "tonic-again" => {
                let channel = tonic_channel::connect(one[0]).await?;
                Box::new(Unary::new(channel, None, OwnHeaders::USER_AGENT))
            }
            "tonic-3" => {
                let channel = tonic_channel::balanced(&addresses.http2)?;
                Box::new(Unary::new(channel, None, OwnHeaders::USER_AGENT))
            }
            "hyper" => {
                let service = direct::http2(one[0]).await?;
                Box::new(Unary::new(service, Some(one[0]), OwnHeaders::NONE))
            }
            "tonic-xds" => {
                let channel = tonic_xds::channel(addresses.ads)?;
                Box::new(Unary::new(channel, None, OwnHeaders::USER_AGENT))
            }
            "envoy" => {
                let envoy = Envoy::start(one[0]).await?;
                between = Some(envoy.id);
                let channel = tonic_channel::connect(envoy.address).await?;
                self.envoy = Some(envoy);
                Box::new(Unary::new(channel, None, OwnHeaders::USER_AGENT))
            }
            "http1-hyper" | "http1-hyper-again" => Box::new(direct::Http1::new(addresses.http1)),
            "http2-hyper" | "http2-hyper-again" => {
                let service = direct::http2(one[0]).await?;
                Box::new(plain::Plain::new(service, &one[0].to_string(), http::Version::HTTP_2)?)
            }
            #[cfg(feature = "mesh")]
            name => mesh::connect(name, addresses)?,
            #[cfg(not(feature = "mesh"))]
            name => return Err(format!("no such client: {name}").into()),
        };
        Ok(Contestant { name, kind, between, client })
    }
}

/// How long discovery and connecting may take.
const FIRST_CALL: Duration = Duration::from_secs(15);
