//! tonic-xds: the same idea as ours, from the gRPC authors.

use crate::BoxError;
use crate::echo::SERVICE;
use std::net::SocketAddr;
use tonic_xds::{
    BootstrapConfig, ChannelCredentialType, XdsChannelBuilder, XdsChannelConfig, XdsChannelGrpc,
    XdsUri,
};

/// A channel that learns its endpoint from the control plane at `ads`.
pub fn channel(ads: SocketAddr) -> Result<XdsChannelGrpc, BoxError> {
    let bootstrap = BootstrapConfig::builder(format!("http://{ads}"))
        .channel_creds([ChannelCredentialType::Insecure])
        .node_id("end-to-end")
        .build()?;
    let target = XdsUri::parse(&format!("xds:///{SERVICE}"))?;
    let config = XdsChannelConfig::new(target).with_bootstrap(bootstrap);
    Ok(XdsChannelBuilder::new(config).build_grpc_channel()?)
}
