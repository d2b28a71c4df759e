//! How a port's device is set up where the pod is: addresses and routes; and its MTU, which does not
//! follow from the config alone.

use super::{DeviceError, sysctl};
use crate::config::{self, IPV6_MIN_MTU, Kind};
use crate::control::build;
use crate::control::netlink::{Change, Netlink, Via};
use ipnet::IpNet;
use std::net::IpAddr;

/// What a pod's device is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    addresses: Vec<IpNet>,
    routes: Vec<Route>,
}

/// What the pod sends to us, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    prefix: IpNet,
    via: Via,
    source: Option<IpAddr>,
}

impl Settings {
    /// Of a port of a node with these gateway addresses.
    ///
    /// # Panics
    /// When no gateway has the family of a route that needs one, which no checked config asks for.
    pub fn of(port: &config::Port, gateways: &[IpAddr]) -> Settings {
        // The kernel routes the device's own networks with its addresses.
        let is_own = |prefix: &IpNet| port.addresses.iter().any(|own| own.net().trunc() == *prefix);
        let routes = port.effective_routes().into_iter().filter(|prefix| !is_own(prefix));
        let routes = routes.map(|prefix| {
            let is_same = |address: &IpAddr| address.is_ipv4() == prefix.addr().is_ipv4();
            let source = port.addresses.iter().map(|own| own.ip()).find(is_same);
            Route { prefix, via: via(port, prefix, gateways), source }
        });
        Settings {
            addresses: port.addresses.iter().map(|own| own.net()).collect(),
            routes: routes.collect(),
        }
    }

    /// Sets a device up, which has its MTU already: a new one, or one that `is_kept` from an earlier
    /// life, where all may be there. Addresses, up, routes: in this order, because the kernel
    /// forgets routes of a device that is down.
    pub(super) async fn set_up(
        &self,
        device: &str,
        there: &Netlink,
        is_kept: bool,
    ) -> Result<(), DeviceError> {
        let link = there.link(device).await?;
        let link = link.ok_or_else(|| DeviceError::Gone { device: device.to_owned() })?;
        for address in &self.addresses {
            there.add_address(link.index, *address).await?;
        }
        there.change_link(device, &Change { up: Some(true), ..Change::default() }).await?;
        for Route { prefix, via, source } in &self.routes {
            there.set_route(link.index, *prefix, *via, *source, is_kept).await?;
        }
        Ok(())
    }

    /// Makes a device that is set up so be set up as `to` says, while it is in use. Nothing that is
    /// alike in both goes for longer than a moment.
    async fn change(
        &self,
        to: &Settings,
        device: &str,
        there: &Netlink,
    ) -> Result<(), DeviceError> {
        let link = there.link(device).await?;
        let link = link.ok_or_else(|| DeviceError::Gone { device: device.to_owned() })?;
        for address in to.addresses.iter().filter(|address| !self.addresses.contains(address)) {
            there.add_address(link.index, *address).await?;
        }
        for route in self.routes.iter().filter(|route| !to.routes.contains(route)) {
            there.delete_route(link.index, route.prefix).await?;
        }
        for address in self.addresses.iter().filter(|address| !to.addresses.contains(address)) {
            there.delete_address(link.index, *address).await?;
        }
        // With an address the kernel forgets others that came after it in one network, and routes
        // that have it as their source.
        for address in &to.addresses {
            there.add_address(link.index, *address).await?;
        }
        for route @ Route { prefix, via, source } in &to.routes {
            let is_ours = self.routes.contains(route);
            there.set_route(link.index, *prefix, *via, *source, is_ours).await?;
        }
        Ok(())
    }
}

/// Makes the device of a port that is open be set up otherwise.
///
/// # Errors
/// When the kernel refuses. The device may then be half-way; the same back mends it.
pub(super) async fn adjust(
    port: &config::Port,
    from: &Settings,
    to: &Settings,
) -> Result<(), DeviceError> {
    let netns = port.netns.as_ref().map(config::Netns::path);
    let there = Netlink::connect(netns.as_deref())?;
    from.change(to, port.device.as_str(), &there).await
}

/// Gives the device of a port that is open another MTU: both ends of a veth pair, so that neither sends
/// what the other one does not take.
///
/// # Errors
/// When the kernel refuses.
pub(super) async fn set_mtu(port: &config::Port, from: u32, to: u32) -> Result<(), DeviceError> {
    let netns = port.netns.as_ref().map(config::Netns::path);
    let there = Netlink::connect(netns.as_deref())?;
    let change = Change { mtu: Some(to), ..Change::default() };
    let near = port.host_end();
    if let Some(near) = near.as_ref().filter(|_| to > from) {
        Netlink::connect(None)?.change_link(near.as_str(), &change).await?;
    }
    there.change_link(port.device.as_str(), &change).await?;
    if let Some(near) = near.as_ref().filter(|_| to < from) {
        Netlink::connect(None)?.change_link(near.as_str(), &change).await?;
    }
    if (from..to).contains(&(IPV6_MIN_MTU - 1)) {
        // IPv6 was not there, and begins anew.
        sysctl::quieten(netns.as_deref(), port.device.as_str(), port.kind);
        near.iter().for_each(|near| sysctl::silence(near.as_str()));
    }
    Ok(())
}

fn via(port: &config::Port, prefix: IpNet, gateways: &[IpAddr]) -> Via {
    if port.kind == Kind::Tun {
        return Via::Device;
    }
    let gateway = build::gateway_of(gateways, port, prefix.addr().is_ipv4());
    let gateway = gateway.expect("a config without a gateway for a port's routes is refused");
    let near = port.addresses.iter().any(|own| own.net().contains(&gateway));
    if near { Via::Gateway(gateway) } else { Via::Onlink(gateway) }
}
