//! Links: looking one up, making and removing veth pairs, changing one.

use super::{Netlink, NetlinkError, absent};
use encap::wire::Mac;
use futures::TryStreamExt;
use rtnetlink::packet_route::link::{
    InfoData, InfoGeneve, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    LinkXdp, XdpAttached,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the kernel says about a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC; a TUN device has none.
    pub mac: Option<Mac>,
    /// Largest packet it sends, in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// There is somebody at the other end of the wire.
    pub carrier: bool,
    /// Number of the bridge, bond or the like that it is a port of.
    pub master: Option<u32>,
    /// Driver of a virtual device: `veth`, `tun`, `vxlan`.
    pub kind: Option<String>,
    /// The free text that we mark our devices with.
    pub alias: Option<String>,
    /// An XDP program is attached.
    pub xdp: bool,
    /// The UDP port that a kernel tunnel device (`vxlan`, `geneve`) receives on.
    pub udp_port: Option<u16>,
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// The device's name.
    pub name: &'a str,
    /// Its MAC; the kernel's choice when `None`.
    pub mac: Option<Mac>,
}

/// A veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// The end that stays in the connection's namespace.
    pub near: VethEnd<'a>,
    /// The end that is made in `netns`.
    pub far: VethEnd<'a>,
    /// Namespace of the far end; the connection's own when `None`.
    pub netns: Option<BorrowedFd<'a>>,
    /// MTU of both ends.
    pub mtu: u32,
    /// Text that marks the near end as ours.
    pub alias: &'a str,
}

/// What to change about a link. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A new name; the link must be down.
    pub name: Option<String>,
    /// A new MAC.
    pub mac: Option<Mac>,
    /// A new MTU.
    pub mtu: Option<u32>,
    /// A new alias.
    pub alias: Option<String>,
    /// Up or down.
    pub up: Option<bool>,
}

impl Netlink {
    /// The link of that name, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<LinkFacts>, NetlinkError> {
        let request = self.handle.link().get().match_name(name);
        let found = absent(request.execute().try_next().await)
            .map_err(|e| self.error(format!("looking for device {name}"), e))?;
        Ok(found.flatten().map(facts))
    }

    /// The name of the link with that number, if there is one; for messages about it.
    pub async fn link_name(&self, index: u32) -> Result<Option<String>, NetlinkError> {
        let request = self.handle.link().get().match_index(index);
        let found = absent(request.execute().try_next().await)
            .map_err(|e| self.error(format!("looking for device number {index}"), e))?;
        Ok(found.flatten().map(|message| facts(message).name))
    }

    /// All links, for those that are found by something else than their name.
    pub async fn links(&self) -> Result<Vec<LinkFacts>, NetlinkError> {
        let messages: Vec<_> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|e| self.error("listing the devices", e))?;
        Ok(messages.into_iter().map(facts).collect())
    }

    /// Makes a veth pair, both ends down.
    pub async fn add_veth(&self, veth: &Veth<'_>) -> Result<(), NetlinkError> {
        let Veth { near, far, netns, mtu, alias } = *veth;
        let mut peer = end(LinkUnspec::new_with_name(far.name), far.mac).mtu(mtu);
        if let Some(netns) = netns {
            peer = peer.setns_by_fd(netns.as_raw_fd());
        }
        let pair = end(LinkVeth::new(near.name, far.name), near.mac)
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
        let doing = || format!("making the veth pair {} - {}", near.name, far.name);
        let request = self.handle.link().add(pair.build());
        request.execute().await.map_err(|e| self.error(doing(), e))?;
        // The kernel takes no alias for a device that it is about to make.
        let change = Change { alias: Some(alias.to_owned()), ..Change::default() };
        self.change_link(near.name, &change).await
    }

    /// Changes a link.
    pub async fn change_link(&self, name: &str, change: &Change) -> Result<(), NetlinkError> {
        let doing = |e| self.error(format!("configuring device {name}"), e);
        let request = self.handle.link().get().match_name(name);
        let index = request.execute().try_next().await.map_err(doing)?.map(|m| m.header.index);
        let mut message = end(LinkUnspec::new_with_index(index.unwrap_or(0)), change.mac);
        if let Some(name) = &change.name {
            message = message.name(name);
        }
        if let Some(mtu) = change.mtu {
            message = message.mtu(mtu);
        }
        if let Some(alias) = &change.alias {
            message = message.alias(alias);
        }
        message = match change.up {
            Some(true) => message.up(),
            Some(false) => message.down(),
            None => message,
        };
        self.handle.link().set(message.build()).execute().await.map_err(doing)
    }

    /// Removes a link (of a veth pair: both ends). One that is not there is no error.
    pub async fn delete_link(&self, index: u32) -> Result<(), NetlinkError> {
        absent(self.handle.link().del(index).execute().await)
            .map(drop)
            .map_err(|e| self.error(format!("removing device number {index}"), e))
    }
}

fn end<T>(message: LinkMessageBuilder<T>, mac: Option<Mac>) -> LinkMessageBuilder<T> {
    match mac {
        Some(mac) => message.address(mac.0.to_vec()),
        None => message,
    }
}

fn facts(message: LinkMessage) -> LinkFacts {
    let mut facts = LinkFacts {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        master: None,
        kind: None,
        alias: None,
        xdp: false,
        udp_port: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => facts.name = name,
            LinkAttribute::Address(bytes) => facts.mac = bytes.try_into().ok().map(Mac),
            LinkAttribute::Controller(index) => facts.master = Some(index),
            LinkAttribute::Mtu(mtu) => facts.mtu = mtu,
            LinkAttribute::IfAlias(alias) => facts.alias = Some(alias),
            LinkAttribute::Xdp(parts) => {
                let none = LinkXdp::Attached(XdpAttached::None);
                let attached = |part: &LinkXdp| matches!(part, LinkXdp::Attached(_));
                facts.xdp = parts.iter().any(|part| attached(part) && *part != none);
            }
            LinkAttribute::LinkInfo(infos) => driver(&mut facts, infos),
            _ => {}
        }
    }
    facts
}

fn driver(facts: &mut LinkFacts, infos: Vec<LinkInfo>) {
    for info in infos {
        match info {
            LinkInfo::Kind(kind) => facts.kind = Some(kind.to_string()),
            LinkInfo::Data(InfoData::Vxlan(data)) => {
                facts.udp_port = data.iter().find_map(|item| match item {
                    InfoVxlan::Port(port) => Some(*port),
                    _ => None,
                });
            }
            LinkInfo::Data(InfoData::Geneve(data)) => {
                facts.udp_port = data.iter().find_map(|item| match item {
                    InfoGeneve::Port(port) => Some(*port),
                    _ => None,
                });
            }
            _ => {}
        }
    }
}
