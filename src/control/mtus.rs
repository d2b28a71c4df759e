//! The MTUs of pods' devices while a node runs: those that follow from the uplinks and the tunnels, see
//! [`Limit`].
//!
//! The tables have a new MTU before the devices do. While a device is wider than the tables say, what is too
//! long is told or fragmented as on any narrow way; while it is narrower, nobody sends it more than before.
//! The other way round pods would be told the old MTU of a way that is wider by now, and believe that for
//! minutes.

use super::build::Limit;
use super::devices::{self, PortError};
use super::node::Node;
use crate::config::{self, Config};
use pipeline::snapshot::{Role, Snapshot};
use std::sync::Arc;

impl Node {
    /// Gives pods' devices the MTUs that the tables have; whether that may be others than before. One that
    /// can't be had is left as it is until it is to be another.
    pub(super) async fn fit_devices(&mut self) -> bool {
        let config = self.config.clone();
        let limit = Limit::find(&config, &self.facts.uplinks, &self.facts.ways);
        for port in &config.port {
            let mtu = limit.of(port);
            match self.resize(port, mtu).await {
                Ok(None) => {}
                Ok(Some(was)) => tracing::info!(
                    "port {}: its MTU is {mtu} now, was {was}: {}",
                    port.name,
                    limit.why(port)
                ),
                Err(error) => tracing::warn!("{error}; its MTU should be {mtu}"),
            }
        }
        let before = self.state.limit.swap(Arc::new(limit.clone()));
        *before != limit
    }

    /// Gives a port's device an MTU, if it has another one; which that was.
    pub(super) async fn resize(
        &mut self,
        port: &config::Port,
        mtu: u32,
    ) -> Result<Option<u32>, PortError> {
        // One that was opened just now has it.
        let was = self.mtus.insert(port.name.clone(), mtu).filter(|was| *was != mtu);
        if let Some(was) = was {
            devices::set_mtu(port, was, mtu).await?;
        }
        Ok(was)
    }
}

/// A pod whose packets don't fit the underlay costs time, and has trouble where ICMP is not let through.
pub(super) fn warn(snapshot: &Snapshot, config: &Config) {
    let pods = snapshot.ports.iter().filter(|port| port.role == Role::Pod);
    let Some(widest) = pods.max_by_key(|port| port.mtu) else { return };
    let mut ports = config.port.iter();
    let advice = match ports.find(|port| port.name.as_str() == widest.name).map(|port| port.mtu) {
        Some(None) => "IPv6 needs this MTU (RFC 8200): raise the uplink's",
        _ => "lower the port's `mtu`",
    };
    for peer in snapshot.peers.iter() {
        let uplink = &snapshot.ports[peer.uplink.index()];
        let left = uplink.mtu.saturating_sub(peer.overhead());
        if widest.mtu > left && !peer.fragment_outer {
            tracing::warn!(
                "port {}: an MTU of {} and the {} bytes of the tunnel to peer {} don't fit the {} \
                 of uplink {}; packets of more than {left} bytes are fragmented, or refused and their \
                 senders told: {advice}",
                widest.name,
                widest.mtu,
                peer.overhead(),
                peer.name,
                uplink.mtu,
                uplink.name,
            );
        }
    }
}
