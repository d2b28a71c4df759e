//! A node whose router is the kernel: a `vxlan` device with static neighbours, forwarding entries
//! and on-link routes, exactly as flannel and Calico program it.

use super::Result;
use super::file::{Family, Preset};
use super::netns::sysctl;
use super::shell::sh;
use super::topology::{Node, Pod, Topology};
use super::underlay;
use std::net::IpAddr;

/// Calico gives the node's end of every pod's veth this MAC.
const CALICO_MAC: &str = "ee:ee:ee:ee:ee:ee";
/// What Calico's pods have for a gateway: an address nobody has, answered for by proxy ARP, and
/// for IPv6 the link-local address made of [`CALICO_MAC`].
const CALICO_GATEWAYS: (&str, &str) = ("169.254.1.1", "fe80::ecee:eeff:feee:eeee");

/// Makes a node's devices, pods and routes.
pub(super) fn build(topology: &Topology, node: &Node, preset: Preset) -> Result<()> {
    let ns = &node.netns;
    sysctl(ns, "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
    let device = vxlan(topology, node, preset)?;
    let others = topology.nodes.iter().filter(|other| other.index != node.index);
    others.into_iter().try_for_each(|other| peer(topology, ns, device, other))?;
    match preset {
        Preset::Flannel => {
            let mtu = topology.pod_mtu();
            sh!("ip -n {ns} link add cni0 mtu {mtu} type bridge")?;
            sh!("ip -n {ns} link set cni0 up")?;
            for (gateway, net) in node.gateway.iter().zip(node.subnets.iter()) {
                sh!("ip -n {ns} address add {gateway}/{} dev cni0", net.prefix_len())?;
            }
            node.pods.iter().try_for_each(|pod| bridged_pod(topology, node, pod))
        }
        Preset::Calico => {
            // Proxy ARP answers for what is routed to another device: a node's default route does
            // that elsewhere.
            sh!("ip -n {ns} route add {} dev {device}", CALICO_GATEWAYS.0)?;
            node.pods.iter().try_for_each(|pod| routed_pod(topology, node, pod))
        }
    }
}

fn vxlan(topology: &Topology, node: &Node, preset: Preset) -> Result<&'static str> {
    let device = match preset {
        Preset::Flannel => "flannel.1",
        Preset::Calico => "vxlan.calico",
    };
    let (vni, port) = preset.vni_and_port();
    let (ns, mac, mtu) = (&node.netns, &node.vtep_mac, topology.pod_mtu());
    let local = node.underlay_address(topology.family);
    // A zero UDP checksum over IPv6 is legal between tunnel ends that agree on it (RFC 6935 §5).
    let zero_checksums = match topology.family {
        Family::V4 => "",
        Family::V6 => "udp6zerocsumrx",
    };
    sh!(
        "ip -n {ns} link add {device} address {mac} mtu {mtu} type vxlan id {vni} local {local} \
         dev {} dstport {port} nolearning {zero_checksums}",
        underlay::DEVICE
    )?;
    for net in node.subnets.iter() {
        let (address, len) = (net.network(), net.max_prefix_len());
        sh!("ip -n {ns} address add {address}/{len} dev {device}")?;
    }
    sh!("ip -n {ns} link set {device} up")?;
    Ok(device)
}

/// The way to another node's pods.
fn peer(topology: &Topology, ns: &str, device: &str, other: &Node) -> Result<()> {
    let (mac, remote) = (&other.vtep_mac, other.underlay_address(topology.family));
    sh!("bridge -n {ns} fdb replace {mac} dev {device} dst {remote} self permanent")?;
    for net in other.subnets.iter() {
        let vtep = net.network();
        sh!("ip -n {ns} neighbour replace {vtep} lladdr {mac} dev {device} nud permanent")?;
        sh!("ip -n {ns} route replace {net} via {vtep} dev {device} onlink")?;
    }
    Ok(())
}

/// Flannel: a port of the bridge that has the gateway's address.
fn bridged_pod(topology: &Topology, node: &Node, pod: &Pod) -> Result<()> {
    let port = veth(topology, node, pod, "veth")?;
    sh!("ip -n {} link set {port} master cni0 up", node.netns)?;
    for (address, net) in pod.addresses.iter().zip(node.subnets.iter()) {
        sh!("ip -n {} address add {address}/{} dev eth0", pod.netns, net.prefix_len())?;
    }
    for gateway in node.gateway.iter() {
        sh!("ip -n {} route add default via {gateway}", pod.netns)?;
    }
    Ok(())
}

/// Calico: host addresses, each routed to its veth.
fn routed_pod(topology: &Topology, node: &Node, pod: &Pod) -> Result<()> {
    let port = veth(topology, node, pod, "cali")?;
    let (ns, pod_ns) = (&node.netns, &pod.netns);
    sh!("ip -n {ns} link set {port} address {CALICO_MAC} up")?;
    sysctl(ns, &format!("net.ipv4.conf.{port}.proxy_arp=1"))?;
    // Proxy ARP would else answer after a random delay of up to 0.8 s.
    sysctl(ns, &format!("net.ipv4.neigh.{port}.proxy_delay=0"))?;
    for address in pod.addresses.iter() {
        sh!("ip -n {pod_ns} address add {address} dev eth0")?;
        sh!("ip -n {ns} route add {address} dev {port}")?;
        match address {
            IpAddr::V4(_) => {
                let gateway = CALICO_GATEWAYS.0;
                sh!("ip -n {pod_ns} route add {gateway} dev eth0 scope link")?;
                sh!("ip -n {pod_ns} route add default via {gateway} dev eth0")?;
            }
            IpAddr::V6(_) => {
                sh!("ip -n {pod_ns} route add default via {} dev eth0", CALICO_GATEWAYS.1)?;
            }
        }
    }
    Ok(())
}

/// The pod's `eth0`; the name of the node's end.
fn veth(topology: &Topology, node: &Node, pod: &Pod, prefix: &str) -> Result<String> {
    let mtu = pod.mtu.unwrap_or(topology.pod_mtu());
    let port = format!("{prefix}{}", pod.name);
    sh!(
        "ip link add {port} netns {} mtu {mtu} type veth peer name eth0 netns {} mtu {mtu}",
        node.netns,
        pod.netns
    )?;
    sh!("ip -n {} link set eth0 up", pod.netns)?;
    Ok(port)
}
