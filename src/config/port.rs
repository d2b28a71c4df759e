//! Ports: where pods, and the node itself, are attached.

use super::{Attach, Bounded, DeviceName, Interface, Labels, Name, Netns, Prefix};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The least MTU of a link that carries IPv6, RFC 8200 §5.
pub const IPV6_MIN_MTU: u32 = 1280;

/// `[[port]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Port {
    /// What routes and `show` call it.
    pub name: Name,
    /// What kind of device it is.
    pub kind: Kind,
    /// The network namespace of the device: a name of `ip netns`, or a path such as
    /// `/proc/1234/ns/net`. That of Cableway itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<Netns>,
    /// The device's name in its namespace.
    pub device: DeviceName,
    /// Of kind `af_xdp` only: the end of the veth pair that stays with us, made with its other end
    /// when it does not exist. Derived from the port's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_device: Option<DeviceName>,
    /// The addresses of the device, as `address/length`; an address alone is a host of its own
    /// (`/32` or `/128`). They are routed to this port.
    #[serde(default)]
    pub addresses: Vec<Interface>,
    /// The device's MTU in bytes. When absent it is what the uplinks' MTUs leave of the largest tunnel
    /// to a peer, with IPv6 not less than 1280, and follows when these change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Bounded<68, 65_535>>,
    /// What is routed to us where the device is. When absent everything, for the families of
    /// `addresses`, in a namespace of its own; nothing in Cableway's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Prefix>>,
    /// Of kind `af_xdp` only: how the XDP program is attached to our end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<Attach>,
    /// Drop what the port sends from addresses that are neither its own nor routed to it.
    #[serde(default = "yes")]
    pub check_source: bool,
    /// What it is, for policies to select it by.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// The kinds of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Kind {
    /// A TUN device: IP packets, super-frames up to 64 KiB.
    #[serde(rename = "tun")]
    Tun,
    /// A TAP device: the same with Ethernet headers.
    #[serde(rename = "tap")]
    Tap,
    /// A veth pair whose end on our side is read and written by AF_XDP.
    #[serde(rename = "af_xdp")]
    AfXdp,
}

impl Port {
    /// The name of our end of the veth pair: [`host_device`](Self::host_device), or one derived
    /// from the port's name. `None` of the other kinds.
    pub fn host_end(&self) -> Option<DeviceName> {
        let derived = || DeviceName::derive("cw-", self.name.as_str());
        (self.kind == Kind::AfXdp).then(|| self.host_device.clone().unwrap_or_else(derived))
    }

    /// What is routed to us where the device is: [`routes`](Self::routes), or what stands for it.
    pub fn effective_routes(&self) -> Vec<IpNet> {
        if let Some(routes) = &self.routes {
            return routes.iter().map(Prefix::net).collect();
        }
        let everything = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let has = |all: &IpNet| self.addresses.iter().any(|own| all.contains(&own.ip()));
        everything.into_iter().filter(|all| self.netns.is_some() && has(all)).collect()
    }

    /// Whether the device carries IPv6, so that its MTU must not be less than [`IPV6_MIN_MTU`].
    pub fn has_ipv6(&self) -> bool {
        let has_route = || self.effective_routes().iter().any(|net| net.addr().is_ipv6());
        self.addresses.iter().any(|own| own.ip().is_ipv6()) || has_route()
    }
}

pub(super) fn yes() -> bool {
    true
}
