//! What joins the nodes. Every node sees it as its device `eth0`.

use super::Result;
use super::file::UnderlayKind;
use super::netns::sysctl;
use super::shell::sh;
use super::topology::{Node, Topology, WIRE, netns};

/// The underlay's device in a node.
pub(super) const DEVICE: &str = "eth0";

/// The switch in the wire's namespace.
const SWITCH: &str = "switch";

/// Makes the underlay; the namespaces are there.
pub(super) fn build(topology: &Topology) -> Result<()> {
    let mtu = topology.underlay_mtu;
    match topology.underlay {
        UnderlayKind::Veth => {
            let [a, b] = [&topology.nodes[0].netns, &topology.nodes[1].netns];
            sh!("ip link add {DEVICE} netns {a} mtu {mtu} type veth \
                 peer name {DEVICE} netns {b} mtu {mtu}")?;
        }
        UnderlayKind::Bridge => {
            let wire = netns(WIRE);
            // The switch has no addresses of its own, not even link-local ones.
            sysctl(&wire, "net.ipv6.conf.default.disable_ipv6=1")?;
            sh!(
                "ip -n {wire} link add {SWITCH} mtu {mtu} type bridge stp_state 0 forward_delay 0 \
                 mcast_snooping 0"
            )?;
            sh!("ip -n {wire} link set {SWITCH} up")?;
            for node in &topology.nodes {
                let port = plug(node, mtu)?;
                sh!("ip -n {wire} link set {port} master {SWITCH} up")?;
            }
        }
        UnderlayKind::Routed => {
            let wire = netns(WIRE);
            sysctl(&wire, "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
            for node in &topology.nodes {
                let port = plug(node, mtu)?;
                sh!("ip -n {wire} link set {port} up")?;
                for net in node.underlay.iter() {
                    let (router, len) = (router_address(&net), net.prefix_len());
                    sh!("ip -n {wire} address add {router}/{len} dev {port}")?;
                }
            }
        }
    }
    topology.nodes.iter().try_for_each(|node| address(topology, node))
}

/// Where a capture in the wire's namespace sees each frame once, if it can.
pub(super) fn tap(topology: &Topology) -> Option<String> {
    match topology.underlay {
        UnderlayKind::Veth => None,
        UnderlayKind::Bridge => Some(SWITCH.into()),
        UnderlayKind::Routed => Some(port(&topology.nodes[0])),
    }
}

/// The name of the wire's device towards a node.
fn port(node: &Node) -> String {
    format!("wire-{}", node.name)
}

fn plug(node: &Node, mtu: u16) -> Result<String> {
    let (wire, port) = (netns(WIRE), port(node));
    sh!(
        "ip link add {port} netns {wire} mtu {mtu} type veth peer name {DEVICE} netns {} mtu {mtu}",
        node.netns
    )?;
    Ok(port)
}

fn address(topology: &Topology, node: &Node) -> Result<()> {
    let ns = &node.netns;
    sh!("ip -n {ns} link set {DEVICE} up")?;
    for net in node.underlay.iter() {
        sh!("ip -n {ns} address add {net} dev {DEVICE}")?;
        if topology.underlay == UnderlayKind::Routed {
            sh!("ip -n {ns} route add default via {} dev {DEVICE}", router_address(&net))?;
        }
    }
    Ok(())
}

/// The router's address in a node's underlay subnet: the first one.
fn router_address(net: &ipnet::IpNet) -> std::net::IpAddr {
    net.hosts().next().expect("a prefix has an address")
}
