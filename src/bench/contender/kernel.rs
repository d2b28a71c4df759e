//! The kernel's routers, with the pod on a veth: a `vxlan` device, as flannel programs it, and no
//! tunnel at all.

use super::super::arena::{
    Cores, DIRECTORY, GATEWAY_MAC, POD_DEVICE, POD_MTU, Site, TUNNEL_PORT, UPLINK, VNI, offload,
};
use super::super::{Error, Result};
use super::{Attachment, Contender, Place, Router};
use crate::lab::netns::sysctl;
use crate::lab::shell::{self, sh};
use std::fs;
use std::path::Path;

/// The tunnel's device.
const TUNNEL: &str = "flannel.1";
/// The node's end of the pod's veth.
pub(super) const POD_END: &str = "pod0";
/// The MAC of the pod's end.
pub(super) const POD_MAC: &str = "02:00:00:00:02:01";

/// Routed into a `vxlan` device: a route for each peer, neighbours and forwarding entries that stay.
#[derive(Debug)]
pub(super) struct Vxlan {
    /// Whether what is received is spread over the cores.
    steering: bool,
}

impl Vxlan {
    /// As it comes.
    pub(super) const PLAIN: Vxlan = Vxlan { steering: false };
    /// With receive packet steering: what comes in on the sender's core is forwarded on the others.
    pub(super) const RPS: Vxlan = Vxlan { steering: true };
}

impl Contender for Vxlan {
    fn name(&self) -> &'static str {
        if self.steering { "kernel-vxlan-rps" } else { "kernel-vxlan" }
    }

    fn about(&self) -> &'static str {
        if self.steering {
            "the same with receive steering (RPS): forwarded on the cores that the sender leaves"
        } else {
            "the kernel's vxlan, routed as flannel does, pods on veths"
        }
    }

    fn start(&self, place: &Place<'_>) -> Result<Box<dyn Router>> {
        let Place { site, peer, .. } = place;
        let about = format!("vxlan device {TUNNEL}; GRO on the pod's veth and on the uplink");
        // Dropped, and so removed, whatever fails.
        let mut running = Running { netns: site.netns, about: vec![about] };
        attach_pod(site)?;
        tunnel(site, peer)?;
        if self.steering {
            let mask = Cores::choose().not_the_senders();
            running.about.push(format!("RPS of both devices: cores {mask:#x}"));
            steer(site, mask)?;
        }
        Ok(Box::new(running))
    }
}

/// Routed to the other node as it is.
#[derive(Debug)]
pub(super) struct Direct;

impl Contender for Direct {
    fn name(&self) -> &'static str {
        "kernel-direct"
    }

    fn about(&self) -> &'static str {
        "the kernel without a tunnel, as flannel's host-gw: what a tunnel can't be faster than there"
    }

    fn tunnels(&self) -> bool {
        false
    }

    fn start(&self, place: &Place<'_>) -> Result<Box<dyn Router>> {
        let Place { site, peer, .. } = place;
        let running = Running { netns: site.netns, about: vec!["no tunnel".into()] };
        attach_pod(site)?;
        let (netns, Site { subnet, address, .. }) = (site.netns, peer);
        sh!("ip -n {netns} route replace {subnet}/24 via {address} dev {UPLINK}")?;
        Ok(Box::new(running))
    }
}

/// Has what both devices receive forwarded by these cores.
fn steer(site: &Site, mask: u64) -> Result<()> {
    let text = Path::new(DIRECTORY).join("rps");
    fs::write(&text, format!("{mask:x}"))
        .map_err(|source| Error::io(format!("write {}", text.display()), source))?;
    for device in [UPLINK, POD_END] {
        // `ip netns exec` shows the namespace's own devices there.
        let file = format!("/sys/class/net/{device}/queues/rx-0/rps_cpus");
        sh!("ip netns exec {} cp {} {file}", site.netns, text.display())?;
    }
    Ok(())
}

/// The pod on a veth, known to the node without ARP.
pub(super) fn attach_pod(site: &Site) -> Result<()> {
    let Site { netns, pod_netns, pod, .. } = site;
    sysctl(netns, "net.ipv4.ip_forward=1")?;
    sh!("ip link add {POD_END} netns {netns} address {GATEWAY_MAC} mtu {POD_MTU} type veth \
             peer name {POD_DEVICE} netns {pod_netns} address {POD_MAC} mtu {POD_MTU}")?;
    sh!("ip -n {netns} link set {POD_END} up")?;
    sh!("ip -n {pod_netns} link set {POD_DEVICE} up")?;
    sh!("ip -n {netns} route add {pod}/32 dev {POD_END}")?;
    sh!("ip -n {netns} neighbour add {pod} lladdr {POD_MAC} dev {POD_END} nud permanent")?;
    pod_addresses(site)?;
    // So that it polls, and takes live frames.
    offload(netns, POD_END, "gro on")
}

/// What the pod has on its end: its address, and the way to all others.
pub(super) fn pod_addresses(site: &Site) -> Result<()> {
    let Site { pod_netns, pod, gateway, .. } = site;
    sh!("ip -n {pod_netns} address add {pod}/24 dev {POD_DEVICE}")?;
    sh!("ip -n {pod_netns} neighbour add {gateway} lladdr {GATEWAY_MAC} dev {POD_DEVICE} \
             nud permanent")?;
    sh!("ip -n {pod_netns} route add default via {gateway} dev {POD_DEVICE}")?;
    Ok(())
}

fn tunnel(site: &Site, peer: &Site) -> Result<()> {
    let Site { netns, address, vtep_mac, subnet, .. } = site;
    sh!("ip -n {netns} link add {TUNNEL} address {vtep_mac} mtu {POD_MTU} type vxlan id {VNI} \
         local {address} dev {UPLINK} dstport {TUNNEL_PORT} nolearning noudpcsum")?;
    sh!("ip -n {netns} address add {subnet}/32 dev {TUNNEL}")?;
    sh!("ip -n {netns} link set {TUNNEL} up")?;
    let Site { address, vtep_mac, subnet, .. } = peer;
    sh!("bridge -n {netns} fdb replace {vtep_mac} dev {TUNNEL} dst {address} self permanent")?;
    sh!("ip -n {netns} neighbour replace {subnet} lladdr {vtep_mac} dev {TUNNEL} nud permanent")?;
    sh!("ip -n {netns} route replace {subnet}/24 via {subnet} dev {TUNNEL} onlink")?;
    Ok(())
}

#[derive(Debug)]
struct Running {
    netns: &'static str,
    about: Vec<String>,
}

impl Router for Running {
    fn attachment(&self) -> Attachment {
        Attachment::Veth
    }

    fn describe(&self) -> Vec<String> {
        self.about.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for device in [TUNNEL, POD_END] {
            // What was not made yet is not there.
            let _ = shell::attempt(&format!("ip -n {} link delete {device}", self.netns));
        }
    }
}
