//! Addresses of links.

use super::{Netlink, NetlinkError, absent};
use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use std::net::IpAddr;

impl Netlink {
    /// Addresses of a link with the length of their prefix, in the kernel's order. Those that may
    /// not be used yet (IPv6, tentative) or not any more are left out; a link that is gone has none.
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>, NetlinkError> {
        let request = self.handle.address().get().set_link_index_filter(index);
        let messages: Result<Vec<_>, _> = request.execute().try_collect().await;
        let messages = absent(messages)
            .map_err(|e| self.error(format!("reading the addresses of device {index}"), e))?;
        Ok(messages.iter().flatten().filter_map(usable).collect())
    }

    /// Gives a link an address. Duplicate address detection is left out: the router answers for all
    /// addresses of a port, so there is nobody to detect, and the address is good at once.
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<(), NetlinkError> {
        let mut request = self.handle.address().add(index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            let nodad = AddressAttribute::Flags(AddressFlags::Nodad);
            request.message_mut().attributes.push(nodad);
        }
        request
            .replace()
            .execute()
            .await
            .map_err(|e| self.error(format!("adding the address {address}"), e))
    }
}

impl Netlink {
    /// Takes an address from a link. One that is not there is no error.
    pub async fn delete_address(&self, index: u32, address: IpNet) -> Result<(), NetlinkError> {
        let doing = |e| self.error(format!("removing the address {address}"), e);
        let request = self.handle.address().get().set_link_index_filter(index);
        let messages: Vec<_> = request.execute().try_collect().await.map_err(doing)?;
        let is_it = |message: &AddressMessage| {
            message.header.prefix_len == address.prefix_len()
                && message.attributes.iter().any(|attribute| match attribute {
                    AddressAttribute::Local(own) => *own == address.addr(),
                    AddressAttribute::Address(own) => {
                        address.addr().is_ipv6() && *own == address.addr()
                    }
                    _ => false,
                })
        };
        match messages.into_iter().find(is_it) {
            Some(message) => {
                absent(self.handle.address().del(message).execute().await).map(drop).map_err(doing)
            }
            None => Ok(()),
        }
    }
}

fn usable(message: &AddressMessage) -> Option<IpNet> {
    let (mut address, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(value) => address = Some(*value),
            // Of a point-to-point link `Address` is the other end's.
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Flags(flags)
                if flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed) =>
            {
                return None;
            }
            _ => {}
        }
    }
    let address: IpAddr = local.or(address)?;
    IpNet::new(address, message.header.prefix_len).ok()
}
