//! Routes: which way the underlay goes to a peer, and what a pod sends to us.

use super::{Netlink, NetlinkError, absent};
use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType,
};
use std::net::IpAddr;

/// The kernel's way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Number of the link by which it leaves.
    pub link: u32,
    /// The next hop; `None` when the address is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel would choose.
    pub source: Option<IpAddr>,
    /// The address is one of this machine's own.
    pub local: bool,
}

/// How a route to be added leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By the device alone: what is sent needs no next hop (TUN).
    Device,
    /// By this next hop, which lies in a prefix of the device.
    Gateway(IpAddr),
    /// By this next hop, which is on the link whatever the device's prefixes say.
    Onlink(IpAddr),
}

impl Netlink {
    /// The kernel's way to `address`; `None` when it has no route, or one that refuses.
    pub async fn route_to(&self, address: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let doing = |e| self.error(format!("asking for the route to {address}"), e);
        let full = if address.is_ipv4() { 32 } else { 128 };
        let question = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(address, full)
            .expect("the length is that of the family")
            .build();
        let answer = self.handle.route().get(question).execute().try_next().await;
        let answer = absent(answer).map_err(doing)?.flatten();
        Ok(answer.as_ref().and_then(way))
    }

    /// Adds a route by device number `link`, with `source` as preferred source address. One that is
    /// there already is an error, not replaced: it is somebody's.
    pub async fn add_route(
        &self,
        link: u32,
        prefix: IpNet,
        via: Via,
        source: Option<IpAddr>,
    ) -> Result<(), NetlinkError> {
        self.set_route(link, prefix, via, source, false).await
    }

    /// Adds a route; with `is_ours` one that may be there still, and is replaced.
    pub async fn set_route(
        &self,
        link: u32,
        prefix: IpNet,
        via: Via,
        source: Option<IpAddr>,
        is_ours: bool,
    ) -> Result<(), NetlinkError> {
        const SAME_FAMILY: &str = "prefix, next hop and source of a route are of one family";
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.addr(), prefix.prefix_len())
            .expect("the length of a prefix fits its family")
            .output_interface(link);
        route = match via {
            Via::Device => route.scope(RouteScope::Link),
            Via::Gateway(gateway) => route.gateway(gateway).expect(SAME_FAMILY),
            Via::Onlink(gateway) => route.gateway(gateway).expect(SAME_FAMILY).onlink(),
        };
        if let Some(source) = source {
            route = route.pref_source(source).expect(SAME_FAMILY);
        }
        let request = self.handle.route().add(route.build());
        let request = if is_ours { request.replace() } else { request };
        request.execute().await.map_err(|e| self.error(format!("adding the route to {prefix}"), e))
    }
}

impl Netlink {
    /// Removes the route to `prefix` by device number `link`. One that is not there is no error.
    pub async fn delete_route(&self, link: u32, prefix: IpNet) -> Result<(), NetlinkError> {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.addr(), prefix.prefix_len())
            .expect("the length of a prefix fits its family")
            .output_interface(link)
            .scope(RouteScope::NoWhere)
            .build();
        absent(self.handle.route().del(route).execute().await)
            .map(drop)
            .map_err(|e| self.error(format!("removing the route to {prefix}"), e))
    }
}

fn way(message: &RouteMessage) -> Option<Route> {
    let kind = message.header.kind;
    if !matches!(kind, RouteType::Unicast | RouteType::Local) {
        return None;
    }
    let mut link = None;
    let (mut gateway, mut source) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(via) => {
                gateway = match via {
                    rtnetlink::packet_route::route::RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
                    rtnetlink::packet_route::route::RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
                    _ => None,
                }
            }
            RouteAttribute::PrefSource(address) => source = ip(address),
            _ => {}
        }
    }
    Some(Route { link: link?, gateway, source, local: kind == RouteType::Local })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
