//! tonic's own channel: what people use today.

use crate::BoxError;
use std::net::SocketAddr;
use tonic::transport::{Channel, Endpoint};

/// A channel with one connection.
pub async fn connect(address: SocketAddr) -> Result<Channel, BoxError> {
    Ok(endpoint(address)?.connect().await?)
}

/// A channel that balances over several connections.
pub fn balanced(addresses: &[SocketAddr]) -> Result<Channel, BoxError> {
    let endpoints: Result<Vec<_>, _> = addresses.iter().map(|address| endpoint(*address)).collect();
    Ok(Channel::balance_list(endpoints?.into_iter()))
}

fn endpoint(address: SocketAddr) -> Result<Endpoint, BoxError> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?)
}
