//! Neighbours on the underlay: whose MACs the kernel knows, and keeping it knowing them.
//!
//! The kernel does not see the frames that we send, so it would let an entry go stale and be
//! forgotten. Entries flagged `NTF_EXT_MANAGED` (Linux 5.16) it keeps resolved by itself. Older
//! kernels overlook that flag, so we also say that we use the entry (`NTF_USE`), again whenever it
//! has gone stale.

use super::{Netlink, NetlinkError};
use encap::wire::Mac;
use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    NeighbourState,
};
use std::net::IpAddr;

/// An entry of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourFacts {
    /// Number of the link that it is on.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC, while the kernel believes in it.
    pub mac: Option<Mac>,
    /// The kernel has heard of it lately, or is asking just now.
    pub fresh: bool,
    /// An administrator wrote it down; it never needs resolving.
    pub permanent: bool,
}

impl Netlink {
    /// The neighbour tables of both families.
    pub async fn neighbours(&self) -> Result<Vec<NeighbourFacts>, NetlinkError> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let request = self.handle.neighbours().get().set_address_family(family);
            let messages: Vec<_> = request
                .execute()
                .try_collect()
                .await
                .map_err(|e| self.error("reading the neighbour table", e))?;
            all.extend(messages.iter().filter_map(facts));
        }
        Ok(all)
    }

    /// Has the kernel resolve a neighbour now and keep it resolved. Never ask this of a permanent
    /// entry: it would stop being one.
    pub async fn manage_neighbour(&self, link: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let mut request = self.request_neighbour(link, address);
        let managed = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
        request.message_mut().attributes.push(managed);
        let doing = |e| self.error(format!("having the kernel resolve {address}"), e);
        request.execute().await.map_err(doing)
    }

    /// Ends [`manage_neighbour`](Self::manage_neighbour): the entry is an ordinary one again.
    pub async fn release_neighbour(&self, link: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let request = self.request_neighbour(link, address);
        let doing = |e| self.error(format!("having the kernel no longer resolve {address}"), e);
        request.execute().await.map_err(doing)
    }

    fn request_neighbour(&self, link: u32, address: IpAddr) -> rtnetlink::NeighbourAddRequest {
        let request = self.handle.neighbours().add(link, address).state(NeighbourState::None);
        request.flags(NeighbourFlags::Use).replace()
    }
}

pub(super) fn facts(message: &NeighbourMessage) -> Option<NeighbourFacts> {
    let state = message.header.state;
    let believed = !matches!(
        state,
        NeighbourState::None | NeighbourState::Incomplete | NeighbourState::Failed
    );
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) if believed => {
                mac = bytes.as_slice().try_into().ok().map(Mac);
            }
            _ => {}
        }
    }
    let permanent = matches!(state, NeighbourState::Permanent | NeighbourState::Noarp);
    let fresh =
        matches!(state, NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe);
    Some(NeighbourFacts { link: message.header.ifindex, address: address?, mac, fresh, permanent })
}
