//! The kernel's router: a `vxlan` device, as flannel programs it, and the pod on a veth.

use super::super::Result;
use super::super::arena::{
    GATEWAY_MAC, POD_DEVICE, POD_MTU, Site, TUNNEL_PORT, UPLINK, VNI, offload,
};
use super::{Attachment, Contender, Place, Router};
use crate::lab::netns::sysctl;
use crate::lab::shell::{self, sh};

/// The tunnel's device.
const TUNNEL: &str = "flannel.1";
/// The node's end of the pod's veth.
const POD_END: &str = "pod0";
/// The MAC of the pod's end.
const POD_MAC: &str = "02:00:00:00:02:01";

/// Routed into a `vxlan` device: a route for each peer, neighbours and forwarding entries that stay.
#[derive(Debug)]
pub(super) struct Vxlan;

impl Contender for Vxlan {
    fn name(&self) -> &'static str {
        "kernel-vxlan"
    }

    fn about(&self) -> &'static str {
        "the kernel's vxlan, routed as flannel does, pods on veths"
    }

    fn start(&self, place: &Place<'_>) -> Result<Box<dyn Router>> {
        // Dropped, and so removed, whatever fails.
        let running = Running { netns: place.site.netns };
        attach_pod(place.site)?;
        tunnel(place.site, place.peer)?;
        Ok(Box::new(running))
    }
}

/// The pod on a veth, known to the node without ARP.
pub(super) fn attach_pod(site: &Site) -> Result<()> {
    let Site { netns, pod_netns, pod, gateway, .. } = site;
    sysctl(netns, "net.ipv4.ip_forward=1")?;
    sh!("ip link add {POD_END} netns {netns} address {GATEWAY_MAC} mtu {POD_MTU} type veth \
             peer name {POD_DEVICE} netns {pod_netns} address {POD_MAC} mtu {POD_MTU}")?;
    sh!("ip -n {netns} link set {POD_END} up")?;
    sh!("ip -n {pod_netns} link set {POD_DEVICE} up")?;
    sh!("ip -n {netns} route add {pod}/32 dev {POD_END}")?;
    sh!("ip -n {netns} neighbour add {pod} lladdr {POD_MAC} dev {POD_END} nud permanent")?;
    sh!("ip -n {pod_netns} address add {pod}/24 dev {POD_DEVICE}")?;
    sh!("ip -n {pod_netns} neighbour add {gateway} lladdr {GATEWAY_MAC} dev {POD_DEVICE} \
             nud permanent")?;
    sh!("ip -n {pod_netns} route add default via {gateway} dev {POD_DEVICE}")?;
    // So that it polls, and takes live frames.
    offload(netns, POD_END, "gro on")
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
}

impl Router for Running {
    fn attachment(&self) -> Attachment {
        Attachment::Veth
    }

    fn describe(&self) -> Vec<String> {
        vec![format!("vxlan device {TUNNEL}; GRO on the pod's veth and on the uplink")]
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
